"""Real numbers to codes and back in a network's inputs and outputs, compiled where it matters.

The results are those of ``npusim.ir.codes``, which takes every other type.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.codes import dequantize as plain_dequantize
from npusim.ir.codes import quantize as plain_quantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import Quant, scale_of, zero_point_of
from npusim.runtime.kernel_table import Work, candidates
from npusim.runtime.memory_order import inverse, memory_order
from npusim.runtime.tables import unsigned
from npusim.runtime.threads import run_rows

Array = NDArray[Any]
_FEW = 1 << 12  # results that numpy has looked up before a kernel call is made ready


def _in_memory(value: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Return all elements as they lie in memory, and what gives such a row the shape of ``value``.

    Copies only when there are gaps.
    """
    if value.flags.c_contiguous:
        return value.reshape(-1), lambda row: row.reshape(value.shape)
    order = memory_order(value)
    memory = np.asarray(value.transpose(order), order="C")
    return memory.reshape(-1), lambda row: row.reshape(memory.shape).transpose(inverse(order))


def quantize(real: Array, dtype: DType, quant: Quant) -> Array | None:
    """Return real numbers as codes, None when one is not finite; see ``ir.codes.quantize``."""
    kernels = candidates(Work.QUANTIZE, DType.F32, dtype)
    if not kernels or real.dtype != np.float32:
        return plain_quantize(real, dtype, quant) if np.isfinite(real).all() else None
    numbers, shaped = _in_memory(real)
    results = np.empty(numbers.size, dtype.numpy)
    scalars = scale_of(quant), float(zero_point_of(quant)), float(dtype.min), float(dtype.max)
    odd = np.zeros(1, np.int64)  # threads only ever write 1
    run_rows(
        lambda first, last: kernels[0](numbers, *scalars, results, odd, first, last),
        numbers.size,
        numbers.size,
    )
    return None if odd[0] else shaped(results)


@lru_cache(maxsize=256)
def _every_code(dtype: np.dtype[Any], quant: Quant) -> NDArray[np.float32]:
    """Return what the codes of an 8-bit type mean, by bit pattern."""
    table = plain_dequantize(np.arange(256, dtype=np.uint8).view(dtype), quant)
    table.flags.writeable = False
    return table


def dequantize(codes: Array, quant: Quant) -> NDArray[np.float32]:
    """Return codes as float32; see ``ir.codes.dequantize``."""
    if codes.itemsize == 1 and codes.ndim > 0 and codes.size <= _FEW:
        return np.asarray(_every_code(codes.dtype, quant)[codes.view(np.uint8)])
    kernels = candidates(Work.DEQUANTIZE, DType.of(codes.dtype), DType.F32)
    if not kernels:
        return plain_dequantize(codes, quant)
    table = _every_code(codes.dtype, quant)
    memory, shaped = _in_memory(codes)
    source, results = unsigned(memory), np.empty(memory.size, np.float32)
    run_rows(
        lambda first, last: kernels[0](source, table, results, first, last),
        source.size,
        source.size,
    )
    return shaped(results)
