"""Binary element-wise arithmetic of the shader and of the NN engine on stored codes.

Numpy only: on 8-bit codes these functions fill the tables of ``lut.map_pairs``. Operands broadcast.
Compiled forms of some of them: ``elementwise.u8_binary``, ``i16_binary``, ``f16_binary`` and
``u8_sum_vnni``.

Source: measured, docs/arithmetic/shader.md section 3 and docs/arithmetic/nn.md section 4.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.nn_store import cut_to_f16, store_integer
from npusim.kernels.engines.shader import (
    F32,
    Scaling,
    dequantize,
    log2,
    multiply,
    requantize,
    saturate,
)
from npusim.kernels.engines.tp import TINY, nearest_f16, read_f16, store_affine

Codes = NDArray[Any]
Real = NDArray[Any]
Three = tuple[Scaling, Scaling, Scaling]  # of both operands and of the result


def _power(a: F32, b: F32) -> F32:
    """Return 2**(b * log2 |a|) in float32 steps, negative when a < 0 and trunc(b) is odd.

    0**b is NaN for b <= 0.
    """
    sign = np.where((a < 0) & (np.trunc(b) % 2 != 0), np.float32(-1), np.float32(1))
    exponent = b * log2(np.abs(a))
    power = sign * np.exp2(exponent.astype(np.float64)).astype(np.float32)
    return np.where((a == 0) & (b <= 0), np.float32(np.nan), power)


# of real values, in whatever floating-point type they are
FUNCTIONS: Mapping[str, Callable[[Real, Real], Real]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": _power,
}


def inverse_ratio(scale: float, out_scale: float) -> np.float32:
    """Return ``scale * (1 / out_scale)`` in two float32 steps; equal scales may miss 1."""
    return np.float32(scale) * (np.float32(1) / np.float32(out_scale))


def cut_ratio(scale: float, out_scale: float) -> float:
    """Return the float32 ratio as 16-bit multiplier and shift, lower bits cut off."""
    mantissa, exponent = np.frexp(float(inverse_ratio(scale, out_scale)))
    return float(np.floor(mantissa * 65536) * 2.0 ** (exponent - 16))


def product_scalars(scalings: Three) -> tuple[np.float32, np.float32]:
    """Return multiplier and offset of u8 products without the product of their zero points.

    ``q_a * q_b - q_a * zero_b - q_b * zero_a`` times the multiplier, plus the offset.
    """
    (a_scale, a_zero), (b_scale, _), (scale, zero_out) = scalings
    multiplier = inverse_ratio(float(np.float32(a_scale) * np.float32(b_scale)), scale)
    own = np.float32(a_zero) * multiplier * np.float32(scalings[1][1])
    return multiplier, own + np.float32(zero_out)


def _sum_u8(op: str, a: F32, b: F32, scalings: Three) -> Codes:
    (a_scale, _), (b_scale, _), (scale, zero_out) = scalings
    first = a * inverse_ratio(a_scale, scale) + np.float32(zero_out)
    return saturate(FUNCTIONS[op](first, b * inverse_ratio(b_scale, scale)), np.uint8)


def _product_u8(op: str, a: F32, b: F32, scalings: Three) -> Codes:
    multiplier, offset = product_scalars(scalings)
    own = np.float32(scalings[0][1] * scalings[1][1])
    return saturate((a * b - own) * multiplier + offset, np.uint8)


def _extreme_u8(op: str, a: F32, b: F32, scalings: Three) -> Codes:
    (a_scale, _), (b_scale, _), (scale, zero_out) = scalings
    exact = FUNCTIONS[op](
        a.astype(np.float64) * cut_ratio(a_scale, scale),
        b.astype(np.float64) * cut_ratio(b_scale, scale),
    )
    return saturate(exact + np.float32(zero_out), np.uint8)


# both operands and the result u8: steps above the zero points -> codes
THREE_U8: Mapping[str, Callable[[str, F32, F32, Three], Codes]] = {
    "add": _sum_u8,
    "sub": _sum_u8,
    "mul": _product_u8,
    "max": _extreme_u8,
    "min": _extreme_u8,
}


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
    saturate; NaN becomes code 0 (float16: -infinity).
    """
    dtype = np.dtype(dtype)
    types = {a.dtype, b.dtype, dtype}
    with np.errstate(all="ignore"):
        if types == {np.dtype(np.uint8)} and op in THREE_U8:
            a_steps = a.astype(np.float32) - np.float32(a_scaling[1])
            b_steps = b.astype(np.float32) - np.float32(b_scaling[1])
            return THREE_U8[op](op, a_steps, b_steps, (a_scaling, b_scaling, out_scaling))
        if types == {np.dtype(np.float16)} and op in ("max", "min"):
            return FUNCTIONS[op](a, b)
        function = multiply if op == "mul" and a.dtype == b.dtype == np.int16 else FUNCTIONS[op]
        value = function(dequantize(a, a_scaling), dequantize(b, b_scaling))
        return requantize(value, dtype, out_scaling)


def _weighted_sum(
    a: NDArray[np.integer],
    b: NDArray[np.integer],
    zero_point: int,
    weights: tuple[int, int],
    bias: int,
) -> NDArray[np.int64]:
    left = (a.astype(np.int64) - zero_point) * weights[0]
    total: NDArray[np.int64] = left + (b.astype(np.int64) - zero_point) * weights[1] + bias
    return total


def add_on_nn(
    a: NDArray[np.integer],
    b: NDArray[np.integer],
    zero_point: int,
    weights: tuple[int, int],
    bias: int,
    multiplier: int,
    shift: int,
    out_zero_point: int,
) -> NDArray[np.generic]:
    """Add integers as the NN engine does: a 1x1 convolution over two channels.

    ``sat(rne(acc * multiplier / 2**shift) + out_zero_point)`` in the type of the operands with
    ``acc = (a - zero_point) * weights[0] + (b - zero_point) * weights[1] + bias``. i16 with a
    negative shift: every negative ``acc`` gives -32768, as in its convolutions.
    """
    acc = _weighted_sum(a, b, zero_point, weights, bias)
    stored = store_integer(acc, multiplier, shift, out_zero_point, a.dtype)
    if a.dtype == np.int16 and shift < 0:
        return np.where(acc < 0, np.int16(-32768), stored)
    return stored


def add_on_tp(
    a: NDArray[np.integer],
    b: NDArray[np.integer],
    zero_point: int,
    weights: tuple[int, int],
    bias: int,
    multiplier: int,
    shift: int,
    out_zero_point: int,
) -> NDArray[np.generic]:
    """Add integers as TP's fully connected layer does: the sum of ``add_on_nn`` in float32."""
    acc = _weighted_sum(a, b, zero_point, weights, bias).astype(np.float32)
    if a.dtype == np.uint8:
        return store_affine(acc, multiplier, shift, out_zero_point, np.uint8)
    return saturate(acc.astype(np.float64) * (multiplier * 2.0**-shift), a.dtype)


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
