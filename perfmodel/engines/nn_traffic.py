"""Bytes of an NN operation: coefficient stream, image and output, with their line alignment."""

from math import ceil, gcd

from npusim.ir.dtypes import DType
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.tiling import Tile
from npusim.perfmodel.workload import NnWork


def round_up(value: float, step: int) -> int:
    """Return the next multiple of ``step``."""
    return ceil(value / step) * step


def kernel_stream_bytes(work: NnWork, machine: Machine) -> int:
    """Return the size of the compressed coefficients of all cores.

    Each code holds a value and a run of zeros; the run field has 0 to 5 bits, whichever gives the
    smallest stream. Source: measured, median error 1 to 2 %.
    """
    line = machine.memory.line_bytes
    taps = work.kernel_w * work.kernel_h
    bits = work.dtype.bits
    zeros = work.zero_fraction

    def codes(run_bits: int) -> float:
        reach = 1 << run_bits
        if work.depthwise:  # a run ends where the channel does
            whole = reach // taps * taps if reach >= taps else reach
            return taps * ((work.in_c - 1) / max(1, whole) + 1)
        weights = work.in_c * taps
        if zeros >= 1:
            return weights / reach
        return weights * (1 - zeros) / (1 - zeros**reach)

    kept = min(1.0, 1.1 * work.tap_ratio) if work.tap_ratio else 1.0
    per_kernel = (
        min(codes(r) * (bits + r) for r in range(machine.nn.zero_run_bits + 1)) / 8 * kept + 4
    )
    cores = machine.nn.cores_count
    share, rest = divmod(work.out_c, cores)
    return (
        rest * round_up(int((share + 1) * per_kernel) + 8, line)
        + (cores - rest) * round_up(int(share * per_kernel) + 8, line)
        + line
    )


def image_bytes(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the bytes of one pass over the input image.

    A whole map is one contiguous read; otherwise rows are fetched in lines, with the halo of each
    tile. Source: measured, median error 0 to 1 %.
    """
    line = machine.memory.line_bytes
    size = work.dtype.itemsize
    row_bytes = work.in_w * size
    point = work.kernel_w == 1 and work.kernel_h == 1
    if tile.count == 1 and not point:
        return round_up(row_bytes * work.in_h * work.in_c, line)
    if point:
        row = _point_row_bytes(work, tile, line)
    elif tile.columns > 1:
        row = row_bytes + line * (tile.columns - 1)
        if row_bytes % line:
            row += line - gcd(row_bytes, line) + (work.kernel_w - 1) * (tile.columns - 1) * size / 2
    else:
        row = row_bytes
    pad = max(0, (work.out_h - 1 + work.kernel_h - work.in_h) // 2)
    total = 0.0
    for top in range(0, work.out_h, tile.height):
        height = min(tile.height, work.out_h - top)
        last = min(work.in_h, top + height - pad + work.kernel_h - 1)
        rows = last - max(0, top - pad)
        total += rows * row if point or tile.columns > 1 else rows * row + 44
    return total * work.in_c


def _point_row_bytes(work: NnWork, tile: Tile, line: int) -> float:
    """Return the average over all alignments of one row fetched in lines."""
    size = work.dtype.itemsize
    row_bytes = work.in_w * size
    if tile.columns > 1:
        part = min(tile.width, work.in_w) * size
        common = gcd(gcd(row_bytes, tile.width * size), line)
        return (part + line - common) * tile.columns
    if row_bytes in (line // 4, line // 2) or row_bytes % line == 0:
        return row_bytes
    return row_bytes + line - gcd(row_bytes, line)


def tile_image_bytes(work: NnWork, tile: Tile) -> int:
    """Return the on-chip size of one tile's input."""
    pixels = (tile.width + work.kernel_w - 1) * (tile.height + work.kernel_h - 1)
    return round_up(pixels * work.dtype.itemsize, 16) * work.in_c


def write_bytes(work: NnWork, tile: Tile, machine: Machine) -> float:
    """Return the bytes written, partly filled lines included. Source: measured, rough."""
    line, cache = machine.memory.line_bytes, machine.memory.write_cache_bytes
    half = 2 if work.pool > 1 else 1
    size = work.dtype.itemsize
    width = min(max(1, tile.width // half), work.final_w)
    height = min(max(1, tile.height // half), work.final_h)
    tile_size = width * height * size
    whole = width >= work.final_w and height >= work.final_h
    if tile_size * work.out_c <= 0.4 * cache:
        factor = 1.0
    elif tile_size * work.out_c <= 0.8 * cache:
        factor = 1.2
    elif work.dtype in (DType.I16, DType.F16):
        factor = 2.0 + (0.0 if whole else 32 / tile_size)  # the print counts four bytes a value
    elif whole:
        factor = 1.0
    elif width >= work.final_w:
        factor = (tile_size + line - gcd(tile_size, line)) / tile_size
    else:
        part = width * size
        factor = (part + line - gcd(gcd(work.final_w * size, part), line)) / part
    return work.final_w * work.final_h * work.out_c * size * factor
