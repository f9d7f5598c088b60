"""Weights in groups of four bytes, for instructions that add four products at once. Numpy only.

A weight less its zero point may need nine bits. It is the sum of up to three signed bytes; the
groups of the second and third byte follow those of the first, where they are not all zero. With
the usual zero points that is a handful of groups, and none of the sums of inputs that a zero point
would ask for.
"""

from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.tiles.fma import PANEL

Number = TypeVar("Number", bound=np.generic)
LINE_BYTES = 64  # of a cache line: a vector that crosses two costs two loads


def aligned(values: NDArray[Number]) -> NDArray[Number]:
    """Return a flat copy that begins at a cache line."""
    memory = np.empty(values.nbytes + LINE_BYTES, np.uint8)
    first = -memory.ctypes.data % LINE_BYTES
    copy = memory[first : first + values.nbytes].view(values.dtype)
    copy[:] = values.reshape(-1)
    return copy


class Groups(NamedTuple):
    """Inputs in groups of ``size`` that lie side by side.

    Attributes
    ----------
    offsets : int64 (groups,)
        Where each group begins; the last of a run may reach beyond it.
    taps : int64 (groups, size)
        Which weight k each input of a group multiplies, -1 for none.
    whole : bool
        No group reaches beyond its run.
    """

    offsets: NDArray[np.int64]
    taps: NDArray[np.int64]
    whole: bool


def groups_of(offsets: NDArray[np.int64], size: int) -> Groups:
    """Return the groups of inputs that cover the offsets of all weights."""
    order = np.argsort(offsets, kind="stable")
    ascending = offsets[order]
    ends = np.flatnonzero(np.diff(ascending) != 1) + 1
    bounds = np.concatenate([[0], ends, [offsets.size]]) if offsets.size else np.zeros(1)
    starts, taps = [], []
    for begin, end in pairwise(bounds.astype(np.int64).tolist()):
        for first in range(begin, end, size):
            starts.append(int(ascending[first]))
            inside = order[first : min(first + size, end)].tolist()
            taps.append(inside + [-1] * (size - len(inside)))
    table = np.array(taps, np.int64).reshape(-1, size)
    return Groups(np.array(starts, np.int64), table, not (table < 0).any())


def spread_weights(weights: NDArray[np.int64], groups: Groups) -> NDArray[np.int64]:
    """Return weights (convolution groups, O/group, k) as (panels, groups, PANEL, size)."""
    parts, per_group, _ = weights.shape
    panels = -(-per_group // PANEL)
    full = np.zeros((parts, panels * PANEL, *groups.taps.shape), np.int64)
    full[:, :per_group] = np.where(groups.taps < 0, 0, weights[:, :, groups.taps])
    full = full.reshape(parts * panels, PANEL, *groups.taps.shape)
    return full.transpose(0, 2, 1, 3)


def signed_parts(weights: NDArray[np.int64]) -> list[NDArray[np.int8]]:
    """Return signed bytes whose sum is the weights.

    Raises
    ------
    ValueError
        For weights outside -384 to 383: a code of 8 bits minus a zero point of 8 bits is inside.
    """
    if weights.size and not -384 <= weights.min() <= weights.max() <= 383:
        raise ValueError(f"weights from {weights.min()} to {weights.max()}")
    parts = []
    while weights.any():
        part = np.clip(weights, -128, 127)
        parts.append(part.astype(np.int8))
        weights = weights - part
    return parts


class Panels(NamedTuple):
    """Packed weights; panel p has the groups ``ends[p] <= group < ends[p + 1]``.

    Attributes
    ----------
    weights : int8, flat (groups, PANEL, 4)
    offsets : int64 (groups,)
        Where each group's inputs begin.
    ends : int64 (panels + 1,)
    """

    weights: NDArray[np.int8]
    offsets: NDArray[np.int64]
    ends: NDArray[np.int64]


def pack_panels(weights: NDArray[np.int64], fours: Groups) -> Panels:
    """Pack weights (groups, O/group, k), zero points taken off; all-zero groups are left out."""
    packed, offsets, ends = [], [], [0]
    for panel in spread_weights(weights, fours):
        for part in signed_parts(panel):
            used = part.any(axis=(1, 2))
            packed.append(part[used].reshape(-1))
            offsets.append(fours.offsets[used])
        ends.append(sum(map(len, offsets)))
    nothing = np.zeros(0, np.int8), np.zeros(0, np.int64)
    return Panels(
        aligned(np.concatenate([nothing[0], *packed])),
        np.concatenate([nothing[1], *offsets]),
        np.array(ends, np.int64),
    )
