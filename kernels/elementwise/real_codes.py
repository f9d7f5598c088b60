"""Real numbers to codes and back, for the inputs and outputs of a network.

The arithmetic is that of ``npusim.ir.codes``; these loops are only faster.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import kernel
from npusim.kernels.rounding import ROUND_F64
from npusim.kernels.tiles.llvm_vectors import F32, F64, I64, vector_code

_LANES = 16


@vector_code
def _quantize(v, real, scale, zero_point, low, high, codes, first, last):
    builder, kind = v.builder, codes.kind
    scale, zero_point, low, high = (v.splat(x, _LANES) for x in (scale, zero_point, low, high))
    real, codes = v.at(real.data, first), v.at(codes.data, first)
    count = builder.sub(last, first)

    def stored(numbers):
        wide = builder.fpext(numbers, ir.VectorType(F64, _LANES))
        steps = v.clamp(builder.fadd(builder.fdiv(wide, scale), zero_point), low, high)
        total = builder.fadd(steps, v.constant(ROUND_F64, F64, _LANES))
        bits = builder.bitcast(total, ir.VectorType(I64, _LANES))
        return builder.trunc(bits, ir.VectorType(kind, _LANES))

    blocks = builder.sdiv(count, v.number(_LANES))
    with cgutils.for_range(builder, blocks) as loop:
        at = builder.mul(loop.index, v.number(_LANES))
        v.store(stored(v.load(v.at(real, at), F32, _LANES)), v.at(codes, at))
    done = builder.mul(blocks, v.number(_LANES))
    with cgutils.for_range(builder, builder.sub(count, done)) as loop:
        at = builder.add(done, loop.index)
        number = stored(v.splat(builder.load(v.at(real, at)), _LANES))
        builder.store(builder.extract_element(number, v.number(0)), v.at(codes, at))


_SIGNATURE = "void(Array(f4, 1, 'C', readonly=True), f8, f8, f8, f8, {}[::1], i8, i8)"


@kernel(*(_SIGNATURE.format(code) for code in ("u1", "i1", "i2")))
def quantize_f32(real, scale, zero_point, low, high, codes, first, last):
    """Set codes to ``clip(rint(real / scale + zero_point), low, high)``, in float64, ties to even.

    For first <= i < last; the numbers are finite.
    """
    _quantize(real, scale, zero_point, low, high, codes, first, last)


@kernel("void(Array(u1, 1, 'C', readonly=True), Array(f4, 1, 'C', readonly=True), f4[::1], i8, i8)")
def dequantize_8bit(codes, table, real, first, last):
    """Set ``real[i] = table[codes[i]]`` for first <= i < last."""
    for i in range(first, last):
        real[i] = table[codes[i]]
