"""Statistics of activations, compiled: extremes, histograms, and what clipping one loses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.elementwise import statistics
from npusim.runtime.memory_order import flat_in_memory

Array = NDArray[Any]


def extremes(value: Array) -> tuple[float, float] | None:
    """Return minimum and maximum, NaN if there is one; None for an empty tensor."""
    if not value.size:
        return None
    if value.dtype != np.float32:
        return float(np.min(value)), float(np.max(value))
    result = np.empty(2, np.float32)
    statistics.extremes(flat_in_memory(value), result)
    return float(result[0]), float(result[1])


def histogram(
    value: Array, low: float, high: float, bins: int, *, absolute: bool = False
) -> tuple[NDArray[np.int64], int]:
    """Return how many values lie in each of ``bins`` equal parts of low..high, and how many are 0.

    Values outside count at the ends; rounding may put a value on an edge into either neighbour.
    ``absolute`` counts absolute values.
    """
    counts = np.zeros(bins, np.int64)
    if not high > low:
        counts[0] = value.size
        return counts, int((value == 0).sum())
    factor = np.float32(bins / (high - low))
    flat = flat_in_memory(value).astype(np.float32, copy=False)
    return counts, statistics.histogram(flat, np.float32(low), factor, absolute, counts)


def divergences(counts: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """Return what clipping to ``levels``, ``levels + 1``, .. all bins loses, but for rounding.

    See ``npusim.kernels.elementwise.statistics.divergences``.
    """
    found = np.empty(counts.size + 1 - levels)
    statistics.divergences(counts, levels, found)
    return found
