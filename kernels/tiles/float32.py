"""One register tile of a float32 product, written in LLVM so that its order is fixed.

A compiler's own vectorisation of a matrix product is either slow (no reassociation allowed) or free
to change the order of the sums. Here each of ROWS x LANES sums is one chain of fused
multiply-adds over k, ascending, whatever the machine's vector length: LLVM splits the vectors to
what the machine has, and a machine without fused multiply-add computes the same bits, slowly.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels.tiles.llvm_vectors import F32, vector_code

ROWS = 8
LANES = 16
_VECTOR = ir.VectorType(F32, LANES)


@vector_code
def multiply_add_tile(v, ifm, starts, offset, weights, weights_start, length, sums):
    """Add ``sum_k ifm[starts[i] + offset + k] * weights[weights_start + LANES * k + j]``.

    ``sums`` is float32 [ROWS * LANES], entry i * LANES + j; ``ifm`` and ``weights`` are flat
    float32, ``starts`` is int64 [ROWS]. The sums of one call continue those of the call before.
    """
    builder = v.builder
    fma = v.function(f"llvm.fma.v{LANES}f32", _VECTOR, [_VECTOR] * 3)
    flat, starts = ifm.data, starts.data
    panel, sums = v.at(weights.data, weights_start), sums.data
    rows, places, chains = [], [], []
    for row in range(ROWS):
        start = builder.load(v.at(starts, v.number(row)))
        rows.append(v.at(flat, builder.add(start, offset)))
        places.append(v.at(sums, v.number(row * LANES)))
        chains.append(cgutils.alloca_once(builder, _VECTOR))
        builder.store(v.load(places[row], F32, LANES), chains[row])
    with cgutils.for_range(builder, length) as loop:
        line = v.at(panel, builder.mul(loop.index, v.number(LANES)))
        column = v.load(line, F32, LANES)
        for row, chain in zip(rows, chains, strict=True):
            factor = v.splat(builder.load(v.at(row, loop.index)), LANES)
            builder.store(builder.call(fma, [factor, column, builder.load(chain)]), chain)
    for place, chain in zip(places, chains, strict=True):
        v.store(builder.load(chain), place)
