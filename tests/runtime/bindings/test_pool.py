"""Pooling on every engine against windows cut out one by one."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.ir.attrs import GlobalPoolAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.tp import convert
from npusim.runtime.memory_order import from_channels_last
from npusim.runtime.tables import scaling_of
from npusim.testing import bound_layer

F, AVERAGE = np.float32, GlobalPoolAttrs(kind=PoolKind.AVG)
QUANTS = {
    DType.U8: (Affine(scale=0.02, zero_point=117), Affine(scale=0.013, zero_point=90)),
    DType.I8: (DynamicFixedPoint(fl=5), DynamicFixedPoint(fl=6)),
    DType.I16: (DynamicFixedPoint(fl=12), DynamicFixedPoint(fl=11)),
    DType.F16: (Float(), Float()),
}


def pooled(op, engine, attrs, ifm, quants):
    """Bind and run one pooling layer; return (result, its input's and its own parameters)."""
    dtype = DType.of(ifm.dtype)
    step = bound_layer(op, engine, [(ifm.shape, (dtype, quants[0]))], (dtype, quants[1]), attrs)
    return step(ifm)[0], *(TensorSpec(name="t", shape=(), dtype=dtype, quant=q) for q in quants)


def draw_codes(rng, dtype, shape):
    if dtype is DType.F16:
        codes = (rng.standard_normal(shape) * 3).astype(np.float16)
        return np.where(rng.random(shape) < 0.1, np.float16(-65504), codes)
    return rng.integers(dtype.min, dtype.max + 1, shape).astype(dtype.numpy)


def windows(ifm, attrs, shape):
    """Yield (output position, codes inside the window) with padding left out."""
    for n, c, y, x in np.ndindex(shape):
        top, left = y * attrs.stride[0] - attrs.pad[0], x * attrs.stride[1] - attrs.pad[2]
        yield (
            (n, c, y, x),
            ifm[
                n,
                c,
                max(top, 0) : max(top + attrs.kernel[0], 0),
                max(left, 0) : max(left + attrs.kernel[1], 0),
            ],
        )


@st.composite
def pools(draw, kind):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pads = tuple(draw(st.integers(0, min(k - 1, 2))) for k in np.repeat(kernel, 2))
    attrs = Pool2dAttrs(
        kind=kind,
        kernel=kernel,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        pad=pads,
        ceil_mode=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
    )
    sizes = [draw(st.integers(k, 9)) for k in kernel]
    shape = (draw(st.integers(1, 2)), *sizes, draw(st.sampled_from([1, 3, 16, 33])))
    return attrs, shape, draw(st.integers(0, 2**32 - 1)), draw(st.booleans())


@pytest.mark.parametrize("dtype", QUANTS)
@given(data=st.data())
def test_maximum(dtype, data):
    attrs, shape, seed, same = data.draw(pools(PoolKind.MAX))
    ifm = from_channels_last(draw_codes(np.random.default_rng(seed), dtype, shape))
    quants = QUANTS[dtype][:1] * 2 if same else QUANTS[dtype]
    result, x, y = pooled("pool2d", Engine.TP, attrs, ifm, quants)
    best = np.empty(result.shape, ifm.dtype)
    for at, codes in windows(ifm, attrs, result.shape):
        lowest = np.float16(-65504) if dtype is DType.F16 else dtype.min
        best[at] = codes.max() if codes.size else lowest
    expected = convert(best, scaling_of(x), y.dtype.numpy, scaling_of(y))
    np.testing.assert_array_equal(result, expected)
    if same and dtype is not DType.F16:
        np.testing.assert_array_equal(expected, best)


@pytest.mark.parametrize("dtype", QUANTS)
@given(data=st.data())
def test_shader_average_takes_these_float32_steps(dtype, data):
    attrs, shape, seed, _ = data.draw(pools(PoolKind.AVG))
    ifm = from_channels_last(draw_codes(np.random.default_rng(seed), dtype, shape))
    result, x, y = pooled("pool2d", Engine.SHADER, attrs, ifm, QUANTS[dtype])
    (scale_in, zero_in), (scale_out, zero_out) = scaling_of(x), scaling_of(y)
    parts = list(windows(ifm, attrs, result.shape))
    taps = attrs.kernel[0] * attrs.kernel[1]
    partial = any(attrs.pad) or any(codes.size < taps for _, codes in parts)
    for at, codes in parts:
        count = taps if attrs.count_include_pad else max(codes.size, 1)
        if dtype is DType.F16:
            total = F(0)
            for value in codes.reshape(-1):
                total = F(total + (F(value) if abs(value) >= 2.0**-14 else F(0)))
            mean = float(F(total * F(1 / count)))
            assert result[at] == (np.float16(mean) if abs(mean) >= 2.0**-14 - 2.0**-25 else 0)
            continue
        total = F(sum(int(code) - zero_in for code in codes.reshape(-1)))
        value = F(F(total * F(scale_in / scale_out / count)) + F(zero_out))
        cut = partial and not attrs.count_include_pad
        code = int(np.trunc(float(value) + 0.5)) if cut else round(float(value))
        assert int(result[at]) == min(max(code, dtype.min), dtype.max)


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16])
@given(data=st.data())
def test_shader_global_average(dtype, data):
    size = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ifm = from_channels_last(draw_codes(rng, dtype, (1, *size, 7)))
    result, x, y = pooled("global_pool", Engine.SHADER, AVERAGE, ifm, QUANTS[dtype])
    (scale_in, zero_in), (scale_out, zero_out) = scaling_of(x), scaling_of(y)
    pixels = size[0] * size[1]
    for channel in range(7):
        raw = sum(int(code) for code in ifm[0, channel].reshape(-1))
        if dtype is DType.U8:
            real = F(F(F(raw) * F(scale_in)) - F(F(pixels * zero_in) * F(scale_in)))
            value = float(F(F(real * F(1 / (scale_out * pixels))) + F(zero_out)))
        elif dtype is DType.I8 and max(size) <= 8:
            value = raw * float(np.float16(1 / pixels)) * (scale_in / scale_out)
        else:
            value = float(F(F(raw) * F(1 / pixels))) * (scale_in / scale_out)
        assert int(result[0, channel, 0, 0]) == min(max(round(value), dtype.min), dtype.max)


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16])
@given(data=st.data())
def test_nn_average_has_one_eight_bit_weight(dtype, data):
    attrs, shape, seed, _ = data.draw(pools(PoolKind.AVG))
    ifm = from_channels_last(draw_codes(np.random.default_rng(seed), dtype, shape))
    result, x, y = pooled("pool2d", Engine.NN, attrs, ifm, QUANTS[dtype])
    taps = attrs.kernel[0] * attrs.kernel[1]
    (scale_in, zero_in), (scale_out, zero_out) = scaling_of(x), scaling_of(y)
    if dtype is DType.U8:
        weight = 255
        product = np.float32(scale_in) * (np.float32(1) / np.float32(255 * taps))
        scale = Fraction(float(product / np.float32(scale_out)))
        digits = scale.numerator.bit_length() - 16  # float32 has a power of two below
        scale = Fraction(scale.numerator >> max(digits, 0) << max(digits, 0), scale.denominator)
    else:
        fl = max(n for n in range(13) if round(Fraction(2**n, taps)) <= 127)
        weight = round(Fraction(2**fl, taps))
        scale = Fraction(scale_in) / 2**fl / Fraction(scale_out)
    for at, codes in windows(ifm, attrs, result.shape):
        total = (int(codes.astype(np.int64).sum()) - zero_in * codes.size) * weight
        code = round(total * scale) + zero_out
        assert int(result[at]) == min(max(code, dtype.min), dtype.max)


@pytest.mark.parametrize("engine", [Engine.NN, Engine.SHADER])
def test_global_average_of_a_constant_map_is_the_constant(engine):
    ifm = np.full((1, 5, 12, 12), 130, np.uint8)
    quants = QUANTS[DType.U8][:1] * 2
    result, _, _ = pooled("global_pool", engine, GlobalPoolAttrs(kind=PoolKind.AVG), ifm, quants)
    assert result.shape == (1, 5, 1, 1)
    np.testing.assert_array_equal(result, ifm[:, :, :1, :1])


def test_global_maximum():
    ifm = np.random.default_rng(0).integers(-128, 128, (2, 7, 5, 4)).astype(np.int8)
    quants = QUANTS[DType.I8][:1] * 2
    attrs = GlobalPoolAttrs(kind=PoolKind.MAX)
    result, _, _ = pooled("global_pool", Engine.SHADER, attrs, ifm, quants)
    np.testing.assert_array_equal(result, ifm.max((2, 3), keepdims=True))


@pytest.mark.parametrize("size", [(7, 7), (5, 4), (8, 8), (9, 7)])
def test_small_global_averages_of_i8_multiply_by_a_half(size):
    ifm = np.random.default_rng(0).integers(-60, 128, (1, 900, *size)).astype(np.int8)
    quants = QUANTS[DType.I8][:1] * 2
    attrs = GlobalPoolAttrs(kind=PoolKind.AVG)
    result, _, _ = pooled("global_pool", Engine.SHADER, attrs, ifm, quants)
    share = Fraction(1, size[0] * size[1])
    if max(size) <= 8:
        share = Fraction(float(np.float16(float(share))))
    sums = ifm.astype(int).sum(axis=(2, 3))[0]
    assert result[0, :, 0, 0].tolist() == [round(int(total) * share) for total in sums]


@pytest.mark.parametrize(
    ("size", "summed"), [((10, 8), 64), ((13, 5), 64), ((8, 8), 64), ((14, 5), 70), ((8, 9), 72)]
)
def test_float16_averages_of_small_maps_lack_the_pixels_beyond_64(size, summed):
    pixels = size[0] * size[1]
    ifm = np.zeros((1, pixels, *size), np.float16)
    ifm.reshape(pixels, pixels)[np.diag_indices(pixels)] = pixels
    whole = Pool2dAttrs(kind=PoolKind.AVG, kernel=size, stride=size)
    for op, attrs in (("global_pool", AVERAGE), ("pool2d", whole)):
        actual, *_ = pooled(op, Engine.SHADER, attrs, ifm, QUANTS[DType.F16])
        np.testing.assert_array_equal(actual.ravel() != 0, np.arange(pixels) < summed)
