"""16-bit weights in pairs, cut into chunks whose sums stay within 32 bits. Numpy only.

An input is at least -2**15 and what a chunk starts with is below 2**16, so a chunk is safe while
the absolute weights of every output channel in it sum to at most LARGEST.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.pack.depthwise import BLOCK, in_lanes, spread_rows
from npusim.kernels.pack.fours import Groups, aligned, spread_weights

LARGEST = (2**31 - 2**16) // 2**15


class Chunks(NamedTuple):
    """Packed weights; panel p has the chunks ``ends[p] <= chunk < ends[p + 1]``.

    Attributes
    ----------
    weights : int16, flat (pairs, PANEL, 2)
    offsets : int64 (pairs,)
        Where each pair of inputs begins.
    chunks : int64 (chunks + 1,)
        Chunk c has the pairs ``chunks[c] <= pair < chunks[c + 1]``.
    ends : int64 (panels + 1,)
    """

    weights: NDArray[np.int16]
    offsets: NDArray[np.int64]
    chunks: NDArray[np.int64]
    ends: NDArray[np.int64]


def pack_pairs(weights: NDArray[np.int64], pairs: Groups, *, largest: int = LARGEST) -> Chunks:
    """Pack weights (groups, O/group, k), zero points taken off; all-zero pairs are left out.

    Pairs beyond the limit are halved and added twice.
    """
    packed, offsets, chunks, ends = [], [], [0], [0]
    count = 0
    for panel in spread_weights(weights, pairs):
        used = np.flatnonzero(panel.any(axis=(1, 2)))
        parts, sources = _halved(panel[used], pairs.offsets[used], largest)
        packed.append(parts.astype(np.int16).reshape(-1))
        offsets.append(sources)
        chunks += [count + cut for cut in _cuts(np.abs(parts).sum(axis=2), largest)]
        count += len(parts)
        ends.append(len(chunks) - 1)
    return Chunks(
        aligned(np.concatenate([np.zeros(0, np.int16), *packed])),
        np.concatenate([np.zeros(0, np.int64), *offsets]),
        np.array(chunks, np.int64),
        np.array(ends, np.int64),
    )


class PairPasses(NamedTuple):
    """Packed depthwise weights and what each pass over a block multiplies them with.

    Attributes
    ----------
    weights : int16, flat (period / BLOCK, passes, rows of the band, BLOCK, 2)
    chunks : int64
        As in ``Chunks``.
    groups, columns : int64 (passes,)
        The pair of input rows, and the column from the window's start.
    """

    weights: NDArray[np.int16]
    chunks: NDArray[np.int64]
    groups: NDArray[np.int64]
    columns: NDArray[np.int64]


def pack_depthwise_pairs(
    weights: NDArray[np.int64], places: Sequence[tuple[int, int]], stride: int, band: int
) -> PairPasses:
    """Pack i16 weights (channels, taps); see ``pack.depthwise.pack_depthwise``."""
    channels = weights.shape[0]
    spread, columns = spread_rows(weights, places, stride, band, 2)
    groups, width = spread.shape[:2]
    flat = spread.reshape(groups * width, band * channels, 2)
    used = np.flatnonzero(flat.any(axis=(1, 2)))
    parts, passes = _halved(flat[used], used, LARGEST)
    lanes = in_lanes(np.arange(channels))
    packed = parts.reshape(-1, band, channels, 2)[:, :, lanes]
    packed = packed.reshape(len(parts), band, -1, BLOCK, 2).transpose(2, 0, 1, 3, 4)
    return PairPasses(
        aligned(packed.astype(np.int16)),
        np.array([0, *_cuts(np.abs(parts).sum(axis=2), LARGEST)], np.int64),
        passes // width,
        np.array(columns, np.int64)[passes % width],
    )


def _halved(
    parts: NDArray[np.int64], offsets: NDArray[np.int64], largest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return weights (pairs, PANEL, 2) and offsets, pairs beyond the limit as two halves."""
    beyond = (np.abs(parts).sum(axis=2) > largest).any(axis=1)
    repeats = 1 + beyond
    doubled, first = np.repeat(parts, repeats, axis=0), np.cumsum(repeats) - repeats
    halves = parts[beyond] // 2
    doubled[first[beyond]] = halves
    doubled[first[beyond] + 1] = parts[beyond] - halves
    return doubled, np.repeat(offsets, repeats)


def _cuts(sizes: NDArray[np.int64], largest: int) -> list[int]:
    """Return where chunks of pairs end; sizes (pairs, PANEL) are those of every column."""
    total = np.cumsum(sizes, axis=0)
    cuts, base, begin = [], np.zeros(sizes.shape[1], np.int64), 0
    while begin < len(sizes):
        end, step = begin, 16
        while end < len(sizes):
            over = ((total[end : end + step] - base) > largest).any(axis=1)
            if over.any():
                end += int(over.argmax())
                break
            end += step
        end = min(end, len(sizes))
        cuts.append(end)
        base, begin = total[end - 1], end
    return cuts
