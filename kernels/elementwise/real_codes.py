"""Real numbers to codes and back, for the inputs and outputs of a network.

The arithmetic is that of ``npusim.ir.codes``; these loops are only faster. A code is defined by a
division in float64. For codes of 8 bits one multiply-add with the inverse of the scale, in float32,
finds it too, unless the result lies close to the middle between two codes:

    |number| <= 511 where it is not clipped anyway. The inverse is rounded, which makes at most
    511 * 2**-24 of difference, and the sum, which makes 512 * 2**-24: together less than 2**-13.

Vectors with a number closer than ``_DOUBT`` to a middle, or with one that is not finite, divide.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import kernel
from npusim.kernels.rounding import ROUND_F32, ROUND_F32_BITS, ROUND_F64
from npusim.kernels.tiles.llvm_vectors import F32, F64, I32, I64, vector_code

_LANES = 64
_DOUBT = 2.0**-11
_LARGEST_SCALE = 2.0**100  # it and its inverse are plain float32 numbers


def _divided(v, numbers, scalars, kind):
    """Return the codes of a vector by definition."""
    builder, lanes = v.builder, numbers.type.count
    scale, zero_point, low, high = (v.splat(x, lanes) for x in scalars)
    wide = builder.fpext(numbers, ir.VectorType(F64, lanes))
    steps = v.clamp(builder.fadd(builder.fdiv(wide, scale), zero_point), low, high)
    total = builder.fadd(steps, v.constant(ROUND_F64, F64, lanes))
    bits = builder.bitcast(total, ir.VectorType(I64, lanes))
    return builder.trunc(bits, ir.VectorType(kind, lanes))


@vector_code
def _divide(v, real, scale, zero_point, low, high, codes, odd, first, last):
    """Set codes first..last by division, and ``odd[0]`` to 1 if a number is not finite."""
    builder, kind = v.builder, codes.kind
    scalars = scale, zero_point, low, high
    source, target = real.data, codes.data
    flags = cgutils.alloca_once_value(builder, ir.Constant(ir.VectorType(I32, _LANES), None))
    exponent = v.constant(0x7F800000, I32, _LANES)

    def code_of(numbers):
        bits = builder.and_(builder.bitcast(numbers, exponent.type), exponent)
        found = builder.sext(builder.icmp_unsigned("==", bits, exponent), exponent.type)
        builder.store(builder.or_(builder.load(flags), found), flags)
        return _divided(v, numbers, scalars, kind)

    whole = builder.sdiv(builder.sub(last, first), v.number(_LANES))
    with cgutils.for_range(builder, whole) as loop:
        at = builder.add(first, builder.mul(loop.index, v.number(_LANES)))
        v.store(code_of(v.load(v.at(source, at), F32, _LANES)), v.at(target, at))
    done = builder.add(first, builder.mul(whole, v.number(_LANES)))
    with cgutils.for_range(builder, builder.sub(last, done)) as loop:
        at = builder.add(done, loop.index)
        number = code_of(v.splat(builder.load(v.at(source, at)), _LANES))
        builder.store(builder.extract_element(number, v.number(0)), v.at(target, at))
    with builder.if_then(_any(v, builder.icmp_signed("<", builder.load(flags), _zeros(_LANES)))):
        builder.store(v.number(1), odd.data)


@vector_code
def _multiply(v, real, inverse, zero_point, low, high, codes, at, doubts):
    """Set _LANES codes from ``at`` on, and ``doubts[0]`` to whether they have to be divided."""
    builder, vector = v.builder, ir.VectorType(F32, _LANES)
    integers = ir.VectorType(I32, _LANES)
    inverse, zero_point, low, high = (v.splat(x, _LANES) for x in (inverse, zero_point, low, high))
    magic = v.constant(ROUND_F32, F32, _LANES)
    numbers = v.load(v.at(real.data, at), F32, _LANES)
    fma = v.function(f"llvm.fma.v{_LANES}f32", vector, [vector] * 3)
    steps = builder.call(fma, [numbers, inverse, zero_point])
    away = builder.fsub(steps, builder.fsub(builder.fadd(steps, magic), magic))
    limit = v.constant(0.5 - _DOUBT, F32, _LANES)
    in_doubt = builder.fcmp_unordered(">", v.unary("llvm.fabs", away), limit)  # so is NaN
    steps = builder.fadd(v.clamp(steps, low, high), magic)
    code = builder.sub(builder.bitcast(steps, integers), v.constant(ROUND_F32_BITS, I32, _LANES))
    v.store(builder.trunc(code, ir.VectorType(codes.kind, _LANES)), v.at(codes.data, at))
    builder.store(builder.zext(_any(v, in_doubt), I64), doubts.data)


def _zeros(lanes):
    return ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)


def _any(v, mask):
    """Tell whether a lane of a mask is set."""
    bits = v.builder.bitcast(mask, ir.IntType(mask.type.count))
    return v.builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))


_SIGNATURE = "void(Array(f4, 1, 'C', readonly=True), f8, f8, f8, f8, {}[::1], i8, i8)"


@kernel(*(_SIGNATURE.format(code) for code in ("u1", "i1", "i2")))
def quantize_f32(real, scale, zero_point, low, high, codes, first, last):
    """Set codes to ``clip(rint(real / scale + zero_point), low, high)``, in float64, ties to even.

    For first <= i < last.

    Raises
    ------
    ValueError
        When a number is not finite.
    """
    doubts, odd = np.zeros(1, np.int64), np.zeros(1, np.int64)
    small = -128 <= low <= zero_point <= high <= 255
    plain = 1 / _LARGEST_SCALE <= scale <= _LARGEST_SCALE
    blocks = (last - first) // _LANES if small and plain else 0
    inverse, zero = np.float32(1 / scale), np.float32(zero_point)
    for block in range(blocks):
        at = first + block * _LANES
        _multiply(real, inverse, zero, np.float32(low), np.float32(high), codes, at, doubts)
        if doubts[0]:
            _divide(real, scale, zero_point, low, high, codes, odd, at, at + _LANES)
    done = first + blocks * _LANES
    _divide(real, scale, zero_point, low, high, codes, odd, done, last)
    if odd[0]:
        raise ValueError("a number is not finite")


@kernel("void(Array(u1, 1, 'C', readonly=True), Array(f4, 1, 'C', readonly=True), f4[::1], i8, i8)")
def dequantize_8bit(codes, table, real, first, last):
    """Set ``real[i] = table[codes[i]]`` for first <= i < last."""
    for i in range(first, last):
        real[i] = table[codes[i]]
