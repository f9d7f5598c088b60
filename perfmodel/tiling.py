"""Output tiles of the NN engine: which are legal, and which one the driver takes."""

from collections.abc import Iterator
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from npusim.ir.dtypes import DType
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.workload import NnWork


class Tile(NamedTuple):
    """How an output map is cut.

    Attributes
    ----------
    width, height : int
        Output pixels of one tile, before fused pooling.
    interleave : int
        Output rows that share the accumulator.
    kernels_per_core : int
        Output channels of one core in one superblock.
    superblocks : int
        Passes over the input image.
    columns, rows : int
        Tiles across and down the map.
    """

    width: int
    height: int
    interleave: int
    kernels_per_core: int
    superblocks: int
    columns: int
    rows: int

    @property
    def number(self) -> int:
        """Return the number of tiles."""
        return self.columns * self.rows

    def last_ratio(self, work: NnWork) -> float:
        """Return the share of the map that the last tile covers."""
        height = work.out_h - (self.rows - 1) * self.height
        width = work.out_w - (self.columns - 1) * self.width
        return height * width / (work.out_h * work.out_w)


@lru_cache(maxsize=8192)
def interleave(width: int, kernel_w: int, dtype: DType) -> int:
    """Return the interleave mode of a tile width. Source: measured, exact on all table rows."""
    reach = width + kernel_w - 1
    if dtype.bits == 16:
        return 2 if width <= 16 and reach <= 18 else 1
    if width <= 16 and reach <= 18:
        return 4
    return 2 if width <= 32 and reach <= 36 else 1


def planned_cores(work: NnWork, machine: Machine) -> int:
    """Return over how many cores the driver spreads the kernels."""
    nn = machine.nn
    return nn.cores_count if work.dtype.bits == 8 else nn.planned_cores_16bit_count


def make_tile(work: NnWork, machine: Machine, width: int, height: int) -> Tile | None:
    """Return the tile of the given size, or None when the accumulators cannot hold it.

    Source: measured; exact in 99 % of the table rows.
    """
    mode = interleave(width, work.kernel_w, work.dtype)
    if height > max(1, machine.nn.input_buffer_depth_count * mode - work.kernel_h + 1):
        return None
    size = width, height, mode, -(-work.out_w // width), -(-work.out_h // height)
    return _hold(size, *_kernels(work, machine))


_Size = tuple[int, int, int, int, int]  # width, height, interleave, columns, rows


def _kernels(work: NnWork, machine: Machine) -> tuple[int, int, int, int]:
    """Return the depth of the accumulators and a core's kernels: as planned, counted, at most."""
    nn = machine.nn
    depth = (
        nn.accumulator_depth_16bit_count if work.dtype is DType.I16 else nn.accumulator_depth_count
    )
    # The estimator counts passes as if all cores took part, for 16 bits too.
    counted = ceil(work.out_c / nn.cores_count)
    kernels = ceil(work.out_c / planned_cores(work, machine))
    return depth, kernels, counted, nn.kernels_per_core_max_count


def _hold(size: _Size, depth: int, kernels: int, counted: int, limit: int) -> Tile | None:
    width, height, mode, columns, rows = size
    most = min(depth * mode // height, kernels, limit)
    if most < 1:
        return None
    per_core = -(-kernels // -(-kernels // most))
    return Tile(width, height, mode, per_core, -(-counted // per_core), columns, rows)


def legal_tiles(work: NnWork, machine: Machine) -> Iterator[Tile]:
    """Yield the tiles the driver considers.

    Widths: equal splits of the map, those widened to whole groups of pixels, and the widest of
    every interleave mode. Heights: equal splits, the smallest four, whole row groups and those
    whose input is whole row groups. Source: measured; 99 % of the tiles in the tables and of those
    asked for besides are among them.
    """
    kernels = _kernels(work, machine)
    for size in _sizes(
        *(work.out_w, work.out_h, work.kernel_w, work.kernel_h, work.pool, work.dtype),
        *(machine.nn.tile_width_max_pixels, machine.nn.input_buffer_depth_count),
    ):
        tile = _hold(size, *kernels)
        if tile is not None:
            yield tile


@lru_cache(maxsize=4096)
def _sizes(
    out_w: int,
    out_h: int,
    kernel_w: int,
    kernel_h: int,
    pool: int,
    dtype: DType,
    width_max: int,
    buffer_depth: int,
) -> tuple[_Size, ...]:
    """Return the sizes that are considered, whatever the number of channels."""
    found = []
    splits = _equal_splits(out_h)
    for width in _widths(out_w, kernel_w, width_max // dtype.itemsize):
        mode = interleave(width, kernel_w, dtype)
        tallest = max(1, buffer_depth * mode - kernel_h + 1)
        heights = splits | {1, 2, 3, 4} | set(range(mode, tallest + 1, mode))
        heights |= set(range(mode - (kernel_h - 1) % mode, tallest + 1, mode))
        if pool == 2:
            heights |= {height + 1 for height in heights}
        for height in sorted(heights):
            if height > min(tallest, max(out_h, 2)):
                break
            if pool == 2 and (height % 2 or (width % 2 and width < out_w)):
                continue
            found.append((width, height, mode, -(-out_w // width), -(-out_h // height)))
    return tuple(found)


def _equal_splits(size: int) -> frozenset[int]:
    return frozenset(ceil(size / parts) for parts in range(1, size + 1))


def _widths(out_w: int, kernel_w: int, widest: int) -> list[int]:
    first = ceil(out_w / widest)
    widths = set()
    halo = kernel_w - 1
    for columns in range(first, first + 5):
        even = ceil(out_w / columns)
        widths.add(even)
        if columns == 1:
            continue
        grown = [ceil((even + halo) / 8) * 8 - halo]
        grown += [ceil(even / step) * step for step in (2, 8, 16)]
        widths |= {w for w in grown if w <= widest and ceil(out_w / w) == columns}
    for pixels, reach in ((16, 18), (32, 36), (widest, widest + halo)):
        widths.add(min(pixels, reach - halo, widest, out_w))
    return sorted(width for width in widths if width > 0)
