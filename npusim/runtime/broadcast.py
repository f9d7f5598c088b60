"""Two operands that broadcast, as rows of contiguous memory in whatever order they lie.

Element-wise operators never change the memory order: they run over the memory as it lies, which for
feature maps usually is N, H, W, C.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.runtime.calls import Calls
from npusim.runtime.memory_order import memory_order

Array = NDArray[Any]
Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How two broadcasting operands lie as rows of contiguous memory.

    Attributes
    ----------
    order : tuple of int
        Memory order of the result: that of the operand that has the result's shape.
    spread : tuple of (tuple of int or None)
        For each operand, the shape (in memory order) to spread it to first, if it cannot be read
        as rows as it is.
    rows : tuple of int64 arrays
        For each operand, where each row of the result starts in it.
    row_length : int
        Elements of a row.
    """

    order: tuple[int, ...]
    spread: tuple[tuple[int, ...] | None, ...]
    rows: tuple[Offsets, ...]
    row_length: int

    def memory(self, calls: Calls, position: int, value: Array) -> Array:
        """Return an operand in the result's memory order; copies only what does not lie so."""
        memory = value.reshape((1,) * (len(self.order) - value.ndim) + value.shape)
        memory = memory.transpose(self.order)
        spread = self.spread[position]
        if spread is not None:
            memory = np.broadcast_to(memory, spread)
        return calls.in_order(memory, range(memory.ndim))


def row_plan(a: Array, b: Array, shape: tuple[int, ...]) -> RowPlan:
    """Return the rows of two operands that broadcast to ``shape``."""
    lead = a if a.shape == shape or b.shape != shape else b
    order = memory_order(lead) if lead.shape == shape else tuple(range(len(shape)))
    return _row_plan(a.shape, b.shape, shape, order)


@lru_cache(maxsize=1024)
def _row_plan(
    a: tuple[int, ...], b: tuple[int, ...], shape: tuple[int, ...], order: tuple[int, ...]
) -> RowPlan:
    sizes = tuple(shape[axis] for axis in order)
    own, spread = [], []
    for operand in (a, b):
        padded = (1,) * (len(shape) - len(operand)) + operand
        memory = tuple(padded[axis] for axis in order)
        # an operand that is constant along the innermost axis cannot be read as rows
        wider = (*memory[:-1], sizes[-1]) if sizes and memory[-1] != sizes[-1] else None
        own.append(wider or memory)
        spread.append(wider)
    split = max(len(sizes) - 1, 0)  # axes from here on form a row
    while split > 0 and all(memory[split - 1] == sizes[split - 1] for memory in own):
        split -= 1
    while split < len(sizes) - 1 and prod(sizes[:split]) < 8:
        split += 1  # enough rows to share between threads
    rows = tuple(_row_starts(memory[:split], sizes[:split], memory[split:]) for memory in own)
    return RowPlan(order, tuple(spread), rows, prod(sizes[split:]))


def _row_starts(own: Sequence[int], full: Sequence[int], row: Sequence[int]) -> Offsets:
    """Return the first element of every row of the broadcast, in the operand's own memory."""
    starts = np.arange(prod(own), dtype=np.int64).reshape(own) * prod(row)
    return np.asarray(np.broadcast_to(starts, full), order="C").reshape(-1)
