"""u8 element-wise arithmetic computed code by code: what ``engines.eltwise`` defines.

Written as LLVM vectors of 32-bit words that hold four codes each: a word is taken apart by shifts,
and its four results are put together again. Rows and broadcasting as in ``lut.map_pairs``.
"""

from llvmlite import ir

from npusim.kernels._jit import kernel
from npusim.kernels.rounding import ROUND_F32, ROUND_F32_BITS
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, vector_code

SUM, PRODUCT = range(2)
_WORDS = 16
_CODES = 4 * _WORDS
_INTEGERS, _REALS = ir.VectorType(I32, _WORDS), ir.VectorType(F32, _WORDS)
_BYTES = ir.VectorType(I8, _CODES)


def _splat_number(v, number):
    return v.constant(number, I32, _WORDS)


def _numbers(v, codes):
    """Return the four codes of every word as float32."""
    builder = v.builder
    words = builder.bitcast(codes, _INTEGERS)
    for shift in (0, 8, 16, 24):
        code = builder.lshr(words, _splat_number(v, shift))
        yield builder.sitofp(builder.and_(code, _splat_number(v, 255)), _REALS)


def _joined(v, parts):
    """Return words from the low bytes of four vectors."""
    builder = v.builder
    total = builder.and_(parts[0], _splat_number(v, 255))
    for shift, part in zip((8, 16), parts[1:3], strict=True):
        code = builder.and_(part, _splat_number(v, 255))
        total = builder.or_(total, builder.shl(code, _splat_number(v, shift)))
    total = builder.or_(total, builder.shl(parts[3], _splat_number(v, 24)))
    return builder.bitcast(total, _BYTES)


def _make_row(function):
    """Return an intrinsic that applies ``function`` to ``count`` codes of two flat arrays.

    ``function(v, scalars)`` returns a function of two float32 vectors to integers whose low byte
    is the code.
    """

    @vector_code
    def row(v, a, a_at, b, b_at, ofm, ofm_at, count, scalars):
        a, b, ofm = v.at(a.data, a_at), v.at(b.data, b_at), v.at(ofm.data, ofm_at)
        apply = function(v, [v.splat(scalar, _WORDS) for scalar in scalars])

        def codes(left, right):
            pairs = zip(_numbers(v, left), _numbers(v, right), strict=True)
            return _joined(v, [apply(*pair) for pair in pairs])

        v.map_blocks(codes, (a, b), ofm, count, I8, _CODES)

    return row


def _weighted_sum(v, scalars):
    a_weight, b_weight, bias, scale, zero_out, low = scalars
    builder = v.builder
    fma = v.function(f"llvm.fma.v{_WORDS}f32", _REALS, [_REALS] * 3)
    offset = builder.sub(builder.fptosi(zero_out, _INTEGERS), _splat_number(v, ROUND_F32_BITS))
    low, high = builder.fptosi(low, _INTEGERS), _splat_number(v, 255)
    magic = v.constant(ROUND_F32, F32, _WORDS)

    def apply(a, b):
        total = builder.call(fma, [b, b_weight, builder.call(fma, [a, a_weight, bias])])
        steps = builder.bitcast(builder.call(fma, [total, scale, magic]), _INTEGERS)
        code = builder.add(steps, offset)
        code = builder.select(builder.icmp_signed(">", code, low), code, low)
        return builder.select(builder.icmp_signed("<", code, high), code, high)

    return apply


def _stored(v, value, low):
    """Return float32 as a code in the low byte: clipped, nearest integer, ties to even."""
    value = v.clamp(value, low, v.constant(255.0, F32, _WORDS))
    return v.builder.bitcast(v.builder.fadd(value, v.constant(ROUND_F32, F32, _WORDS)), _INTEGERS)


def _shader_sum(v, scalars):
    a_zero, b_zero, a_ratio, b_ratio, zero_out, low = scalars
    builder = v.builder

    def apply(a, b):
        a_steps = builder.fmul(builder.fsub(a, a_zero), a_ratio)
        b_steps = builder.fmul(builder.fsub(b, b_zero), b_ratio)
        return _stored(v, builder.fadd(b_steps, builder.fadd(a_steps, zero_out)), low)

    return apply


def _shader_product(v, scalars):
    a_zero, b_zero, multiplier, _, offset, low = scalars
    builder = v.builder
    own = builder.fmul(a_zero, b_zero)

    def apply(a, b):
        product = builder.fmul(builder.fsub(a, a_zero), builder.fsub(b, b_zero))
        steps = builder.fmul(builder.fsub(product, own), multiplier)
        return _stored(v, builder.fadd(steps, offset), low)

    return apply


_sum_row = _make_row(_weighted_sum)
_shader_sum_row = _make_row(_shader_sum)
_shader_product_row = _make_row(_shader_product)
_READ = "Array(u1, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True)"
_SIGNATURE = f"void({_READ}, {_READ}, u1[::1], i8, {{}}UniTuple(f4, 6), i8, i8)"


@kernel(_SIGNATURE.format(""))
def weighted_sum(a, a_rows, b, b_rows, ofm, row_length, scalars, first, last):
    """Set ofm to ``clip(rne((a * a_weight + b * b_weight + bias) * scale) + zero_out, low, 255)``.

    ``scalars`` are a_weight, b_weight, bias, scale, zero_out, low. Sum and scale must fit, see
    ``store_avx512.fits``: one fused multiply-add rounds their exact product.
    """
    for row in range(first, last):
        _sum_row(a, a_rows[row], b, b_rows[row], ofm, row * row_length, row_length, scalars)


@kernel(_SIGNATURE.format("i8, "))
def shader(a, a_rows, b, b_rows, ofm, row_length, operation, scalars, first, last):
    """Add or multiply as the shader does: float32, every step rounded (``eltwise.binary``).

    SUM: ``(b - b_zero) * b_ratio + ((a - a_zero) * a_ratio + offset)``; PRODUCT: ``((a - a_zero) *
    (b - b_zero) - a_zero * b_zero) * a_ratio + offset``; clipped to low..255, nearest integer.
    ``scalars`` are a_zero, b_zero, a_ratio, b_ratio, offset, low.
    """
    for row in range(first, last):
        at = row * row_length
        if operation == SUM:
            _shader_sum_row(a, a_rows[row], b, b_rows[row], ofm, at, row_length, scalars)
        else:
            _shader_product_row(a, a_rows[row], b, b_rows[row], ofm, at, row_length, scalars)
