"""Compiled conversions of inputs and outputs equal the plain ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.ir import codes as plain
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.runtime import real_codes

SEEDS = st.integers(0, 2**32 - 1)


def quant_of(dtype: DType, rng: np.random.Generator):
    if dtype is DType.U8:
        return Affine(scale=float(2.0 ** rng.uniform(-8, 2)), zero_point=int(rng.integers(0, 256)))
    return DynamicFixedPoint(fl=int(rng.integers(-2, 14)))


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16], ids=lambda d: d.value)
@given(seed=SEEDS, last=st.booleans())
def test_quantize(dtype, seed, last):
    rng = np.random.default_rng(seed)
    quant = quant_of(dtype, rng)
    real = rng.normal(0, 50, (2, 3, 5, 4)).astype(np.float32)
    real[0] = np.rint(real[0]) / 2  # ties
    real[1, 0] = rng.choice(np.float32([3e38, -3e38, 0.0, -0.0]), (5, 4))
    real = real.transpose(0, 3, 1, 2) if last else real
    np.testing.assert_array_equal(
        real_codes.quantize(real, dtype, quant), plain.quantize(real, dtype, quant)
    )


@given(seed=SEEDS, exponent=st.integers(-140, 110))
def test_numbers_around_the_middle_between_two_codes(seed, exponent):
    """The inverse of a scale is rounded: what it cannot decide is divided."""
    rng = np.random.default_rng(seed)
    quant = Affine(scale=float(2.0 ** (exponent + rng.random())), zero_point=int(rng.integers(256)))
    middles = (rng.integers(-300, 300, 500) + 0.5) * quant.scale
    real = middles.astype(np.float32)
    real = np.stack([real, np.nextafter(real, np.float32(0)), real * np.float32(1 + 2**-14)])
    np.testing.assert_array_equal(
        real_codes.quantize(real, DType.U8, quant), plain.quantize(real, DType.U8, quant)
    )


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16], ids=lambda d: d.value)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 15, 16, 17, 99])
def test_numbers_that_are_not_finite_have_no_codes(dtype, odd, kind, place):
    real = np.ones(100, kind)
    quant = quant_of(dtype, np.random.default_rng(0))
    assert real_codes.quantize(real, dtype, quant) is not None
    real[place] = odd
    assert real_codes.quantize(real, dtype, quant) is None


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16], ids=lambda d: d.value)
@given(seed=SEEDS, last=st.booleans())
def test_dequantize(dtype, seed, last):
    rng = np.random.default_rng(seed)
    quant = quant_of(dtype, rng)
    codes = rng.integers(dtype.min, dtype.max + 1, (2, 3, 5, 4)).astype(dtype.numpy)
    codes = codes.transpose(0, 3, 1, 2) if last else codes
    np.testing.assert_array_equal(
        real_codes.dequantize(codes, quant), plain.dequantize(codes, quant)
    )
