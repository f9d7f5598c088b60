"""prelu of the shader on stored codes, with slopes that broadcast.

Two programs of the driver: one for a slope per channel and one for slopes of any other shape.

Source: measured, docs/arithmetic/shader.md rules 3.8 and 3.10 to 3.12.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.eltwise import cut_ratio
from npusim.kernels.engines.nn_store import cut_to_f16
from npusim.kernels.engines.shader import (
    F32,
    Scaling,
    dequantize,
    requantize,
    saturate,
    to_f16,
)
from npusim.kernels.engines.shader_resize import cut_to_half

Codes = NDArray[Any]


def prelu(
    codes: Codes,
    slope: F32,
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
    *,
    by_channel: bool,
) -> Codes:
    """Multiply by a slope below zero.

    Parameters
    ----------
    codes : u8, i8, i16 or f16, any shape
    slope : float32 that broadcasts to ``codes``
        Real values; subnormal float16 as 0.
    dtype
        Of the result: the codes' own, or float16 on either side.
    by_channel : bool
        Slopes are float16, one per channel: the program that cuts u8 and f16 to halves.
    """
    dtype = np.dtype(dtype)
    with np.errstate(all="ignore"):
        if by_channel and codes.dtype == np.uint8:
            return _cut_steps(codes, slope, scaling, dtype, out_scaling)
        if by_channel and dtype == np.float16:
            if codes.dtype == np.float16:
                product = dequantize(codes, scaling) * slope
                return np.where(codes < 0, cut_to_f16(product), codes)
            if codes.dtype == np.int8:
                value = dequantize(codes, scaling)
                return to_f16(np.maximum(value, _halves(value * slope)))
        if np.float16 in (codes.dtype, dtype):
            value = dequantize(codes, scaling)
            return requantize(np.where(value < 0, value * slope, value), dtype, out_scaling)
        if codes.dtype == np.int16 and (by_channel or out_scaling[0] >= scaling[0]):
            steps = codes.astype(np.float64) * (scaling[0] / out_scaling[0])
            return saturate(np.where(codes < 0, steps * slope, steps), dtype)
        return _scaled_steps(codes, slope, scaling, dtype, out_scaling)


def _halves(value: NDArray[np.floating]) -> F32:
    return cut_to_half(value).astype(np.float32)


def _cut_steps(
    codes: Codes, slope: F32, scaling: Scaling, dtype: np.dtype[Any], out_scaling: Scaling
) -> Codes:
    """Scale u8 by a ratio of 16 bits, cut to float16, multiply; the zero point comes last.

    The ratio of equal scales is now and then a little less than 1.
    """
    ratio = cut_ratio(scaling[0], out_scaling[0])
    steps = _halves((codes.astype(np.float64) - scaling[1]) * ratio)
    product = steps * slope
    if dtype == np.float16:
        return to_f16(np.where(steps < 0, _halves(product), steps))
    value = np.rint(np.where(steps < 0, product, steps)) + out_scaling[1]
    stored: Codes = np.clip(value, 0, 255).astype(dtype)
    return stored


def _scaled_steps(
    codes: Codes, slope: F32, scaling: Scaling, dtype: np.dtype[Any], out_scaling: Scaling
) -> Codes:
    """Scale by the float32 ratio of both scales, multiply, add the zero point, round."""
    ratio = np.float32(scaling[0]) / np.float32(out_scaling[0])
    steps = (codes.astype(np.float32) - np.float32(scaling[1])) * ratio
    return saturate(np.where(steps < 0, steps * slope, steps) + np.float32(out_scaling[1]), dtype)
