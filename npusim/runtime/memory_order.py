"""The memory orders of values, as strides of one logical shape.

A feature map always has the logical shape (N, C, H, W). Kernels want either channels innermost
(N, H, W, C in memory) or plain C order. Both are views of one array when its memory already is in
that order; only a change of order copies.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS_LAST = (0, 2, 3, 1)


def memory_order(value: NDArray[Any]) -> tuple[int, ...]:
    """Return the axes from outermost to innermost in memory."""
    return tuple(sorted(range(value.ndim), key=lambda axis: -value.strides[axis]))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that undoes ``order``."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def channels_last(value: NDArray[Any]) -> NDArray[Any]:
    """Return (N, C, H, W) as a C-contiguous (N, H, W, C) array; copies only when needed."""
    return np.asarray(value.transpose(CHANNELS_LAST), order="C")


def from_channels_last(value: NDArray[Any]) -> NDArray[Any]:
    """Return an (N, H, W, C) array as a view of logical shape (N, C, H, W)."""
    return value.transpose(0, 3, 1, 2)


def same_order(shape: tuple[int, ...], like: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return an empty array of a shape whose memory order is that of ``like`` (same rank)."""
    order = memory_order(like)
    memory = np.empty([shape[axis] for axis in order], dtype)
    return memory.transpose(inverse(order))


def flat_in_memory(value: NDArray[Any]) -> NDArray[Any]:
    """Return all elements in the order they lie in memory; copies only when there are gaps."""
    return np.asarray(value.transpose(memory_order(value)), order="C").reshape(-1)
