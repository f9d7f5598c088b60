"""Bytes of an NN operation: image and output, with their line alignment.

Memory is moved in lines; a piece of ``size`` bytes whose start is any multiple of ``step`` touches
``aligned_bytes(size, step, line)`` on average. Source: measured; with the estimator's own tile
image and written bytes agree within 1 % in 98 % of the rows of the performance tables.
"""

from functools import lru_cache
from math import ceil, gcd
from typing import NamedTuple

from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork

CACHED_WRITE_RATIO = 1.2
"""How often a tile is written that takes half of the write cache or more, and fits it."""


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


def round_up(value: float, step: int) -> int:
    """Return the next multiple of ``step``."""
    return -(-ceil(value) // step) * step


@lru_cache(maxsize=16384)
def aligned_bytes(size: int, step: int, line: int) -> int:
    """Return the bytes of the lines that a piece touches, averaged over starts that divide evenly.

    ``step`` divides every start address. Formula: size, rounded up to the step, plus a line less a
    step.
    """
    common = gcd(step, line)
    return round_up(size, common) + line - common


@lru_cache(maxsize=8192)
def _exact_bytes(size: int, start: int, step: int, line: int) -> float:
    """As ``aligned_bytes``, for pieces that start at ``start`` plus multiples of ``step``."""
    count = line // step
    lines = sum(-(-((start + j * step) % line + size) // line) for j in range(count))
    return lines * line / count


def input_rows(work: NnWork, height: int) -> int:
    """Return the input rows that all row tiles read, halo included, edges clipped."""
    return _rows_read(work.in_h, work.out_h, work.kernel_h, height)


@lru_cache(maxsize=8192)
def _rows_read(in_h: int, out_h: int, kernel_h: int, height: int) -> int:
    pad = max(0, (out_h - 1 + kernel_h - in_h) // 2)
    halo = kernel_h - 1
    tiles = -(-out_h // height)
    total = out_h + tiles * halo
    for top in range(0, min(pad, out_h), height):  # tiles that begin above the map
        total -= pad - top
    for index in range(tiles - 1, -1, -1):  # tiles that end below it
        over = min(out_h, (index + 1) * height) - pad + halo - in_h
        if over <= 0:
            break
        total -= over
    return total


class _Fetch(NamedTuple):
    """How the tiles of a map are fetched, whatever the number of channels.

    ``rows`` are the input rows of all tiles in a column, ``reach`` those of one tile. ``per_row``
    is what a row of a channel takes, of all columns; 0 where several rows are one read of
    ``per_tile`` bytes a channel, and both are 0 where a tile reads whole channels.
    """

    rows: int
    reach: int
    per_tile: int
    per_row: float


def image_bytes(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the bytes of one pass over the input image, each tile's rounded up to lines.

    Maps that fit one tile are one contiguous read; tiles that need the full width read their rows
    at once; pointwise kernels and other column tiles fetch every row by itself.
    """
    line, columns = machine.memory.line_bytes, tile.columns
    # The row that pads an odd map for pooling is fetched as well.
    in_h = max(work.in_h, work.out_h) if work.pointwise else work.in_h
    fetch = _fetch(
        *(work.in_w, in_h, work.out_w, work.out_h, work.kernel_w, work.kernel_h),
        *(work.dtype.itemsize, tile.width, tile.height, columns, line),
        bool(machine.memory.rows_fetched_apart_count),
    )
    rows, reach, per_tile, per_row = fetch
    if per_row:
        total = per_row * rows * work.in_c
    elif per_tile:
        total = columns * (per_tile * work.in_c) * rows / reach
    else:
        whole = work.in_w * work.dtype.itemsize * work.in_h * work.in_c
        total = columns * round_up(aligned_bytes(whole, whole, line), line) * rows / work.in_h
    inner = total / columns * reach / rows
    return round_up(total + columns * tile.rows * (round_up(inner, line) - inner), line)


@lru_cache(maxsize=32768)
def _fetch(
    in_w: int,
    in_h: int,
    out_w: int,
    out_h: int,
    kernel_w: int,
    kernel_h: int,
    size: int,
    width: int,
    height: int,
    columns: int,
    line: int,
    rows_apart: bool,
) -> _Fetch:
    row = in_w * size
    plane = row * in_h
    rows = _rows_read(in_h, out_h, kernel_h, height)
    reach = min(height + kernel_h - 1, in_h)
    apart = kernel_w == kernel_h == 1 and rows_apart
    whole_rows = columns == 1 or width + kernel_w - 1 >= in_w
    if whole_rows and not apart:
        if reach >= in_h:
            return _Fetch(rows, reach, 0, 0.0)
        part = row * reach
        return _Fetch(rows, reach, aligned_bytes(part, gcd(part, plane), line), 0.0)
    together = row in (line // 4, line // 2) and plane % line == 0
    per_row: float
    # Rows that fill lines together are fetched together; of half a line, as if of one byte a pixel.
    filled = row if row == line // 4 else in_w
    if columns == 1 and together and filled * height % line == 0:
        per_row = row
    elif columns == 1:
        per_row = aligned_bytes(row, row, line)
    elif apart or gcd(row, line) < line // 4:
        per_row = columns * aligned_bytes((width + kernel_w - 1) * size, row, line)
    else:
        per_row = sum(
            _exact_bytes(
                min(width + kernel_w - 1, in_w - left) * size,
                left * size % line,
                gcd(row, line),
                line,
            )
            for left in range(0, out_w, width)
            if left < in_w
        )
    return _Fetch(rows, reach, 0, per_row)


def tile_image_bytes(work: NnWork, tile: Tile, padded: bool = False) -> int:
    """Return the bytes of one tile's input, in runs of 16 pixels.

    ``padded``: with what pads the map.
    """
    width, height = tile.width + work.kernel_w - 1, tile.height + work.kernel_h - 1
    if not padded:
        width, height = min(width, work.in_w), min(height, work.in_h)
    return -(-width * height // 16) * 16 * work.dtype.itemsize * work.in_c


def kept_image_bytes(work: NnWork, tile: Tile) -> int:
    """Return what a tile's input takes from the coefficients: 16-bit images twice their size."""
    return tile_image_bytes(work, tile) * work.dtype.itemsize


def keeps_image(work: NnWork, tile: Tile, machine: Machine) -> bool:
    """Tell whether superblocks after the first find a tile's input on the chip.

    It is kept where it fits with its padding, unless it has few pixels; those are read again for
    every superblock, but for images that fit the buffer as they are. Source: measured, input
    channels at which maps of 2x2 to 9x9 and 28x28 pixels are no longer read once; exact.
    """
    memory = machine.memory
    if tile_image_bytes(work, tile) <= memory.image_buffer_bytes:
        return True
    pixels = (tile.width + work.kernel_w - 1) * (tile.height + work.kernel_h - 1)
    fits = tile_image_bytes(work, tile, padded=True) <= memory.vip_sram_bytes
    return fits and pixels > memory.image_not_kept_pixels


def output_pitch_bytes(work: NnWork, machine: Machine) -> int:
    """Return the bytes between neighbours of an output row.

    16-bit maps are laid out with twice the pitch they need, unless their rows are whole lines.
    """
    size = work.dtype.itemsize
    return size if work.final_w * size % machine.memory.line_bytes == 0 else size * size


def _cached_bytes(work: NnWork, line: int) -> int:
    """Return the bytes of a whole output whose tiles fit the write cache.

    16-bit rows take twice their size, or the lines they touch where that is less.
    """
    row = work.final_w * work.dtype.itemsize
    if work.dtype.itemsize > 1:
        row = min(2 * row, aligned_bytes(row, row, line))
    dense = row * work.final_h * work.out_c
    return aligned_bytes(dense, dense, line)


@lru_cache(maxsize=4096)
def row_lines_bytes(width: int, itemsize: int, line: int) -> int:
    """Return the bytes of the lines that a row of a tile touches on its way to memory.

    ``width`` is in pixels. Rows are laid out with twice the pitch they need, in pieces of a quarter
    line, unless that, or the row itself, is a whole number of lines. Source: measured, float16
    and int16 rows of 9 to 32 pixels; integer agreement.
    """
    if width * itemsize % line == 0 or width * itemsize <= line // 4:
        return width * itemsize
    row = width * itemsize * itemsize
    padded = round_up(row, line // 4)
    if padded % line:
        row = padded
    return aligned_bytes(row, row, line)


def write_bytes(work: NnWork, tile: Tile, machine: Machine) -> tuple[float, bool]:
    """Return the bytes written and whether a tile's output fits the write cache.

    A tile that takes less than half of the write cache is written once; up to the whole cache it
    costs a fifth more; beyond it every tile writes the lines that it touches: in column tiles that
    are a line or more apart each row of it by itself. Source: measured; integer agreement on 8498
    of 8500 layers.
    """
    line, size = machine.memory.line_bytes, work.dtype.itemsize
    half = 2 if work.pool > 1 else 1
    width = min(max(1, tile.width // half), work.final_w)
    height = min(max(1, tile.height // half), work.final_h)
    pitch = output_pitch_bytes(work, machine)
    row, part, plane = work.final_w * pitch, width * size, work.final_w * work.final_h * pitch
    columns = -(-work.final_w // width)
    together = part >= row or row - part < line  # gaps below a line are written through
    if together:
        span = row * (height - 1) + part
        step = gcd(gcd(row * height, plane), line)
        if columns > 1 or step < line:  # else all tiles start on a line
            step = gcd(step, row - part)
        per_tile = aligned_bytes(span, step, line)
    else:
        span = 0
        per_tile = aligned_bytes(part, gcd(row, part), line) * height
    cached_lines = per_tile / line * work.out_c
    capacity = machine.memory.write_cache_bytes / line
    rounded = _cached_bytes(work, line)
    if cached_lines < capacity / 2:
        return rounded, True
    if cached_lines < capacity:
        return rounded * CACHED_WRITE_RATIO, True
    if width >= work.final_w and height >= work.final_h:
        return rounded, False
    tiles_down = work.final_h / height
    if together and plane - span < line:  # channels follow one another without a gap
        everything = plane * (work.out_c - 1) + span
        written = aligned_bytes(everything, row * height, line)
        return columns * written * tiles_down, False
    return columns * per_tile * tiles_down * work.out_c, False
