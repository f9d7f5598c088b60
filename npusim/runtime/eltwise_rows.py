"""Element-wise operators that are computed in compiled loops instead of looked up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npusim.ir.dtypes import DType
from npusim.ir.quant import Requant
from npusim.ir.tensor import TensorSpec
from npusim.kernels.elementwise import i16_binary, u8_binary, u8_sum_vnni
from npusim.kernels.engines.eltwise import inverse_ratio, product_scalars
from npusim.kernels.tiles.store_avx512 import fits
from npusim.passes.requant import AddWeights
from npusim.runtime.broadcast import row_plan
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.memory_order import inverse
from npusim.runtime.tables import Array, scaling_of, unsigned
from npusim.runtime.threads import SMALL_WORK, run_rows

Function = Callable[[Array, Array], Array]
_LARGEST_F32 = float(np.finfo(np.float32).max)
Rows = Callable[..., None]  # (a, a_rows, b, b_rows, ofm, row_length, first, last)


def sum_rows(zero_point: int, weights: AddWeights, requant: Requant, *, relu: bool) -> Rows | None:
    """Return the compiled u8 sum of the NN engine, if its accumulators are small enough."""
    low = requant.zero_point if relu else 0
    first, second = weights.first, weights.second
    bias = weights.bias - zero_point * (first + second)
    scale = requant.multiplier * 2.0**-requant.shift
    largest = abs(bias) + 255.0 * (abs(first) + abs(second))
    if largest >= 2**24 or not fits(np.array([scale]), np.array([largest])):
        return None
    small = all(u8_sum_vnni.LOWEST <= w <= u8_sum_vnni.HIGHEST for w in (first, second))
    add = choose(
        Work.NN_SUM,
        DType.U8,
        DType.U8,
        fits=lambda kernel: small or kernel is not u8_sum_vnni.weighted_sum,
    )
    if add is u8_sum_vnni.weighted_sum:
        packed = u8_sum_vnni.packed_weights(first, second)
        store = packed, bias, scale, requant.zero_point, low
        return lambda a, a_rows, b, b_rows, ofm, length, begin, end: add(
            a, a_rows, b, b_rows, ofm, length, *store, begin, end
        )
    scalars = tuple(map(float, (first, second, bias, scale, requant.zero_point, low)))
    return lambda a, a_rows, b, b_rows, ofm, length, first, last: add(
        a, a_rows, b, b_rows, ofm, length, scalars, first, last
    )


def sum_rows_i16(weights: AddWeights, requant: Requant, *, relu: bool) -> Rows | None:
    """Return the compiled i16 sum of the NN engine, unless its shift is negative."""
    first, second, bias = weights.first, weights.second, weights.bias
    scale = requant.multiplier * 2.0**-requant.shift
    largest = abs(bias) + 2.0**15 * (abs(first) + abs(second))
    if requant.shift < 0 or requant.zero_point or largest >= 2**52 or largest * scale >= 2**51:
        return None
    scalars = _floats(first, second, bias, scale, 0 if relu else -32768, 32767)
    add = choose(Work.NN_SUM, DType.I16, DType.I16)
    return lambda a, a_rows, b, b_rows, ofm, length, begin, end: add(
        a.view(np.int16), a_rows, b.view(np.int16), b_rows, ofm.view(np.int16), length, scalars,
        begin, end,
    )  # fmt: skip


def shader_rows(op: str, specs: Sequence[TensorSpec], *, relu: bool) -> Rows | None:
    """Return the shader's compiled sum, difference or product of u8 or of i16."""
    dtypes = {spec.dtype for spec in specs}
    if op not in ("add", "sub", "mul") or dtypes not in ({DType.U8}, {DType.I16}):
        return None
    (a_scale, a_zero), (b_scale, b_zero), (scale, zero_out) = map(scaling_of, specs)
    low = zero_out if relu else specs[2].dtype.min
    sign, product, words = (-1 if op == "sub" else 1), op == "mul", DType.I16 in dtypes
    with np.errstate(all="ignore"):
        a_ratio, b_ratio = (inverse_ratio(s, scale) for s in (a_scale, b_scale))
        offset = np.float32(zero_out)
        if product:
            a_ratio, offset = product_scalars(
                ((a_scale, a_zero), (b_scale, b_zero), (scale, zero_out))
            )
        inverse_scale = np.float32(1) / np.float32(scale)
    kernel = choose(Work.SHADER_BINARY, specs[2].dtype, specs[2].dtype)
    if words:
        operation = i16_binary.PRODUCT if product else i16_binary.SUM
        scalars = _floats(a_scale, sign * b_scale, inverse_scale, low, specs[2].dtype.max)
    else:
        operation = u8_binary.PRODUCT if product else u8_binary.SUM
        scalars = _floats(a_zero, b_zero, a_ratio, sign * b_ratio, offset, low)
    if not all(abs(number) <= _LARGEST_F32 for number in scalars):
        return None

    def rows(
        a: Array, a_rows: Array, b: Array, b_rows: Array, ofm: Array, length: int, *part: int
    ) -> None:
        if words:
            a, b, ofm = (array.view(np.int16) for array in (a, b, ofm))
        kernel(a, a_rows, b, b_rows, ofm, length, operation, scalars, *part)

    return rows


def _floats(*numbers: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)


def on_rows(rows: Rows, ofm: TensorSpec) -> Function:
    """Return the function of two operands that walks them as rows of contiguous memory."""
    dtype, one_row = ofm.dtype.numpy, np.zeros(1, np.int64)

    def apply(left: Array, right: Array) -> Array:
        if ofm.elements < SMALL_WORK and left.strides == right.strides and len(left.shape) == 4:
            a, b = left.transpose(0, 2, 3, 1), right.transpose(0, 2, 3, 1)
            if a.flags.c_contiguous and a.shape == b.shape:  # the usual case, without a plan
                small = np.empty(a.shape, dtype)
                rows(unsigned(a), one_row, unsigned(b), one_row, unsigned(small), small.size, 0, 1)
                return small.transpose(0, 3, 1, 2)
        plan = row_plan(left, right, ofm.shape)
        memory = np.empty([ofm.shape[axis] for axis in plan.order], dtype)
        operands = unsigned(plan.flat(0, left)), plan.rows[0], unsigned(plan.flat(1, right))
        arguments = *operands, plan.rows[1], unsigned(memory), plan.row_length
        run_rows(lambda start, stop: rows(*arguments, start, stop), plan.rows[0].size, memory.size)
        return memory.transpose(inverse(plan.order))

    return apply
