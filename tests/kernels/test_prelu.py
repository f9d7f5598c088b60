"""prelu of the shader against exact rational arithmetic, one number at a time."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.engines.prelu import prelu
from tests.kernels.exact import integer, significant

F = np.float32
scales = st.floats(2.0**-9, 1.0, width=32)
zeros = st.integers(0, 255)
bytes_ = st.lists(zeros, min_size=1, max_size=30)
slopes = st.floats(-4, 4, width=16).map(lambda s: s if abs(s) >= 2**-14 else 0.0)


def down(value: Fraction, bits: int) -> Fraction:
    """Cut toward zero to so many significant bits."""
    near = significant(abs(value), bits)
    if near > abs(value):  # one step of the binade below `near`
        near -= Fraction(2) ** (exponent_below(near) + 1 - bits)
    return near if value >= 0 else -near


def exponent_below(value: Fraction) -> int:
    """Return e with 2**e < value <= 2**(e + 1)."""
    e = 0
    while Fraction(2) ** e >= value:
        e -= 1
    while Fraction(2) ** (e + 1) < value:
        e += 1
    return e


def nearest(value: Fraction) -> Fraction:
    """Return the nearest float32."""
    return significant(value, 24)


@given(q=bytes_, slope=slopes, s=scales, so=scales, z=zeros, zo=zeros)
def test_u8_by_channel_cuts_steps_and_adds_the_zero_point_last(q, slope, s, so, z, zo):
    got = prelu(np.array(q, np.uint8), F(slope), (s, z), np.uint8, (so, zo), by_channel=True)
    ratio = down(Fraction(float(F(s) * (F(1) / F(so)))), 16)
    for code, y in zip(q, got.tolist(), strict=True):
        steps = down((code - z) * ratio, 11)
        value = steps * Fraction(slope) if steps < 0 else steps
        assert y == max(0, min(255, round(value) + zo))


@given(q=bytes_, slope=slopes, s=scales, so=scales, z=zeros, zo=zeros)
def test_u8_of_other_shapes_scales_first(q, slope, s, so, z, zo):
    got = prelu(np.array(q, np.uint8), F(slope), (s, z), np.uint8, (so, zo), by_channel=False)
    ratio = Fraction(float(F(s) / F(so)))
    for code, y in zip(q, got.tolist(), strict=True):
        steps = nearest((code - z) * ratio)
        value = nearest(steps * Fraction(slope)) if steps < 0 else steps
        assert y == integer(nearest(value + zo), np.uint8)


@given(
    q=st.lists(st.integers(-32768, 32767), min_size=1, max_size=30),
    slope=slopes,
    fl=st.integers(0, 15),
    fo=st.integers(0, 15),
    by_channel=st.booleans(),
)
def test_i16_rounds_once_unless_the_result_is_finer(q, slope, fl, fo, by_channel):
    codes = np.array(q, np.int16)
    got = prelu(codes, F(slope), (2.0**-fl, 0), np.int16, (2.0**-fo, 0), by_channel=by_channel)
    shift = Fraction(2) ** (fo - fl)
    for code, y in zip(q, got.tolist(), strict=True):
        value = code * shift * (Fraction(slope) if code < 0 else 1)
        if not by_channel and fo > fl:
            value = nearest(value)
        assert y == integer(value, np.int16)


@given(q=st.lists(st.floats(-2000, 2000, width=16), min_size=1, max_size=30), slope=slopes)
def test_float16_is_cut_by_channel_and_else_nearest(q, slope):
    codes = np.array(q, np.float16)
    one = (1.0, 0)
    cut = prelu(codes, F(slope), one, np.float16, one, by_channel=True)
    near = prelu(codes, F(slope), one, np.float16, one, by_channel=False)
    for code, low, round_ in zip(q, cut.tolist(), near.tolist(), strict=True):
        flushed = Fraction(code) if abs(code) >= 2**-14 else Fraction(0)
        product = flushed * Fraction(slope)
        if code >= 0:
            assert low == code
            assert round_ == float(flushed)
        else:
            tiny = Fraction(1, 2**14)
            exact = down(product, 11)
            assert low == (float(exact) if abs(product) >= tiny else 0)
            exact = significant(product, 11) if abs(product) >= tiny else Fraction(0)
            if abs(product) >= tiny or abs(product) < tiny - Fraction(1, 2**25):
                assert round_ == float(exact)


def test_i8_by_channel_to_float16_takes_the_larger_of_both():
    codes = np.array([-8, -1, 0, 1, 8], np.int8)
    got = prelu(codes, F(2), (0.25, 0), np.float16, (1.0, 0), by_channel=True)
    assert got.tolist() == [-2, -0.25, 0, 0.5, 4]


@pytest.mark.parametrize("zero_point", [0, 100, 255])
def test_u8_by_channel_to_float16_cuts_twice(zero_point):
    codes, s = np.arange(256, dtype=np.uint8), 0.0066
    got = prelu(codes, F(0.3), (s, zero_point), np.float16, (1.0, 0), by_channel=True)
    ratio = down(Fraction(float(F(s))), 16)
    for code, y in zip(codes.tolist(), got.tolist(), strict=True):
        value = down((code - zero_point) * ratio, 11)
        assert y == float(down(value * Fraction(float(F(0.3))), 11) if value < 0 else value)
