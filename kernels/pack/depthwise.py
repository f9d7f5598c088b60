"""Weights of a depthwise convolution for ``int8_depthwise_vnni``. Numpy only; once, at load time.

A *band* is a few output rows that are computed together. The input rows under it are taken four at
a time, so one group of four bytes (a channel's inputs in four rows of one column) serves all rows
of the band, each with weights of its own: kernel rows shifted down by the stride.

An output row is one line of ``out_w * channels`` codes whose weights repeat every ``channels``;
blocks of 64 codes see ``period / 64`` different sets of weights, period being the least common
multiple of 64 and the channels.
"""

from collections.abc import Sequence
from math import lcm
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.pack.fours import aligned, signed_parts

BLOCK = 64
BANDS = (4, 2, 1)  # rows that a band may have
LARGEST_PERIOD = 1 << 13


def period_of(channels: int) -> int:
    """Return after how many codes both a block and the channels start anew."""
    return lcm(channels, BLOCK)


def in_lanes(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return one value per channel for a whole period."""
    return np.tile(values, period_of(values.size) // values.size)


def band_rows(reach: int, stride: int, out_h: int) -> int:
    """Return how many output rows the fewest groups of four input rows can serve."""
    room = -(-reach // 4) * 4
    return next(n for n in BANDS if n == 1 or (reach + (n - 1) * stride <= room and n <= out_h))


class Passes(NamedTuple):
    """Packed weights and what each pass over a block multiplies them with.

    Attributes
    ----------
    weights : int8, flat (period / BLOCK, passes, rows of the band, BLOCK, 4)
    groups, columns : int64 (passes,)
        The group of four input rows, and the column from the window's start.
    """

    weights: NDArray[np.int8]
    groups: NDArray[np.int64]
    columns: NDArray[np.int64]


def spread_rows(
    weights: NDArray[np.int64],
    places: Sequence[tuple[int, int]],
    stride: int,
    band: int,
    size: int,
) -> tuple[NDArray[np.int64], list[int]]:
    """Return weights (groups of input rows, columns, band, channels, size), and the columns."""
    columns = sorted({column for _, column in places})
    reach = max(row for row, _ in places) + 1 + (band - 1) * stride
    full = np.zeros((weights.shape[0], band, -(-reach // size) * size, len(columns)), np.int64)
    for tap, (row, column) in enumerate(places):
        for y in range(band):
            full[:, y, row + y * stride, columns.index(column)] += weights[:, tap]
    full = full.reshape(weights.shape[0], band, -1, size, len(columns))
    return full.transpose(2, 4, 1, 0, 3), columns


def pack_depthwise(
    weights: NDArray[np.int64], places: Sequence[tuple[int, int]], stride: int, band: int
) -> Passes:
    """Pack weights (channels, taps), zero point taken off.

    Parameters
    ----------
    weights : int64 (channels, taps)
    places : sequence of (row, column)
        The input pixel each tap reads, from the window's start.
    stride : int
        Input rows from one output row to the next.
    band : int
        Output rows computed together.
    """
    channels = weights.shape[0]
    fours, columns = spread_rows(weights, places, stride, band, 4)
    lanes = in_lanes(np.arange(channels))
    packed, places_of = [], []
    for part in signed_parts(fours):
        for group, column in np.argwhere(part.any(axis=(2, 3, 4))).tolist():
            four = part[group, column][:, lanes]  # (band, period, 4)
            packed.append(four.reshape(band, -1, BLOCK, 4).swapaxes(0, 1))
            places_of.append((group, columns[column]))
    sets = period_of(channels) // BLOCK
    shape = (sets, len(packed), band, BLOCK, 4)
    joined = np.stack(packed, axis=1) if packed else np.zeros(shape, np.int8)
    table = np.array(places_of, np.int64).reshape(-1, 2)
    return Passes(
        aligned(joined),
        np.asarray(table[:, 0], order="C"),
        np.asarray(table[:, 1], order="C"),
    )
