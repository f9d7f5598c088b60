"""What AVX512 instructions compute, in plain LLVM: for processors that do not have them.

The kernels of the AVX512 paths are not chosen there. Compiled all the same, they let tests compare
their bits on any machine (tests/kernels/emulated_avx512.py); they are slow.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.tiles.llvm_vectors import I8, I16, I32

LANES = 16
_WORDS = ir.VectorType(I32, LANES)


def dot_bytes(v, acc, unsigned, signed):
    """Return ``vpdpbusd``: acc + four products u8 x s8 in every 32-bit lane; sums wrap."""
    builder = v.builder
    unsigned, signed = builder.bitcast(unsigned, _WORDS), builder.bitcast(signed, _WORDS)
    for bits in (0, 8, 16, 24):
        left = builder.lshr(unsigned, v.constant(bits, I32, LANES))
        left = builder.and_(left, v.constant(255, I32, LANES))
        right = builder.shl(signed, v.constant(24 - bits, I32, LANES))
        right = builder.ashr(right, v.constant(24, I32, LANES))
        acc = builder.add(acc, builder.mul(left, right))
    return acc


def dot_words(v, acc, left, right):
    """Return ``vpdpwssd``: acc + two products of 16-bit numbers in every 32-bit lane."""
    builder, half = v.builder, v.constant(16, I32, LANES)
    for place in (lambda x: x, lambda x: builder.shl(x, half)):
        numbers = [builder.ashr(place(words), half) for words in (left, right)]
        acc = builder.add(acc, builder.mul(*numbers))
    return acc


def _pack(v, left, right, kind, limits):
    """Return numbers of half the size, of type ``kind``: signed ones, limited.

    Each 128 bits of the result hold those of ``left``, then those of ``right``.
    """
    builder = v.builder
    wide, lanes = left.type.element, left.type.count

    def limited(numbers):
        least, most = (v.constant(limit, wide, lanes) for limit in limits)
        numbers = builder.select(builder.icmp_signed(">", numbers, least), numbers, least)
        numbers = builder.select(builder.icmp_signed("<", numbers, most), numbers, most)
        return builder.trunc(numbers, ir.VectorType(kind, lanes))

    part = 128 // wide.width
    places = [
        side + first + i
        for first in range(0, lanes, part)
        for side in (0, lanes)
        for i in range(part)
    ]
    order = ir.Constant(ir.VectorType(I32, 2 * lanes), places)
    return builder.shuffle_vector(limited(left), limited(right), order)


def choose_bytes(v, first, places, second):
    """Return ``vpermi2b``: for each place, the byte there of 64 of ``first``, 64 of ``second``."""
    builder = v.builder
    table = cgutils.alloca_once(builder, ir.ArrayType(first.type, 2))
    bytes_ = builder.bitcast(table, I8.as_pointer())
    v.store(first, bytes_)
    v.store(second, v.at(bytes_, v.number(64)))
    result = first
    for lane in range(first.type.count):
        place = builder.and_(builder.extract_element(places, v.number(lane)), v.number(127, I8))
        code = builder.load(v.at(bytes_, builder.zext(place, v.number(0).type)))
        result = builder.insert_element(result, code, v.number(lane))
    return result


PACKS = {
    "packssdw": lambda v, left, right: _pack(v, left, right, I16, (-(2**15), 2**15 - 1)),
    "packuswb": lambda v, left, right: _pack(v, left, right, I8, (0, 255)),
}
