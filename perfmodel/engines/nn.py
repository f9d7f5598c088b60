"""Convolution cores: tiles, superblocks, zero skipping, coefficient stream, one DDR bus.

Compute, DDR, on-chip memory and output overlap inside a superblock (the largest counts);
superblocks and operations follow one another. Source: measured; see docs/performance.md.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from npusim.errors import MachineError
from npusim.ir.dtypes import DType
from npusim.perfmodel.cost import Bound, Cost, Traffic, ranked
from npusim.perfmodel.engines.nn_traffic import image_bytes, tile_image_bytes, write_bytes
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile, legal_tiles
from npusim.perfmodel.workload import NnWork


@dataclass(frozen=True, slots=True, kw_only=True)
class NnPlan:
    """The tile of an operation with its bytes and cycles."""

    tile: Tile
    kernel_bytes: float
    image_bytes: float
    write_bytes: float
    image_cached: bool
    write_cached: bool
    cost: Cost


def skip_ratio(zero_rows: float) -> float:
    """Return the cost of a row of three taps relative to dense.

    ``zero_rows`` is the share of rows that are all zero. Source: fitted to measured cycles.
    """
    full = 1 - zero_rows
    if full <= 0:
        return 1 / 6
    return full + full * zero_rows**2 + full * zero_rows**7 / (1 - zero_rows**6)


def compute_cycles(work: NnWork, tile: Tile, machine: Machine, cores_ratio: float = 1.0) -> float:
    """Return the cycles of the multipliers alone, for all superblocks.

    ``cores_ratio`` slows the arithmetic: cores the estimator assumes over cores that exist.
    """
    nn = machine.nn
    kernels = ceil(work.out_c / nn.cores_count)
    heights = [min(tile.height, work.out_h - top) for top in range(0, work.out_h, tile.height)]
    groups = [ceil(height / tile.interleave) for height in heights]
    side = max(work.kernel_w, work.kernel_h)
    floating = work.dtype is DType.F16
    table = (
        nn.float_cycles_per_group
        if floating
        else nn.single_tile_cycles_per_group
        if tile.count == 1
        else nn.multi_tile_cycles_per_group
    )
    cost = table[side - 1] if side <= len(table) else side * side * 0.28
    if work.kernel_w != work.kernel_h and not floating:
        cost = work.kernel_h * ceil(work.kernel_w / 3) * (1.2 if work.kernel_w % 3 == 2 else 1)
    taps = work.kernel_w * work.kernel_h * (1 - work.zero_fraction)
    if work.tap_ratio:
        taps *= work.tap_ratio
        cost *= 0.94 if side == 2 else max(work.tap_ratio, 0.8)
    zero_rows = work.zero_fraction ** min(work.kernel_w, nn.depth_products_count)
    if work.depthwise:
        zero_rows = 1 - (1 - zero_rows) / work.in_c
        taps /= work.in_c
    skip = 1.0 if side == 1 else skip_ratio(zero_rows)
    if floating:
        skip = 0.2 if work.depthwise else max(1 - work.zero_fraction, 0.25)
    per_kernel = sum(max(g * cost * skip, taps) for g in groups) * tile.columns
    return per_kernel * kernels * work.in_c * cores_ratio


def price_tile(
    work: NnWork,
    tile: Tile,
    machine: Machine,
    ddr_bytes_per_cycle: float,
    cores_ratio: float = 1.0,
) -> NnPlan:
    """Return bytes and cycles of an operation with a given tile."""
    nn, sram = machine.nn, machine.memory.vip_sram_bytes
    stream = kernel_stream_bytes(work, tile, machine)
    blocks = tile.superblocks
    cache = tile_image_bytes(work, tile) if blocks > 1 else 0
    cached = cache <= sram
    kept = min(1.0, max(0.0, sram - (cache if cached else 0)) / stream)
    kernel = stream * (kept + (1 - kept) * tile.count)
    image = image_bytes(work, tile, machine) * (1 if cached else blocks)
    write, fits = write_bytes(work, tile, machine)
    command = 2.0 * machine.memory.line_bytes
    compute = compute_cycles(work, tile, machine, cores_ratio)
    output = work.out_w * work.out_h * work.out_c / nn.output_values_per_cycle
    bus, width = ddr_bytes_per_cycle, nn.sram_bytes_per_cycle
    read = kernel + image + command
    by_bound: dict[Bound, float] = {Bound.LAUNCH: nn.launch_cycles}

    def longest(times: dict[Bound, float], count: int = 1) -> None:
        bound = max(times, key=lambda b: times[b])
        by_bound[bound] = by_bound.get(bound, 0.0) + times[bound] * count

    if blocks == 1:
        ddr, last = (read + write) / bus, write * tile.last_ratio(work) / bus
        if compute / tile.count < last:  # nobody waits for the last tile's write
            ddr -= min(last, ddr / 2)
        sram_time = max(read, write) / width
        longest(
            {Bound.DDR: ddr, Bound.COMPUTE: compute, Bound.OUTPUT: output, Bound.SRAM: sram_time}
        )
    else:
        once = image if cached else 0.0  # a cached image arrives during the first superblock
        later = read - once
        longest(
            {
                Bound.DDR: (once + (later + write) / blocks) / bus,
                Bound.COMPUTE: compute / blocks,
                Bound.OUTPUT: output / blocks,
                Bound.SRAM: (once + later / blocks) / width,
            }
        )
        longest(
            {
                Bound.DDR: (later + write) / bus / blocks,
                Bound.COMPUTE: compute / blocks,
                Bound.OUTPUT: output / blocks,
                Bound.SRAM: max(later, write) / width / blocks,
            },
            blocks - 1,
        )
    cost = Cost(
        cycles=sum(by_bound.values()),
        compute_cycles=compute,
        traffic=Traffic(
            ddr_image_bytes=image,
            ddr_kernel_bytes=kernel,
            ddr_command_bytes=command,
            ddr_write_bytes=write,
            sram_image_bytes=image * (blocks - 1) if cached else 0.0,
            sram_kernel_bytes=stream * kept * (tile.count - 1),
        ),
        bound_cycles=ranked(by_bound),
    )
    return NnPlan(
        tile=tile,
        kernel_bytes=kernel,
        image_bytes=image,
        write_bytes=write,
        image_cached=cached,
        write_cached=fits,
        cost=cost,
    )


@lru_cache(maxsize=4096)
def plan(work: NnWork, machine: Machine, ddr_bytes_per_cycle: float) -> Tile:
    """Return the tile the driver takes for an operation at a DDR rate.

    Raises
    ------
    MachineError
        When no tile fits the accumulators and the input buffer.
    """
    nn = machine.nn
    best: tuple[float, Tile] | None = None
    for tile in legal_tiles(work, machine):
        priced = price_tile(work, tile, machine, ddr_bytes_per_cycle)
        score = priced.cost.cycles + nn.tile_launch_cycles * tile.count * tile.superblocks
        if not priced.write_cached:
            dense = work.final_w * work.final_h * work.out_c * work.dtype.itemsize
            score += nn.uncached_write_ratio * dense / ddr_bytes_per_cycle
        if best is None or score < best[0]:
            best = (score, tile)
    if best is None:
        raise MachineError(
            f"no tile of a {work.out_w}x{work.out_h}x{work.out_c} map with kernel "
            f"{work.kernel_w}x{work.kernel_h} fits {machine.name}",
            rule=f"kernels reach {machine.nn.kernel_max_pixels} pixels on the NN engine",
        )
    return best[1]
