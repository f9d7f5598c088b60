"""Requantization of a row of sums to 8-bit codes, written as LLVM vectors.

    code = clip(rne((acc + sums) * scale + zero_before) + zero_after, low, high)

``acc + sums`` wraps at 32 bits; its product with a scale of at most 16 significant bits is exact
in float64. The NN engine adds the zero point after rounding, the shader before: one of the two is
0. Source: measured, docs/arithmetic/nn.md rules 2.1 and 2.3, docs/arithmetic/shader.md rule 4.1.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.tiles.llvm_vectors import F32, F64, I8, I32, vector_code

LANES = 16


@vector_code
def store_row(
    v, sums, sums_at, acc, acc_at, scale, scale_at, zero_before, zero_after, low, high, ofm, ofm_at,
    count,
):  # fmt: skip
    """Store ``count`` codes from flat arrays: float32 sums, int32 acc, float64 scale, uint8 ofm."""
    builder = v.builder
    sums, acc = v.at(sums.data, sums_at), v.at(acc.data, acc_at)
    scale, ofm = v.at(scale.data, scale_at), v.at(ofm.data, ofm_at)
    scalars = (zero_before, zero_after, low, high)
    before, after, low, high = (v.splat(scalar, LANES) for scalar in scalars)
    integers, reals = ir.VectorType(I32, LANES), ir.VectorType(F64, LANES)

    def codes(j):
        partial = builder.fptosi(v.load(v.at(sums, j), F32, LANES), integers)
        total = builder.add(v.load(v.at(acc, j), I32, LANES), partial)
        scaled = builder.fmul(builder.sitofp(total, reals), v.load(v.at(scale, j), F64, LANES))
        rounded = v.unary("llvm.roundeven", builder.fadd(scaled, before))
        shifted = builder.fadd(rounded, after)
        whole = builder.fptosi(v.clamp(shifted, low, high), integers)
        return builder.trunc(whole, ir.VectorType(I8, LANES))

    blocks = builder.sdiv(count, v.number(LANES))
    with cgutils.for_range(builder, blocks) as loop:
        j = builder.mul(loop.index, v.number(LANES))
        v.store(codes(j), v.at(ofm, j))
    done = builder.mul(blocks, v.number(LANES))
    with builder.if_then(builder.icmp_signed("<", done, count)):
        v.store_first(codes(done), v.at(ofm, done), builder.sub(count, done))
