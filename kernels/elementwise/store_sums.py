"""The TP engine's float32 sums stored as integers: the arithmetic of ``engines.tp``."""

import numpy as np

from npusim.kernels._jit import kernel

_SIGNATURE = "void(Array(f4, 1, 'C', readonly=True), f8, f4, b1, b1, f8, f8, {}[::1], i8, i8)"


@kernel(*(_SIGNATURE.format(code) for code in ("u1", "i1", "i2")))
def store_sums(sums, scale, zero_point, is_affine, relu, low, high, codes, first, last):
    """Set codes to sums times scale, rounded to even and clamped, for first <= i < last.

    Affine: the product is rounded to float32 and so is its sum with the zero point, as
    ``engines.tp.store_affine`` does; else the product is exact, as in ``engines.tp.saturate``.
    ``relu`` raises negative sums to 0 first.
    """
    for i in range(first, last):
        total = sums[i]
        if relu and total < 0:
            total = np.float32(0)
        product = np.float64(total) * scale
        if is_affine:
            product = np.float64(np.float32(product) + zero_point)
        codes[i] = min(max(np.rint(product), low), high)
