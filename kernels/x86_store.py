"""The 8-bit store of AVX512 tiles: accumulators in registers to codes in memory.

    code = clip(rne(acc * scale) + zero_out, low, 255) ^ flip

One fused multiply-add does product and rounding: ``acc * scale + 1.5 * 2**52`` has its last bit at
1, so the sum is rounded once, to nearest even, and its low half is the integer. This needs
``abs(acc * scale) < 2**31``: scales below LARGEST_SCALE. The clamps are those of the saturating
packs; i8 codes are stored as u8 codes 128 higher and flipped back.
"""

from llvmlite import ir

from npusim.kernels.llvm_vectors import F64, I8, I16, I32

LANES = 16
LARGEST_SCALE = 0.99  # leaves room for the zero point
V16I32, V64I8, V32I16 = ir.VectorType(I32, LANES), ir.VectorType(I8, 64), ir.VectorType(I16, 32)
V8F64, V8I32 = ir.VectorType(F64, 8), ir.VectorType(I32, 8)
_MAGIC = 1.5 * 2.0**52


def dot(v, acc, unsigned, signed):
    """Return acc + the sums of four products of bytes, u8 x s8, in every 32-bit lane."""
    function = v.function("llvm.x86.avx512.vpdpbusd.512", V16I32, [V16I32, V64I8, V64I8])
    return v.builder.call(function, [acc, unsigned, signed])


def _order(numbers):
    return ir.Constant(ir.VectorType(I32, len(numbers)), list(numbers))


def scales_at(v, pointer):
    """Load the 16 scales of a vector of accumulators as two vectors of doubles."""
    return [v.load(v.at(pointer, v.number(first)), F64, 8) for first in (0, 8)]


def rounded(v, acc, scales):
    """Return rne(acc * scale) of 16 int32 accumulators."""
    builder = v.builder
    fma = v.function("llvm.fma.v8f64", V8F64, [V8F64] * 3)
    magic = v.constant(_MAGIC, F64, 8)
    halves = []
    for first, scale in zip((0, 8), scales, strict=True):
        half = builder.shuffle_vector(
            acc, ir.Constant(V16I32, ir.Undefined), _order(range(first, first + 8))
        )
        total = builder.call(fma, [builder.sitofp(half, V8F64), scale, magic])
        halves.append(builder.bitcast(total, V16I32))
    return builder.shuffle_vector(*halves, _order(range(0, 32, 2)))


def packed(v, vectors, zero_out, low, flip, in_order):
    """Return up to four vectors of rounded int32 as 64 codes (zeros behind the last).

    ``in_order``: vector after vector; else as the packs leave them, four of each vector in turn.
    """
    builder = v.builder
    nothing = ir.Constant(V16I32, [0] * LANES)
    vectors = [*vectors, *[nothing] * (4 - len(vectors))]
    to_words = v.function("llvm.x86.avx512.packssdw.512", V32I16, [V16I32, V16I32])
    add = v.function("llvm.sadd.sat.v32i16", V32I16, [V32I16, V32I16])
    to_bytes = v.function("llvm.x86.avx512.packuswb.512", V64I8, [V32I16, V32I16])
    words = [
        builder.call(add, [builder.call(to_words, list(pair)), zero_out])
        for pair in (vectors[:2], vectors[2:])
    ]
    codes = builder.call(to_bytes, words)
    if in_order:
        order = _order([4 * lane + vector for vector in range(4) for lane in range(4)])
        codes = builder.bitcast(codes, V16I32)
        codes = builder.shuffle_vector(codes, ir.Constant(V16I32, ir.Undefined), order)
        codes = builder.bitcast(codes, V64I8)
    codes = builder.select(builder.icmp_unsigned(">", codes, low), codes, low)
    return builder.xor(codes, flip)


class Store:
    """Splats of the store's scalars, made once per tile."""

    def __init__(self, v, zero_out, low, flip, *, in_order=True):
        self._v, self._in_order = v, in_order
        self.zero_out = v.splat(v.builder.trunc(zero_out, I16), 32)
        self.low = v.splat(v.builder.trunc(low, I8), 64)
        self.flip = v.splat(v.builder.trunc(flip, I8), 64)

    def codes(self, accumulators, scales):
        """Return the 64 codes of up to four vectors of accumulators and their scales."""
        vectors = [rounded(self._v, a, s) for a, s in zip(accumulators, scales, strict=True)]
        return packed(self._v, vectors, self.zero_out, self.low, self.flip, self._in_order)
