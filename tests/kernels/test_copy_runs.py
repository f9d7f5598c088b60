"""Copies of runs move every byte, and no other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise.copy_runs import copy_runs


@given(
    length=st.integers(1, 130),
    runs=st.integers(1, 4),
    gap=st.integers(0, 40),
    start=st.integers(0, 9),
)
def test_runs_are_copied_and_nothing_else(length, runs, gap, start):
    source = np.random.default_rng(length).integers(0, 200, length * runs).astype(np.uint8)
    step = length + gap
    target = np.full(start + step * runs + 64, 255, np.uint8)
    wanted = target.copy()
    for run in range(1, runs):  # the first run is left out
        at = start + run * step
        wanted[at : at + length] = source[run * length : (run + 1) * length]
    copy_runs(source, length, target, start, step, length, 1, runs)
    np.testing.assert_array_equal(target, wanted)
