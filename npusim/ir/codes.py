"""Real numbers to the codes that stand for them, and back. Equations: docs/quantization.md."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npusim.errors import QuantizationError
from npusim.ir.dtypes import DType
from npusim.ir.quant import Quant, scale_of, zero_point_of


def quantize(value: ArrayLike, dtype: DType, quant: Quant) -> NDArray[np.generic]:
    """Return ``saturate(rint(value / scale + zero_point))``; float types are only converted.

    Ties go to even after the zero point is added. NaN raises; infinities saturate.
    """
    array = np.asarray(value)
    if dtype.is_float:
        with np.errstate(over="ignore"):
            return array.astype(dtype.numpy)
    real = array.astype(np.float64)
    if np.isnan(real).any():
        raise QuantizationError("NaN cannot be quantized")
    steps = np.rint(real / scale_of(quant) + zero_point_of(quant))
    return np.clip(steps, *_limits(dtype)).astype(dtype.numpy)


def _limits(dtype: DType) -> tuple[float, float]:
    low, high = float(dtype.min), float(dtype.max)
    if dtype is DType.I64:  # the largest float64 below 2**63
        high = float(np.nextafter(2.0**63, 0))
    return low, high


def dequantize(value: NDArray[np.generic], quant: Quant) -> NDArray[np.float32]:
    """Return ``(q - zero_point) * scale`` as float32, one rounding of the exact product."""
    if value.dtype.kind == "f":
        return value.astype(np.float32)
    steps = value.astype(np.int64) - zero_point_of(quant)
    with np.errstate(over="ignore"):  # a range may end a hair beyond float32
        return (steps * scale_of(quant)).astype(np.float32)
