"""Conversions on TP and on the shader, every code of every pair of types."""

from fractions import Fraction

import numpy as np
import pytest

from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.kernels.engines.tp import convert
from npusim.runtime.tables import all_codes
from npusim.testing import bound_layer, memory_orders
from tests.formats import F16, F32, FORMATS, I8, U8
from tests.kernels.exact import integer
from tests.runtime.bindings.test_eltwise import scaling

F = np.float32
I8_AFFINE = (DType.I8, Affine(scale=0.037, zero_point=-5))
I32, I64, BOOL = ((dtype, Float()) for dtype in (DType.I32, DType.I64, DType.BOOL))


def run(ifm, first, second, engine):
    return bound_layer("convert", engine, [(ifm.shape, first)], second)(ifm)[0]


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_tp(first, second):
    ifm, ofm = FORMATS[first], FORMATS[second]
    codes = all_codes(ifm[0].numpy).reshape(2, 4, -1, 8)
    wanted = convert(codes, scaling(ifm), ofm[0].numpy, scaling(ofm))
    for value in memory_orders(codes):
        got = run(value, ifm, ofm, Engine.TP)
        assert got.dtype == ofm[0].numpy
        if first != second or first == "f16":
            np.testing.assert_array_equal(got, wanted)
        else:
            np.testing.assert_array_equal(got, codes)


@pytest.mark.parametrize("form", [U8, I8, FORMATS["i16"], I8_AFFINE])
def test_integers_to_float32_and_back(form):
    codes = all_codes(form[0].numpy)
    real = run(codes, form, F32, Engine.SHADER)
    scale, zero_point = scaling(form)
    expected = [float(F(int(q) - zero_point) * F(scale)) for q in codes]
    assert real.dtype == F
    assert real.tolist() == expected
    np.testing.assert_array_equal(run(real, F32, form, Engine.SHADER), codes)


def test_signed_codes_with_a_zero_point_round_as_u8():
    real = (np.arange(-600, 600) * 0.0185).astype(F)
    got = run(real, F32, I8_AFFINE, Engine.SHADER)
    scale, zero_point = scaling(I8_AFFINE)
    inverse = F(1) / F(scale)
    steps = [F(F(v * inverse) + F(zero_point + 128)) for v in real]
    assert got.tolist() == [integer(Fraction(float(t)), np.uint8) - 128 for t in steps]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (1.00048828125, 1.0),
        (1.00146484375, 1.001953125),
        (65519.0, 65504.0),
        (65520.0, np.inf),
        (6e-5, 0.0),
        (-6e-8, 0.0),
        (2.0**-14, 2.0**-14),
    ],
)
def test_float32_to_float16(value, stored):
    assert run(np.array([value], F), F32, F16, Engine.SHADER)[0] == stored


def test_float16_to_float32_drops_subnormals():
    codes = np.array([0x0001, 0x83FF, 0x0400, 0xC000], np.uint16).view(np.float16)
    assert run(codes, F16, F32, Engine.SHADER).tolist() == [0, 0, 2.0**-14, -2]


@pytest.mark.parametrize("first", [I32, I64, BOOL])
@pytest.mark.parametrize("second", [I32, I64, F32, F16, U8])
def test_plain_integers_are_real_numbers(first, second):
    codes = np.array([0, 1, 2, 1], first[0].numpy)
    got = run(codes, first, second, Engine.SHADER)
    scale, zero_point = scaling(second)
    expected = [min(255, round(int(v) / scale) + zero_point) for v in codes]
    assert got.dtype == second[0].numpy
    assert got.tolist() == expected


def test_real_numbers_to_wide_integers_saturate():
    real = np.array([1e20, -1e20, 2.5, -3.5, np.nan], F)
    assert run(real, F32, I32, Engine.SHADER).tolist() == [2**31 - 1, -(2**31), 2, -4, 0]
    assert run(real, F32, I64, Engine.SHADER).tolist()[2:] == [2, -4, 0]
    assert run(real, F32, BOOL, Engine.SHADER).tolist() == [True] * 5


def test_shader_conversion_between_code_types_is_one_rounding():
    codes = all_codes(np.uint8)
    second = (DType.I8, DynamicFixedPoint(fl=4))
    real = codes.astype(F) - F(117)
    steps = [F(F(v * F(0.02)) * F(16)) for v in real]
    got = run(codes, U8, second, Engine.SHADER)
    assert got.tolist() == [integer(Fraction(float(t)), np.int8) for t in steps]
