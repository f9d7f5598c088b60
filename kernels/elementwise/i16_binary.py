"""i16 sums and products of the shader, computed code by code: what ``engines.eltwise`` defines.

float32, every step rounded, products with ties upward. Rows and broadcasting as in
``lut.map_pairs``.
"""

from llvmlite import ir

from npusim.kernels._jit import kernel
from npusim.kernels.rounding import ROUND_F32, ROUND_F64
from npusim.kernels.tiles.llvm_vectors import F32, F64, I16, I32, vector_code

SUM, PRODUCT = range(2)
_LANES = 16
_REALS = ir.VectorType(F32, _LANES)


def _make_row(product):
    """Return an intrinsic that applies the operation to ``count`` codes of two flat arrays."""

    @vector_code
    def row(v, a, a_at, b, b_at, ofm, ofm_at, count, scalars):
        builder = v.builder
        a, b, ofm = v.at(a.data, a_at), v.at(b.data, b_at), v.at(ofm.data, ofm_at)
        a_scale, b_scale, inverse, low, high = (v.splat(scalar, _LANES) for scalar in scalars)
        fma = v.function(f"llvm.fma.v{_LANES}f32", _REALS, [_REALS] * 3)

        def multiplied(left, right):
            """Return products rounded to float32, ties upward (``engines.shader.multiply``)."""
            value = builder.fmul(left, right)
            rest = builder.call(fma, [left, right, builder.fneg(value)])
            words = ir.VectorType(I32, _LANES)
            sign = builder.ashr(builder.bitcast(value, words), v.constant(31, I32, _LANES))
            step = builder.or_(sign, v.constant(1, I32, _LANES))  # 1, or -1 below zero
            above = builder.add(builder.bitcast(value, words), step)
            above = builder.bitcast(above, _REALS)
            gap = builder.fsub(above, value)
            tie = builder.fcmp_ordered("==", builder.fadd(rest, rest), gap)
            return builder.select(tie, above, value)

        def codes(left, right):
            left = builder.fmul(builder.sitofp(left, _REALS), a_scale)
            right = builder.fmul(builder.sitofp(right, _REALS), b_scale)
            value = multiplied(left, right) if product else builder.fadd(left, right)
            steps = v.clamp(builder.fmul(value, inverse), low, high)
            total = builder.fadd(steps, v.constant(ROUND_F32, F32, _LANES))
            bits = builder.bitcast(total, ir.VectorType(I32, _LANES))
            return builder.trunc(bits, ir.VectorType(I16, _LANES))

        v.map_blocks(codes, (a, b), ofm, count, I16, _LANES)

    return row


@vector_code
def _weighted_row(v, a, a_at, b, b_at, ofm, ofm_at, count, scalars):
    """Store ``clip(rne((a * a_weight + b * b_weight + bias) * scale), low, high)``, in float64."""
    builder = v.builder
    a, b, ofm = v.at(a.data, a_at), v.at(b.data, b_at), v.at(ofm.data, ofm_at)
    wide = ir.VectorType(F64, _LANES)
    a_weight, b_weight, bias, scale, low, high = (v.splat(scalar, _LANES) for scalar in scalars)
    fma = v.function(f"llvm.fma.v{_LANES}f64", wide, [wide] * 3)
    magic = v.constant(ROUND_F64, F64, _LANES)

    def codes(left, right):
        left, right = builder.sitofp(left, wide), builder.sitofp(right, wide)
        total = builder.call(fma, [left, a_weight, bias])
        total = builder.call(fma, [right, b_weight, total])
        steps = builder.fsub(builder.call(fma, [total, scale, magic]), magic)
        whole = builder.fptosi(v.clamp(steps, low, high), ir.VectorType(I32, _LANES))
        return builder.trunc(whole, ir.VectorType(I16, _LANES))

    v.map_blocks(codes, (a, b), ofm, count, I16, _LANES)


_sum_row, _product_row = _make_row(False), _make_row(True)
_READ = "Array(i2, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True)"


@kernel(f"void({_READ}, {_READ}, i2[::1], i8, i8, UniTuple(f4, 5), i8, i8)")
def shader(a, a_rows, b, b_rows, ofm, row_length, operation, scalars, first, last):
    """Set ofm to the sum or product of ``a * a_scale`` and ``b * b_scale``, times ``inverse``.

    Clipped to low..high, nearest integer, ties to even. ``scalars`` are a_scale, b_scale, inverse,
    low, high.
    """
    for row in range(first, last):
        at = row * row_length
        if operation == SUM:
            _sum_row(a, a_rows[row], b, b_rows[row], ofm, at, row_length, scalars)
        else:
            _product_row(a, a_rows[row], b, b_rows[row], ofm, at, row_length, scalars)


@kernel(f"void({_READ}, {_READ}, i2[::1], i8, UniTuple(f8, 6), i8, i8)")
def weighted_sum(a, a_rows, b, b_rows, ofm, row_length, scalars, first, last):
    """Add as the NN engine does (``eltwise.add_on_nn``), with a shift that is not negative.

    ``scalars`` are a_weight, b_weight, bias, scale, low, high; sums stay below 2**52, and times
    the scale below 2**51.
    """
    for row in range(first, last):
        _weighted_row(a, a_rows[row], b, b_rows[row], ofm, row * row_length, row_length, scalars)
