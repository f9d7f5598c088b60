"""Binary element-wise arithmetic of the shader and of the NN engine on stored codes.

Numpy only: on 8-bit codes these functions fill the tables of ``lut.map_pairs``. Operands broadcast.

Source: measured behaviour of the chip's functional simulator (docs/quantization.md).
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.fc import store_affine
from npusim.kernels.nnstore import cut_to_f16, store_integer
from npusim.kernels.shader import F32, Scaling, dequantize, requantize, saturate
from npusim.kernels.tptable import TINY, nearest_f16, read_f16

Codes = NDArray[np.generic]


def _power(a: F32, b: F32) -> F32:
    """Return 2**(b * log2 |a|), negative when a < 0 and trunc(b) is odd; 0**b is NaN for b <= 0."""
    sign = np.where((a < 0) & (np.trunc(b) % 2 != 0), -1.0, 1.0)
    power = sign * np.exp2(b.astype(np.float64) * np.log2(np.abs(a.astype(np.float64))))
    return np.where((a == 0) & (b <= 0), np.nan, power).astype(np.float32)


FUNCTIONS: Mapping[str, Callable[[F32, F32], F32]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": _power,
    "prelu": lambda value, slope: np.where(value < 0, value * slope, value),
}


def cut_ratio(numerator: float, denominator: float) -> float:
    """Return a float32 ratio as 16-bit multiplier and shift, lower bits cut off."""
    mantissa, exponent = np.frexp(float(np.float32(numerator) / np.float32(denominator)))
    return float(np.floor(mantissa * 65536) * 2.0 ** (exponent - 16))


def _three_u8(
    op: str, a: Codes, b: Codes, a_scaling: Scaling, b_scaling: Scaling, out_scaling: Scaling
) -> Codes:
    """Add, sub, mul, max, min with both operands and the result u8."""
    zero_point = np.float32(out_scaling[1])
    a_scale, b_scale, scale = (np.float32(s[0]) for s in (a_scaling, b_scaling, out_scaling))
    a_steps = a.astype(np.float32) - np.float32(a_scaling[1])
    b_steps = b.astype(np.float32) - np.float32(b_scaling[1])
    if op == "mul":
        return saturate(a_steps * b_steps * (a_scale * b_scale / scale) + zero_point, np.uint8)
    if op in ("add", "sub"):
        total = FUNCTIONS[op](a_steps * (a_scale / scale), b_steps * (b_scale / scale))
        return saturate(total + zero_point, np.uint8)
    exact = FUNCTIONS[op](
        a_steps.astype(np.float64) * cut_ratio(a_scaling[0], out_scaling[0]),
        b_steps.astype(np.float64) * cut_ratio(b_scaling[0], out_scaling[0]),
    )
    return saturate(exact + out_scaling[1], np.uint8)


def binary(
    op: str,
    a: Codes,
    b: Codes,
    a_scaling: Scaling,
    b_scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> Codes:
    """Apply a function of ``FUNCTIONS`` as the shader does.

    float32 throughout, the zero point is added before the only rounding (ties to even). Infinities
    saturate; NaN, and in pow infinities too, become code 0 (float16: NaN becomes -infinity).
    """
    dtype = np.dtype(dtype)
    types = {a.dtype, b.dtype, dtype}
    with np.errstate(all="ignore"):
        if types == {np.dtype(np.uint8)} and op in ("add", "sub", "mul", "max", "min"):
            return _three_u8(op, a, b, a_scaling, b_scaling, out_scaling)
        if types == {np.dtype(np.float16)} and op in ("max", "min"):
            return FUNCTIONS[op](a, b)
        if types == {np.dtype(np.float16)} and op == "prelu":
            return np.where(a < 0, cut_to_f16(a.astype(np.float32) * b.astype(np.float32)), a)
        value = FUNCTIONS[op](dequantize(a, a_scaling), dequantize(b, b_scaling))
        if op == "pow" and dtype != np.float16:
            finite = np.isfinite(value)
            stored = requantize(np.where(finite, value, np.float32(0)), dtype, out_scaling)
            return np.where(finite, stored, 0).astype(dtype)
        return requantize(value, dtype, out_scaling)


def add_on_nn(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    zero_point: int,
    weights: tuple[int, int],
    bias: int,
    multiplier: int,
    shift: int,
    out_zero_point: int,
) -> NDArray[np.uint8]:
    """Add u8 as the NN engine does: a 1x1 convolution over two channels with 8-bit weights.

    ``sat(rne(acc * multiplier / 2**shift) + out_zero_point)`` with
    ``acc = (a - zero_point) * weights[0] + (b - zero_point) * weights[1] + bias``.
    """
    acc = (a.astype(np.int64) - zero_point) * weights[0]
    acc = acc + (b.astype(np.int64) - zero_point) * weights[1] + bias
    return store_integer(acc, multiplier, shift, out_zero_point, np.uint8)


def add_on_tp(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    zero_point: int,
    weights: tuple[int, int],
    bias: int,
    multiplier: int,
    shift: int,
    out_zero_point: int,
) -> NDArray[np.uint8]:
    """Add u8 as TP's fully connected layer does: the sum of ``add_on_nn``, stored as there."""
    acc = (a.astype(np.int64) - zero_point) * weights[0]
    acc = acc + (b.astype(np.int64) - zero_point) * weights[1] + bias
    stored: NDArray[np.uint8] = store_affine(
        acc.astype(np.float32), multiplier, shift, out_zero_point, np.uint8
    )
    return stored


def add_on_tp_f16(
    a: NDArray[np.float16], b: NDArray[np.float16], subtract: bool
) -> NDArray[np.float16]:
    """Add or subtract float16 as TP's fully connected layer does: a float32 sum, nearest."""
    left, right = (read_f16(value).astype(np.float32) for value in (a, b))
    return nearest_f16((left - right if subtract else left + right).astype(np.float64))


def add_on_nn_f16(
    a: NDArray[np.float16], b: NDArray[np.float16], subtract: bool
) -> NDArray[np.float16]:
    """Add or subtract float16 as the NN engine does: one float32 sum, cut toward zero.

    Subnormal operands are 0; exponent 31 is one more binade, as in its convolutions.
    """
    left, right = (
        np.where(np.abs(value) < TINY, 0, value).astype(np.float32)
        for value in (read_f16(a), read_f16(b))
    )
    return cut_to_f16(left - right if subtract else left + right)
