"""Which tile the driver takes: the cheapest by its own, coarser view of the traffic.

While it plans, the driver

- holds a tile's output against the write cache: below half of its lines every byte is written
  once, below the whole a fifth more; beyond that the lines that miss cost more than once, less so
  where rows are whole lines, halves or quarters of one. Tiles at the bottom of the map count as
  full ones, and the output of the last is waited for: no operation is shorter than its bytes on
  the bus;
- takes maps of as many channels as the cache has lines, which never fit, as the estimate does;
- takes rows of a quarter or half a line to be fetched one by one;
- lets the image of the first tile arrive before a tile that waits for its image is worked on;
- weighs bytes beside cycles: one twentieth as many per cent.

Source: fitted to the choices in the performance tables and to choices asked for on purpose; it
agrees with three quarters of them, and costs little more or less where it does not
(docs/performance-model.md).
"""

from functools import lru_cache
from math import gcd

from npusim.errors import MachineError
from npusim.perfmodel.engines.nn import read_bytes, tile_bytes
from npusim.perfmodel.engines.nn_time import core_cycles, time_tile
from npusim.perfmodel.engines.nn_traffic import (
    TileBytes,
    aligned_bytes,
    input_rows,
    output_pitch_bytes,
)
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile, legal_tiles
from npusim.perfmodel.workload import NnWork


@lru_cache(maxsize=8192)
def plan(work: NnWork, machine: Machine, bytes_per_cycle: float) -> Tile:
    """Return the tile the driver takes for an operation at a DDR rate.

    Raises
    ------
    MachineError
        When no tile fits the accumulators and the input buffer.
    """
    nn = machine.nn
    bus = min(bytes_per_cycle, nn.sram_bytes_per_cycle)
    streams: dict[int, int] = {}
    # The bus alone is a lower bound, with or without the output of the last tile: taken in the
    # order of what they move at least, few tiles have to be looked at closely.
    waits = _weighs_cache(work, machine)
    written = _least_written_bytes(work, machine)
    weight = nn.planned_bytes_ratio
    bounded: list[tuple[float, int, Tile, int]] = []
    for index, tile in enumerate(legal_tiles(work, machine)):
        stream = streams.get(tile.kernels_per_core)
        if stream is None:
            stream = kernel_stream_bytes(work, tile, machine)
            streams[tile.kernels_per_core] = stream
        kernel, image, _ = read_bytes(work, tile, machine, stream)
        moves = kernel + image + written * (1 - (0.0 if waits else tile.last_ratio(work)))
        bound = moves / bus * (kernel + image + written) ** weight
        bounded.append((bound, index, tile, stream))
    bounded.sort()
    best: tuple[float, int, Tile] | None = None
    for bound, index, tile, stream in bounded:
        if best is not None and bound > best[0]:
            break
        moved = tile_bytes(work, tile, machine, stream)
        planned = planned_bytes(work, tile, moved, machine)
        ends = 0.0 if waits else planned.write * tile.last_ratio(work)
        least = (planned.total - ends) / bus
        moves = planned.total**weight
        if best is not None and least * moves > best[0]:
            continue
        score = time_tile(work, tile, planned, machine, bytes_per_cycle, last_write_waits=waits)[0]
        score = max(least, score, first_image_cycles(work, tile, planned, machine, bus))
        if best is not None and score * moves > best[0]:
            continue
        # What the operation really takes decides between tiles that look the same.
        score += nn.planned_true_ratio * time_tile(work, tile, moved, machine, bytes_per_cycle)[0]
        # Cycles and bytes are compared as shares of the larger: 1 % of cycles for 20 % of bytes.
        score *= moves
        if best is None or (score, index) < best[:2]:
            best = (score, index, tile)
    if best is None:
        raise MachineError(
            f"no tile of a {work.out_w}x{work.out_h}x{work.out_c} map with kernel "
            f"{work.kernel_w}x{work.kernel_h} fits {machine.name}",
            rule=f"kernels reach {machine.nn.kernel_max_pixels} pixels on the NN engine",
        )
    return best[2]


def first_image_cycles(
    work: NnWork, tile: Tile, planned: TileBytes, machine: Machine, bus: float
) -> float:
    """Return the cycles of tiles that wait for their image, behind the arrival of the first one.

    0 where products or decoding take longer than feeding the image from on-chip memory. ``bus``:
    bytes per cycle.
    """
    nn = machine.nn
    height, width = min(tile.height, work.out_h), min(tile.width, work.out_w)
    share = height * width / (work.out_h * work.out_w)
    image = planned.image * share
    block = min(1.0, tile.kernels_per_core * nn.cores_count / work.out_c)
    if image / nn.sram_bytes_per_cycle <= max(core_cycles(work, tile, machine)) * share * block:
        return 0.0
    on_chip = planned._replace(stream=0.0, kernel=0.0, write=0.0, command=0.0)
    stages: float = time_tile(work, tile, on_chip, machine, nn.sram_bytes_per_cycle)[0]
    return stages + nn.planned_first_image_ratio * image / bus


def _weighs_cache(work: NnWork, machine: Machine) -> bool:
    """Tell whether a tile's output may fit the write cache at all: a line for each channel."""
    return work.out_c < machine.memory.write_cache_bytes // machine.memory.line_bytes


def _least_written_bytes(work: NnWork, machine: Machine) -> float:
    """Return what no tile writes less than, as the driver sees it."""
    nn = machine.nn
    ratios = (
        *(nn.planned_hit_ratio, nn.planned_miss_ratio),
        *(nn.planned_line_miss_ratio, nn.planned_column_miss_ratio),
    )
    dense = work.final_w * work.final_h * work.out_c * work.dtype.itemsize
    return dense * min(1.0, *ratios)


def planned_bytes(work: NnWork, tile: Tile, moved: TileBytes, machine: Machine) -> TileBytes:
    """Return the traffic of a tile as the driver sees it while it plans."""
    nn, line, size = machine.nn, machine.memory.line_bytes, work.dtype.itemsize
    image = moved.image
    short = work.in_w * size in (line // 4, line // 2)
    if work.pointwise and tile.columns == 1 and short:
        image = float(line * input_rows(work, tile.height) * work.in_c)
        image *= 1 if moved.image_cached else tile.superblocks
    dense = work.final_w * work.final_h * work.out_c * size
    capacity = machine.memory.write_cache_bytes // line
    write = moved.write
    if _weighs_cache(work, machine):
        lines = output_lines(work, tile, machine) * work.out_c
        if lines < capacity / 2:
            write = min(write, 1.05 * dense)
        elif lines < capacity:
            write = 1.2 * dense
        else:
            if tile.columns > 1:
                miss = nn.planned_column_miss_ratio
            elif work.final_w * size % line == 0 or work.final_w * size in (line // 4, line // 2):
                miss = nn.planned_line_miss_ratio
            else:
                miss = nn.planned_miss_ratio
            hits = capacity / lines
            write = (nn.planned_hit_ratio * hits + miss * (1 - hits)) * dense
        write *= max(1.0, tile.rows * tile.height / work.out_h)
    return moved._replace(image=image, write=write)


def output_lines(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the lines of one channel of a tile's output, as the driver counts them.

    Starts of tiles are taken to be less regular than they are: aligned to twice what a row is
    aligned to at best, and to less than that for rows that divide a line.
    """
    line, size = machine.memory.line_bytes, work.dtype.itemsize
    half = 2 if work.pool > 1 else 1
    width = min(max(1, tile.width // half), work.final_w)
    height = min(max(1, tile.height // half), work.final_h)
    row, part = work.final_w * output_pitch_bytes(work, machine), width * size
    plane = row * work.final_h
    edge = (work.final_w - (-(-work.final_w // width) - 1) * width) * size
    if part < row and row - part >= line:
        return aligned_bytes(part, gcd(gcd(row, plane), edge), line) * height / line
    step = gcd(gcd(row * height, plane), line)
    if part < row:
        step = gcd(step, edge)
    step = row if row in (line // 4, line // 2) and height > 1 else min(step, 2 * gcd(row, line))
    return (row * (height - 1) + part + line - step) / line
