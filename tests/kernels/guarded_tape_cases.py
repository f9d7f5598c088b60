"""A walk over a tape whose arrays end at forbidden pages."""

import numpy as np

from npusim.kernels import tape
from npusim.runtime.calls import KernelStep
from npusim.runtime.tape import record
from tests.kernels.guarded_registry import case, drawn


@case(tape.walk)
def two_calls() -> list[np.ndarray]:
    class Copies:
        feeds, outputs = ("a",), ("b",)
        step = KernelStep(lambda calls, a: (calls.in_order(calls.in_order(a, (1, 0)), (1, 0)),))

    source = drawn(np.uint8, 5, 7)
    found = record.record([Copies], {"a": source}, ["b"])
    arena, target = np.zeros(found.arena_size, np.uint8), np.zeros((5, 7), np.uint8)
    words = found.words.copy()
    bases = np.array([array.ctypes.data for array in (arena, source, target)])
    words[found.where] = bases[found.region] + found.offsets
    board = np.zeros(tape.BOARD_SIZE, np.int64)
    groups = len(found.groups)
    tape.walk(words, found.records, found.groups, board, 0, 0, 0, groups, 0)
    assert np.array_equal(source, target)
    return [target, board]
