"""Extremes and histograms equal those of numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.quantization.histograms import (
    ROUNDING_PER_BIN,
    _divergence,
    best_threshold,
    counted,
)
from npusim.quantization.observers import extremes
from npusim.reference.statistics import divergences

SPECIAL = [0.0, -0.0, np.inf, -np.inf, 1e-45, 3e38, -3e38]


def drawn(seed: int, length: int) -> np.ndarray:
    """Return rectified numbers, of which many are zero, and others."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=length).astype(np.float32)
    return np.maximum(value, 0) if seed % 2 else value


@given(length=st.integers(1, 300), seed=st.integers(0, 99), special=st.integers(0, len(SPECIAL)))
def test_extremes_are_those_of_numpy(length, seed, special):
    value = drawn(seed, length)
    value[seed % length] = [*SPECIAL, value[0]][special]
    found = extremes(value)
    assert found == (value.min(), value.max())
    assert not (np.signbit(found) & (np.array(found) == 0)).any()  # zeros are positive
    assert extremes(value.astype(np.float64)) == found


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_one_nan_makes_both_extremes_nan(length):
    for place in {0, length // 2, length - 1}:
        value = drawn(0, length)
        value[place] = np.nan
        assert np.isnan(extremes(value)).all()


def test_extremes_in_any_memory_order():
    value = drawn(2, 4 * 6 * 5).reshape(4, 6, 5)
    wanted = (value.min(), value.max())
    for view in (value.transpose(2, 0, 1), value[::-1, ::2], value[:, :1]):
        assert extremes(view) == (view.min(), view.max())
    assert extremes(np.asfortranarray(value)) == wanted
    assert extremes(value[:0]) is None
    assert extremes(np.array([2**40, -3])) == (-3.0, 2.0**40)


def by_numpy(value, low, high, bins):
    """The rule in numpy, step by step in float32."""
    place = (value.astype(np.float32) - np.float32(low)) * np.float32(bins / (high - low))
    index = np.clip(place, 0, bins - 1).astype(np.int32).reshape(-1)
    return np.bincount(index, minlength=bins)


@given(
    length=st.integers(1, 300),
    seed=st.integers(0, 99),
    bins=st.sampled_from([16, 100, 1024, 4096, 65536]),
    inside=st.booleans(),
)
def test_histograms_are_those_of_numpy(length, seed, bins, inside):
    value = drawn(seed, length)
    low, high = (float(value.min()), float(value.max())) if inside else (-0.3, 0.7)
    counts, zeros = counted(value, low, high, bins)
    assert zeros == (value == 0).sum()
    if high > low:
        np.testing.assert_array_equal(counts, by_numpy(value, low, high, bins))
    assert counts.sum() == length
    reach = float(np.abs(value).max()) or 1.0
    counts, zeros = counted(value, 0.0, reach, bins, absolute=True)
    assert zeros == (value == 0).sum()
    np.testing.assert_array_equal(counts, by_numpy(np.abs(value), 0.0, reach, bins))


def test_a_range_of_one_value_counts_in_the_first_bin():
    counts, zeros = counted(np.zeros((2, 3), np.float32), 0.0, 0.0, 16)
    assert counts.tolist() == [6] + 15 * [0]
    assert zeros == 6


@given(
    seed=st.integers(0, 999),
    bins=st.sampled_from([16, 129, 300, 1024]),
    levels=st.sampled_from([8, 16, 128]),
    size=st.integers(0, 3000),
    empty=st.floats(0, 1),
)
def test_the_best_threshold_is_the_one_of_a_full_search(seed, bins, levels, size, empty):
    """Also with gaps, with few values and where several thresholds are equally good."""
    rng = np.random.default_rng(seed)
    values = np.abs(rng.standard_t(3, size))
    counts = np.histogram(values, bins, (0, max(1.0, values.max(initial=0))))[0].astype(np.int64)
    counts[rng.random(bins) < empty * (seed % 3 == 0)] = 0
    if bins <= levels or not counts.any():
        assert best_threshold(counts, levels) == bins
        return
    total = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    occupied = np.concatenate([[0], np.cumsum(counts > 0)]).astype(np.float64)
    losses = [_divergence(counts, total, occupied, n, levels) for n in range(levels, bins + 1)]
    wanted = max(n for n, loss in enumerate(losses, levels) if loss == min(losses))
    assert best_threshold(counts, levels) == wanted
    found = divergences(counts, levels)
    np.testing.assert_allclose(found, losses, rtol=0, atol=bins * ROUNDING_PER_BIN / 20)
