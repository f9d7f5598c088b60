"""Averages of pools on the shader: from the exact sum of a window to the stored code.

Source: measured, docs/arithmetic/shader.md rules 6.4, 6.5 and 6.7.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.shader import F32, Scaling, requantize, saturate

F64 = NDArray[np.float64]
LARGEST_IN_HALVES = 8  # rows and columns of an i8 global average that multiplies by float16(1/n)


def average(
    total: F64,
    pixels: F64,
    source: DTypeLike,
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
    *,
    cuts: bool,
) -> NDArray[Any]:
    """Store the averages of windows.

    Parameters
    ----------
    total : float64
        Exact sums of codes above the zero point; of float16 values, subnormals as 0, float32 sums
        row by row.
    pixels : float64 that broadcasts to ``total``
        What each sum is divided by.
    source, dtype
        Types of the input and of the result.
    scaling, out_scaling : (scale, zero point)
    cuts : bool
        The program for windows that may lack pixels: integers add half a step and are cut, which
        moves negative ones up.
    """
    if np.float16 in (np.dtype(source), np.dtype(dtype)):
        return _real_average(total, pixels, scaling, dtype, out_scaling)
    factor = (scaling[0] / out_scaling[0] / pixels).astype(np.float32)
    value: F32 = total.astype(np.float32) * factor + np.float32(out_scaling[1])
    return saturate(np.trunc(value + 0.5) if cuts else value, dtype)


def _real_average(
    total: F64, pixels: F64 | int, scaling: Scaling, dtype: DTypeLike, out_scaling: Scaling
) -> NDArray[Any]:
    """Return averages to or from float16: the real sum times float32(1/n)."""
    real = total.astype(np.float32) * np.float32(scaling[0])
    return requantize(real * (1 / np.asarray(pixels)).astype(np.float32), dtype, out_scaling)


def global_average(
    total: F64,
    pixels: int,
    source: DTypeLike,
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
    *,
    in_halves: bool,
) -> NDArray[Any]:
    """Store the averages of whole maps; parameters as ``average``.

    ``in_halves``: i8 of few rows and columns (``LARGEST_IN_HALVES``). The share of a pixel is a
    float32; u8 makes real values of the sum of codes and of that of the zero points first.
    """
    if np.dtype(source) == np.dtype(dtype) == np.uint8:
        scale, zeros = np.float32(scaling[0]), np.float32(pixels * scaling[1])
        real = (total.astype(np.float32) + zeros) * scale - zeros * scale
        value = real * np.float32(1 / (out_scaling[0] * pixels)) + np.float32(out_scaling[1])
        return saturate(value, dtype)
    if np.float16 in (np.dtype(source), np.dtype(dtype)):
        return _real_average(total, pixels, scaling, dtype, out_scaling)
    share = np.float32(np.float16(1 / pixels)) if in_halves else np.float32(1 / pixels)
    mean = total * float(share) if in_halves else total.astype(np.float32) * share
    ratio = scaling[0] / out_scaling[0]
    return saturate(mean.astype(np.float64) * ratio + out_scaling[1], dtype)
