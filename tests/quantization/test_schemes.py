"""Ranges to parameters, values to integers and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import ConfigError, QuantizationError
from npusim.ir.codes import dequantize, quantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint, scale_of
from npusim.quantization.schemes import (
    Scheme,
    WeightQuantizer,
    affine_u8,
    dynamic_fixed_point,
    parameters,
    scheme_named,
)

# Published (min, max, scale, zero point) records of the toolkit: docs/rknn-compat.md section 7.
PUBLISHED = [
    (-53.3099365, 10.5681305, 0.2505022, 213),
    (-52.3404770, 10.0974979, 0.2448548, 214),
    (-0.2317034, 0.1960823, 0.00167759, 138),
    (0, 8.2909689, 0.0325136, 0),
    (-233.4603577, 75.3913498, 1.2111832, 193),
    (-24.7488613, 22.2035408, 0.1841271, 134),
    (-1, 1, 0.007843138, 127),
    (-2.1026862, 2.5681741, 0.0183171, 115),
]
finite = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize(("low", "high", "scale", "zero_point"), PUBLISHED)
def test_case_1_9_published_u8_records(low, high, scale, zero_point):
    quant = affine_u8((low, high))
    assert quant.scale == pytest.approx(scale, rel=5e-6)
    assert quant.zero_point == zero_point


# Weights of mnist.rknn (1.7.0): ends in the source network, scale and zero point in the file.
STORED = [
    (-0.32413771748542786, 0.762229323387146, 0.004260262940078974, 76),
    (-0.2231304794549942, 0.2852625548839569, 0.001993698300793767, 112),
    (-0.1623292714357376, 0.1602417677640915, 0.0012649844866245985, 128),
    (-0.3679112493991852, 0.3311740458011627, 0.0027415109798312187, 134),
]


@pytest.mark.parametrize(("low", "high", "scale", "zero_point"), STORED)
def test_scales_of_a_real_file_to_the_last_bit(low, high, scale, zero_point):
    assert affine_u8((low, high)) == Affine(scale=scale, zero_point=zero_point)


def test_zero_point_is_the_rounded_float32_quotient():
    assert affine_u8((-6.3, 6.3)).zero_point == 128  # in float64: 127.4999..
    assert affine_u8((-1.0, 1.0)).zero_point == 127


def test_range_beyond_float32_is_refused():
    with pytest.raises(QuantizationError, match="wider than float32"):
        affine_u8((-3e38, 3e38))


def test_bias_scale_is_the_float32_product_of_published_record():
    quantizer = WeightQuantizer(scheme=Scheme.U8)
    _, quant = quantizer.bias(
        np.zeros(1, np.float32), Affine(scale=0.03437747), Affine(scale=0.00167759)
    )
    assert quant.scale == pytest.approx(5.767134e-05, rel=1e-6)


@pytest.mark.parametrize(("bounds", "fl"), [((-1.0, 1.0), 7), ((-2.1026862, 2.5681741), 5)])
def test_case_1_9_published_fixed_point_records(bounds, fl):
    assert dynamic_fixed_point(bounds, 8).fl == fl


def test_case_1_9_saturation():
    assert quantize([-1e9, 1e9], DType.U8, Affine(scale=0.1, zero_point=7)).tolist() == [0, 255]
    assert quantize([-1e9, 1e9], DType.I8, DynamicFixedPoint(fl=3)).tolist() == [-128, 127]
    assert quantize([-1e9, 1e9], DType.I16, DynamicFixedPoint(fl=3)).tolist() == [-32768, 32767]
    assert quantize([-1e30, 1e30], DType.I32, Affine(scale=1e-3)).tolist() == [-(2**31), 2**31 - 1]
    high = quantize([1e30], DType.I64, DynamicFixedPoint(fl=0))[0]
    assert 2**63 - 1024 <= int(high) < 2**63


@given(finite, finite)
def test_u8_range_contains_zero_and_round_trip_stays_within_half_a_step(a, b):
    quant = affine_u8((min(a, b), max(a, b)))
    assert 0 <= quant.zero_point <= 255
    assert dequantize(quantize(0.0, DType.U8, quant), quant) == 0.0
    values = np.linspace(min(a, b, 0.0), max(a, b, 0.0), 33)
    back = dequantize(quantize(values, DType.U8, quant), quant).astype(np.float64)
    # the zero point is rounded as well, so the ends of the range may clip by half a step more
    assert np.abs(back - values).max() <= quant.scale * 1.0001


@given(st.lists(finite, min_size=2, max_size=30), st.integers(-3, 12))
def test_quantize_is_monotone(values, fl):
    ordered = np.sort(np.array(values))
    steps = quantize(ordered, DType.I8, DynamicFixedPoint(fl=fl)).astype(int)
    assert (np.diff(steps) >= 0).all()


def test_ties_go_to_even_after_the_zero_point_is_added():
    odd = Affine(scale=1.0, zero_point=1)
    assert quantize([0.5, 1.5, -0.5], DType.U8, odd).tolist() == [2, 2, 0]


def test_constant_and_empty_tensors_quantize_sanely():
    assert affine_u8((0.0, 0.0)) == Affine(scale=1.0, zero_point=0)
    assert dynamic_fixed_point((0.0, 0.0), 8) == DynamicFixedPoint(fl=7)
    quant = affine_u8((3.0, 3.0))
    assert dequantize(quantize([3.0], DType.U8, quant), quant)[0] == pytest.approx(3.0, rel=1e-6)
    assert quantize(np.zeros((0,)), DType.U8, quant).shape == (0,)


@pytest.mark.parametrize("bounds", [(np.nan, 1.0), (0.0, np.inf), (2.0, 1.0)])
def test_impossible_ranges_are_refused(bounds):
    with pytest.raises(QuantizationError):
        parameters(bounds, Scheme.U8)


def test_nan_is_never_quantized():
    with pytest.raises(QuantizationError, match="NaN"):
        quantize([np.nan], DType.U8, Affine(scale=1.0))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("asymmetric_quantized-u8", Scheme.U8),
        ("asymmetric_affine-u8", Scheme.U8),
        ("dynamic_fixed_point-8", Scheme.I8),
        ("dynamic_fixed_point-i8", Scheme.I8),
        ("dynamic_fixed_point-16", Scheme.I16),
        ("dynamic_fixed_point-i16", Scheme.I16),
        ("float16", Scheme.F16),
    ],
)
def test_every_spelling_of_every_era(name, scheme):
    assert scheme_named(name) is scheme


def test_unknown_spelling_lists_the_known_ones():
    with pytest.raises(ConfigError, match="asymmetric_quantized-u8"):
        scheme_named("int4")


@pytest.mark.parametrize("scheme", [Scheme.I8, Scheme.I16])
@pytest.mark.parametrize("reach", [1e-30, 1e-37, 1e-45, 5e-324])
def test_no_step_is_too_small_to_divide_by(scheme, reach):
    step = np.float32(scale_of(parameters((-reach, reach), scheme)))
    assert np.isfinite(np.float32(1) / step)
    assert step >= np.finfo(np.float32).tiny
