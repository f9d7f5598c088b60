"""Multipliers, shifts and hidden weights, against their definitions in exact numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import QuantizationError
from npusim.ir.attrs import GlobalPoolAttrs, Pool2dAttrs, PoolKind, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Requant, Rounding
from npusim.ir.tensor import TensorSpec
from npusim.passes.requant import (
    add_weights,
    average_weight,
    nearest_scale,
    nn_requant,
    requant_of,
    split_scale,
    tp_requant,
)
from npusim.testing import GraphBuilder

scales = st.floats(2.0**-20, 2.0**10, width=32).map(np.float32)
zeros = st.integers(0, 255)


def value(multiplier: int, shift: int) -> Fraction:
    return Fraction(multiplier) / Fraction(2) ** shift


def spec(dtype: DType, quant) -> TensorSpec:
    return TensorSpec(name="t", shape=(1,), dtype=dtype, quant=quant)


@given(scales)
def test_scales_have_16_significant_bits_cut_or_to_nearest(scale):
    exact = Fraction(float(scale))
    multiplier, shift = split_scale(scale)
    assert 1 << 15 <= multiplier < 1 << 16
    assert 0 <= exact - value(multiplier, shift) < value(1, shift)
    multiplier, shift = nearest_scale(scale)
    assert 1 << 15 <= multiplier <= 1 << 16
    assert abs(exact - value(multiplier, shift)) <= value(1, shift) / 2


def test_nearest_breaks_ties_to_even():
    assert nearest_scale(np.float32((32769 * 2 + 1) / 2**17)) == (32770, 16)
    assert nearest_scale(np.float32((32768 * 2 + 1) / 2**17)) == (32768, 16)


@given(scales, scales, scales, zeros)
def test_asymmetric_products_are_divided_in_float32(first, second, third, zero_point):
    ifm, weights = Affine(scale=first, zero_point=3), Affine(scale=second, zero_point=9)
    ofm = spec(DType.U8, Affine(scale=third, zero_point=zero_point))
    ratio = np.float32(np.float32(first * second) / third)
    assert nn_requant(ifm, weights, ofm) == Requant(
        multiplier=split_scale(ratio)[0], shift=split_scale(ratio)[1], zero_point=zero_point
    )
    assert tp_requant(ifm, weights, ofm) == Requant(
        multiplier=nearest_scale(ratio)[0],
        shift=nearest_scale(ratio)[1],
        zero_point=zero_point,
        rounding=Rounding.HALF_EVEN_AFTER_ZERO_POINT,
    )


@given(st.integers(-8, 20), st.integers(-8, 20), st.integers(-8, 20))
def test_fixed_point_is_a_shift(first, second, third):
    ifm, weights = DynamicFixedPoint(fl=first), DynamicFixedPoint(fl=second)
    ofm = spec(DType.I8, DynamicFixedPoint(fl=third))
    assert nn_requant(ifm, weights, ofm) == Requant(shift=first + second - third)
    assert tp_requant(ifm, weights, ofm) == nn_requant(ifm, weights, ofm)
    assert nn_requant(ifm, weights, spec(DType.F16, Float())) == Requant(
        shift=first + second, rounding=Rounding.NEAREST_F16
    )


def test_float16_is_cut_on_nn_and_rounded_on_tp():
    ofm = spec(DType.F16, Float())
    assert nn_requant(Float(), Float(), ofm) == Requant(rounding=Rounding.TRUNCATE_F16)
    assert tp_requant(Float(), Float(), ofm) == Requant(rounding=Rounding.NEAREST_F16)


def test_one_of_three_formats_alone_cannot_be_asymmetric_weights():
    with pytest.raises(QuantizationError, match="dynamic fixed point is needed"):
        nn_requant(DynamicFixedPoint(fl=3), Affine(scale=0.1), spec(DType.F16, Float()))


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 6, 9, 25, 49, 64, 121, 196])
def test_the_weight_of_an_average(taps):
    u8, f16 = average_weight(DType.U8, taps), average_weight(DType.F16, taps)
    assert (u8.value, u8.quant) == (255, Affine(scale=np.float32(1) / np.float32(255 * taps)))
    assert (f16.value, f16.quant) == (float(np.float16(1 / taps)), Float())
    for dtype in (DType.I8, DType.I16):
        weight = average_weight(dtype, taps)
        step = Fraction(2) ** -weight.quant.fl
        if taps & (taps - 1) == 0:
            assert (weight.value, step) == (1, Fraction(1, taps))
            continue
        assert abs(weight.value * step - Fraction(1, taps)) <= step / 2
        assert 0 < weight.value <= 128
        # one bit more would not fit 8 bits, unless 12 fraction bits are reached
        assert weight.quant.fl == 12 or 2 * Fraction(1, taps) / step > Fraction(255, 2)


@given(scales, scales, zeros, zeros, st.booleans())
def test_the_weights_of_a_u8_sum(first, second, zero_1, zero_2, subtract):
    a = spec(DType.U8, Affine(scale=first, zero_point=zero_1))
    b = spec(DType.U8, Affine(scale=second, zero_point=zero_2))
    found = add_weights(a, b, subtract=subtract)
    ratio = float(second) / float(first)
    largest = 1 + ratio if subtract else max(1.0, ratio)
    assert found.scale == pytest.approx(float(first) * largest / 255, rel=1e-6)
    assert abs(found.first - 255 / largest) <= 0.51
    assert abs(abs(found.second) - 255 * ratio / largest) <= 0.51
    assert (found.second <= 0) if subtract else (found.second >= 0)
    bias = (zero_1 - zero_2) * float(second) / found.scale * (-1 if subtract else 1)
    assert abs(found.bias - bias) <= 0.5 + 1e-5 * abs(bias)


@pytest.mark.parametrize("dtype", [DType.I8, DType.I16])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("apart", [0, 1, 3, 6, 7, 14, 15])
def test_the_weights_of_a_fixed_point_sum_are_powers_of_two_that_wrap(dtype, subtract, apart):
    half = 1 << (dtype.bits - 1)
    a, b = (spec(dtype, DynamicFixedPoint(fl=fl)) for fl in (3 + apart, 3))
    found = add_weights(a, b, subtract=subtract)
    wanted = -(1 << apart) if subtract else 1 << apart
    assert found.first == 1
    assert found.second == (-half if wanted == half else wanted)
    assert (found.bias, found.scale) == (0, 2.0 ** -(3 + apart))
    mirrored = add_weights(b, a, subtract=subtract)
    assert mirrored.first == (-half if 1 << apart == half else 1 << apart)
    assert mirrored.second == (-1 if subtract else 1)


@pytest.mark.parametrize(
    ("op", "attrs", "taps"),
    [
        ("pool2d", Pool2dAttrs(kind=PoolKind.AVG, kernel=(3, 2)), 6),
        ("global_pool", GlobalPoolAttrs(kind=PoolKind.AVG), 35),
        ("reduce_mean", ReduceAttrs(axes=(2, 3)), 35),
        ("pool2d", Pool2dAttrs(kind=PoolKind.MAX, kernel=(3, 2)), 0),
        ("global_pool", GlobalPoolAttrs(kind=PoolKind.MAX), 0),
        ("reduce_max", ReduceAttrs(axes=(2, 3)), 0),
        ("relu", None, 0),
    ],
)
@pytest.mark.parametrize("engine", [Engine.NN, Engine.TP, Engine.SHADER])
def test_only_averages_have_a_weight_of_their_own(op, attrs, taps, engine):
    b = GraphBuilder(DType.I8)
    b.node(op, [b.input("x", 1, 4, 5, 7)], "y", attrs, quant=DynamicFixedPoint(fl=3), engine=engine)
    graph = b.done()
    found = requant_of(graph.nodes[0], graph)
    if not taps or engine is Engine.SHADER:
        assert found is None
        return
    weight = average_weight(DType.I8, taps)
    assert found == Requant(shift=5 + weight.quant.fl - 3)


def test_scales_whose_quotient_is_no_number_are_refused():
    codes = TensorSpec(
        name="y", shape=(1,), dtype=DType.U8, quant=Affine(scale=1e-45, zero_point=0)
    )
    with pytest.raises(QuantizationError, match=r"the sums of 'y' have the scale 0\.0002"):
        nn_requant(Affine(scale=0.02, zero_point=128), Affine(scale=0.01, zero_point=120), codes)
