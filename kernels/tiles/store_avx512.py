"""The 8-bit store of AVX512 tiles: accumulators in registers to codes in memory.

    code = clip(rne(acc * scale) + zero_out, low, 255) ^ flip

One fused multiply-add in float32 does product and rounding: ``acc * scale + 1.5 * 2**23`` has its
last bit at 1, so the exact product is rounded once, to nearest even, and the bit pattern of the sum
is the integer plus a constant. This needs (see ``fits``)

- a scale of at most 24 significant bits (the engine's have 16),
- accumulators below 2**24, which float32 holds exactly; a larger one may be rounded when its result
  lies beyond the codes in any case,
- products that stay above -1.5 * 2**23.

The clamps are those of the saturating packs; i8 codes are stored as u8 codes 128 higher and flipped
back.
"""

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from npusim.kernels._jit import target_has
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.rounding import ROUND_F32, ROUND_F32_BITS
from npusim.kernels.tiles import avx512_emulated as emulated
from npusim.kernels.tiles.llvm_vectors import F32, I8, I16, I32

LANES = 16
V16I32, V64I8, V32I16 = ir.VectorType(I32, LANES), ir.VectorType(I8, 64), ir.VectorType(I16, 32)
V16F32 = ir.VectorType(F32, LANES)
_EXACT = 2.0**24  # the first integer behind which float32 has gaps
_BEYOND = 2.0**10  # results that no zero point brings back into the range of codes


def fits(scale: NDArray[np.float64], largest_acc: NDArray[np.float64]) -> bool:
    """Tell whether the store is exact for channels with these scales and largest ``abs(acc)``."""
    exact = (largest_acc < _EXACT) | (scale * _EXACT >= _BEYOND)
    small = np.minimum(largest_acc, 2.0**31) * scale <= ROUND_F32
    return bool((exact & small & (scale == scale.astype(np.float32))).all())


def dot(v, acc, unsigned, signed):
    """Return acc + the sums of four products of bytes, u8 x s8, in every 32-bit lane."""
    if not target_has(AVX512_VNNI):
        return emulated.dot_bytes(v, acc, unsigned, signed)
    function = v.function("llvm.x86.avx512.vpdpbusd.512", V16I32, [V16I32, V64I8, V64I8])
    return v.builder.call(function, [acc, unsigned, signed])


def _pack(v, name, left, right, result):
    """Return two vectors as one of numbers half as large, which saturate."""
    if not target_has(AVX512_VNNI):
        return emulated.PACKS[name](v, left, right)
    function = v.function(f"llvm.x86.avx512.{name}.512", result, [left.type, right.type])
    return v.builder.call(function, [left, right])


def order(numbers):
    """Return the constant of a shuffle."""
    return ir.Constant(ir.VectorType(I32, len(numbers)), list(numbers))


class Store:
    """Splats of the store's scalars, made once per tile.

    ``in_order``: codes follow vector after vector; else they come as the packs leave them, four of
    each vector in turn.
    """

    def __init__(self, v, zero_out, low, flip, *, in_order=True):
        self._v, self._in_order = v, in_order
        builder = v.builder
        offset = builder.sub(builder.trunc(zero_out, I32), ir.Constant(I32, ROUND_F32_BITS))
        self._offset = v.splat(offset, LANES)
        self._low = v.splat(builder.trunc(low, I8), 64)
        self._flip = v.splat(builder.trunc(flip, I8), 64)

    def codes(self, accumulators, scales):
        """Return the 64 codes of up to four vectors of accumulators, given their scales."""
        v, builder = self._v, self._v.builder
        fma = v.function("llvm.fma.v16f32", V16F32, [V16F32] * 3)
        magic = v.constant(ROUND_F32, F32, LANES)
        rounded = []
        for acc, scale in zip(accumulators, scales, strict=True):
            total = builder.call(fma, [builder.sitofp(acc, V16F32), scale, magic])
            rounded.append(builder.add(builder.bitcast(total, V16I32), self._offset))
        rounded += [ir.Constant(V16I32, [0] * LANES)] * (4 - len(rounded))
        words = [_pack(v, "packssdw", *pair, V32I16) for pair in (rounded[:2], rounded[2:])]
        codes = _pack(v, "packuswb", *words, V64I8)
        if self._in_order:
            fours = order([4 * lane + vector for vector in range(4) for lane in range(4)])
            codes = builder.bitcast(codes, V16I32)
            codes = builder.shuffle_vector(codes, ir.Constant(V16I32, ir.Undefined), fours)
            codes = builder.bitcast(codes, V64I8)
        codes = builder.select(builder.icmp_unsigned(">", codes, self._low), codes, self._low)
        return builder.xor(codes, self._flip)
