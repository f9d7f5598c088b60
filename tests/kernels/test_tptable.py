"""TP arithmetic on arrays against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.engines.tp import (
    ENTRIES,
    convert,
    grid,
    lookup,
    nearest_f16,
    ratio,
    read_f16,
    resampled,
    round_tp,
    table,
)
from tests.kernels.exact import half, interpolate, r16, tp_ratio, tp_store

numbers = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-30)
scales = st.floats(2.0**-13, 8.0, width=32)
INTEGERS = (np.uint8, np.int8, np.int16)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_round_tp_is_nearest_with_16_bits(values):
    expected = [float(r16(Fraction(v))) for v in values]
    assert round_tp(np.array(values)).tolist() == expected
    assert round_tp(np.array(expected)).tolist() == expected


@pytest.mark.parametrize("steps", range(-3, 4))
@pytest.mark.parametrize("exponent", [-20, -1, 0, 15])
def test_round_tp_ties_go_to_even(steps, exponent):
    tie = (2**16 + steps * 2 + 1) * 2.0**exponent
    assert float(round_tp(tie)) == float(r16(Fraction(tie)))


def test_infinity_stays():
    assert round_tp(np.array([np.inf, -np.inf])).tolist() == [np.inf, -np.inf]


def test_read_f16_keeps_subnormals_and_continues_beyond_the_largest():
    codes = np.array([0x0001, 0x03FF, 0x0400, 0x7BFF, 0x7C00, 0xFC01], np.uint16).view(np.float16)
    assert read_f16(codes).tolist() == [2**-24, 1023 * 2**-24, 2**-14, 65504, 65536, -65600]


@given(st.lists(st.floats(-1e5, 1e5, allow_nan=False), min_size=1, max_size=20))
def test_nearest_f16(values):
    assert nearest_f16(np.array(values)).tolist() == [float(half(Fraction(v))) for v in values]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (2.0**-14 - 2.0**-25, 2.0**-14),
        (2.0**-14 - 2.0**-25 - 2.0**-40, 0.0),
        (1e9, 65504.0),
        (65519.9, 65504.0),
        (-1e9, -65504.0),
    ],
)
def test_nearest_f16_borders(value, stored):
    assert nearest_f16(np.array([value]))[0] == stored
    assert nearest_f16(np.array([-1e-9])).view(np.uint16)[0] == 0x8000


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("out", [*INTEGERS, np.float16])
@given(scale=scales, out_scale=scales, zero=st.integers(0, 100), out_zero=st.integers(0, 100))
def test_convert(dtype, out, scale, out_scale, zero, out_zero):
    if np.dtype(out) == np.float16:
        out_scale, out_zero = 1.0, 0
    limits = np.iinfo(dtype)
    codes = np.unique(np.linspace(limits.min, limits.max, 64).astype(dtype))
    multiplier = tp_ratio(scale, out_scale)
    expected = [tp_store(r16((int(q) - zero) * multiplier), out, out_zero) for q in codes]
    got = convert(codes, (scale, zero), out, (out_scale, out_zero))
    assert got.dtype == out
    assert got.tolist() == expected


def test_float16_copies_only_lose_subnormals():
    codes = np.arange(65536, dtype=np.uint16).view(np.float16)
    got = convert(codes, (1.0, 0), np.float16, (1.0, 0)).view(np.uint16)
    bits = codes.view(np.uint16)
    subnormal = (bits & 0x7C00) == 0
    np.testing.assert_array_equal(got[~subnormal], bits[~subnormal])
    np.testing.assert_array_equal(got[subnormal], bits[subnormal] & 0x8000)


def test_ratio_divides_in_float32_first():
    scale = next(
        s
        for s in np.linspace(0.01, 0.02, 20000).astype(np.float32)
        if ratio(1.0, s) != float(r16(1 / Fraction(float(s))))
    )
    assert ratio(1.0, scale) == float(r16(Fraction(float(np.float32(1) / scale))))


@pytest.mark.parametrize("odd", [False, True])
@given(st.lists(st.one_of(st.integers(-32768, 32767), st.floats(-60000, 60000)), max_size=12))
def test_lookup(odd, values):
    values = [v + 0.0 for v in values]  # fractions have one zero
    entries = table(lambda v: np.where(np.isinf(v), 9.0, np.sqrt(np.abs(v)) - 3), odd)
    exact = [Fraction(float(e)) for e in entries]
    got = lookup(entries, np.array(values, np.float64), odd)
    assert got.tolist() == [
        float(interpolate(exact.__getitem__, Fraction(v), odd=odd)) for v in values
    ]


@pytest.mark.parametrize("odd", [False, True])
def test_a_table_returns_its_entries_on_the_grid(odd):
    finite = np.isfinite(grid(odd)) & (np.arange(1024) % 512 >= (32 if odd else 16))
    if odd:
        finite &= np.arange(1024) < 31 * 32
    entries = table(lambda v: v / 3, odd)
    np.testing.assert_array_equal(lookup(entries, grid(odd)[finite], odd), entries[finite])


def test_the_last_segment_of_the_negative_half_ends_in_the_last_entry():
    entries = np.arange(1.0, ENTRIES + 1)
    segment = 2.0**12  # of the last octave
    values = -(2.0**17 - np.array([segment, segment / 2, 1.0]))
    np.testing.assert_array_equal(lookup(entries, values), [ENTRIES] * 3)
    assert lookup(entries, values[:1] + segment / 2) == ENTRIES - 0.5
    beyond = np.array([2.0**17, -(2.0**17), 2.0**18, -1e9])
    np.testing.assert_array_equal(lookup(entries, beyond), [ENTRIES] * 4)


def test_table_saturates_and_flushes():
    def function(v):
        return np.where(v > 100, np.nan, np.where(v < -100, -1e9, v * 2.0**-30))

    entries = table(function)
    assert entries.max() == 65535
    assert entries.min() == -65535
    assert set(np.abs(entries)) == {0.0, 65535.0}


def test_resampled_is_the_chord_of_the_grid():
    def square(v):
        return np.asarray(v, np.float64) ** 2

    low, high = 1.0, 1.0 + 1 / 16
    middle = np.array([(low + high) / 2])
    assert resampled(square)(middle)[0] == (low**2 + high**2) / 2
    on_grid = np.array([0.0, 1.0, -2.5, 48.0])
    np.testing.assert_array_equal(resampled(square)(on_grid), square(on_grid))


def test_a_resampled_function_goes_on_beyond_its_last_sample():
    def log(v):
        return np.log(np.asarray(v, np.float64))

    entries = table(resampled(log))
    last, before = np.log(63488), np.log(61440)
    for place in (0, 5, 15):  # 2**16 * (1 + place / 16), sixteen entries of the last octave
        beyond = (65536 * (1 + place / 16) - 63488) / 2048
        assert entries[496 + place] == pytest.approx(last + (last - before) * beyond, rel=2.0**-15)


def test_entries_are_rounded_away_from_zero_at_ties():
    tie = 1 + 2.0**-16
    assert table(lambda v: np.full(v.shape, tie))[5] == 1 + 2.0**-15
    assert table(lambda v: np.full(v.shape, -tie))[5] == -1 - 2.0**-15


def test_tables_are_float32_first_unless_told_otherwise():
    below_tie = 1 + 2.0**-16 - 2.0**-40
    assert table(lambda v: np.full(v.shape, below_tie))[5] == 1 + 2.0**-15
    assert table(lambda v: np.full(v.shape, below_tie), real=np.float64)[5] == 1.0
