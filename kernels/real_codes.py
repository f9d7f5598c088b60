"""Real numbers to codes and back, for the inputs and outputs of a network.

The arithmetic is that of ``npusim.quantization.schemes``; these loops are only faster.
"""

import numpy as np

from npusim.kernels._jit import kernel

_SIGNATURE = "void(Array(f4, 1, 'C', readonly=True), f8, f8, f8, f8, {}[::1], i8, i8)"


@kernel(*(_SIGNATURE.format(code) for code in ("u1", "i1", "i2")))
def quantize_f32(real, scale, zero_point, low, high, codes, first, last):
    """Set codes to ``clip(rint(real / scale + zero_point), low, high)``, in float64, ties to even.

    For first <= i < last; the numbers are finite.
    """
    magic = 1.5 * 2.0**52
    for i in range(first, last):
        steps = np.float64(real[i]) / scale + zero_point
        steps = steps if steps > low else low
        steps = steps if steps < high else high
        codes[i] = np.int64((steps + magic) - magic)


@kernel("void(Array(u1, 1, 'C', readonly=True), Array(f4, 1, 'C', readonly=True), f4[::1], i8, i8)")
def dequantize_8bit(codes, table, real, first, last):
    """Set ``real[i] = table[codes[i]]`` for first <= i < last."""
    for i in range(first, last):
        real[i] = table[codes[i]]
