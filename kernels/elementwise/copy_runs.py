"""Copies of many short runs of bytes, what joining and resizing of feature maps comes down to."""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import kernel
from npusim.kernels.tiles.llvm_vectors import I8, vector_code

_BLOCK = 32
_SHORT = 8  # elements of lines that would be loops of almost nothing


@vector_code
def copy_bytes(v, source, source_at, target, target_at, count):
    """Copy ``count`` bytes between flat byte arrays."""
    builder = v.builder
    source, target = v.at(source.data, source_at), v.at(target.data, target_at)
    long = builder.icmp_signed(">=", count, v.number(_BLOCK))
    with builder.if_else(long) as (blocks, bytewise):
        with blocks:  # the last block may repeat some bytes
            last = builder.sub(count, v.number(_BLOCK))
            with cgutils.for_range_slice(
                builder, v.number(0), last, v.number(_BLOCK), last.type
            ) as (at, _):
                v.store(v.load(v.at(source, at), I8, _BLOCK), v.at(target, at))
            v.store(v.load(v.at(source, last), I8, _BLOCK), v.at(target, last))
        with bytewise:
            for size in (16, 8, 4, 2, 1):
                done = builder.and_(count, v.number(-2 * size))
                has = builder.icmp_signed("!=", builder.and_(count, v.number(size)), v.number(0))
                with builder.if_then(has):
                    kind = ir.IntType(8 * size)
                    read = builder.bitcast(v.at(source, done), kind.as_pointer())
                    written = builder.bitcast(v.at(target, done), kind.as_pointer())
                    builder.store(builder.load(read, align=1), written, align=1)


@kernel(
    "void(Array(u1, 1, 'C', readonly=True), i8, u1[::1], i8, i8, i8, i8, i8)",
)
def copy_runs(source, source_step, target, target_start, target_step, length, first, last):
    """Copy run r, ``length`` bytes from ``r * source_step``, to ``target_start + r * target_step``.

    For first <= r < last.
    """
    for run in range(first, last):
        copy_bytes(source, run * source_step, target, target_start + run * target_step, length)


@kernel(
    "void(Array(u1, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True), "
    "Array(i8, 1, 'C', readonly=True), u1[::1], i8, i8, i8)",
)
def gather_pixels(source, rows, columns, target, pixel_bytes, first, last):
    """Set target row r, for first <= r < last, to the pixels of ``columns`` of input row rows[r].

    ``rows`` and ``columns`` are byte offsets of input rows and of pixels in a row.
    """
    at = first * columns.size * pixel_bytes
    for row in range(first, last):
        for x in range(columns.size):
            copy_bytes(source, rows[row] + columns[x], target, at, pixel_bytes)
            at += pixel_bytes


_AXES = "Array({0}, 6, 'A', readonly=True), Array({0}, 6, 'A')"


@kernel(*(f"void({_AXES.format(code)}, i8, i8)" for code in ("u1", "u2", "u4", "u8")))
def copy_elements(source, target, first, last):
    """Copy elements between arrays of one shape in any memory order.

    Rows are the lines of the innermost axis; first <= row < last.
    """
    lines, count = source.shape[4], source.shape[5]
    row = first
    while row < last:
        rest, begin = row // lines, row % lines
        end = min(lines, begin + last - row)
        row += end - begin
        rest, d = rest // source.shape[3], rest % source.shape[3]
        rest, c = rest // source.shape[2], rest % source.shape[2]
        a, b = rest // source.shape[1], rest % source.shape[1]
        read, written = source[a, b, c, d, begin:end], target[a, b, c, d, begin:end]
        if count <= _SHORT:  # one element of each line after the other
            for i in range(count):
                for e in range(end - begin):
                    written[e, i] = read[e, i]
        else:
            for e in range(end - begin):
                for i in range(count):
                    written[e, i] = read[e, i]
