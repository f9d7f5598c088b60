"""Fully connected work of the TP engine: one output pixel, float32 sums in flat order.

Every product and every sum is rounded to float32; the two are not fused. Products of float16 and
i8 are exact, those of i16 are not. Source: ARITHMETIC_NN 2, measured.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.fma_tile import PANEL
from npusim.kernels.operand import as_tp_real
from npusim.kernels.tptable import saturate


@primitive
def add_panels(ifm, weights, acc, start, stop):
    """Add the products of panels start..stop to their sums, k ascending, four k at a time."""
    whole = ifm.size // 4 * 4
    for panel in range(start, stop):
        sums = acc[panel * PANEL : (panel + 1) * PANEL]
        for k in range(0, whole, 4):
            x0, x1, x2, x3 = ifm[k], ifm[k + 1], ifm[k + 2], ifm[k + 3]
            rows = weights[panel, k : k + 4]
            for j in range(PANEL):
                value = sums[j] + x0 * as_tp_real(rows[0, j])
                value = value + x1 * as_tp_real(rows[1, j])
                value = value + x2 * as_tp_real(rows[2, j])
                sums[j] = value + x3 * as_tp_real(rows[3, j])
        for k in range(whole, ifm.size):
            row = weights[panel, k]
            for j in range(PANEL):
                sums[j] = sums[j] + ifm[k] * as_tp_real(row[j])


_SIGNATURE = "void(f4[::1], Array({}, 3, 'C', readonly=True), f4[::1], i8, i8)"


@kernel(_SIGNATURE.format("u2"))
def fc_tp_f16(ifm, weights, acc, start, stop):
    """Add ``sum_k ifm[k] * weights[o, k]`` to acc[o], k ascending.

    Parameters
    ----------
    ifm : float32 (K,)
    weights : uint16 (panels, K, PANEL)
        Halves; subnormals count.
    acc : float32 (panels * PANEL,)
        Holds the bias at entry.
    start, stop : int
        Range of panels.
    """
    add_panels(ifm, weights, acc, start, stop)


@kernel(_SIGNATURE.format("i2"))
def fc_tp_integer(ifm, weights, acc, start, stop):
    """Add ``sum_k ifm[k] * weights[o, k]`` to acc[o]; weights are int16, see ``fc_tp_f16``."""
    add_panels(ifm, weights, acc, start, stop)


def store_affine(
    acc: NDArray[np.float32], multiplier: int, shift: int, zero_point: int, dtype: DTypeLike
) -> NDArray[np.generic]:
    """Store sums as asymmetric integers: ``sat(rne(f32(f32(acc * scale) + zero_point)))``.

    ``scale`` is ``multiplier * 2**-shift``. Measured: 0 of 150000 differ, ties and sums beyond 2^24
    among them.
    """
    product = (acc.astype(np.float64) * (multiplier * 2.0**-shift)).astype(np.float32)
    return saturate(product + np.float32(zero_point), dtype)
