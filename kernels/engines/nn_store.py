"""The NN engine's stores on whole arrays (numpy), for tables and small results.

The compiled convolutions have the same rounding in ``npusim.kernels.windows.conv``.

Source: measured, docs/arithmetic/nn.md rules 2.1 and 2.6.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.rounding import LARGEST_HALF

LARGEST_F16 = np.float32(LARGEST_HALF)


def rounding_shift(value: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """Return ``value / 2**shift`` rounded to the nearest integer, ties to even."""
    if shift <= 0:
        return value << -shift
    shift = min(shift, 62)  # |value| < 2**61: from there on everything rounds to 0
    quotient = value >> shift
    rest, half = value - (quotient << shift), 1 << (shift - 1)
    up: NDArray[np.bool] = (rest > half) | ((rest == half) & (quotient & 1 == 1))
    return quotient + up


def store_integer(
    acc: NDArray[np.int64], multiplier: int, shift: int, zero_point: int, dtype: DTypeLike
) -> NDArray[np.generic]:
    """Return ``sat(rne(acc * multiplier / 2**shift) + zero_point)``."""
    limits = np.iinfo(np.dtype(dtype))
    steps = rounding_shift(acc * multiplier, shift) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def cut_to_f16(value: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return float32 cut toward zero to float16: saturates at 65504, below 2**-14 gives zero."""
    limited = np.clip(value, -LARGEST_F16, LARGEST_F16)
    half = limited.astype(np.float16)
    bits = half.view(np.uint16) - (np.abs(half.astype(np.float32)) > np.abs(limited))
    return np.where(bits & 0x7C00, bits, bits & 0x8000).astype(np.uint16).view(np.float16)
