"""Half precision by bit pattern, against numpy's conversions and exact rational numbers."""

from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from npusim.kernels import float16
from npusim.kernels._jit import primitive

ALL = np.arange(1 << 16).astype(np.uint16)
FINITE = ALL[np.isfinite(ALL.view(np.float16))]


@primitive
def each_half(codes, keep_subnormals, out):
    for i in range(codes.size):
        if keep_subnormals:
            out[i] = float16.half_to_f32(codes[i])
        else:
            out[i] = float16.half_to_f32_flushed(codes[i])


def test_every_finite_half_reads_as_numpy_reads_it():
    out = np.empty(FINITE.size, np.float32)
    each_half(FINITE, True, out)
    expected = FINITE.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(out.view(np.uint32), expected.view(np.uint32))


def test_every_half_reads_as_the_nn_engine_reads_it():
    out = np.empty(ALL.size, np.float32)
    each_half(ALL, False, out)
    for code, value in zip(ALL.tolist(), out.tolist(), strict=True):
        exponent, fraction = code >> 10 & 31, code & 1023
        magnitude = Fraction(1024 + fraction) * Fraction(2) ** (exponent - 25) if exponent else 0
        assert value == (-magnitude if code >> 15 else magnitude)
        assert np.signbit(value) == bool(code >> 15)


def cut(value: float) -> float:
    """The half toward zero, saturated; below 2**-14 zero."""
    if abs(value) >= 65504:
        return float(np.copysign(65504, value))
    if abs(value) < 2.0**-14:
        return 0.0
    step = Fraction(2) ** (np.frexp(value)[1] - 11)
    return float(int(Fraction(value) / step) * step)


def nearest(value: float) -> float:
    """The nearest half, ties to even, saturated; what stays below 2**-14 is zero."""
    if abs(value) >= 65504:
        return float(np.copysign(65504, value))
    step = Fraction(2) ** (max(np.frexp(value)[1], -13) - 11)
    result = float(round(Fraction(value) / step) * step)
    return result if abs(result) >= 2.0**-14 else 0.0


HALVES = st.integers(0, (1 << 16) - 1).map(lambda n: float(np.uint16(n & 0xFBFF).view(np.float16)))
NEAR_HALVES = st.tuples(HALVES, st.integers(-3, 3)).map(
    lambda pair: pair[0] * (1 + pair[1] * 2.0**-12)  # thresholds, ties and their neighbours
)
NUMBERS = st.floats(-1e6, 1e6, width=32) | NEAR_HALVES


@given(NUMBERS)
@example(2.0**-14 - 2.0**-25)
@example(2.0**-14 - 2.0**-26)
@example(65520.0)
@example(-65519.99)
@example(-0.0)
def test_stores(value):
    value = float(np.float32(value))
    for store, exact in ((float16.truncate_to_half, cut), (float16.nearest_half, nearest)):
        argument = np.float32(value) if store is float16.truncate_to_half else value
        half = np.uint16(store(argument)).view(np.float16)
        assert float(half) == exact(value)
        assert np.signbit(half) == np.signbit(value)
