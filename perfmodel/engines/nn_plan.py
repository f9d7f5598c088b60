"""Which tile the driver takes: the cheapest by its own, coarser view of the traffic.

While it plans, the driver

- holds a tile's output against the write cache: below half of its lines every byte is written
  once, below the whole a little more often; beyond that the lines that miss cost more than once,
  less so where rows are whole lines, halves or quarters of one. No operation is shorter than its
  bytes on the bus, the output of the last tile included;
- takes maps of as many channels as the cache has lines, which never fit, as the estimate does;
- takes rows of a quarter or half a line to be fetched one by one;
- lets the image of the first tile arrive before a tile that waits for its image is worked on, and
  cuts tiles into columns for that (`first_column_cycles`);
- weighs bytes beside cycles: one twentieth as many per cent.

Source: asked for on purpose where nothing else is said, the constants fitted to 24 000 choices; it
agrees with four fifths of them, and costs little more or less where it does not
(docs/performance-model.md).
"""

from functools import lru_cache
from math import ceil, gcd

from npusim.errors import MachineError
from npusim.perfmodel.engines.nn import read_bytes, tile_bytes
from npusim.perfmodel.engines.nn_time import (
    core_cycles,
    feed_cycles,
    superblock_waits,
    time_tile,
    weighs_cache,
)
from npusim.perfmodel.engines.nn_traffic import (
    CACHED_WRITE_RATIO,
    TileBytes,
    aligned_bytes,
    input_rows,
    output_pitch_bytes,
)
from npusim.perfmodel.engines.nn_weights import kernel_stream_bytes
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile, legal_tiles, make_tile
from npusim.perfmodel.workload import NnWork

# Rows of a tile from which columns count as the least fortunate.
_COLUMN_ROWS = 3


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
    waits = weighs_cache(work, machine)
    written = _least_written_bytes(work, machine)
    weight = nn.planned_bytes_ratio
    bounded: list[tuple[float, int, Tile, int]] = []
    for index, tile in enumerate(legal_tiles(work, machine)):
        stream = streams.get(tile.kernels_per_core)
        if stream is None:
            stream = kernel_stream_bytes(work, tile, machine)
            streams[tile.kernels_per_core] = stream
        kernel, image, _ = read_bytes(work, tile, machine, stream, planned=True)
        moves = kernel + image + written * (1 - (0.0 if waits else tile.last_ratio(work)))
        bound = moves / bus * (kernel + image + written) ** weight
        bounded.append((bound, index, tile, stream))
    bounded.sort()
    best: tuple[float, int, Tile] | None = None
    for bound, index, tile, stream in bounded:
        if best is not None and bound > best[0]:
            break
        planned = planned_bytes(work, tile, machine, stream, bus)
        ends = 0.0 if waits else planned.write * tile.last_ratio(work)
        moves = planned.total**weight
        if best is not None and (planned.total - ends) / bus * moves > best[0]:
            continue
        score = planned_cycles(work, tile, planned, machine, bytes_per_cycle)
        if best is not None and score * moves > best[0]:
            continue
        # What the operation really takes decides between tiles that look the same.
        moved = tile_bytes(work, tile, machine, stream)
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


def planned_cycles(
    work: NnWork, tile: Tile, planned: TileBytes, machine: Machine, bytes_per_cycle: float
) -> float:
    """Return how long an operation takes with a tile and its traffic, as the driver sees them."""
    bus = min(bytes_per_cycle, machine.nn.sram_bytes_per_cycle)
    cycles = time_tile(work, tile, planned, machine, bytes_per_cycle, planned=True)[0]
    cycles = max(cycles, first_column_cycles(work, tile, planned, machine, bus))
    if not weighs_cache(work, machine):
        return cycles
    between = superblock_waits(work, tile, machine)
    return max(cycles, machine.nn.launch_cycles + between + planned.total / bus)


def first_column_cycles(
    work: NnWork, tile: Tile, planned: TileBytes, machine: Machine, bus: float
) -> float:
    """Return the cycles of a tile that is cut into columns, of which the first waits for the bus.

    ``bus``: bytes per cycle. Kernels larger than one pixel: nothing hides the coefficients and the
    image of a first column that needs all columns of the input; what is left of the tile's width is
    the last column, and all but that is fed from on-chip memory behind it. Source: rates at which
    single tiles are given up, 3x3 kernels, maps 16 to 48 wide; within 1 % (32x16: 30 and 2
    columns). Pointwise kernels: the same with half of the tile, where feeding is what takes long.
    """
    nn = machine.nn
    height, width = min(tile.height, work.out_h), min(tile.width, work.out_w)
    share = height * width / (work.out_h * work.out_w)
    image = planned.image * share
    if not work.pointwise:
        whole = _whole_image_cycles(work, tile, planned, machine, bus)
        fed, stream, channels = feed_cycles(work, tile, planned.stream, machine)
        behind = max(fed, channels - stream * tile.number)
        first, last = max(1, width - work.kernel_w + 1), min(width, work.kernel_w - 1)
        waits = (planned.kernel + image * first / width) / bus
        behind *= 1 - last / (width * tile.number)
        return max(nn.launch_cycles + waits + behind, whole)
    block = min(1.0, tile.kernels_per_core * nn.cores_count / work.out_c)
    if image / nn.sram_bytes_per_cycle <= max(core_cycles(work, tile, machine)) * share * block:
        return 0.0
    on_chip = planned._replace(stream=0.0, kernel=0.0, write=0.0, command=0.0)
    stages: float = time_tile(work, tile, on_chip, machine, nn.sram_bytes_per_cycle)[0]
    return stages + nn.planned_first_image_ratio * image / bus


def _whole_image_cycles(
    work: NnWork, tile: Tile, planned: TileBytes, machine: Machine, bus: float
) -> float:
    """Return what reading takes at least where a tile that needs all rows is not seen as whole.

    A map that is padded at the right or bottom only (2x2 kernels), or of which the tile leaves
    output rows to another, is taken to be read row by row, in columns of half its width. Source:
    sizes of coefficients at which single tiles are given up while only reads count, 7 to 64 pixels;
    within 1 %.
    """
    pads = [work.out_w + work.kernel_w - 1 - work.in_w, work.out_h + work.kernel_h - 1 - work.in_h]
    left, top = (max(0, pad) // 2 for pad in pads)
    if tile.columns > 1 or tile.height + work.kernel_h - 1 - top < work.in_h:
        return 0.0
    if tile.rows == 1 and (pads[0] <= 0 or work.out_w + left > work.in_w):
        return 0.0
    line, size = machine.memory.line_bytes, work.dtype.itemsize
    half = ceil(work.out_w / 2)
    cut = make_tile(work, machine, half, tile.height)
    blocks = cut.superblocks if cut is not None else 1
    row = aligned_bytes((half + work.kernel_w - 1) * size, gcd(work.in_w * size, line), line)
    image = max(blocks * row, tile.superblocks * work.in_w * size) * work.in_h * work.in_c
    return machine.nn.launch_cycles + (planned.kernel + image) / bus


def _least_written_bytes(work: NnWork, machine: Machine) -> float:
    """Return what no tile writes less than, as the driver sees it."""
    nn = machine.nn
    ratios = (
        *(nn.planned_cached_ratio, nn.planned_hit_ratio, nn.planned_miss_ratio),
        *(nn.planned_column_cached_ratio, nn.planned_column_hit_ratio),
        *(nn.planned_line_miss_ratio, nn.planned_column_miss_ratio, nn.planned_shallow_miss_ratio),
    )
    dense = work.final_w * work.final_h * work.out_c * work.dtype.itemsize
    return dense * min(1.0, *ratios)


def planned_bytes(work: NnWork, tile: Tile, machine: Machine, stream: int, bus: float) -> TileBytes:
    """Return the traffic of a tile as the driver sees it while it plans; ``bus``: bytes a cycle."""
    line, size = machine.memory.line_bytes, work.dtype.itemsize
    moved = tile_bytes(work, tile, machine, stream, planned=True)
    image = moved.image
    short = work.in_w * size in (line // 4, line // 2)
    if work.pointwise and tile.columns == 1 and short:
        image = float(line * input_rows(work, tile.height) * work.in_c)
        image *= 1 if moved.image_cached else tile.superblocks
    if not weighs_cache(work, machine):
        return moved._replace(image=image)
    return moved._replace(image=image, write=_planned_write(work, tile, machine, moved.write, bus))


def _planned_write(work: NnWork, tile: Tile, machine: Machine, written: float, bus: float) -> float:
    """Return the output's bytes by what of a tile fits the write cache; ``written``: estimate."""
    nn, line = machine.nn, machine.memory.line_bytes
    row = work.final_w * work.dtype.itemsize
    dense = row * work.final_h * work.out_c
    capacity = machine.memory.write_cache_bytes // line
    fast = bus >= nn.sram_bytes_per_cycle / 2
    lines = output_lines(work, tile, machine) * work.out_c
    cut = tile.columns > 1
    if fast and work.pointwise and work.in_c <= nn.planned_shallow_channels_count:
        stacked = lines if cut else _stacked_lines(work, tile, line) * work.out_c
        if stacked >= capacity:
            return nn.planned_shallow_miss_ratio * dense
        if lines >= capacity:
            return CACHED_WRITE_RATIO * dense
    if lines < capacity / 2:
        write = min(written, 1.05 * dense)
    elif lines < capacity:
        write = (nn.planned_column_cached_ratio if cut else nn.planned_cached_ratio) * dense
    else:
        hit = nn.planned_column_hit_ratio if cut else nn.planned_hit_ratio
        if cut:
            miss = nn.planned_column_miss_ratio
        elif row % line == 0 or row in (line // 4, line // 2):
            miss = nn.planned_line_miss_ratio
        else:
            miss = nn.planned_miss_ratio
        hits = capacity / lines
        write = (hit * hits + miss * (1 - hits)) * dense
    # Tiles at the bottom that are lower count for about half of what they lack.
    lower: float = (tile.rows * tile.height / work.out_h) ** nn.planned_lower_ratio
    return write * lower


def _stacked_lines(work: NnWork, tile: Tile, line: int) -> float:
    """Return the lines of one channel of a full-width tile whose first row takes one of its own.

    Source: channels at which pointwise layers of two input channels give up tiles of two to four
    rows without a DDR limit, 32 widths of 7 to 64 pixels: exact.
    """
    rows = min(max(1, tile.height // (2 if work.pool > 1 else 1)), work.final_h)
    return max(1.0, 1 + (rows - 1) * work.final_w * work.dtype.itemsize / line)


def output_lines(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the lines of one channel of a tile's output, as the driver counts them.

    Starts of tiles are taken to be less regular than they are: aligned to twice what a row is
    aligned to at best, and to less than that for rows that divide a line. Columns that are a line
    or more apart count as the least fortunate of the next equal cuts (`_most_column_lines`).
    """
    line, size = machine.memory.line_bytes, work.dtype.itemsize
    half = 2 if work.pool > 1 else 1
    width = min(max(1, tile.width // half), work.final_w)
    height = min(max(1, tile.height // half), work.final_h)
    row, part = work.final_w * output_pitch_bytes(work, machine), width * size
    plane = row * work.final_h
    if part < row and row - part >= line:
        lines = aligned_bytes(part, gcd(gcd(row, plane), part), line) * height / line
        if height < _COLUMN_ROWS:
            return lines
        return max(lines, _most_column_lines(work.final_w * size, line) * height)
    step = gcd(gcd(row * height, plane), line)
    if part < row:
        step = gcd(step, row - part)
    step = row if row in (line // 4, line // 2) and height > 1 else min(step, 2 * gcd(row, line))
    return (row * (height - 1) + part + line - step) / line


@lru_cache(maxsize=1024)
def _most_column_lines(row: int, line: int) -> float:
    """Return the lines of a row of a column, whichever of three equal cuts touches the most.

    The widest columns that are legal, and one and two more of them across. Source: channels at
    which tiles of 4 to 10 rows are given up, maps 128 to 320 wide (128: three columns of 43 bytes,
    1.66 lines; 320: six of 54, 1.81), each height within one channel.
    """
    first = ceil(row / line)
    widths = (ceil(row / columns) for columns in range(first, first + 3))
    return max(aligned_bytes(width, gcd(row, width), line) / line for width in widths)
