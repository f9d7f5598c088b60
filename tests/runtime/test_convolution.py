"""Convolutions of the NN engine against plain exact arithmetic, bit for bit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim import environment
from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.kernels.pack import geometry
from npusim.passes.requant import nn_requant
from npusim.runtime import isa, threads
from npusim.runtime.convolution.phases import Convolution, plain_phase
from npusim.runtime.convolution.step import ConvolutionStep
from npusim.runtime.memory_order import from_channels_last
from tests.kernels import emulated_avx512, emulated_tiles

CHANNELS = (1, 2, 3, 4, 5, 16, 17, 40)
OUT_CHANNELS = (1, 3, 15, 16, 17, 64, 65, 130)


EMULATED_AMX, EMULATED_AVX512 = "emulated amx", "emulated avx512vnni"
EMULATED = [EMULATED_AVX512] * emulated_avx512.NEEDED + [EMULATED_AMX] * emulated_tiles.NEEDED


@pytest.fixture(params=[*isa.available(), *EMULATED])
def path(request, monkeypatch):
    """Run on every kind of machine code that this processor has, and on emulated instructions."""
    with monkeypatch.context() as patch:
        patch.setenv("NPUSIM_ISA", request.param.removeprefix("emulated "))
        emulated_tiles.take_all(patch)
        if request.param == EMULATED_AMX:
            emulated_tiles.emulate(patch)
        if request.param == EMULATED_AVX512:
            emulated_avx512.emulate(patch)
        emulated_tiles.forget_choices()
        yield request.param
    emulated_tiles.forget_choices()


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def workers(request, monkeypatch):
    """Run with a number of threads and units so small that all of them get work."""
    monkeypatch.setenv("NPUSIM_NUM_THREADS", str(request.param))
    monkeypatch.setattr(threads, "SMALL_WORK", 1)
    monkeypatch.setattr(geometry, "_BLOCK_PIXELS", 9)
    environment.thread_count.cache_clear()
    threads._pool.cache_clear()
    yield request.param
    environment.thread_count.cache_clear()
    threads._pool.cache_clear()


# ---- the slow exact reference ------------------------------------------------------------------
def value_f16(codes: np.ndarray) -> np.ndarray:
    """Halves as the NN engine reads them, from the definition of the format."""
    bits = codes.view(np.uint16).astype(np.int64)
    exponent, fraction = bits >> 10 & 31, bits & 1023
    value = np.where(exponent == 0, 0.0, (1024 + fraction) * 2.0 ** (exponent - 25))
    return np.where(bits >> 15, -value, value).astype(np.float32)


def taps_in_order(conv: Convolution, kernel, dilation):
    """Walk the cells of the kernel as the engine sees it: phases of a kernel filled up to a square.

    A cell that falls between or outside the taps holds a zero weight.
    """
    if conv.stride == (1, 1):
        return [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    cells = [-(-e // s) for e, s in zip(extent, conv.stride, strict=True)]
    front = [0, 0]
    if cells[1] > 1:
        for axis in (0, 1):
            if cells[axis] < max(cells):
                front[axis] = (max(cells) * conv.stride[axis] - extent[axis]) // 2
        cells = [max(cells)] * 2
    taps = []
    for phase in np.ndindex(conv.stride):
        for cell in np.ndindex(*cells):
            at = [c * s + p - f for c, s, p, f in zip(cell, conv.stride, phase, front, strict=True)]
            tap = tuple(a // d for a, d in zip(at, dilation, strict=True))
            between = any(a % d for a, d in zip(at, dilation, strict=True))
            if not between and min(tap) >= 0 and all(map(int.__lt__, tap, kernel)):
                taps.append(tap)
    return taps


def reference_sums(conv: Convolution, ifm: np.ndarray, pads, dilation) -> np.ndarray:
    """Sums (N, O, OH, OW): int64, or float32 for float16, product by product in order."""
    n = ifm.shape[0]
    out_c, group_c, *kernel = conv.weights.shape
    _, _, out_h, out_w = conv.ofm.shape
    if conv.ifm.dtype is DType.F16:
        x, w, dtype = value_f16(ifm), value_f16(conv.weights), DType.F32.numpy
    else:
        x = ifm.astype(np.int64) - zero_point_of(conv.ifm.quant)
        w = conv.weights.astype(np.int64) - zero_point_of(conv.weights_quant)
        dtype = DType.I64.numpy
    padded = np.pad(x, ((0, 0), (0, 0), pads[:2], pads[2:]))
    sums = np.zeros((n, out_c, out_h, out_w), dtype)
    for o in range(out_c):
        acc = np.full((n, out_h, out_w), conv.bias[o], dtype)
        first = o // (out_c // conv.groups) * group_c
        for c in range(group_c):
            for i, j in taps_in_order(conv, kernel, dilation):
                y, z = i * dilation[0], j * dilation[1]
                seen = padded[
                    :,
                    first + c,
                    y : y + conv.stride[0] * (out_h - 1) + 1 : conv.stride[0],
                    z : z + conv.stride[1] * (out_w - 1) + 1 : conv.stride[1],
                ]
                acc = acc + seen * w[o, c, i, j]
        sums[:, o] = acc
    return sums


def truncated_half(value: np.float32) -> np.float16:
    if abs(value) >= 65504:
        return np.float16(np.copysign(65504, value))
    if abs(value) < 2.0**-14:
        return np.float16(np.copysign(0, value))
    half = np.float16(value)
    if abs(float(half)) > abs(float(value)):
        half = np.nextafter(half, np.float16(0))
    return half


def nearest_integer(numerator: int, denominator: int) -> int:
    """Ties to even, by Python's exact fractions."""
    return round(Fraction(numerator, denominator))


def reference_store(conv: Convolution, sums: np.ndarray) -> np.ndarray:
    stored = np.empty(sums.shape, conv.ofm.dtype.numpy)
    requant = conv.requant
    for at, total in np.ndenumerate(sums):
        if conv.ifm.dtype is DType.F16:
            result = truncated_half(total)
            stored[at] = max(result, np.float16(0)) if conv.relu else result
            continue
        acc = int(total)
        if conv.ifm.dtype is not DType.I16:
            acc = (acc + 2**31) % 2**32 - 2**31
        if conv.ofm.dtype is DType.F16:
            half = np.float16(np.clip(acc * 2.0**-requant.shift, -65504, 65504))
            stored[at] = half if abs(half) >= 2.0**-14 else np.float16(0)
            continue
        shift = requant.shift
        code = nearest_integer(acc * requant.multiplier * 2 ** max(-shift, 0), 2 ** max(shift, 0))
        low = max(conv.ofm.dtype.min, requant.zero_point) if conv.relu else conv.ofm.dtype.min
        stored[at] = min(max(code + requant.zero_point, low), conv.ofm.dtype.max)
    return stored


# ---- drawing convolutions ----------------------------------------------------------------------
def codes(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...], extreme: bool):
    if dtype is DType.F16:
        bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
        tame = rng.standard_normal(shape).astype(np.float16)
        # wild patterns hold subnormals and exponent 31, which the engine reads in its own way
        return np.where(rng.random(shape) < 0.05, bits.view(np.float16), tame)
    low, high = dtype.min, dtype.max
    if extreme:
        return rng.choice([low, low, high, high - 1], shape).astype(dtype.numpy)
    return rng.integers(low, high + 1, shape).astype(dtype.numpy)


def quants(draw, pair) -> tuple[Quant, Quant, Quant]:
    if pair[0] is DType.F16:
        return Float(), Float(), Float()
    if pair[0] is DType.U8:
        zero_points = [draw(st.sampled_from([0, 1, 127, 128, 200, 255])) for _ in range(3)]
        scales = [draw(st.floats(1e-3, 0.1)), draw(st.floats(1e-4, 0.05))]
        out = draw(st.floats(0.01, 30.0))
        ofm: Quant = Affine(scale=out, zero_point=zero_points[2])
        if pair[1] is DType.I8:
            ofm = DynamicFixedPoint(fl=draw(st.integers(-3, 6)))
        return (
            Affine(scale=scales[0], zero_point=zero_points[0]),
            Affine(scale=scales[1], zero_point=zero_points[1]),
            ofm,
        )
    fls = draw(st.integers(0, 8)), draw(st.integers(0, 10))
    out_fl = sum(fls) - draw(st.integers(0, 20))
    return (
        DynamicFixedPoint(fl=fls[0]),
        DynamicFixedPoint(fl=fls[1]),
        Float() if pair[1] is DType.F16 else DynamicFixedPoint(fl=out_fl),
    )


PAIRS = [
    (DType.U8, DType.U8),
    (DType.U8, DType.I8),
    (DType.I8, DType.I8),
    (DType.I8, DType.F16),
    (DType.I16, DType.I16),
    (DType.F16, DType.F16),
]


@st.composite
def convolutions(draw, pair, depthwise):
    """Return (Convolution, ifm, pads, dilation)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    extreme = draw(st.booleans())
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [
        max(draw(st.integers(1, 9)), r - p)
        for r, p in zip(reach, (pads[0] + pads[1], pads[2] + pads[3]), strict=True)
    ]
    if depthwise:
        groups = in_c = draw(st.sampled_from([2, 3, 16, 63, 65]))
        out_c = in_c * draw(st.sampled_from([1, 1, 2]))
    else:
        groups = draw(st.sampled_from([1, 1, 2, 3]))
        in_c = groups * draw(st.sampled_from(CHANNELS))
        out_c = groups * draw(st.sampled_from(OUT_CHANNELS))
    n = draw(st.integers(1, 2))
    ifm_quant, weights_quant, ofm_quant = quants(draw, pair)
    out_h, out_w = (
        (s + p - r) // t + 1
        for s, p, r, t in zip(
            sizes, (pads[0] + pads[1], pads[2] + pads[3]), reach, stride, strict=True
        )
    )
    ifm_spec = TensorSpec(name="x", shape=(n, in_c, *sizes), dtype=pair[0], quant=ifm_quant)
    ofm_spec = TensorSpec(name="y", shape=(n, out_c, out_h, out_w), dtype=pair[1], quant=ofm_quant)
    limit = {DType.F16: 3, DType.I16: 2**46}.get(pair[0], draw(st.sampled_from([10**4, 2**31 - 1])))
    bias = rng.uniform(-limit, limit, out_c)
    conv = Convolution(
        where="test",
        ifm=ifm_spec,
        ofm=ofm_spec,
        weights=codes(rng, pair[0], (out_c, in_c // groups, *kernel), extreme),
        weights_quant=weights_quant,
        bias=bias.astype(np.float32) if pair[0] is DType.F16 else bias.astype(np.int64),
        requant=nn_requant(ifm_quant, weights_quant, ofm_spec),
        phases=(plain_phase(kernel, stride, dilation, (pads[0], pads[2]), (out_h, out_w)),),
        stride=stride,
        groups=groups,
        relu=draw(st.booleans()) if pair != (DType.I8, DType.F16) else False,
    )
    memory = codes(rng, pair[0], (n, *sizes, in_c), extreme)
    ifm = from_channels_last(memory)
    return conv, np.ascontiguousarray(ifm) if draw(st.booleans()) else ifm, pads, dilation


def check_against_reference(pair, depthwise):
    @given(convolutions(pair, depthwise))
    def check(drawn):
        conv, ifm, pads, dilation = drawn
        (actual,) = ConvolutionStep(conv)(ifm)
        expected = reference_store(conv, reference_sums(conv, ifm, pads, dilation))
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)

    check()


@pytest.mark.parametrize("depthwise", [False, True], ids=["dense", "depthwise"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].value}-{pair[1].value}")
def test_equals_exact_arithmetic(workers, monkeypatch, pair, depthwise):
    monkeypatch.setenv("NPUSIM_ISA", "portable")
    isa.selected.cache_clear()
    check_against_reference(pair, depthwise)
    isa.selected.cache_clear()


@pytest.mark.parametrize(
    "pair", [*PAIRS[:3], PAIRS[4]], ids=lambda pair: f"{pair[0].value}-{pair[1].value}"
)
@pytest.mark.parametrize("depthwise", [False, True], ids=["dense", "depthwise"])
def test_every_path_equals_exact_arithmetic(workers, path, pair, depthwise):
    check_against_reference(pair, depthwise)


@pytest.mark.parametrize("shift", [1, 2, 5, 9, 14, 15, 20])
@pytest.mark.parametrize("zero_point", [0, 128, 255])
def test_store_of_ties_and_large_accumulators(path, shift, zero_point):
    """acc is the bias: ties, and sums around 2**24 where float32 begins to have gaps."""
    rng = np.random.default_rng(shift)
    odd = 2 * rng.integers(-300, 300, 40) + 1
    near = [e * (2**k) + d for e in (-1, 1) for k in (23, 24, 25, 30) for d in (-1, 0, 1)]
    bias = np.concatenate([odd << (shift - 1), rng.integers(-(2**24), 2**24, 40), near])
    ifm = TensorSpec(
        name="x", shape=(1, 1, 2, 4), dtype=DType.U8, quant=Affine(scale=1.0, zero_point=0)
    )
    weights_quant = Affine(scale=2.0**-shift, zero_point=7)
    ofm = TensorSpec(
        name="y",
        shape=(1, bias.size, 2, 4),
        dtype=DType.U8,
        quant=Affine(scale=1.0, zero_point=zero_point),
    )
    conv = Convolution(
        where="test",
        ifm=ifm,
        ofm=ofm,
        weights=np.full((bias.size, 1, 1, 1), 7, np.uint8),
        weights_quant=weights_quant,
        bias=bias,
        requant=nn_requant(ifm.quant, weights_quant, ofm),
        phases=(plain_phase((1, 1), (1, 1), (1, 1), (0, 0), (2, 4)),),
    )
    (result,) = ConvolutionStep(conv)(np.full((1, 1, 2, 4), 255, np.uint8))
    wanted = [min(max(nearest_integer(int(b), 2**shift) + zero_point, 0), 255) for b in bias]
    np.testing.assert_array_equal(
        result, np.broadcast_to(np.array(wanted)[:, None, None], (1, bias.size, 2, 4))
    )


def test_accumulator_wraps_at_32_bits():
    spec = TensorSpec(name="x", shape=(1, 1, 1, 1), dtype=DType.I8, quant=DynamicFixedPoint(fl=0))
    conv = Convolution(
        where="test",
        ifm=spec,
        ofm=spec,
        weights=np.array([[[[1]]]], np.int8),
        weights_quant=DynamicFixedPoint(fl=24),
        bias=np.array([2**31 - 1]),
        requant=nn_requant(spec.quant, DynamicFixedPoint(fl=24), spec),
        phases=(plain_phase((1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),),
    )
    (result,) = ConvolutionStep(conv)(np.array([[[[1]]]], np.int8))
    assert result.item() == -128  # -2**31 / 2**24


def test_i16_bias_is_kept_in_48_bits():
    spec = TensorSpec(name="x", shape=(1, 1, 1, 1), dtype=DType.I16, quant=DynamicFixedPoint(fl=0))
    conv = Convolution(
        where="test",
        ifm=spec,
        ofm=spec,
        weights=np.array([[[[1]]]], np.int16),
        weights_quant=DynamicFixedPoint(fl=0),
        bias=np.array([2**48 + 5]),
        requant=nn_requant(spec.quant, DynamicFixedPoint(fl=0), spec),
        phases=(plain_phase((1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),),
    )
    (result,) = ConvolutionStep(conv)(np.array([[[[7]]]], np.int16))
    assert result.item() == 12


def test_unknown_pair_of_types_is_refused_by_name():
    ifm = TensorSpec(name="x", shape=(1, 1, 1, 1), dtype=DType.I16, quant=DynamicFixedPoint(fl=0))
    ofm = TensorSpec(name="y", shape=(1, 1, 1, 1), dtype=DType.I8, quant=DynamicFixedPoint(fl=0))
    conv = Convolution(
        where="layer 'c'",
        ifm=ifm,
        ofm=ofm,
        weights=np.array([[[[1]]]], np.int16),
        weights_quant=DynamicFixedPoint(fl=0),
        bias=np.array([0]),
        requant=nn_requant(ifm.quant, DynamicFixedPoint(fl=0), ofm),
        phases=(plain_phase((1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),),
    )
    with pytest.raises(GraphError, match=r"layer 'c': i16 in and i8 out"):
        ConvolutionStep(conv)
