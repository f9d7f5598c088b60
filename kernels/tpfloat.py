"""The TP engine's 22-bit float (1 + 6 + 15 bits) and its store, shared by all TP operators.

``r16(v)``: 16 significant bits, nearest, ties to even. All arithmetic is carried in float64, where
products of two such numbers, and of one with a 17-bit integer, are exact.

    p = r16((x - zero_in) * r16(f32(scale_in / scale_out)))
    y = clip(rne(r16(p + zero_out)))      float16: nearest half of p

Source: ARITHMETIC_NN 5, measured.
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.float16 import nearest_half


@primitive
def r16(value):
    """Return a float64 rounded to 16 significant bits, ties to even (works on the bit pattern)."""
    bits = np.float64(value).view(np.int64)
    odd = (bits >> np.int64(37)) & np.int64(1)
    return np.int64((bits + np.int64((1 << 36) - 1) + odd) & np.int64(-1 << 37)).view(np.float64)


@primitive
def tp_store_integer(product, zero_point, low, high):
    """Return ``clip(rne(r16(product + zero_point)), low, high)`` as a float64 whole number."""
    value = np.rint(r16(product + zero_point))
    value = value if value > low else low
    return value if value < high else high


@primitive
def tp_store_half(product):
    """Return the bits of the half the TP engine stores for a product."""
    return nearest_half(product)


@kernel("void(float64[::1], float64, float64, float64, float64, float64, boolean, float64[::1])")
def convert(ifm, zero_in, ratio, zero_out, low, high, relu, ofm):
    """Convert (or relu and convert) codes to another integer quantization.

    Parameters
    ----------
    ifm : float64 (n,)
        Codes (float16: values).
    zero_in, zero_out : float
        Zero points.
    ratio : float
        ``r16(float32(scale_in / scale_out))``.
    low, high : float
        Limits of the output type.
    relu : bool
        Negative ``ifm - zero_in`` count as zero.
    ofm : float64 (n,)
        Codes, whole numbers.
    """
    for i in range(ifm.size):
        centred = ifm[i] - zero_in
        if relu and centred < 0.0:
            centred = 0.0
        ofm[i] = tp_store_integer(r16(centred * ratio), zero_out, low, high)


@kernel("void(float64[::1], float64, float64, boolean, uint16[::1])")
def convert_to_half(ifm, zero_in, ratio, relu, ofm):
    """Convert (or relu and convert) codes to halves; see ``convert``.

    relu: negative gives -0 and what is below 2**-15 gives 0. Source: ARITHMETIC_NN 5, measured.
    """
    for i in range(ifm.size):
        centred = ifm[i] - zero_in
        if relu:
            if np.abs(centred) < 2.0**-15:
                centred = 0.0
            elif centred < 0.0:
                centred = -0.0
        ofm[i] = nearest_half(r16(centred * ratio))
