"""How long the NN cores work on one tile, without memory: multiply, decode, hand over.

A tile needs the longest of: products (groups of output rows, ``cycles_per_group`` each), decoding
(one coefficient per cycle and core) and feeding from on-chip memory. Its output leaves eight bytes
per cycle, row by row, while the next tile is computed. Source: measured on single tiles and on
sequences of tiles; exact where nothing is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from npusim.ir.dtypes import DType
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Cycles of one kernel on one input channel.

    ``single`` and ``multiple``: per row group when the map is one tile and when it is several
    (fitted; kernels of 1, 2 and 3 pixels do not differ). ``decode``: coefficients that are not
    zero, one per cycle.
    """

    single: float
    multiple: float
    decode: float


def skip_ratio(zero_rows: float) -> float:
    """Return the cost of a row of three taps relative to dense.

    ``zero_rows`` is the share of rows that are all zero. Source: fitted to measured cycles.
    """
    full = 1 - zero_rows
    if full <= 0:
        return 1 / 6
    return full + full * zero_rows**2 + full * zero_rows**7 / (1 - zero_rows**6)


def channels_per_kernel(work: NnWork, machine: Machine) -> int:
    """Return the input channels that a kernel goes through: one where depthwise is native."""
    return 1 if work.depthwise and machine.nn.native_depthwise_count else work.in_c


@lru_cache(maxsize=4096)
def kernel_time(work: NnWork, machine: Machine) -> KernelTime:
    """Return the cycles of a kernel on one input channel."""
    nn = machine.nn
    side = max(work.kernel_w, work.kernel_h)
    taps = work.kernel_h * _kept_taps(work.kernel_w, work.zero_fraction, nn.depth_products_count)
    zero_rows = work.zero_fraction ** min(work.kernel_w, nn.depth_products_count)
    trim = 1.0
    if work.tap_ratio:
        taps *= work.tap_ratio
        trim = 0.94 if side == 2 else max(work.tap_ratio, 0.8)
    if work.depthwise and not machine.nn.native_depthwise_count:
        zero_rows = 1 - (1 - zero_rows) / work.in_c
        taps /= work.in_c
    skip = 1.0 if side == 1 else skip_ratio(zero_rows)
    if work.dtype is DType.F16:
        share = 0.1 if work.depthwise else max(1 - work.zero_fraction, 0.15)
        cycles = _of_size(nn.float_cycles_per_group, side) * share * trim
        return KernelTime(single=cycles, multiple=cycles, decode=taps)
    if work.kernel_w != work.kernel_h:
        rows = work.kernel_h * ceil(work.kernel_w / nn.depth_products_count)
        cycles = rows * (1.2 if work.kernel_w % 3 == 2 else 1.0) * skip * trim
        return KernelTime(single=cycles, multiple=cycles, decode=taps)
    if work.pointwise and work.dtype is DType.I16:
        cycles = nn.pointwise_16bit_cycles_per_group
        return KernelTime(single=cycles, multiple=cycles, decode=taps)
    return KernelTime(
        single=_of_size(nn.single_tile_cycles_per_group, side) * skip * trim,
        multiple=_of_size(nn.multi_tile_cycles_per_group, side) * skip * trim,
        decode=taps,
    )


def _kept_taps(width: int, zeros: float, group: int) -> float:
    """Return the coefficients of a kernel row that are not in an all-zero group."""
    groups, rest = divmod(width, group)
    return groups * group * (1 - zeros**group) + rest * (1 - zeros**rest)


def _of_size(table: tuple[float, ...], side: int) -> float:
    return table[side - 1] if side <= len(table) else table[-1] * (side / len(table)) ** 2


def tile_sizes(work: NnWork, tile: Tile) -> Iterator[tuple[int, int, int]]:
    """Yield (height, width, count) of full tiles, bottom row, right column and corner."""
    height, width = min(tile.height, work.out_h), min(tile.width, work.out_w)
    last_h = work.out_h - (tile.rows - 1) * tile.height
    last_w = work.out_w - (tile.columns - 1) * tile.width
    for size in (
        (height, width, (tile.rows - 1) * (tile.columns - 1)),
        (last_h, width, tile.columns - 1),
        (height, last_w, tile.rows - 1),
        (last_h, last_w, 1),
    ):
        if size[2]:
            yield size
