"""Copies of runs move every byte, and no other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise.copy_runs import copy_elements, copy_runs


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


@given(
    shape=st.tuples(*[st.integers(1, 3)] * 4, st.integers(1, 12), st.integers(1, 12)),
    order=st.permutations(range(6)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]),
    data=st.data(),
)
def test_elements_are_copied_between_any_orders_line_by_line(shape, order, dtype, data):
    rng = np.random.default_rng(sum(shape))
    memory = rng.integers(1, 200, [shape[axis] for axis in order]).astype(dtype)
    source = memory.transpose(np.argsort(order))
    lines = source.size // shape[5]
    first = data.draw(st.integers(0, lines))
    last = data.draw(st.integers(first, lines))
    target = np.zeros(shape, dtype)
    copy_elements(source, target, first, last)
    wanted = np.zeros((lines, shape[5]), dtype)
    wanted[first:last] = source.reshape(lines, shape[5])[first:last]
    np.testing.assert_array_equal(target.reshape(wanted.shape), wanted)
