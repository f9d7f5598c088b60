"""Real numbers to codes and back in a network's inputs and outputs, compiled where it matters.

The results are those of ``npusim.ir.codes``, which takes every other type.
"""

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


def quantize(real: Array, dtype: DType, quant: Quant) -> Array | None:
    """Return real numbers as codes, None when one is not finite; see ``ir.codes.quantize``."""
    kernels = candidates(Work.QUANTIZE, DType.F32, dtype)
    if not kernels or real.dtype != np.float32:
        return plain_quantize(real, dtype, quant) if np.isfinite(real).all() else None
    order = memory_order(real)
    memory = np.asarray(real.transpose(order), order="C")
    codes = np.empty(memory.shape, dtype.numpy)
    numbers, results = memory.reshape(-1), codes.reshape(-1)
    scalars = scale_of(quant), float(zero_point_of(quant)), float(dtype.min), float(dtype.max)
    odd = np.zeros(1, np.int64)  # threads only ever write 1
    run_rows(
        lambda first, last: kernels[0](numbers, *scalars, results, odd, first, last),
        numbers.size,
        numbers.size,
    )
    return None if odd[0] else codes.transpose(inverse(order))


@lru_cache(maxsize=256)
def _every_code(dtype: np.dtype[Any], quant: Quant) -> NDArray[np.float32]:
    """Return what the codes of an 8-bit type mean, by bit pattern."""
    table = plain_dequantize(np.arange(256, dtype=np.uint8).view(dtype), quant)
    table.flags.writeable = False
    return table


def dequantize(codes: Array, quant: Quant) -> NDArray[np.float32]:
    """Return codes as float32; see ``ir.codes.dequantize``."""
    kernels = candidates(Work.DEQUANTIZE, DType.of(codes.dtype), DType.F32)
    if not kernels:
        return plain_dequantize(codes, quant)
    table = _every_code(codes.dtype, quant)
    order = memory_order(codes)
    memory = np.asarray(codes.transpose(order), order="C")
    real = np.empty(memory.shape, np.float32)
    source, results = unsigned(memory), real.reshape(-1)
    run_rows(
        lambda first, last: kernels[0](source, table, results, first, last),
        source.size,
        source.size,
    )
    return real.transpose(inverse(order))
