"""Element-wise operators that are computed in compiled loops instead of looked up."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.ir.dtypes import DType
from npusim.ir.quant import Requant
from npusim.ir.tensor import TensorSpec
from npusim.kernels._jit import Kernel
from npusim.kernels.elementwise import i16_binary, u8_binary, u8_sum_vnni
from npusim.kernels.engines.eltwise import inverse_ratio, product_scalars
from npusim.kernels.tiles.store_avx512 import fits
from npusim.passes.requant import AddWeights
from npusim.runtime.broadcast import row_plan
from npusim.runtime.calls import Calls, KernelFunction
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.memory_order import CHANNELS_LAST, from_channels_last, inverse
from npusim.runtime.tables import Array, scaling_of, unsigned

_MOST_ROWS, _SHORT_ROW = 64, 4096
_LARGEST_F32 = float(np.finfo(np.float32).max)


class Rows(NamedTuple):
    """A kernel on rows of two operands.

    Attributes
    ----------
    kernel : Kernel
    more : tuple
        Its arguments behind (a, a_rows, b, b_rows, ofm, row_length).
    codes : numpy type
        That the kernel takes flat arrays as; None for unsigned bit patterns.
    table : array, optional
        Of pairs of codes; an argument in front of ofm.
    """

    kernel: Kernel
    more: tuple[Any, ...] = ()
    codes: DTypeLike | None = None
    table: Array | None = None

    def arguments(
        self, a: Array, a_rows: Array, b: Array, b_rows: Array, ofm: Array, row_length: int
    ) -> tuple[Any, ...]:
        """Return all arguments but the range of rows; the arrays are contiguous."""
        a, b, ofm = (self._flat(array) for array in (a, b, ofm))
        tables = () if self.table is None else (self.table,)
        return a, a_rows, b, b_rows, *tables, ofm, row_length, *self.more

    def _flat(self, array: Array) -> Array:
        flat = unsigned(array)
        return flat if self.codes is None else flat.view(self.codes)


def sum_rows(zero_point: int, weights: AddWeights, requant: Requant, *, relu: bool) -> Rows | None:
    """Return the compiled u8 sum of the NN engine, if its accumulators are small enough."""
    low = requant.zero_point if relu else 0
    first, second = weights.first, weights.second
    bias = weights.bias - zero_point * (first + second)
    scale = requant.multiplier * 2.0**-requant.shift
    largest = abs(bias) + 255.0 * (abs(first) + abs(second))
    if largest >= 2**24 or not fits(np.array([scale]), np.array([largest])):
        return None
    # 255, which one of the weights of a sum usually is, fits as -255: the same product either way
    sign = 1 if max(first, second) <= u8_sum_vnni.HIGHEST else -1
    small = all(
        u8_sum_vnni.LOWEST <= sign * weight <= u8_sum_vnni.HIGHEST for weight in (first, second)
    )
    add = choose(
        Work.NN_SUM,
        DType.U8,
        DType.U8,
        fits=lambda kernel: small or kernel is not u8_sum_vnni.weighted_sum,
    )
    if add is u8_sum_vnni.weighted_sum:
        packed = u8_sum_vnni.packed_weights(sign * first, sign * second)
        return Rows(add, (packed, sign * bias, sign * scale, requant.zero_point, low))
    return Rows(add, (_floats(first, second, bias, scale, requant.zero_point, low),))


def sum_rows_i16(weights: AddWeights, requant: Requant, *, relu: bool) -> Rows | None:
    """Return the compiled i16 sum of the NN engine, unless its shift is negative."""
    first, second, bias = weights.first, weights.second, weights.bias
    scale = requant.multiplier * 2.0**-requant.shift
    largest = abs(bias) + 2.0**15 * (abs(first) + abs(second))
    if requant.shift < 0 or requant.zero_point or largest >= 2**52 or largest * scale >= 2**51:
        return None
    scalars = _floats(first, second, bias, scale, 0 if relu else -32768, 32767)
    return Rows(choose(Work.NN_SUM, DType.I16, DType.I16), (scalars,), np.int16)


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
    return Rows(kernel, (operation, scalars), np.int16 if words else None)


def _floats(*numbers: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)


def _even_rows(elements: int) -> NDArray[np.int64]:
    """Return where rows of one length begin that all elements together are cut into.

    They are few and long: as many as threads can share.
    """
    counts = range(1, min(_MOST_ROWS, elements // _SHORT_ROW) + 1)
    count = max((n for n in counts if elements % n == 0), default=1)
    return np.arange(count, dtype=np.int64) * (elements // count)


def on_rows(rows: Rows, ofm: TensorSpec) -> KernelFunction:
    """Return the function of two operands that walks them as rows of contiguous memory."""
    dtype, starts = ofm.dtype.numpy, _even_rows(ofm.elements)

    def lay(calls: Calls, left: Array, right: Array) -> Array:
        if left.strides == right.strides and left.shape == right.shape and len(left.shape) == 4:
            a, b = left.transpose(CHANNELS_LAST), right.transpose(CHANNELS_LAST)
            if a.flags.c_contiguous:  # the usual case, without a plan
                memory = calls.empty(a.shape, dtype)
                length = memory.size // starts.size
                arguments = rows.arguments(a, starts, b, starts, memory, length)
                calls.add(rows.kernel, arguments, starts.size, memory.size)
                return from_channels_last(memory)
        plan = row_plan(left, right, ofm.shape)
        memory = calls.empty([ofm.shape[axis] for axis in plan.order], dtype)
        a, b = (plan.memory(calls, i, value) for i, value in enumerate((left, right)))
        arguments = rows.arguments(a, plan.rows[0], b, plan.rows[1], memory, plan.row_length)
        calls.add(rows.kernel, arguments, plan.rows[0].size, memory.size)
        return memory.transpose(inverse(plan.order))

    return KernelFunction(lay)
