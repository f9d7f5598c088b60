"""Weights of a depthwise convolution for ``x86_depthwise``. Numpy only; done once, at load time.

An output row is one line of ``out_w * channels`` codes whose weights repeat every ``channels``;
blocks of 64 codes see ``period / 64`` different sets of weights, period being the least common
multiple of 64 and the channels. A weight w - zero_point may need nine bits: it is the sum of up to
three signed bytes, each multiplied in a pass of its own.
"""

from collections.abc import Sequence
from math import lcm
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
LARGEST_PERIOD = 1 << 13
# which code of a block each lane holds: vector j, lane e -> 16 * (e // 4) + 4 * j + e % 4
ORDER = np.arange(BLOCK).reshape(4, 4, 4).transpose(1, 0, 2).reshape(-1)


def period_of(channels: int) -> int:
    """Return after how many codes both a block and the channels start anew."""
    return lcm(channels, BLOCK)


def in_lanes(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return one value per channel for a whole period, in the order of the lanes."""
    repeats = period_of(values.size) // values.size
    return np.tile(values, repeats).reshape(-1, BLOCK)[:, ORDER].reshape(-1)


class Grid(NamedTuple):
    """Where the taps of a window lie: ``rows`` x ``columns`` at equal distances.

    ``taps`` is (rows, columns): the number of each tap, -1 for none.
    """

    rows: int
    columns: int
    row_step: int
    column_step: int
    taps: NDArray[np.int64]


def grid_of(places: Sequence[tuple[int, int]]) -> Grid:
    """Return input positions (row, column) as a grid."""
    rows, columns = (sorted({place[axis] for place in places}) for axis in range(2))
    row_step, column_step = (int(np.gcd.reduce(axis)) or 1 for axis in (rows, columns))
    taps = np.full((rows[-1] // row_step + 1, columns[-1] // column_step + 1), -1, np.int64)
    for number, (row, column) in enumerate(places):
        taps[row // row_step, column // column_step] = number
    return Grid(*taps.shape, row_step, column_step, taps)


def signed_parts(weights: NDArray[np.int64]) -> list[NDArray[np.int8]]:
    """Return signed bytes whose sum is the weights (between -384 and 381)."""
    parts = []
    while weights.any():
        part = np.clip(weights, -128, 127)
        parts.append(part.astype(np.int8))
        weights = weights - part
    return parts


def pack_depthwise(
    weights: NDArray[np.int64], grid: Grid
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Pack weights (channels, taps), zero point taken off.

    Returns
    -------
    packed : int8 (period / BLOCK, fours, BLOCK, 4)
    fours : int64 (fours, 2)
        Kernel row and group of four columns of each group of four products.
    """
    channels = weights.shape[0]
    groups = -(-grid.columns // 4)
    full = np.zeros((channels, grid.rows, groups * 4), np.int64)
    rows, columns = np.nonzero(grid.taps >= 0)
    full[:, rows, columns] = weights[:, grid.taps[rows, columns]]
    lanes = in_lanes(np.arange(channels))
    passes, fours = [], []
    for part in signed_parts(full):
        for row, group in np.ndindex(grid.rows, groups):
            four = part[:, row, 4 * group : 4 * group + 4]
            if four.any():
                passes.append(four[lanes].reshape(-1, BLOCK, 4))
                fours.append((row, group))
    if not passes:
        return np.zeros((period_of(channels) // BLOCK, 0, BLOCK, 4), np.int8), np.zeros((0, 2), int)
    return np.ascontiguousarray(np.stack(passes, axis=1)), np.array(fours, np.int64)
