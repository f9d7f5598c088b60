"""Convolution cores: tiles, superblocks, one bus.

Tiles follow one another; each goes through the kernels in superblocks. Work on the cores, output of
the tile before and traffic on the bus overlap: the largest counts. Source: measured, see
docs/performance.md; with the driver's own tile and bytes the median error is below 0.1 %.
"""

from math import ceil, gcd
from typing import NamedTuple

from npusim.perfmodel.cost import Bound, Cost, Traffic, ranked
from npusim.perfmodel.engines.nn_steps import channels_per_kernel, kernel_time, tile_sizes
from npusim.perfmodel.engines.nn_traffic import (
    image_bytes,
    input_rows,
    row_lines_bytes,
    tile_image_bytes,
    write_bytes,
)
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes, planned_stream_bytes
from npusim.perfmodel.machine import Machine, NnEngine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork


class TileBytes(NamedTuple):
    """What an operation moves with a given tile.

    ``stream`` is the coefficient stream read once, ``kernel`` with the parts that are read again;
    ``image_cached``: superblocks after the first read the image from on-chip memory;
    ``write_cached``: a tile's output fits the write cache.
    """

    stream: float
    kernel: float
    image: float
    write: float
    command: float
    image_cached: bool
    write_cached: bool

    @property
    def total(self) -> float:
        """Return all bytes on the bus."""
        return self.kernel + self.image + self.write + self.command


def tile_bytes(work: NnWork, tile: Tile, machine: Machine, stream: int) -> TileBytes:
    """Return the bytes of an operation with a given tile and coefficient stream."""
    kernel, image, cached = read_bytes(work, tile, machine, stream)
    write, fits = write_bytes(work, tile, machine)
    return TileBytes(
        stream=stream,
        kernel=kernel,
        image=image,
        write=write,
        command=2.0 * machine.memory.line_bytes,
        image_cached=cached,
        write_cached=fits,
    )


def read_bytes(
    work: NnWork, tile: Tile, machine: Machine, stream: int
) -> tuple[float, float, bool]:
    """Return the bytes of coefficients and image that are read, and whether the image is kept.

    The tile's image has a place in on-chip memory if it fits, and with several superblocks it is
    read only once; the coefficients take what is left, and the part that does not fit is read
    again for every tile.
    """
    sram = machine.memory.vip_sram_bytes
    held = tile_image_bytes(work, tile)
    cached = held <= sram
    taken = held * work.dtype.itemsize  # 16-bit images are given twice the place they need
    room = sram - (taken if taken <= sram else 0)
    kept = min(1.0, room / planned_stream_bytes(work, stream, machine))
    image = image_bytes(work, tile, machine) * (1 if cached else tile.superblocks)
    return stream * (kept + (1 - kept) * (tile.columns * tile.rows)), image, cached


# What goes on at the same time in a superblock; the first of equals counts.
_OVERLAPPING = (Bound.COMPUTE, Bound.DECODE, Bound.SRAM, Bound.OUTPUT, Bound.DDR)


class _Clockwork:
    """Adds up cycles by what limited them."""

    __slots__ = ("by_bound", "compute")

    def __init__(self) -> None:
        self.by_bound: dict[Bound, float] = {}
        self.compute = 0.0

    def add(self, bound: Bound, cycles: float) -> None:
        self.by_bound[bound] = self.by_bound.get(bound, 0.0) + cycles


def time_tile(
    work: NnWork,
    tile: Tile,
    moved: TileBytes,
    machine: Machine,
    bytes_per_cycle: float,
    slowdown: float = 1.0,
    last_write_waits: bool = False,
) -> tuple[float, _Clockwork]:
    """Return the cycles of an operation and what they are made of.

    ``slowdown`` multiplies the work of the cores: cores the estimator assumes over cores there are.
    ``last_write_waits``: the operation ends when its last tile is in memory, as the driver assumes
    while it plans; the estimate ends when the last tile is computed.
    """
    bus = min(bytes_per_cycle, machine.nn.sram_bytes_per_cycle)
    cores = _Cores(work, tile, machine, slowdown)
    clockwork = _Clockwork()
    clockwork.add(Bound.LAUNCH, machine.nn.launch_cycles)
    if tile.superblocks == 1:
        last = 0.0 if last_write_waits else moved.write * tile.last_ratio(work)
        _one_superblock(work, tile, moved, machine, bus, cores, clockwork, last)
    else:
        _superblocks(work, tile, moved, machine, bus, cores, clockwork)
    return sum(clockwork.by_bound.values()), clockwork


class _Cores:
    """Cycles of products and of decoding for a tile of one superblock."""

    __slots__ = ("count", "decode", "depth", "full_height", "interleave", "lower", "time")

    def __init__(self, work: NnWork, tile: Tile, machine: Machine, slowdown: float) -> None:
        time = kernel_time(work, machine)
        channels = channels_per_kernel(work, machine)
        self.count = machine.nn.cores_count
        self.interleave = tile.interleave
        self.full_height = min(tile.height, work.out_h)
        self.time = time
        self.depth = -(-channels // time.channel_step) * time.channel_step * slowdown
        self.decode = time.decode * channels * slowdown / self.count
        # Decoding of a lower tile at the bottom may run ahead during the tiles above it.
        self.lower = tile.rows - 1

    def cycles(self, channels: float, height: int) -> tuple[float, float]:
        """Return (products, decoding) of ``channels`` outputs in a tile of ``height`` rows."""
        kernels = ceil(channels / self.count)
        decode = self.decode * channels
        if height == self.full_height:
            return self._products(kernels, height, lower=False), decode
        ahead = self._products(kernels, self.full_height, lower=False) - decode
        products = self._products(kernels, height, lower=True)
        return products, max(0.0, decode - self.lower * max(0.0, ahead))

    def _products(self, kernels: int, height: int, *, lower: bool) -> float:
        cycles = self.time.products(ceil(height / self.interleave), lower=lower)
        return max(kernels * cycles, self.time.least) * self.depth


def core_cycles(
    work: NnWork, tile: Tile, machine: Machine, channels: float, height: int
) -> tuple[float, float]:
    """Return cycles of (products, decoding) for ``channels`` outputs in a tile of `height` rows."""
    return _Cores(work, tile, machine, 1.0).cycles(channels, height)


def feed_cycles(
    work: NnWork, tile: Tile, height: int, width: int, stream: float, machine: Machine
) -> float:
    """Return the cycles in which a tile's image and coefficients reach the cores.

    Both come over one port of on-chip memory, each channel of the image in whole pieces, and
    coefficients anew for every tile. ``stream`` is the bytes of these. Kernels larger than one
    pixel need some cycles for every channel that the cores go through; where depthwise is native,
    a core is taken to go through its own channels only. Source: measured, single tiles of 4x4 to
    14x14 pixels and sequences of tiles; within 0.5 %.
    """
    nn, size = machine.nn, work.dtype.itemsize
    piece = nn.sram_piece_bytes
    rows = input_rows(work, tile.height) * height / work.out_h
    across = min(width + work.kernel_w - 1, work.in_w) * size
    channel = across * rows + piece - gcd(across, piece)
    feed = (work.in_c * channel + stream) / nn.sram_bytes_per_cycle
    if work.pointwise:
        return feed
    channels = channels_per_kernel(work, machine)
    if channels < work.in_c:
        channels *= tile.kernels_per_core
    return max(feed, nn.channel_cycles * channels)


def output_cycles(tile: Tile, width: int, height: int, itemsize: int, nn: NnEngine) -> float:
    """Return the cycles in which one channel of a tile leaves the accumulators.

    The rows that share an accumulator leave together, in the same groups of pixels for 8 and 16
    bits. Source: measured, sequences of tiles 9 to 60 pixels wide; integer agreement.
    """
    group = itemsize * ceil(tile.interleave * width / nn.output_bytes_per_cycle)
    return group * ceil(height / tile.interleave)


def leaving_cycles(
    work: NnWork, tile: Tile, width: int, height: int, channels: float, machine: Machine
) -> float:
    """Return the cycles in which ``channels`` outputs of a tile leave and are handed over.

    16-bit rows go to memory one by one, each in whole lines, and a narrower tile at the edge takes
    as long as a full one.
    """
    nn, size = machine.nn, work.dtype.itemsize
    if size == 1:
        return channels * output_cycles(tile, width, height, size, nn) + nn.handover_cycles
    width = min(tile.width, work.out_w)
    leaves = channels * output_cycles(tile, width, height, size, nn) + nn.handover_16bit_cycles
    half = 2 if work.pool > 1 else 1
    lines = row_lines_bytes(width // half, size, machine.memory.line_bytes)
    return max(leaves, channels * (height // half) * lines / nn.sram_bytes_per_cycle)


def _remainder(work: NnWork, tile: Tile, machine: Machine, channels: float) -> float:
    """Return the extra output time of a map that the tiles do not divide from top to bottom.

    Nothing is added in one pass that keeps all cores busy to its end. Source: measured, layers of
    21 to 50 channels without a DDR limit; integer agreement.
    """
    height = work.out_h - (tile.rows - 1) * tile.height
    width = work.out_w - (tile.columns - 1) * tile.width
    if height == min(tile.height, work.out_h):
        return 0.0
    if tile.superblocks == 1 and work.out_c % machine.nn.cores_count == 0:
        return 0.0
    row = ceil(width * work.dtype.itemsize / machine.nn.output_bytes_per_cycle)
    return channels * height * (row - 1)


def _one_superblock(
    work: NnWork,
    tile: Tile,
    moved: TileBytes,
    machine: Machine,
    bus: float,
    cores: _Cores,
    clockwork: _Clockwork,
    last: float,
) -> None:
    nn = machine.nn
    stages: dict[Bound, float] = {}
    idle = 0.0  # coefficients of a tile at the edge may come during the tiles before it
    # Nothing hides what the first tile waits for: its image, and the coefficients of all tiles.
    # Source: measured, sequences of two to four tiles at 2 to 100 bytes per cycle; within 0.2 %.
    height, width = cores.full_height, min(tile.width, work.out_w)
    first = moved.image * height * width / (work.out_h * work.out_w)
    first = (min(moved.stream, moved.kernel) + first + moved.command) / bus
    for height, width, count in tile_sizes(work, tile):
        products, decode = cores.cycles(work.out_c, height)
        feed = feed_cycles(work, tile, height, width, moved.stream, machine)
        feed -= min(idle, moved.stream / nn.sram_bytes_per_cycle)
        inner = max(products, decode, feed)
        bound = (
            Bound.COMPUTE if inner == products else Bound.DECODE if inner == decode else Bound.SRAM
        )
        out = leaving_cycles(work, tile, width, height, work.out_c, machine)
        outer = max(inner, out)
        idle += count * max(0.0, outer - feed)
        clockwork.compute += count * max(products, decode)
        later = count
        if not stages:  # nothing leaves during the first tile
            held = bound if inner >= first else Bound.DDR
            stages[held] = max(inner, first)
            later -= 1
        held = bound if inner >= out else Bound.OUTPUT
        stages[held] = stages.get(held, 0.0) + later * outer
    bus_cycles = (moved.total - last) / bus
    if bus_cycles >= sum(stages.values()):
        stages = {Bound.DDR: bus_cycles}
    for key, cycles in stages.items():
        clockwork.add(key, cycles)
    clockwork.add(Bound.OUTPUT, _remainder(work, tile, machine, work.out_c))


def _superblocks(
    work: NnWork,
    tile: Tile,
    moved: TileBytes,
    machine: Machine,
    bus: float,
    cores: _Cores,
    clockwork: _Clockwork,
) -> None:
    nn = machine.nn
    blocks = tile.superblocks
    pixels = work.out_w * work.out_h
    shares = _channels(work, tile, nn.cores_count)
    runs = _runs(shares)
    clockwork.add(Bound.LAUNCH, tile.number * _first_superblock_wait(work, tile, machine))
    again = max(0.0, moved.kernel - moved.stream) / max(1, tile.number - 1)
    sums = [[0.0] * len(_OVERLAPPING) for _ in runs]
    first_tile = True
    earlier = (1 - tile.last_ratio(work)) / max(1, tile.number - 1)  # size of the tile before
    for height, width, count in tile_sizes(work, tile):
        area = height * width / pixels
        for repeat in (1, count - 1) if first_tile else (count,):
            if not repeat:
                continue
            stream = min(moved.stream, moved.kernel) if first_tile else again
            before = 0.0 if first_tile else shares[-1]
            for (channels, _, first), times in zip(runs, sums, strict=True):
                part = channels / work.out_c
                products, decode = cores.cycles(channels, height)
                image = moved.image * area
                if not moved.image_cached:
                    image /= blocks
                elif not first:
                    image = 0.0
                written = moved.write * (earlier if first else area) * before / work.out_c
                now = (
                    products,
                    decode,
                    feed_cycles(work, tile, height, width, moved.stream * part, machine),
                    leaving_cycles(work, tile, width, height, before, machine),
                    (stream * part + image + written) / bus,
                )
                if first_tile and first:  # nothing has come out yet
                    clockwork.add(_OVERLAPPING[now.index(max(now))], max(now))
                    clockwork.compute += max(products, decode)
                else:
                    for index, cycles in enumerate(now):
                        times[index] += repeat * cycles
                before = channels
            first_tile = False
    for (_, times_over, _), times in zip(runs, sums, strict=True):
        longest = max(times)
        clockwork.add(_OVERLAPPING[times.index(longest)], times_over * longest)
        clockwork.compute += times_over * max(times[0], times[1])
    clockwork.add(Bound.OUTPUT, _remainder(work, tile, machine, shares[-1]))


def _first_superblock_wait(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the cycles between two tiles that nothing hides when there are several superblocks.

    The accumulators are emptied before the next tile's image is there; when they are full, even
    the first output rows of it wait. Source: DDR-bound layers of the performance tables and of
    fresh questions; integer agreement.
    """
    nn = machine.nn
    groups = ceil(min(tile.height, work.out_h) / tile.interleave)
    held = tile.kernels_per_core * groups
    wait = nn.superblock_cycles + nn.superblock_group_cycles * held
    if held >= nn.accumulator_depth_count:
        row = ceil(tile.width * work.dtype.itemsize / nn.output_bytes_per_cycle)
        wait += nn.cores_count * tile.interleave * row
    return wait


def _runs(shares: list[float]) -> list[tuple[float, int, bool]]:
    """Return (channels, how often, whether first) with equal superblocks in the middle joined."""
    middle = [(shares[1], len(shares) - 2, False)] if len(shares) > 2 else []
    return [(shares[0], 1, True), *middle, (shares[-1], 1, False)]


def _channels(work: NnWork, tile: Tile, cores: int) -> list[float]:
    """Return the output channels of each superblock."""
    full = cores * tile.kernels_per_core
    rest = work.out_c - full * (tile.superblocks - 1)
    if rest <= 0:
        return [work.out_c / tile.superblocks] * tile.superblocks
    return [float(full)] * (tile.superblocks - 1) + [float(rest)]


def price_tile(
    work: NnWork,
    tile: Tile,
    machine: Machine,
    bytes_per_cycle: float,
    slowdown: float = 1.0,
) -> Cost:
    """Return cycles and bytes of an operation with a given tile."""
    moved = tile_bytes(work, tile, machine, kernel_stream_bytes(work, tile, machine))
    cycles, clockwork = time_tile(work, tile, moved, machine, bytes_per_cycle, slowdown)
    blocks = tile.superblocks
    return Cost(
        cycles=cycles,
        compute_cycles=clockwork.compute,
        traffic=Traffic(
            ddr_image_bytes=moved.image,
            ddr_kernel_bytes=moved.kernel,
            ddr_command_bytes=moved.command,
            ddr_write_bytes=moved.write,
            sram_image_bytes=moved.image * (blocks - 1) if moved.image_cached else 0.0,
            sram_kernel_bytes=max(0.0, moved.stream * tile.number - moved.kernel),
        ),
        bound_cycles=ranked(clockwork.by_bound),
    )
