"""Bytes of four rows side by side: the inputs of instructions that add four products at once.

fours[i] = bytes first[i], second[i], third[i], fourth[i]
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.tiles.llvm_vectors import I8, vector_code
from npusim.kernels.tiles.store_avx512 import V16I32, V64I8, order

BLOCK = 64


def unpack(v, left, right, size):
    """Return low and high halves of each 128-bit lane, elements of ``size`` bytes in turn."""
    kind = ir.VectorType(ir.IntType(8 * size), 64 // size)
    left, right = v.builder.bitcast(left, kind), v.builder.bitcast(right, kind)
    lane = 16 // size
    results = []
    for half in (0, lane // 2):
        numbers = [
            start + half + i + side * kind.count
            for start in range(0, kind.count, lane)
            for i in range(lane // 2)
            for side in (0, 1)
        ]
        results.append(v.builder.shuffle_vector(left, right, order(numbers)))
    return results


def _make_interleave(size):
    """Return an intrinsic that writes the first ``size`` bytes of every four."""

    @vector_code
    def interleave(v, first, second, third, fourth, flip, target, count):
        builder = v.builder
        sources = (first, second, third, fourth)
        sources = [builder.inttoptr(source, I8.as_pointer()) for source in sources]
        target = builder.inttoptr(target, I8.as_pointer())
        flipped = builder.icmp_signed("!=", flip, v.number(0))
        flip = v.splat(builder.trunc(flip, I8), BLOCK)
        # 4 x 4 words transposed, so that unpacking within 128-bit lanes leaves the fours in order
        words = order([4 * (i % 4) + i // 4 for i in range(16)])
        undefined = ir.Constant(V16I32, ir.Undefined)

        def write(rows, at):
            rows = [builder.bitcast(row, V16I32) for row in rows]
            rows = [builder.shuffle_vector(row, undefined, words) for row in rows]
            low, high = unpack(v, rows[0], rows[1], 1), unpack(v, rows[2], rows[3], 1)
            fours = [*unpack(v, low[0], high[0], 2), *unpack(v, low[1], high[1], 2)]
            place = v.at(target, builder.mul(at, v.number(size)))
            for j, four in enumerate(fours):
                if size < 4:  # together at the front; what follows overwrites the rest
                    four = builder.bitcast(four, V64I8)
                    kept = [i for i in range(64) if i % 4 < size]
                    kept += [0] * (64 - len(kept))
                    four = builder.shuffle_vector(four, four, order(kept))
                v.store(four, v.at(place, v.number(16 * size * j)))

        blocks = builder.sdiv(count, v.number(BLOCK))

        def write_all(change):
            with cgutils.for_range(builder, blocks) as loop:
                at = builder.mul(loop.index, v.number(BLOCK))
                write([change(v.load(v.at(source, at), I8, BLOCK)) for source in sources], at)

        with builder.if_else(flipped, likely=False) as (signed, unsigned):
            with signed:
                write_all(lambda row: builder.xor(row, flip))
            with unsigned:
                write_all(lambda row: row)
        done = builder.mul(blocks, v.number(BLOCK))
        with builder.if_then(builder.icmp_signed("<", done, count)):
            left = builder.sub(count, done)
            rest = [v.load_first(v.at(source, done), I8, BLOCK, left) for source in sources]
            write([builder.xor(row, flip) for row in rest], done)

    return interleave


# (first, second, third, fourth, flip, target, count): write ``count`` groups from rows of bytes,
# each xor ``flip``. Rows and target are addresses. Whole blocks of 64 groups are written, and with
# threes 16 bytes more; no more than ``count`` bytes of each row are read.
interleave = _make_interleave(4)
interleave_three = _make_interleave(3)
