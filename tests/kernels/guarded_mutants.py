"""Kernels with the mistakes that guards are there to find; see ``tests.kernels.guarded``."""

import numpy as np

from npusim.kernels._jit import kernel
from npusim.kernels.elementwise.copy_runs import copy_bytes

_SIGNATURE = "void(Array(u1, 1, 'C', readonly=True), Array(u1, 1, 'C', readonly=True), u1[::1], {})"


@kernel(_SIGNATURE.format("i8, i8"))
def writes_behind_its_array(ifm, table, ofm, first, last):
    for i in range(first, last + 1):
        ofm[i] = table[ifm[i]] if i < last else np.uint8(0)


@kernel(_SIGNATURE.format("i8"))
def reads_before_its_array(ifm, table, ofm, count):
    copy_bytes(ifm, -1, ofm, 0, count)


@kernel(_SIGNATURE.format("i8"))
def reads_beyond_its_constants(ifm, table, ofm, count):
    for i in range(count):
        ofm[i] = table[np.int64(ifm[i]) + 1]


@kernel(_SIGNATURE.format("i8, i8"))
def writes_behind_its_range(ifm, table, ofm, first, last):
    for i in range(first, min(last + 1, ofm.size)):
        ofm[i] = table[ifm[i]] if i < last else np.uint8(0)


def prepare():
    """Nothing is needed."""


def _case(found, *numbers):
    def on_bytes():
        # between other zeros, so that the mistakes do no harm on plain arrays
        ifm, table, ofm = np.zeros((3, 102), np.uint8)[:, 1:101]
        ifm[:], table[:] = np.arange(100), np.arange(1, 101)
        found(ifm, table, ofm, *numbers)
        return [ofm.copy()]

    return on_bytes


CASES = {
    found.name: [_case(found, *numbers)]
    for found, numbers in (
        (writes_behind_its_array, (0, 100)),
        (reads_before_its_array, (100,)),
        (reads_beyond_its_constants, (100,)),
        (writes_behind_its_range, (0, 100)),
    )
}
