"""Real numbers to codes and back in a network's inputs and outputs, compiled where it matters.

The results are those of ``npusim.ir.codes``, which takes every other type. Both directions are
steps too, so that they can be the first and the last calls of a tape.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import InputError
from npusim.ir.codes import dequantize as plain_dequantize
from npusim.ir.codes import quantize as plain_quantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import Float, Quant, scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.runtime.calls import Calls, KernelFunction, KernelStep
from npusim.runtime.kernel_table import Work, candidates
from npusim.runtime.memory_order import inverse, memory_order
from npusim.runtime.tables import unsigned

Array = NDArray[Any]


@lru_cache(maxsize=256)
def _coding(dtype: DType, quant: Quant) -> KernelFunction | None:
    """Return the function of float32 numbers to codes, None where no kernel does it."""
    kernels = candidates(Work.QUANTIZE, DType.F32, dtype)
    if not kernels:
        return None
    limits = float(dtype.min), float(dtype.max)
    scalars = scale_of(quant), float(zero_point_of(quant)), *limits

    def lay(calls: Calls, real: Array) -> Array:
        order = memory_order(real)
        numbers = calls.in_order(real, order)
        codes = calls.empty(numbers.shape, dtype.numpy)
        arguments = numbers.reshape(-1), *scalars, codes.reshape(-1)
        calls.add(kernels[0], arguments, numbers.size, numbers.size)
        return codes.transpose(inverse(order))

    return KernelFunction(lay)


@lru_cache(maxsize=256)
def _decoding(dtype: np.dtype[Any], quant: Quant) -> KernelFunction | None:
    """Return the function of codes to float32 numbers, None where no kernel does it."""
    kernels = candidates(Work.DEQUANTIZE, DType.of(dtype), DType.F32)
    if not kernels:
        return None
    table = plain_dequantize(np.arange(256, dtype=np.uint8).view(dtype), quant)
    table.flags.writeable = False

    def lay(calls: Calls, codes: Array) -> Array:
        order = memory_order(codes)
        memory = calls.in_order(codes, order)
        real = calls.empty(memory.shape, np.float32)
        calls.add(kernels[0], (unsigned(memory), table, real.reshape(-1)), real.size, real.size)
        return real.transpose(inverse(order))

    return KernelFunction(lay)


def quantize(real: Array, dtype: DType, quant: Quant) -> Array | None:
    """Return real numbers as codes, None when one is not finite; see ``ir.codes.quantize``."""
    function = _coding(dtype, quant)
    if function is None or real.dtype != np.float32:
        return plain_quantize(real, dtype, quant) if np.isfinite(real).all() else None
    try:
        return function(real)
    except ValueError:
        return None


def dequantize(codes: Array, quant: Quant) -> NDArray[np.float32]:
    """Return codes as float32; see ``ir.codes.dequantize``."""
    function = _decoding(codes.dtype, quant)
    return plain_dequantize(codes, quant) if function is None else function(codes)


def stored(real: Array, spec: TensorSpec) -> Array:
    """Return real numbers as a tensor stores them.

    Raises
    ------
    InputError
        When one is not finite.
    """
    if _holds_indices(spec):
        codes = real.astype(spec.dtype.numpy) if np.isfinite(real).all() else None
    else:
        codes = quantize(real, spec.dtype, spec.quant)
    if codes is None:
        raise InputError("the array holds NaN or infinity", where=f"input {spec.name!r}")
    return codes


def _holds_indices(spec: TensorSpec) -> bool:
    return isinstance(spec.quant, Float) and not spec.dtype.is_float


class _Storing(KernelStep):
    """``stored`` as a step."""

    def __init__(self, spec: TensorSpec, function: KernelFunction) -> None:
        super().__init__(lambda calls, real: (function.lay(calls, real),))
        self._spec = spec

    def __call__(self, *values: Array) -> tuple[Array, ...]:
        return (stored(values[0], self._spec),)


def storing_step(spec: TensorSpec) -> KernelStep | None:
    """Return ``stored`` for float32 numbers as a step of kernel calls, None if it is none."""
    function = None if _holds_indices(spec) else _coding(spec.dtype, spec.quant)
    return None if function is None else _Storing(spec, function)


def reading_step(spec: TensorSpec) -> KernelStep | None:
    """Return ``dequantize`` of a tensor as a step of kernel calls, None if it is none."""
    function = _decoding(spec.dtype.numpy, spec.quant)
    if function is None:
        return None
    return KernelStep(lambda calls, codes: (function.lay(calls, codes),))
