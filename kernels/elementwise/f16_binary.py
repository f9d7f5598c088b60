"""Binary element-wise arithmetic on halves, compiled. Halves travel as uint16 bit patterns.

Defined by ``engines.eltwise``: ``binary``, and ``add_on_nn_f16`` for sums of the NN engine.
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.float16 import half_to_f32_flushed, truncate_to_half

ADD, MULTIPLY, DIVIDE, ADD_ON_NN = 0, 1, 2, 3


@primitive
def shader_value(bits):
    """Return a half as the shader reads it: subnormals are 0, infinity and NaN are themselves."""
    magnitude = np.uint32(bits & np.uint16(0x7FFF))
    sign = np.uint32(bits & np.uint16(0x8000)) << np.uint32(16)
    normal = (magnitude << np.uint32(13)) + np.uint32(112 << 23)
    normal = normal if magnitude < np.uint32(0x7C00) else normal + np.uint32(112 << 23)
    return np.uint32((normal if magnitude >= np.uint32(0x0400) else np.uint32(0)) | sign).view(
        np.float32
    )


@primitive
def shader_half(value):
    """Return the bits of the half nearest to a float32, ties to even: the shader's store.

    65520 and more give infinity, what rounds to a subnormal gives +0, NaN -infinity.
    """
    bits = np.float32(value).view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    odd = (magnitude >> np.uint32(13)) & np.uint32(1)
    half = ((magnitude + np.uint32(0xFFF) + odd) >> np.uint32(13)) - np.uint32(112 << 10)
    half = half if magnitude >= np.uint32(0x38800000) else np.uint32(0x0400)
    half = half if magnitude < np.uint32(0x477FF000) else np.uint32(0x7C00)
    signed = half | ((bits >> np.uint32(16)) & np.uint32(0x8000))
    signed = signed if magnitude <= np.uint32(0x7F800000) else np.uint32(0xFC00)
    # 2**-14 - 2**-25 is half way between the largest subnormal and 2**-14, and goes up
    return np.uint16(signed if magnitude >= np.uint32(0x387FE000) else np.uint32(0))


@kernel(
    "void(Array(u2, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True),"
    " Array(u2, 1, 'C', readonly=True), Array(i8, 1, 'C', readonly=True),"
    " u2[::1], i8, i8, boolean, boolean, i8, i8)"
)
def binary(a, a_rows, b, b_rows, ofm, row_length, operation, negate_b, relu, first, last):
    """Set ``ofm = a (operation) b`` for the rows first <= row < last; rows as in ``lut.map_pairs``.

    One float32 operation; subnormal operands are 0. ADD, MULTIPLY, DIVIDE: the shader, nearest.
    ADD_ON_NN: cut toward zero, no infinities. ``relu``: negative results become +0.
    """
    b_sign = np.uint16(0x8000) if negate_b else np.uint16(0)
    limit = np.uint32(0x8000) if relu else np.uint32(0x10000)
    for row in range(first, last):
        left = a[a_rows[row] : a_rows[row] + row_length]
        right = b[b_rows[row] : b_rows[row] + row_length]
        result = ofm[row * row_length : (row + 1) * row_length]
        if operation == ADD:
            for k in range(row_length):
                x, y = shader_value(left[k]), shader_value(right[k] ^ b_sign)
                half = shader_half(x + y)
                result[k] = half if half < limit else np.uint16(0)
        elif operation == MULTIPLY:
            for k in range(row_length):
                x, y = shader_value(left[k]), shader_value(right[k] ^ b_sign)
                half = shader_half(x * y)
                result[k] = half if half < limit else np.uint16(0)
        elif operation == DIVIDE:
            for k in range(row_length):
                x, y = shader_value(left[k]), shader_value(right[k] ^ b_sign)
                half = shader_half(x / (y + np.float32(0.0)))  # zeros divide as +0
                result[k] = half if half < limit else np.uint16(0)
        else:
            for k in range(row_length):
                x, y = half_to_f32_flushed(left[k]), half_to_f32_flushed(right[k] ^ b_sign)
                half = truncate_to_half(x + y)
                result[k] = half if half < limit else np.uint16(0)
