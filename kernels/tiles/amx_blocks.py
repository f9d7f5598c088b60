"""Blocks of tiles: sums of products of some pixels and some channels, and their store as codes."""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.tiles.amx import LANES, PAIR, ROW_BYTES, ROWS, TILE_BYTES, tiles_of
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, vector_code
from npusim.kernels.tiles.store_avx512 import V16I32, Store, dot, order

_OPERANDS = (4, 5, 6, 7)  # tiles; those before hold sums


def make_block(rows, columns):
    """Return an intrinsic for ``rows`` tiles of pixels x ``columns`` tiles of channels.

    sums (int32, pixel p and channel c at ``at + p * PANEL + c``) are set to ``starts`` from
    ``lane`` on plus the products of all steps, modulo 2**32. Step s takes 64 bytes at ``source +
    offsets[s]`` and multiples of ``pixel_bytes`` behind it (unsigned, or signed if
    ``left_signed`` is not 0) and tiles of ``pack.steps`` from ``weights_at`` on.
    """

    @vector_code
    def block(
        v, tiles, source, pixel_bytes, left_signed, offsets, weights, weights_at, starts, lane,
        sums, at,
    ):  # fmt: skip
        builder, registers, steps = v.builder, tiles_of(v, tiles), offsets.size
        as_bytes = I8.as_pointer()
        source = builder.inttoptr(source, as_bytes)
        weights = v.at(weights.data, weights_at)
        starts = builder.bitcast(v.at(starts.data, lane), as_bytes)
        sums = builder.bitcast(v.at(sums.data, at), as_bytes)
        places = [(row, column) for row in range(rows) for column in range(columns)]
        pair = min(PAIR, columns)
        right_of = _OPERANDS[rows:]
        for number, (_, column) in enumerate(places):  # the same line for every pixel
            registers.load(number, v.at(starts, v.number(4 * LANES * column)), v.number(0))

        def left_tile(row, offset):
            first = v.at(source, builder.mul(pixel_bytes, v.number(ROWS * row)))
            registers.load(_OPERANDS[row], v.at(first, offset), pixel_bytes)

        def right_tile(column, step):
            line = builder.mul(step, v.number(pair * TILE_BYTES))
            before = builder.mul(steps, v.number(column // pair * pair * TILE_BYTES))
            place = v.at(
                v.at(weights, builder.add(line, before)), v.number(column % pair * TILE_BYTES)
            )
            registers.load(right_of[column % len(right_of)], place, v.number(ROW_BYTES))

        def add_all(*, signed):
            with cgutils.for_range(builder, steps) as loop:
                offset = builder.load(v.at(offsets.data, loop.index))
                left_tile(0, offset)
                for row in range(rows):
                    for column in range(columns):
                        if row == 0:
                            right_tile(column, loop.index)
                        elif column == 0:
                            left_tile(row, offset)
                        registers.add_products(
                            places.index((row, column)),
                            _OPERANDS[row],
                            right_of[column % len(right_of)],
                            left_signed=signed,
                        )

        is_signed = builder.icmp_signed("!=", left_signed, v.number(0))
        with builder.if_else(is_signed) as (as_signed, as_unsigned):
            with as_signed:
                add_all(signed=True)
            with as_unsigned:
                add_all(signed=False)
        for number, (row, column) in enumerate(places):
            place = v.at(sums, v.number(4 * (ROWS * PANEL * row + LANES * column)))
            registers.store(number, place, v.number(4 * PANEL))

    return block


def make_store(vectors, fixed):
    """Return an intrinsic that stores pixels begin..end of ``vectors`` * 16 channels.

    Output pixel n is row ``places[n] - first`` of the sums at ``at``; if ``fixed``, what lies at
    ``fixes_at`` for its place is taken off every channel. Then follows the store of
    ``store_avx512``: ``valid`` codes at ``codes[out + out_starts[n]]``.
    """
    together = 4 // vectors  # pixels that fill the 64 bytes of a vector

    @vector_code
    def store(
        v, sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip, codes,
        out, out_starts, valid,
    ):  # fmt: skip
        builder = v.builder
        fixes = v.at(sums.data, fixes_at)
        sums, codes = v.at(sums.data, at), v.at(codes.data, out)
        scale = v.at(scale.data, lane)
        scales = [v.load(v.at(scale, v.number(LANES * j)), F32, LANES) for j in range(vectors)]
        last = builder.sub(end, v.number(1))
        parts = Store(v, zero_out, low, flip)
        rounds = builder.add(builder.sub(end, begin), v.number(together - 1))
        with cgutils.for_range(builder, builder.sdiv(rounds, v.number(together))) as loop:
            pixels, acc = [], []
            for i in range(together):  # the last one may be repeated
                pixel = builder.mul(loop.index, v.number(together))
                pixel = builder.add(builder.add(begin, pixel), v.number(i))
                beyond = builder.icmp_signed(">", pixel, last)
                pixels.append(builder.select(beyond, last, pixel))
                place = builder.load(v.at(places.data, pixels[-1]))
                line = builder.mul(builder.sub(place, first), v.number(PANEL))
                rows = [
                    v.load(v.at(sums, builder.add(line, v.number(LANES * j))), I32, LANES)
                    for j in range(vectors)
                ]
                if fixed:
                    fix = v.splat(builder.load(v.at(fixes, place)), LANES)
                    rows = [builder.sub(row, fix) for row in rows]
                acc += rows
            packed = parts.codes(acc, scales * together)
            size = LANES * vectors
            for i, pixel in enumerate(pixels):
                part = packed
                if together > 1:
                    numbers = order(range(i * size, (i + 1) * size))
                    part = builder.shuffle_vector(packed, packed, numbers)
                place = v.at(codes, builder.load(v.at(out_starts.data, pixel)))
                v.store_up_to(part, place, valid)

    return store


@vector_code
def add_runs(v, source, distance, length, count, sums, at):
    """Add to ``sums[at + p]`` (int32) the sum of ``length`` bytes, for ``count`` places p."""
    builder = v.builder
    source, sums = builder.inttoptr(source, I8.as_pointer()), v.at(sums.data, at)
    size = 4 * LANES
    blocks = builder.sdiv(length, v.number(size))
    done = builder.mul(blocks, v.number(size))
    left = builder.sub(length, done)
    more = builder.icmp_signed(">", left, v.number(0))
    ones = v.constant(1, I8, size)
    reduce = v.function("llvm.vector.reduce.add.v16i32", I32, [V16I32])
    cell = cgutils.alloca_once(builder, V16I32)
    with cgutils.for_range(builder, count) as pixel:
        place = v.at(source, builder.mul(pixel.index, distance))
        builder.store(ir.Constant(V16I32, [0] * LANES), cell)
        with cgutils.for_range(builder, blocks) as loop:
            at_block = v.at(place, builder.mul(loop.index, v.number(size)))
            builder.store(dot(v, builder.load(cell), v.load(at_block, I8, size), ones), cell)
        with builder.if_then(more):
            rest = v.load_first(v.at(place, done), I8, size, left)
            builder.store(dot(v, builder.load(cell), rest, ones), cell)
        total = v.at(sums, pixel.index)
        run = builder.call(reduce, [builder.load(cell)])
        builder.store(builder.add(builder.load(total), run), total)
