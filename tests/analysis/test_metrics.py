"""Distances against their definitions in exact arithmetic."""

from math import inf, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npusim.analysis.metrics import cosine, difference, sqnr_db

values = st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6)
vectors = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.float32, n, elements=values)] * 2)
)


@given(vectors)
def test_definitions_in_long_double(pair):
    a, b = (v.astype(np.longdouble) for v in pair)
    found = difference(*pair)
    norm_a, norm_b = np.sqrt((a * a).sum()), np.sqrt((b * b).sum())
    assert found.euclidean == pytest.approx(float(np.sqrt(((a - b) ** 2).sum())), rel=1e-9)
    assert found.max_abs == float(np.abs(a - b).max())
    assert found.rms == pytest.approx(found.euclidean / sqrt(a.size), rel=1e-9)
    if norm_a and norm_b:
        expected = float((a * b).sum() / (norm_a * norm_b))
        assert found.cosine == pytest.approx(expected, abs=1e-12)
        unit = float(np.sqrt(((a / norm_a - b / norm_b) ** 2).sum()))
        assert found.euclidean_norm == pytest.approx(unit, abs=1e-7)
        assert found.euclidean_norm == pytest.approx(sqrt(max(0, 2 - 2 * expected)), abs=1e-7)
    else:
        same = bool(norm_a == norm_b)
        assert (found.cosine, found.euclidean_norm) == ((1.0, 0.0) if same else (0.0, 1.0))
    assert cosine(*pair) == found.cosine


@given(vectors.map(lambda pair: pair[0]), st.floats(1e-3, 1e3))
def test_a_scaled_copy_points_the_same_way(a, factor):
    b = (a.astype(np.float64) * factor).astype(np.float64)
    found = difference(a, b)
    assert found.cosine == pytest.approx(1.0, abs=1e-12)
    assert found.euclidean_norm < 1e-6


def test_sqnr():
    assert sqnr_db(100.0, 1.0) == 20.0
    assert sqnr_db(1.0, 0.0) == sqnr_db(0.0, 0.0) == inf
    assert sqnr_db(0.0, 1.0) == -inf
    found = difference(np.float32([1.1, 2]), np.float32([1, 2]), step=0.05)
    assert found.sqnr_db == pytest.approx(10 * np.log10(5 / 0.01), abs=1e-4)
    assert found.max_steps == pytest.approx(2, abs=1e-5)


def test_what_is_not_finite_is_not_near():
    for bad in (np.nan, np.inf):
        found = difference(np.float32([bad, 1]), np.float32([1, 1]))
        assert isnan(found.cosine)
        assert not found.cosine >= 0.98
    assert isnan(difference(np.float32([1]), np.float32([1])).max_steps)


def test_empty_tensors_are_equal():
    found = difference(np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert (found.cosine, found.rms, found.max_abs) == (1.0, 0.0, 0.0)
