"""Distance of two arrays in steps: integers, and float16 in units in the last place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def step_distance(actual: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of representable values between two arrays of one type.

    Parameters
    ----------
    actual, expected : ndarray
        Equal shapes; both float16 or both integers. Zeros of either sign are the same number.

    Returns
    -------
    ndarray of int64
    """
    if expected.dtype == np.float16:
        distance: NDArray[np.int64] = np.abs(_ordinal(actual) - _ordinal(expected))
    else:
        distance = np.abs(actual.astype(np.int64) - expected.astype(np.int64))
    return distance


def _ordinal(values: NDArray[Any]) -> NDArray[np.int64]:
    bits: NDArray[np.int64] = np.asarray(values, order="C").view(np.int16).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)
