"""The shader core on whole arrays: float32 in, float32 out, one rounding at each end.

Numpy only. ``float64 then float32`` stands for a correctly rounded float32 function.

Source: measured, docs/arithmetic/shader.md.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.erf import erf
from npusim.kernels.rounding import LARGEST_HALF, SMALLEST_HALF

F32 = NDArray[np.float32]
Scaling = tuple[float, int]  # scale and zero point; (1, 0) for float16
TINY = np.float32(SMALLEST_HALF)
_ROUNDS_TO_TINY = np.float32(SMALLEST_HALF - 2.0**-25)  # half way to the largest subnormal
LARGEST_F16 = np.float32(LARGEST_HALF)
LOG2_E = np.float32(1.442695040888963)
LN_2 = np.float32(0.6931471805599453)
ONE = np.float32(1)


def dequantize(codes: NDArray[np.generic], scaling: Scaling) -> F32:
    """Return real values as float32: ``(q - zero_point) * scale``; float16 subnormals become 0."""
    if codes.dtype == np.float16:
        value = codes.astype(np.float32)
        return np.where(np.abs(value) < TINY, np.float32(0), value)
    scale, zero_point = scaling
    return (codes.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def to_f16(value: F32) -> NDArray[np.float16]:
    """Round float32 to float16, ties to even; below 2**-14 becomes 0, NaN becomes -infinity."""
    # cleared before the conversion: numpy makes subnormal halves a hundred times slower
    value = np.where(np.abs(value) < _ROUNDS_TO_TINY, np.float32(0), value)
    with np.errstate(over="ignore"):
        return np.where(np.isnan(value), np.float32(-np.inf), value).astype(np.float16)


def saturate(value: NDArray[np.floating], dtype: DTypeLike) -> NDArray[np.generic]:
    """Round to integers, ties to even, and clamp; NaN becomes code 0."""
    limits = np.iinfo(np.dtype(dtype))
    value = np.where(np.isnan(value), np.float32(0), value)
    if limits.bits > 16:  # not exact in float32; the largest float64 below 2**63 for 64 bits
        largest = min(float(limits.max), float(np.nextafter(2.0**63, 0)))
        codes: NDArray[np.generic] = np.clip(np.rint(value).astype(np.float64), limits.min, largest)
    else:
        codes = np.clip(np.rint(value), limits.min, limits.max)
    return codes.astype(dtype)


def requantize(value: F32, dtype: DTypeLike, scaling: Scaling) -> NDArray[np.generic]:
    """Store float32: ``value * (1 / scale) + zero_point`` in float32, nearest, saturated."""
    if np.dtype(dtype) == np.float16:
        return to_f16(value)
    scale, zero_point = scaling
    with np.errstate(over="ignore", invalid="ignore"):  # infinities saturate
        steps = value * (ONE / np.float32(scale)) + np.float32(zero_point)
    return saturate(steps, dtype)


def multiply(a: F32, b: F32 | np.float32) -> F32:
    """Return float32 products as the shader rounds them: to nearest, ties upward.

    Only products wider than 24 bits (i16 times i16) tell it from ties to even (measured,
    docs/arithmetic/shader.md rule 2.1).
    """
    exact = a.astype(np.float64) * np.float64(b)
    nearest = _f32(exact)
    above = np.nextafter(nearest, np.float32(np.inf))
    return np.where((exact - nearest) * 2 == above.astype(np.float64) - nearest, above, nearest)


def _f32(value: NDArray[np.floating]) -> F32:
    return value.astype(np.float32)


def log2(value: F32) -> F32:
    """Return the shader's logarithm to base 2, rounded toward zero.

    Source: measured, 0 of 55443 softplus results differ (docs/arithmetic/shader.md rule 2.2).
    """
    exact = np.log2(value.astype(np.float64))
    nearest = _f32(exact)
    return np.where(np.abs(nearest) > np.abs(exact), np.nextafter(nearest, np.float32(0)), nearest)


def exp2(value: F32) -> F32:
    """Return 2**(value * log2 e), the shader's exponential."""
    return _f32(np.exp2((value * LOG2_E).astype(np.float64)))


def _softplus(value: F32) -> F32:
    return log2(ONE + exp2(value)) * LN_2


def rsqrt(value: F32) -> F32:
    """Return 1 / sqrt(value) with one rounding; infinity for zeros, NaN for negative numbers."""
    return np.where(value == 0, np.float32(np.inf), _f32(1 / np.sqrt(value.astype(np.float64))))


UNARY: Mapping[str, Callable[[F32], F32]] = {
    "softplus": _softplus,
    "exp": exp2,
    "sqrt": np.sqrt,
    "rsqrt": rsqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sign": np.sign,
    "erf": erf,  # not measured on the shader: the erf that was measured inside gelu
}


def unary(
    name: str,
    codes: NDArray[np.generic],
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> NDArray[np.generic]:
    """Apply a function of ``UNARY`` to codes of any shape.

    Float16 results saturate at +-65504 (NaN is stored as -infinity and saturates like it).
    """
    with np.errstate(all="ignore"):
        value = UNARY[name](dequantize(codes, scaling))
    if np.dtype(dtype) == np.float16:
        value = np.clip(np.where(np.isnan(value), -LARGEST_F16, value), -LARGEST_F16, LARGEST_F16)
    return requantize(value, dtype, out_scaling)


def _sigmoid(value: F32) -> F32:
    return ONE / (ONE + exp2(-value))


ACTIVATIONS: Mapping[str, Callable[[F32, float], F32]] = {
    "relu": lambda value, _: np.maximum(value, np.float32(0)),
    "relu1": lambda value, _: np.clip(value, np.float32(-1), np.float32(1)),
    "relu6": lambda value, _: np.clip(value, np.float32(0), np.float32(6)),
    "leaky_relu": lambda value, alpha: np.where(
        value < 0, multiply(value, np.float32(np.float16(alpha))), value
    ),
    "abs": lambda value, _: np.abs(value),
    "square": lambda value, _: multiply(value, value),
    "sigmoid": lambda value, _: _sigmoid(value),
    "tanh": lambda value, _: np.float32(2) * _sigmoid(np.float32(2) * value) - ONE,
    "swish": lambda value, _: value * _sigmoid(value),
    "hard_swish": lambda value, _: (
        value * np.clip(value + np.float32(3), np.float32(0), np.float32(6)) / np.float32(6)
    ),
}


def activation(
    name: str,
    alpha: float,
    codes: NDArray[np.generic],
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> NDArray[np.generic]:
    """Apply a function of ``ACTIVATIONS``, which the shader computes where TP's tables end.

    Inputs in fixed point of more than 15 fraction bits. ``alpha`` (leaky_relu) is a float16 there.
    Source: measured, docs/arithmetic/shader.md rule 2.7.
    """
    value = ACTIVATIONS[name](dequantize(codes, scaling), alpha)
    return requantize(value, dtype, out_scaling)
