"""Reductions, softmax, normalisations and matrix products of the shader, on real float32 values.

Unless said otherwise sums are taken in float64 over values in logical order and rounded to float32
once: results do not depend on memory order or threads. They are real values, which
``shader.requantize`` stores.

Source: measured, docs/arithmetic/shader.md sections 5 to 7.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.engines.shader import F32, LN_2, LOG2_E, TINY, dequantize, log2, rsqrt, to_f16
from npusim.kernels.engines.shader_resize import cut_to_half

F64 = NDArray[np.float64]
Axes = tuple[int, ...]
# infinity and NaN are results
_overflows = np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _wide(value: F32) -> F64:
    return np.asarray(value, np.float64, order="C")


REDUCTIONS: Mapping[str, Callable[[F64, Axes], F64]] = {
    "reduce_mean": lambda value, axes: value.mean(axis=axes, keepdims=True),
    "reduce_sum": lambda value, axes: value.sum(axis=axes, keepdims=True),
    "reduce_max": lambda value, axes: value.max(axis=axes, keepdims=True),
    "reduce_min": lambda value, axes: value.min(axis=axes, keepdims=True),
    "reduce_prod": lambda value, axes: value.prod(axis=axes, keepdims=True),
}


@_overflows
def reduce(op: str, value: F32, axes: Axes) -> F32:
    """Return a reduction with its axes kept as 1."""
    return REDUCTIONS[op](_wide(value), axes).astype(np.float32)


@_overflows
def sum_in_halves(value: F32, axes: Axes) -> NDArray[np.float16]:
    """Return float16 sums as the shader makes them over every axis but the last.

    Groups of four, each sum cut to float16: ``t = cut(t + cut(sum of 4))``; axis by axis.
    """
    for axis in axes:
        lines = np.moveaxis(_wide(value), axis, 0)
        total = np.zeros(lines.shape[1:])
        for k in range(0, len(lines), 4):
            total = cut_to_half(total + cut_to_half(lines[k : k + 4].sum(axis=0)))
        value = np.expand_dims(np.where(np.abs(total) < TINY, 0, total), axis).astype(np.float32)
    return to_f16(value)


@_overflows
def mean_of_halves(value: F32, axis: int) -> F32:
    """Return float16 means over one axis, kept as 1, as the shader's dot products give them.

    The numbers of a group of four are cut downward to 16 bits of the largest one, groups are added
    in float32. Source: measured, 0 of 2469 differ (docs/arithmetic/shader.md rule 6.3).
    """
    lines = np.moveaxis(_wide(value), axis, -1)
    total = np.zeros(lines.shape[:-1], np.float32)
    for k in range(0, lines.shape[-1], 4):
        group = lines[..., k : k + 4]
        step = np.exp2(np.frexp(np.abs(group).max(axis=-1))[1].astype(np.float64) - 16)
        part = np.floor(group / step[..., None]).sum(axis=-1) * step
        total = total + part.astype(np.float32)
    return np.expand_dims(total * (np.float32(1) / np.float32(lines.shape[-1])), axis)


@_overflows
def weighted_sum(value: F32, weight: float) -> F32:
    """Return the sum over height and width of value * weight as the TP engine's dot product.

    Every product and every sum is rounded to float32, pixels in order. (N, C, H, W) -> (N, C).
    """
    lines = value.reshape(*value.shape[:2], -1)
    total = np.zeros(lines.shape[:2], np.float32)
    for k in range(lines.shape[2]):
        total = total + lines[:, :, k] * np.float32(weight)
    return total


def _shader_sum(value: F32, axis: int) -> F32:
    """Sum as the shader's softmax does: float32 chains, in groups of four on the innermost axis."""
    lines = np.moveaxis(value, axis, -1)
    if axis == value.ndim - 1:
        groups = -(-lines.shape[-1] // 4)
        padded = np.zeros((*lines.shape[:-1], groups * 4))
        padded[..., : lines.shape[-1]] = lines
        lines = padded.reshape(*lines.shape[:-1], groups, 4).sum(axis=-1).astype(np.float32)
    # accumulate adds strictly one after the other
    total = np.add.accumulate(lines, axis=-1, dtype=np.float32)[..., -1]
    return np.expand_dims(total, axis)


def _down_to_16_bits(value: F32) -> F32:
    mantissa, exponent = np.frexp(value.astype(np.float64))
    cut: F32 = np.ldexp(np.floor(mantissa * 65536), exponent - 16).astype(np.float32)
    return cut


@_overflows
def softmax(
    codes: NDArray[np.generic], scaling: tuple[float, int], axis: int, *, logarithm: bool
) -> F32:
    """Return e / sum e with e = 2**((q - max q) * f32(scale * log2 e)), or its logarithm.

    ``q - max q`` is rounded to 16 significant bits, downward, which float16 shows. The logarithm is
    ``v - max - log2(sum) * ln 2``. Subnormal float16 are 0. Source: measured, 0 of 22000 differ
    (docs/arithmetic/shader.md rule 7.1).
    """
    if codes.dtype == np.float16:
        codes = dequantize(codes, scaling)
    steps = codes.astype(np.float32)
    steps = _down_to_16_bits(steps - steps.max(axis=axis, keepdims=True))
    scale = np.float32(scaling[0])
    exponentials = np.exp2((steps * (scale * LOG2_E)).astype(np.float64)).astype(np.float32)
    total = _shader_sum(exponentials, axis)
    if logarithm:
        return steps * scale - log2(total) * LN_2
    return exponentials / total


@_overflows
def l2_normalize(value: F32, axis: int) -> F32:
    """Return v * rsqrt(sum v**2), squares added one after the other in float32.

    Vectors of zeros stay zero. Source: measured, docs/arithmetic/shader.md rule 7.3.
    """
    total = np.zeros_like(value.take([0], axis))
    for k in range(value.shape[axis]):
        line = value.take([k], axis)
        total = total + line * line
    return np.where(total == 0, np.float32(0), value * rsqrt(total))


@_overflows
def batch_normalize(
    value: F32, mean: F32, variance: F32, epsilon: float, gamma: F32, beta: F32
) -> F32:
    """Return ``value * s + (beta - mean * s)``, s = gamma / sqrt(variance + epsilon), float32."""
    slope = gamma / np.sqrt(variance + np.float32(epsilon))
    result: F32 = value * slope + (beta - mean * slope)
    return result


@_overflows
def normalize(
    value: F32, axes: Axes, epsilon: float, gamma: F32, beta: F32, *, slope_first: bool
) -> F32:
    """Return (v - mean) / sqrt(variance + epsilon) * gamma + beta over axes, in float32 steps.

    Source: measured, docs/arithmetic/shader.md rules 7.5 and 7.6.

    Parameters
    ----------
    gamma, beta : float32 that broadcast
    slope_first : bool
        Multiply gamma by the reciprocal root before the values (layer norm) or after (instance
        norm).
    """
    wide = _wide(value)
    share = np.float32(1) / np.float32(np.prod([value.shape[axis] for axis in axes]))
    mean = wide.sum(axis=axes, keepdims=True).astype(np.float32) * share
    squares = (wide * wide).sum(axis=axes, keepdims=True).astype(np.float32) * share
    root = rsqrt(squares - mean * mean + np.float32(epsilon))
    centred = value - mean
    result: F32 = (centred * (root * gamma) if slope_first else centred * root * gamma) + beta
    return result


@_overflows
def matmul(a: F32, b: F32) -> F32:
    """Return the matrix product over the last two axes, one rounding."""
    product: F32 = np.matmul(_wide(a), _wide(b)).astype(np.float32)
    return product


@_overflows
def matmul_in_steps(a: F32, b: F32) -> F32:
    """Return a product of i16 or float16: float32 products, added one after the other."""
    total = np.zeros(
        (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), np.float32
    )
    for k in range(a.shape[-1]):
        total += a[..., :, k : k + 1] * b[..., k : k + 1, :]
    return total
