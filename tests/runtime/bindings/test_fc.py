"""Fully connected layers: the engine changes the arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.ir.attrs import Activation, Conv2dAttrs, FcAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.testing import bound_layer

QUANTS = {
    DType.U8: (Affine(scale=0.02, zero_point=117), Affine(scale=0.01, zero_point=140)),
    DType.I8: (DynamicFixedPoint(fl=5), DynamicFixedPoint(fl=7)),
    DType.I16: (DynamicFixedPoint(fl=12), DynamicFixedPoint(fl=15)),
    DType.F16: (Float(), Float()),
}
OUT_QUANTS = {
    DType.U8: Affine(scale=0.31, zero_point=90),
    DType.I8: DynamicFixedPoint(fl=2),
    DType.I16: DynamicFixedPoint(fl=9),
    DType.F16: Float(),
}


def layer(op, engine, dtype, shape, weights, bias, attrs):
    """Return the step of one layer with constant weights."""
    ifm_quant, weights_quant = QUANTS[dtype]
    return bound_layer(
        op,
        engine,
        [
            (shape, (dtype, ifm_quant)),
            (weights.shape, (dtype, weights_quant)),
            (bias.shape, (DType.of(bias.dtype), Float())),
        ],
        (dtype, OUT_QUANTS[dtype]),
        attrs,
        {1: weights, 2: bias},
    )


def draw_codes(rng, dtype, shape):
    if dtype is DType.F16:
        return rng.standard_normal(shape).astype(np.float16)
    return rng.integers(dtype.min, dtype.max + 1, shape).astype(dtype.numpy)


def tp_sums(ifm, weights, bias):
    """float32 sums in flat order, products and sums rounded one by one."""
    if bias.dtype.kind == "i":  # cut toward zero to 24 significant bits
        cut = [
            int(b) >> max(abs(int(b)).bit_length() - 24, 0)
            if b >= 0
            else -(-int(b) >> max(abs(int(b)).bit_length() - 24, 0))
            for b in bias
        ]
        bias = np.array(
            [c * 2 ** max(abs(int(b)).bit_length() - 24, 0) for c, b in zip(cut, bias, strict=True)]
        )
    sums = bias.astype(np.float32)
    for k, value in enumerate(ifm.reshape(-1).astype(np.float32)):
        sums = sums + value * weights.reshape(len(weights), -1)[:, k].astype(np.float32)
    return sums


def tp_store(sums, dtype):
    if dtype is DType.F16:
        half = np.clip(sums, -65504, 65504).astype(np.float16)
        return np.where(np.abs(half) < np.float16(2.0**-14), np.float16(0), half)
    ifm_quant, weights_quant = QUANTS[dtype]
    shift = ifm_quant.fl + weights_quant.fl - OUT_QUANTS[dtype].fl
    rounded = [round(Fraction(float(s)) / 2**shift) for s in sums]
    return np.clip(rounded, dtype.min, dtype.max).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16, DType.F16])
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 4, 5, 64, 700]),
    st.sampled_from([1, 63, 64, 65, 200]),
    st.booleans(),
)
def test_tp_adds_in_float32_in_flat_order(dtype, seed, inner, outer, relu):
    rng = np.random.default_rng(seed)
    ifm, weights = draw_codes(rng, dtype, (1, inner)), draw_codes(rng, dtype, (outer, inner))
    bias = (
        rng.standard_normal(outer).astype(np.float32)
        if dtype is DType.F16
        else rng.integers(-(2**31), 2**31, outer)
    )
    attrs = FcAttrs(activation=Activation.RELU if relu else Activation.NONE)
    step = layer("fc", Engine.TP, dtype, (1, inner), weights, bias, attrs)
    sums = tp_sums(ifm, weights, bias)
    expected = tp_store(np.maximum(sums, 0) if relu else sums, dtype)
    np.testing.assert_array_equal(step(ifm)[0], expected[None])


@pytest.mark.parametrize("dtype", [DType.I16, DType.F16])
@pytest.mark.parametrize("group", [1, 6])
def test_convolution_with_one_pixel_on_tp(dtype, group):
    rng = np.random.default_rng(3)
    ifm = draw_codes(rng, dtype, (1, 6, 3, 2))
    weights = draw_codes(rng, dtype, (12, 6 // group, 3, 2))
    bias = np.arange(12, dtype=np.float32 if dtype is DType.F16 else np.int64) - 4
    attrs = Conv2dAttrs(group=group)
    step = layer("conv2d", Engine.TP, dtype, ifm.shape, weights, bias, attrs)
    full = weights
    if group > 1:
        full = np.zeros((12, 6, 3, 2), weights.dtype)
        full[np.arange(12), np.arange(12) // 2] = weights[:, 0]
    expected = tp_store(tp_sums(ifm, full, bias), dtype)
    np.testing.assert_array_equal(step(ifm)[0].reshape(-1), expected)


@pytest.mark.parametrize("shape", [(1, 20), (5, 20), (2, 3, 20)])
def test_nn_runs_leading_axes_as_pixels(shape):
    rng = np.random.default_rng(4)
    ifm, weights = draw_codes(rng, DType.U8, shape), draw_codes(rng, DType.U8, (70, 20))
    bias = rng.integers(-5000, 5000, 70).astype(np.int32)
    step = layer("fc", Engine.NN, DType.U8, shape, weights, bias, FcAttrs())
    sums = (ifm.astype(np.int64) - 117) @ (weights.astype(np.int64) - 140).T + bias
    scale = np.float32(np.float32(0.02) * np.float32(0.01)) / np.float32(0.31)
    mantissa, exponent = np.frexp(np.float64(scale))
    multiplier = int(mantissa * 65536)
    exact = [
        round(Fraction(int(s) * multiplier) / Fraction(2) ** (16 - int(exponent))) + 90
        for s in sums.reshape(-1)
    ]
    expected = np.clip(exact, 0, 255).reshape(sums.shape)
    np.testing.assert_array_equal(step(ifm)[0], expected)
