"""Exact comparison of two arrays."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHOWN = 3  # differing elements that a message names


def _bits(value: NDArray[Any]) -> NDArray[Any]:
    unsigned = np.dtype(f"u{value.dtype.itemsize}")
    return np.asarray(value, order="C").view(unsigned).reshape(value.shape)


def assert_bit_equal(actual: ArrayLike, expected: ArrayLike, what: str = "") -> None:
    """Check that two arrays have one element type, one shape and the same bits.

    Zeros of different sign differ, a NaN equals the same NaN; the memory order does not matter.

    Parameters
    ----------
    actual, expected : array
        Integers, booleans or floating point numbers.
    what : str, optional
        What is compared, for the message.

    Raises
    ------
    AssertionError
        Naming both types or shapes, or how many elements differ, and index and codes of the first.
    """
    got, want = np.asarray(actual), np.asarray(expected)
    label = f"{what}: " if what else ""
    if got.dtype != want.dtype:
        raise AssertionError(f"{label}element type {got.dtype}, expected {want.dtype}")
    if got.shape != want.shape:
        raise AssertionError(f"{label}shape {got.shape}, expected {want.shape}")
    found = np.argwhere(_bits(got) != _bits(want))
    if not len(found):
        return
    lines = [f"{label}{len(found)} of {got.size} elements differ"]
    for row in found[:SHOWN]:
        index = tuple(int(i) for i in row)
        lines.append(f"  at {index}: {got[index]!r}, expected {want[index]!r}")
    raise AssertionError("\n".join(lines))
