"""Register tiles of products of 16-bit numbers, two at a time, with exact sums.

``vpdpwssd`` (AVX512-VNNI) or ``vpmaddwd`` and an addition (AVX2) add two products per 32-bit lane.
The pairs come in chunks whose sums cannot leave 32 bits (``pack.pairs``). After each chunk the
upper part of a lane moves to a second accumulator:

    high += low >> 16;  low &= 0xFFFF        total = high * 2**16 + low

so sums are exact up to 48 bits; the low accumulator alone would hold them modulo 2**32.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import target_has
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.tiles.avx512_emulated import dot_words
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.llvm_vectors import I8, I16, I32, vector_code

_BYTES = 4 * PANEL  # of packed weights per pair
_NAMES = {16: "llvm.x86.avx512.vpdpwssd.512", 8: "llvm.x86.avx2.pmadd.wd"}


def add_pairs(v, lanes, acc, left, right):
    """Return acc + the sums of two products of 16-bit numbers in every 32-bit lane."""
    sums, pairs = ir.VectorType(I32, lanes), ir.VectorType(I16, 2 * lanes)
    if lanes == 16:
        left, right = v.builder.bitcast(left, sums), v.builder.bitcast(right, sums)
        if not target_has(AVX512_VNNI):
            return dot_words(v, acc, left, right)
        function = v.function(_NAMES[lanes], sums, [sums, sums, sums])
        return v.builder.call(function, [acc, left, right])
    function = v.function(_NAMES[lanes], sums, [pairs, pairs])
    return v.builder.add(acc, v.builder.call(function, [left, right]))


def make_tile(rows, vectors, lanes, carries):
    """Return an intrinsic that computes ``rows`` pixels x ``vectors`` * ``lanes`` columns.

    low and high (int32, row r and column j at r * PANEL + j from ``column`` on) are set to the
    sums, which begin with low_starts and high_starts (from ``lane + column`` on). Without
    ``carries`` low alone is set, modulo 2**32. The chunks begin..end hold the pairs
    ``chunks[begin]`` .. ``chunks[end]``; ``source`` is an address, ``in_starts`` and ``offsets``
    count 16-bit numbers from there.
    """

    @vector_code
    def tile(
        v, source, in_starts, pixel, offsets, chunks, begin, end, weights, column, low_starts,
        high_starts, lane, low, high,
    ):  # fmt: skip
        builder = v.builder
        base = builder.inttoptr(source, I16.as_pointer())
        in_starts, offsets, chunks = v.at(in_starts.data, pixel), offsets.data, chunks.data
        weights = builder.bitcast(weights.data, I8.as_pointer())
        weights = v.at(weights, builder.mul(column, v.number(4)))
        low, high = v.at(low.data, column), v.at(high.data, column)

        def cells(starts):
            first = v.at(starts.data, builder.add(lane, column))
            columns = [v.load(v.at(first, v.number(lanes * j)), I32, lanes) for j in range(vectors)]
            found = [
                [cgutils.alloca_once(builder, ir.VectorType(I32, lanes)) for _ in columns]
                for _ in range(rows)
            ]
            for row in found:
                for value, cell in zip(columns, row, strict=True):
                    builder.store(value, cell)
            return found

        sums, carried = cells(low_starts), cells(high_starts)
        places = [v.at(base, builder.load(v.at(in_starts, v.number(row)))) for row in range(rows)]
        with cgutils.for_range(builder, builder.sub(end, begin)) as chunk:
            at = v.at(chunks, builder.add(begin, chunk.index))
            first, last = builder.load(at), builder.load(v.at(at, v.number(1)))
            with cgutils.for_range(builder, builder.sub(last, first)) as loop:
                pair = builder.add(first, loop.index)
                line = v.at(weights, builder.mul(pair, v.number(_BYTES)))
                factors = [v.load(v.at(line, v.number(4 * lanes * j)), I16, 2 * lanes)
                           for j in range(vectors)]  # fmt: skip
                offset = builder.load(v.at(offsets, pair))
                for place, row in zip(places, sums, strict=True):
                    two = builder.bitcast(v.at(place, offset), I32.as_pointer())
                    shared = v.splat(builder.load(two, align=1), lanes)
                    shared = builder.bitcast(shared, ir.VectorType(I16, 2 * lanes))
                    for factor, cell in zip(factors, row, strict=True):
                        total = add_pairs(v, lanes, builder.load(cell), shared, factor)
                        builder.store(total, cell)
            if carries:
                half, mask = (v.constant(value, I32, lanes) for value in (16, 0xFFFF))
                for row in range(rows):
                    for cell, upper in zip(sums[row], carried[row], strict=True):
                        total = builder.load(cell)
                        moved = builder.add(builder.load(upper), builder.ashr(total, half))
                        builder.store(moved, upper)
                        builder.store(builder.and_(total, mask), cell)
        for row in range(rows):
            for j, (cell, upper) in enumerate(zip(sums[row], carried[row], strict=True)):
                at = v.number(row * PANEL + j * lanes)
                v.store(builder.load(cell), v.at(low, at))
                if carries:
                    v.store(builder.load(upper), v.at(high, at))

    return tile
