"""How long an operation takes with a given tile and given bytes.

The estimator adds up what all tiles need of products, decoding, feeding, output and the bus, and
divides each by area and kernels into four parts: the first superblock of the first tile, its
other superblocks, the first superblocks of all other tiles, and the rest. In every part these
overlap, and the largest counts. What is read goes through on-chip memory, at its own rate and in
the shares in which outputs leave. Source: what it prints of 1444 layers of every type; with its
tile the cycles of nine in ten agree to 1.5 % (tools/compare_parts.py).
"""

from math import ceil, gcd
from typing import NamedTuple

from npusim.perfmodel.cost import Bound
from npusim.perfmodel.engines.nn_steps import channels_per_kernel, kernel_time, tile_sizes
from npusim.perfmodel.engines.nn_traffic import TileBytes, input_rows, row_lines_bytes
from npusim.perfmodel.machine import Machine, NnEngine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork

# What goes on at the same time; the first of equals counts.
_OVERLAPPING = (Bound.COMPUTE, Bound.DECODE, Bound.SRAM, Bound.OUTPUT, Bound.DDR)


class Clockwork:
    """Adds up cycles by what limited them."""

    __slots__ = ("by_bound", "compute")

    def __init__(self) -> None:
        self.by_bound: dict[Bound, float] = {}
        self.compute = 0.0

    def add(self, bound: Bound, cycles: float) -> None:
        """Count ``cycles`` that ``bound`` takes."""
        self.by_bound[bound] = self.by_bound.get(bound, 0.0) + cycles


def time_tile(
    work: NnWork,
    tile: Tile,
    moved: TileBytes,
    machine: Machine,
    bytes_per_cycle: float,
    slowdown: float = 1.0,
    planned: bool = False,
) -> tuple[float, Clockwork]:
    """Return the cycles of an operation and what they are made of.

    ``slowdown`` multiplies the work of the cores: cores the estimator assumes over cores there are.
    ``planned``: as the driver sees it while it plans; handing over takes less.
    """
    nn = machine.nn
    bus = min(bytes_per_cycle, nn.sram_bytes_per_cycle)
    products, decode = core_cycles(work, tile, machine, slowdown)
    image, stream, channels = feed_cycles(work, tile, moved.stream, machine)
    leaving = leaving_cycles(work, tile, machine, nn.planned_handover_ratio if planned else 1.0)
    clockwork = Clockwork()
    clockwork.add(Bound.LAUNCH, nn.launch_cycles)
    clockwork.add(Bound.LAUNCH, superblock_waits(work, tile, machine))
    parts = _parts(work, tile, moved, nn.cores_count)
    arriving = (moved.kernel + moved.image + moved.command) / nn.sram_bytes_per_cycle
    for part in parts:
        fed = image * part.fed + stream * part.loads
        now = (
            products * part.worked,
            decode * part.worked,
            max(fed, channels * part.worked, arriving * part.left),
            leaving * part.left,
            (part.kernel + moved.image * part.read + moved.write * part.left) / bus,
        )
        longest = max(now)
        clockwork.add(_OVERLAPPING[now.index(longest)], longest)
        clockwork.compute += max(now[0], now[1])
    clockwork.add(Bound.OUTPUT, _remainder(work, tile, nn))
    return sum(clockwork.by_bound.values()), clockwork


class _Part(NamedTuple):
    """A part of an operation: ``worked``, ``left``, ``fed`` and ``read`` are shares.

    Of the work of the cores, of what leaves them meanwhile, of the image they are fed with and of
    the image bytes on the bus. ``loads``: how often coefficients are fed; ``kernel``: bytes of
    coefficients and commands on the bus.
    """

    worked: float
    left: float
    fed: float
    read: float
    loads: float
    kernel: float


def _parts(work: NnWork, tile: Tile, moved: TileBytes, cores: int) -> list[_Part]:
    """Return the parts of an operation. What a superblock leaves goes out during the next one."""
    number, blocks = tile.number, tile.superblocks
    first = min(tile.height, work.out_h) * min(tile.width, work.out_w) / (work.out_h * work.out_w)
    block = tile.kernels_per_core * cores / work.out_c if blocks > 1 else 1.0
    end = 1 - (blocks - 1) * block
    if end <= 0:
        block = end = 1 / blocks
    once = 1.0 if moved.image_cached else 1 / blocks  # of the image, in a first superblock
    kernel = min(moved.stream, moved.kernel)
    parts = [
        _Part(
            first * block, 0.0, first / blocks, first * once, block, kernel * block + moved.command
        )
    ]
    if blocks > 1:
        rest = 1 - block
        fed, read = first * (1 - 1 / blocks), first * (1 - once)
        parts.append(_Part(first * rest, first * (1 - end), fed, read, rest, kernel * rest))
    if number == 1:
        return parts
    more, again = 1 - first, max(0.0, moved.kernel - moved.stream)
    left = (1 - tile.last_ratio(work)) * end
    parts.append(
        _Part(more * block, left, more / blocks, more * once, (number - 1) * block, again * block)
    )
    if blocks > 1:
        fed, read = more * (1 - 1 / blocks), more * (1 - once)
        loads = (number - 1) * rest
        parts.append(_Part(more * rest, more * (1 - end), fed, read, loads, again * rest))
    return parts


def core_cycles(
    work: NnWork, tile: Tile, machine: Machine, slowdown: float = 1.0
) -> tuple[float, float]:
    """Return the cycles of (products, decoding) of all tiles; every tile decodes everything."""
    time = kernel_time(work, machine)
    channels = channels_per_kernel(work, machine)
    count = machine.nn.cores_count
    kernels = ceil(work.out_c / count)
    full = min(tile.height, work.out_h)
    products = 0.0
    for height, _, number in tile_sizes(work, tile):
        cycles = time.products(ceil(height / tile.interleave), lower=height != full)
        products += number * max(kernels * cycles, tile.superblocks * time.least)
    depth = -(-channels // time.channel_step) * time.channel_step
    decode = time.decode * channels * work.out_c / count * tile.number
    return products * depth * slowdown, decode * slowdown


def feed_cycles(
    work: NnWork, tile: Tile, stream: float, machine: Machine
) -> tuple[float, float, float]:
    """Return the cycles in which on-chip memory feeds the cores: (image, coefficients, channels).

    Image: of all tiles and superblocks, each channel of a tile in whole pieces. Coefficients: once,
    they come anew for every tile over the same port; ``stream`` is their bytes. Channels: kernels
    larger than one pixel need some cycles for every channel that the cores go through, of all tiles
    and superblocks; where depthwise is native, a core is taken to go through its own channels only.
    Source: measured, single tiles of 4x4 to 14x14 pixels and sequences of tiles; within 0.5 %.
    """
    nn, size = machine.nn, work.dtype.itemsize
    piece = nn.sram_piece_bytes
    of_row = input_rows(work, tile.height) / work.out_h
    image = 0.0
    for height, width, number in tile_sizes(work, tile):
        across = min(width + work.kernel_w - 1, work.in_w) * size
        image += number * (across * height * of_row + piece - gcd(across, piece))
    image *= work.in_c * tile.superblocks / nn.sram_bytes_per_cycle
    stream /= nn.sram_bytes_per_cycle
    if work.pointwise:
        return image, stream, 0.0
    channels = channels_per_kernel(work, machine)
    if channels < work.in_c:
        channels *= tile.kernels_per_core
    return image, stream, nn.channel_cycles * channels * tile.number * tile.superblocks


def weighs_cache(work: NnWork, machine: Machine) -> bool:
    """Tell whether a tile's output may fit the write cache at all: a line for each channel."""
    return work.out_c < machine.memory.write_cache_bytes // machine.memory.line_bytes


def leaving_cycles(work: NnWork, tile: Tile, machine: Machine, handover: float = 1.0) -> float:
    """Return the cycles in which the outputs of all tiles leave the cores and are handed over.

    The rows that share an accumulator leave together, eight bytes a cycle, and every tile takes as
    long as a full one. 16-bit rows go to memory one by one, each in whole lines. ``handover``: what
    counts of handing over. Source: measured; integer agreement.
    """
    nn, size = machine.nn, work.dtype.itemsize
    height, width = min(tile.height, work.out_h), min(tile.width, work.out_w)
    group = size * ceil(tile.interleave * width / nn.output_bytes_per_cycle)
    leaves: float = work.out_c * group * ceil(height / tile.interleave)
    once = nn.handover_cycles if size == 1 else nn.handover_16bit_cycles
    leaves += handover * tile.superblocks * once
    if size == 1:
        return tile.number * leaves
    half = 2 if work.pool > 1 else 1
    lines = row_lines_bytes(width // half, size, machine.memory.line_bytes) * work.out_c
    return tile.number * max(leaves, (height // half) * lines / nn.sram_bytes_per_cycle)


def _remainder(work: NnWork, tile: Tile, nn: NnEngine) -> float:
    """Return the extra output time of a map that the tiles do not divide from top to bottom.

    Nothing is added when the last superblock keeps all cores busy to its end. Source: measured,
    what the estimator prints beside the four parts; integer agreement.
    """
    height = work.out_h - (tile.rows - 1) * tile.height
    full = tile.kernels_per_core * nn.cores_count
    channels = work.out_c - full * (tile.superblocks - 1)
    if height == min(tile.height, work.out_h) or channels == full:
        return 0.0
    row = ceil(min(tile.width, work.out_w) / nn.output_bytes_per_cycle)
    return max(0, channels) * height * (row - 1)


def superblock_waits(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the cycles between tiles that nothing hides when there are several superblocks.

    The accumulators are emptied before the next tile's image is there; when they are full, even
    the first output rows of it wait. Source: measured, printed by the estimator; integer agreement
    but for accumulators that hold more rows than they have.
    """
    nn = machine.nn
    if tile.superblocks == 1:
        return 0.0
    groups = ceil(min(tile.height, work.out_h) / tile.interleave)
    held = tile.kernels_per_core * groups
    wait = nn.superblock_cycles + nn.superblock_group_cycles * held
    if held == nn.accumulator_depth_count:
        wait += nn.cores_count * tile.interleave * ceil(tile.width / nn.output_bytes_per_cycle)
    return tile.number * wait
