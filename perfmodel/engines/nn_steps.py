"""How long the NN cores work on one tile, without memory: multiply, decode, hand over.

A tile needs the longest of: products (groups of output rows, cycles for each), decoding (one
coefficient per cycle and core) and feeding from on-chip memory. Its output leaves eight bytes per
cycle, row by row, while the next tile is computed. Source: measured on single tiles of every
kernel size and zero fraction, and on sequences of tiles; exact where nothing is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

from npusim.ir.dtypes import DType
from npusim.perfmodel.machine import Machine, NnEngine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Cycles of one kernel on one input channel.

    ``full`` and ``partial``: per row group, in tiles of full height and in tiles at the bottom
    that are lower. ``decode``: coefficients that are not skipped, one per cycle. ``steps``,
    ``step``: what all groups of taps but the last, and what one, take at least in a tile.
    """

    full: float
    partial: float
    decode: float
    steps: float = 0.0
    step: float = 0.0

    def products(self, groups: int, lower: bool) -> float:
        """Return the cycles of a tile of ``groups`` row groups, ``lower``: than the others."""
        rest = groups * self.partial
        return max(rest, self.step) if lower else max(groups * self.full, self.steps + rest)


def skip_ratio(zeros: float) -> float:
    """Return the cost of a group of three taps relative to dense.

    ``zeros`` is the share of groups that are all zero. Source: fitted to measured cycles; 1 %.
    """
    full = 1 - zeros
    if full <= 0:
        return 1 / 6  # six empty groups at a time
    return full + full * zeros**2 + full * zeros**7 / (1 - zeros**6)


def channels_per_kernel(work: NnWork, machine: Machine) -> int:
    """Return the input channels that a kernel goes through: one where depthwise is native."""
    return 1 if work.depthwise and machine.nn.native_depthwise_count else work.in_c


@lru_cache(maxsize=4096)
def kernel_time(work: NnWork, machine: Machine) -> KernelTime:
    """Return the cycles of a kernel on one input channel."""
    nn = machine.nn
    used = 1.0  # share of input channels that a kernel uses at all
    if work.depthwise and not nn.native_depthwise_count:
        used = 1 / work.in_c
    rows = work.in_h if work.padded_vector else work.kernel_h
    decode = rows * _kept_taps(work.kernel_w, work.zero_fraction, nn) * used
    decode /= nn.decoded_per_cycle_count
    if work.pointwise:
        # Zeros save nothing for 8 bits; int16 skips pairs of taps, float16 single ones.
        if work.dtype is DType.F16:
            share = max((1 - work.zero_fraction) * used, nn.float_skip_floor_ratio)
            size = nn.pointwise_float_cycles_per_group * share
        elif work.dtype is DType.I16:
            size = nn.pointwise_16bit_cycles_per_group * (1 - work.zero_fraction**2)
        else:
            size = nn.pointwise_cycles_per_group
        return KernelTime(full=size, partial=size, decode=decode)
    dense = _rows(work, nn, 0.0)
    if work.dtype is DType.F16:
        side = max(work.kernel_w, work.kernel_h)
        # Groups of taps, two in a kernel of two by two, follow one another no faster than a step.
        size, unit = (2, nn.two_taps_cycles[0]) if side == 2 else (nn.depth_products_count, 1.0)
        count = ceil(work.kernel_w * work.kernel_h / size)
        share = unit * max(_float_share(work) * used, nn.float_skip_floor_ratio)
        step = nn.float_group_cycles * share
        return KernelTime(
            full=size * count * share,
            partial=size * share,
            decode=decode * sqrt(work.tap_ratio or 1.0),
            steps=(count - 1) * step,
            step=step,
        )
    full = _rows(work, nn, work.zero_fraction)
    if used < 1:  # almost all groups are empty, left-over single taps cost nothing
        groups = (work.kernel_w + 1) // nn.depth_products_count
        full = work.kernel_h * groups * nn.empty_group_ratio
    if work.tap_ratio and used == 1:
        full *= _space_to_depth_ratio(work, nn)
    if work.tap_ratio:
        decode *= _space_to_depth_decode_ratio(work, nn)
    partial = full * min(1.0, nn.partial_tile_cycles_per_group / dense)
    return KernelTime(full=full, partial=partial, decode=decode)


def _float_share(work: NnWork) -> float:
    """Return the share of a float16 kernel's work that zeros leave: one tap alone costs as two.

    Kernels whose taps went to four phases are priced by phase, half of them without the last
    column, half without the last row. Source: measured, 0 to 95 % zeros, kernels of 2 to 5 pixels.
    """
    zeros = work.zero_fraction
    cut = max(0.0, 2 * sqrt(work.tap_ratio or 1.0) - 1)
    share = 0.0
    for columns in (1.0, cut):
        for rows in (1.0, cut):
            taps = work.kernel_w * work.kernel_h * columns * rows
            alone = zeros ** max(0.0, taps - 1)
            share += columns * rows * (1 - zeros) * (1 + alone) / 4
    return share


def _rows(work: NnWork, nn: NnEngine, zeros: float) -> float:
    """Return the cycles of all rows of a kernel: groups of three taps, and what is left over."""
    if work.kernel_w == work.kernel_h == 2:  # a window of two by two is one group
        if work.tap_ratio and zeros:
            zeros = 1 - (1 - zeros) * work.tap_ratio
        return 2 * nn.two_taps_cycles[0] * (1 - zeros**4)
    return work.kernel_h * _row(work.kernel_w, nn, zeros)


def _row(width: int, nn: NnEngine, zeros: float) -> float:
    groups, rest = divmod(width, nn.depth_products_count)
    cycles = groups * skip_ratio(zeros**nn.depth_products_count)
    if rest == 1:
        cycles += _entry(nn.one_tap_cycles, groups - 1) * (1 - zeros)
    elif rest == 2:
        cycles += _entry(nn.two_taps_cycles, groups) * (1 - zeros**2) * (1 - 0.3 * zeros**4)
    return cycles


def _entry(table: tuple[float, ...], index: int) -> float:
    return table[max(0, min(index, len(table) - 1))]


def _space_to_depth_ratio(work: NnWork, nn: NnEngine) -> float:
    """Return the share of a kernel's work that is left when its taps went to four phases.

    Half the phases lack the last column, half the last row; a window of two by two gains little.
    """
    if work.tap_ratio >= 1:
        return 1.0
    if work.kernel_w == work.kernel_h == 2:
        return nn.two_by_two_phase_ratio if work.zero_fraction else 1 - (1 - work.tap_ratio) ** 4
    rows = (2 * work.kernel_h - 1) / (2 * work.kernel_h)
    whole = _row(work.kernel_w, nn, 0.0)
    cut = _row(work.kernel_w - 1, nn, 0.0) if work.kernel_w % 3 == 1 else whole
    return rows * (whole + cut) / (2 * whole)


def _space_to_depth_decode_ratio(work: NnWork, nn: NnEngine) -> float:
    if work.tap_ratio >= 1:
        return 1.0
    ratio = (2 * work.kernel_h - 1) / (2 * work.kernel_h)
    if work.kernel_w % nn.depth_products_count == 1:
        ratio *= (2 * work.kernel_w - 1) / (2 * work.kernel_w)
    return ratio


def _kept_taps(width: int, zeros: float, nn: NnEngine) -> float:
    """Return the coefficients of a kernel row that are not in an all-zero group."""
    size = nn.depth_products_count
    groups, rest = divmod(width, size)
    return groups * size * (1 - zeros**size) + rest * (1 - zeros**rest)


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
