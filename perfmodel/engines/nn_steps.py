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
    ``least``: what the kernels of a core take together at least in a tile. ``channel_step``:
    channels that are gone through at once.
    """

    full: float
    partial: float
    decode: float
    steps: float = 0.0
    step: float = 0.0
    least: float = 0.0
    channel_step: int = 1

    def products(self, groups: int, lower: bool) -> float:
        """Return the cycles of a tile of ``groups`` row groups, ``lower``: than the others."""
        rest = groups * self.partial
        return max(rest, self.step) if lower else max(groups * self.full, self.steps + rest)


def channels_per_kernel(work: NnWork, machine: Machine) -> int:
    """Return the input channels that a kernel goes through: one where depthwise is native."""
    return 1 if work.depthwise and machine.nn.native_depthwise_count else work.in_c


@lru_cache(maxsize=4096)
def kernel_time(work: NnWork, machine: Machine) -> KernelTime:
    """Return the cycles of a kernel on one input channel."""
    nn, floats = machine.nn, work.dtype is DType.F16
    coded = coded_ratio(work, machine)
    rows = work.in_h if work.padded_vector else work.kernel_h
    decode = work.kernel_w * rows * coded / nn.decoded_per_cycle_count
    if work.pointwise and work.dtype.bits == 8:  # zeros save nothing
        return KernelTime(
            full=nn.pointwise_cycles_per_group,
            partial=nn.pointwise_cycles_per_group,
            decode=1 / nn.decoded_per_cycle_count,
            least=nn.depth_products_count * nn.pointwise_cycles_per_group,
            channel_step=nn.pointwise_channels_count,
        )
    if work.pointwise:
        channels = 1 if floats else nn.pointwise_channels_16bit_count  # that are skipped together
        cycles = nn.pointwise_16bit_cycles_per_group * worked_ratio(coded, channels)
        return KernelTime(
            full=cycles,
            partial=cycles,
            decode=decode,
            channel_step=nn.pointwise_channels_16bit_count,
        )
    # Groups of taps, two in small and upright kernels, follow one another no faster than a step.
    small, upright = max(work.kernel_w, work.kernel_h) == 2, work.kernel_w == 1
    size = 2 if small or upright else nn.depth_products_count
    unit = nn.two_taps_cycles[0] if small else 1.0
    all_taps = work.kernel_w * work.kernel_h
    if floats or upright:
        count: float = ceil(all_taps / size)
    else:
        count = 1.0 if small else work.kernel_h * _row(work.kernel_w, nn) / size
    row_groups = work.kernel_h * ceil(work.kernel_w / nn.depth_products_count)
    groups = all_taps if floats else row_groups
    share = unit * worked_ratio(coded, groups)
    step = (nn.group_cycles if work.dtype.bits == 8 else nn.group_16bit_cycles) * share
    return KernelTime(
        full=size * count * share,
        partial=size * min(1.0, count) * share,
        decode=decode,
        steps=max(0.0, count - 1) * step,
        step=step,
    )


def coded_ratio(work: NnWork, machine: Machine) -> float:
    """Return the share of a kernel's groups of taps that hold a coefficient other than zero.

    A group is one tap in float16, else three taps of a row or what is left over of it; all count
    alike. Of the phases that a stride makes some lack the last column and some the last row. No
    run of zeros is longer than its field can say. Source: measured, what the estimator prints of
    600 layers of every type and kernel; exact, zeros scattered at random.
    """
    size = 1 if work.dtype is DType.F16 else machine.nn.depth_products_count
    # Zeros are scattered over the rows that hold taps.
    zeros = max(0.0, 1 - (1 - work.zero_fraction) / work.rows_ratio)
    real = min(1.0, work.tap_ratio or 1.0)
    if work.pointwise:
        return _runs_end((1 - zeros) * real, size, work, machine)
    side = sqrt(real)  # of a kernel's rows, and of its columns
    whole = max(0.0, 1 - (1 - side) * work.kernel_w)  # phases that lack no column
    kept = 0.0
    for width, phases in ((work.kernel_w, whole), (work.kernel_w - 1, 1 - whole)):
        for left in range(width, 0, -size):
            kept += phases * (1 - zeros ** min(left, size))
    ratio = kept / ceil(work.kernel_w / size) * side * work.rows_ratio
    return _runs_end(ratio, min(size, work.kernel_w), work, machine)


def _runs_end(ratio: float, taps: int, work: NnWork, machine: Machine) -> float:
    if work.depthwise and not machine.nn.native_depthwise_count:
        ratio /= work.in_c  # the other channels are zeros
    return min(1.0, max(ratio, taps / ((1 << machine.nn.zero_run_bits) - 1)))


def worked_ratio(coded: float, groups: int) -> float:
    """Return the share of a kernel's work that is left when ``coded`` of its groups hold anything.

    A kernel of which a single group is left costs as two: coded (1 + (1 - coded)^(groups - 1)).
    Source: as `coded_ratio`; exact to four digits.
    """
    return coded * (1 + (1 - coded) ** (groups - 1))


def _row(width: int, nn: NnEngine) -> float:
    """Return the cycles of a kernel row: groups of three taps, and what is left over."""
    groups, rest = divmod(width, nn.depth_products_count)
    if rest == 1:
        return groups + _entry(nn.one_tap_cycles, groups - 1)
    return groups + (_entry(nn.two_taps_cycles, groups) if rest else 0.0)


def _entry(table: tuple[float, ...], index: int) -> float:
    return table[max(0, min(index, len(table) - 1))]


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
