"""Fully connected work of the TP engine: one output pixel, float32 sums in flat order.

Every product and every sum is rounded to float32; the two are not fused. Products of float16 and
i8 are exact, those of i16 are not. Source: measured, docs/arithmetic/tp.md rule 5.1.
"""

from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.operand import as_tp_real
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.llvm_vectors import F32, I8, vector_code

_LANES = 16


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


@vector_code
def _add_byte_panel(v, ifm, weights, weights_at, zero, acc, acc_at):
    """Add ``sum_k ifm[k] * (weights[k * PANEL + j] - zero)`` to acc[j] for one panel, k ascending.

    Products of 8-bit numbers are exact: fused or not, the bits are the same.
    """
    builder = v.builder
    vector = ir.VectorType(F32, _LANES)
    multiply_add = v.function(f"llvm.fmuladd.v{_LANES}f32", vector, [vector] * 3)
    weights, acc = v.at(weights.data, weights_at), v.at(acc.data, acc_at)
    zero = v.splat(zero, _LANES)
    places = [v.at(acc, v.number(j)) for j in range(0, PANEL, _LANES)]
    sums = [cgutils.alloca_once_value(builder, v.load(place, F32, _LANES)) for place in places]
    with cgutils.for_range(builder, ifm.size) as loop:
        factor = v.splat(builder.load(v.at(ifm.data, loop.index)), _LANES)
        line = v.at(weights, builder.mul(loop.index, v.number(PANEL)))
        for j, total in enumerate(sums):
            codes = v.load(v.at(line, v.number(_LANES * j)), I8, _LANES)
            number = builder.fsub(builder.uitofp(codes, vector), zero)
            added = builder.call(multiply_add, [factor, number, builder.load(total)])
            builder.store(added, total)
    for place, total in zip(places, sums, strict=True):
        v.store(builder.load(total), place)


@kernel("void(f4[::1], Array(u1, 1, 'C', readonly=True), f4, f4[::1], i8, i8)")
def fc_tp_8bit(ifm, weights, zero, acc, start, stop):
    """Add ``sum_k ifm[k] * (weights[o, k] - zero)`` to acc[o], k ascending; see ``fc_tp_f16``.

    weights are uint8, flat (panels, K, PANEL); ifm holds whole numbers of 8 bits.
    """
    for panel in range(start, stop):
        _add_byte_panel(ifm, weights, panel * ifm.size * PANEL, zero, acc, panel * PANEL)
