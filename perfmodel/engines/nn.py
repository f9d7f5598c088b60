"""Convolution cores: what an operation costs with a given tile.

Tiles follow one another; each goes through the kernels in superblocks. Source: measured, see
docs/performance-model.md; with the driver's own tile the median error is below 0.1 %.
"""

from npusim.perfmodel.cost import Cost, Traffic, ranked
from npusim.perfmodel.engines.nn_time import time_tile
from npusim.perfmodel.engines.nn_traffic import (
    TileBytes,
    image_bytes,
    keeps_image,
    kept_image_bytes,
    write_bytes,
)
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes, planned_stream_bytes
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork


def tile_bytes(
    work: NnWork, tile: Tile, machine: Machine, stream: int, planned: bool = False
) -> TileBytes:
    """Return the bytes of an operation with a given tile and coefficient stream.

    ``planned``: what is read as the driver sees it while it plans.
    """
    kernel, image, cached = read_bytes(work, tile, machine, stream, planned)
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
    work: NnWork, tile: Tile, machine: Machine, stream: int, planned: bool = False
) -> tuple[float, float, bool]:
    """Return the bytes of coefficients and image that are read, and whether the image is kept.

    With several superblocks the tile's image is read only once if it is kept on the chip. The
    coefficients take the place beside it, and where they do not fit, the part of what the driver
    reserves for them that does not is read again for every tile. While it plans (``planned``) the
    driver gives either all of the on-chip memory, as if the other were not there.
    """
    sram = beside = machine.memory.vip_sram_bytes
    if planned:
        cached = tile.superblocks == 1 or kept_image_bytes(work, tile) <= sram
    else:
        cached = keeps_image(work, tile, machine)
        place = kept_image_bytes(work, tile)
        beside -= place if place <= sram else 0
    kept = 1.0
    if planned or stream > beside:
        kept = min(1.0, beside / planned_stream_bytes(work, stream, machine))
    image = image_bytes(work, tile, machine) * (1 if cached else tile.superblocks)
    return stream * (kept + (1 - kept) * (tile.columns * tile.rows)), image, cached


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
    return Cost(
        cycles=cycles,
        compute_cycles=clockwork.compute,
        traffic=traffic_of(moved, tile),
        bound_cycles=ranked(clockwork.by_bound),
    )


def traffic_of(moved: TileBytes, tile: Tile) -> Traffic:
    """Return the bytes of an operation by memory and kind."""
    blocks = tile.superblocks
    return Traffic(
        ddr_image_bytes=moved.image,
        ddr_kernel_bytes=moved.kernel,
        ddr_command_bytes=moved.command,
        ddr_write_bytes=moved.write,
        sram_image_bytes=moved.image * (blocks - 1) if moved.image_cached else 0.0,
        sram_kernel_bytes=max(0.0, moved.stream * tile.number - moved.kernel),
    )
