"""Statistics of float32 values that do not depend on their order: extremes and histograms."""

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import kernel
from npusim.kernels.tiles.llvm_vectors import F32, I32, vector_code

_LANES = 64
_PARTS = 4  # histograms that are filled in turn: values of one bin often follow each other
_VALUES = "Array(float32, 1, 'C', readonly=True)"


@vector_code
def _extremes(v, values, count, low, high, strange):
    """Set LANES lowest and highest numbers, and not 0 where NaN was met, of ``count`` * LANES."""
    builder = v.builder
    vector = ir.VectorType(F32, _LANES)
    begin = v.load(values.data, F32, _LANES)
    states = [cgutils.alloca_once(builder, vector) for _ in range(3)]
    for state, value in zip(states, (begin, begin, v.constant(0.0, F32, _LANES)), strict=True):
        builder.store(value, state)
    least, most, nans = states
    with cgutils.for_range(builder, count) as loop:
        at = builder.mul(loop.index, v.number(_LANES))
        value = v.load(v.at(values.data, at), F32, _LANES)
        known = builder.load(least)
        builder.store(builder.select(builder.fcmp_ordered("<", value, known), value, known), least)
        known = builder.load(most)
        builder.store(builder.select(builder.fcmp_ordered(">", value, known), value, known), most)
        is_nan = builder.fcmp_unordered("uno", value, value)
        one, known = v.constant(1.0, F32, _LANES), builder.load(nans)
        builder.store(builder.select(is_nan, one, known), nans)
    for state, target in zip(states, (low, high, strange), strict=True):
        v.store(builder.load(state), target.data)


@kernel(f"void({_VALUES}, float32[::1])")
def extremes(values, result):
    """Set ``result`` to minimum and maximum of one value or more; both are NaN if one is.

    Zeros are positive.
    """
    count = values.shape[0] // _LANES
    low, high = values[0], values[0]
    is_nan = False
    if count:
        lows, highs, strange = (
            np.empty(_LANES, np.float32),
            np.empty(_LANES, np.float32),
            np.empty(_LANES, np.float32),
        )
        _extremes(values, count, lows, highs, strange)
        for lane in range(_LANES):
            is_nan |= strange[lane] != 0
            low, high = min(low, lows[lane]), max(high, highs[lane])
    for i in range(count * _LANES, values.shape[0]):
        value = values[i]
        is_nan |= value != value  # true of NaN
        low, high = min(low, value), max(high, value)
    result[0] = np.float32(np.nan) if is_nan else low + np.float32(0)
    result[1] = np.float32(np.nan) if is_nan else high + np.float32(0)


@vector_code
def _places(v, values, start, low, factor, signs, last, places, zeros):
    """Set LANES ``places`` to bin * PARTS + part of the values from ``start`` on; count zeros."""
    builder = v.builder
    whole = ir.VectorType(I32, _LANES)
    value = v.load(v.at(values.data, start), F32, _LANES)
    is_zero = builder.fcmp_ordered("==", value, v.constant(0.0, F32, _LANES))
    known = v.load(zeros.data, I32, _LANES)
    v.store(builder.add(known, builder.zext(is_zero, whole)), zeros.data)
    bits = builder.and_(builder.bitcast(value, whole), v.splat(signs, _LANES))
    value = builder.bitcast(bits, value.type)
    value = builder.fmul(builder.fsub(value, v.splat(low, _LANES)), v.splat(factor, _LANES))
    place = v.clamp(value, v.constant(0.0, F32, _LANES), v.splat(last, _LANES))
    index = builder.mul(builder.fptosi(place, whole), v.constant(_PARTS, I32, _LANES))
    parts = ir.Constant(whole, [lane % _PARTS for lane in range(_LANES)])
    v.store(builder.add(index, parts), places.data)


@kernel(f"int64({_VALUES}, float32, float32, boolean, int64[::1])")
def histogram(values, low, factor, absolute, counts):
    """Count finite values into bins and return how many are 0.

    Value v counts in bin ``(v - low) * factor``, in float32, cut to an integer, those outside at
    the ends; ``absolute`` counts absolute values. ``counts`` is added to.
    """
    bins = counts.shape[0]
    last = np.float32(bins - 1)
    parts = np.zeros(bins * _PARTS, np.int32)
    places = np.empty(_LANES, np.uint32)  # unsigned: no index counts from the end
    zeros = np.zeros(_LANES, np.int32)
    some = np.zeros(_LANES, np.float32)
    signs = np.int32(0x7FFFFFFF) if absolute else np.int32(-1)
    for begin in range(0, values.shape[0], _LANES):
        size = values.shape[0] - begin
        if size >= _LANES:
            _places(values, begin, low, factor, signs, last, places, zeros)
            for i in range(_LANES):
                parts[places[i]] += 1
        else:
            some[:] = np.float32(1)  # anything but 0
            some[:size] = values[begin:]
            _places(some, 0, low, factor, signs, last, places, zeros)
            for i in range(size):
                parts[places[i]] += 1
    for bin_ in range(bins):
        for part in range(_PARTS):
            counts[bin_] += parts[bin_ * _PARTS + part]
    return zeros.sum()


@kernel("void(Array(int64, 1, 'C', readonly=True), int64, float64[::1])")
def divergences(counts, levels, result):
    """Set ``result[n]`` to what clipping to ``levels + n`` bins loses: a relative entropy.

    The distribution of ``counts``, what lies beyond added to the last bin that is kept, against
    the kept bins quantized to ``levels`` (``npusim.quantization.histograms.best_threshold``). Sums
    over prefixes: the relative error of an element grows with the number of bins.
    """
    bins = counts.shape[0]
    mass = np.zeros(bins + 1, np.float64)
    occupied = np.zeros(bins + 1, np.float64)
    entropy = np.zeros(bins + 1, np.float64)
    for i in range(bins):
        count = np.float64(counts[i])
        mass[i + 1] = mass[i] + count
        occupied[i + 1] = occupied[i] + (count > 0)
        entropy[i + 1] = entropy[i] + (count * np.log(count) if count > 0 else 0.0)
    total = mass[bins]
    for kept in range(levels, bins + 1):
        inside = mass[kept]
        if inside == 0:
            result[kept - levels] = np.inf
            continue
        beyond = total - inside
        cross = 0.0  # minus the mean logarithm of the quantized distribution
        level = 0.0  # of the last group
        begin = 0
        for group in range(levels):
            end = (group + 1) * kept // levels
            cells = occupied[end] - occupied[begin]
            if cells > 0:
                level = (mass[end] - mass[begin]) / cells
                cross -= (mass[end] - mass[begin]) * np.log(level / inside)
            begin = end
        last = np.float64(counts[kept - 1])
        if beyond > 0:
            cross -= beyond * np.log(level / inside if last > 0 else 1e-12)
        own = entropy[kept - 1]
        if last + beyond > 0:
            own += (last + beyond) * np.log(last + beyond)
        result[kept - levels] = (own + cross) / total - np.log(total)
