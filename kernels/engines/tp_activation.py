"""Activations of the TP engine: functions of stored codes of any shape.

Table functions get float64 arguments (grid points, signed zeros and infinities included) and
compute in float32 steps unless said otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.erf import erf
from npusim.kernels.engines.tp import (
    F64,
    TINY,
    Scaling,
    lookup,
    ratio,
    read,
    resampled,
    round_tp,
    store,
    table,
)

F32 = NDArray[np.float32]
ONE = np.float32(1)


def _f32(value: NDArray[Any]) -> F32:
    return value.astype(np.float32)


def _exp(value: F32) -> F32:
    return _f32(np.exp(value.astype(np.float64)))


def _swish(value: F32) -> F32:
    return np.where(np.isneginf(value), np.float32(0), value / (ONE + _exp(-value)))


def _mish(value: F32) -> F32:
    softplus = _f32(np.log((ONE + _exp(value)).astype(np.float64)))
    product = value.astype(np.float64) * np.tanh(softplus.astype(np.float64))
    return np.where(np.isneginf(value), np.float32(0), _f32(product))


def _elu(value: F32, alpha: float) -> F32:
    return np.where(value < 0, (_exp(value) - ONE) * np.float32(alpha), value)


def _gelu(value: F32) -> F32:
    half = np.float32(0.5) * value * (ONE + erf(value / np.float32(np.sqrt(2.0))))
    return np.where(np.isneginf(value), np.float32(0), half)


def _hard_sigmoid(value: F32, alpha: float, beta: float) -> F32:
    result: F32 = np.clip(value * np.float32(alpha) + np.float32(beta), 0, 1)
    return result


def _abs_table() -> F64:
    entries = table(np.abs)
    entries[1008:] = -65535.0
    return entries


def _leaky_table(alpha: float) -> F64:
    slope = np.float32(alpha)
    return table(lambda value: np.where(value < 0, _f32(value) * slope, _f32(value)))


# activations whose table does not contain the scale: the table itself
LINEAR: Mapping[str, Callable[..., F64]] = {
    "relu": lambda: table(lambda value: np.maximum(value, 0)),
    "leaky_relu": _leaky_table,
    "abs": _abs_table,
}
# activations whose table holds the function, in float32 steps
SINGLE: Mapping[str, Callable[..., F32]] = {
    "relu1": lambda value: np.clip(value, -1, 1),
    "relu6": lambda value: np.clip(value, 0, 6),
    "swish": _swish,
    "hard_swish": lambda value: value * np.clip(value + np.float32(3), 0, 6) / np.float32(6),
    "square": lambda value: value * value,
}
# the same in float64
DOUBLE: Mapping[str, Callable[[F64], F64]] = {
    "sigmoid": lambda value: 1 / (1 + np.exp(-value)),
    "tanh": np.tanh,
}
# table look-ups: the function in float32 steps, resampled
LOOKUP_SINGLE: Mapping[str, Callable[..., F32]] = {
    "mish": _mish,
    # measured: u8 0 / 1024, i8 0 / 1024, i16 0 / 327680, f16 one zero's sign of 63488
    "softsign": lambda value: value / (ONE + np.abs(value)),
    "elu": _elu,
    "gelu": _gelu,
    "reciprocal": lambda value: ONE / (value + np.float32(0)),  # -0 becomes +0: 1 / 0 is +infinity
    "hard_sigmoid": _hard_sigmoid,
    "clip": lambda value, minimum, maximum: np.clip(
        value, np.float32(minimum), np.float32(maximum)
    ),
}
# the same in float64
LOOKUP_DOUBLE: Mapping[str, Callable[[F64], F64]] = {
    "neg": lambda value: -value,
    "log": np.log,
}
ACTIVATION_OPS = (*LINEAR, *SINGLE, *DOUBLE)
TABLE_LOOKUP_OPS = (*LOOKUP_SINGLE, *LOOKUP_DOUBLE)


def _sample(op: str, parameters: Mapping[str, float]) -> Callable[[F64], NDArray[Any]]:
    """Return the function that a table samples."""
    if op in LOOKUP_DOUBLE:
        return resampled(LOOKUP_DOUBLE[op])
    if op in LOOKUP_SINGLE:
        looked_up = LOOKUP_SINGLE[op]
        return resampled(lambda value: looked_up(_f32(value), **parameters))
    if op in DOUBLE:
        return DOUBLE[op]
    function = SINGLE[op]
    return lambda value: function(_f32(value), **parameters)


def activate(
    op: str,
    parameters: Mapping[str, float],
    codes: NDArray[np.generic],
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> NDArray[np.generic]:
    """Apply one of ``ACTIVATION_OPS`` or ``TABLE_LOOKUP_OPS`` to codes.

    Parameters
    ----------
    parameters : mapping
        ``alpha`` (leaky_relu, elu), ``alpha`` and ``beta`` (hard_sigmoid), ``minimum`` and
        ``maximum`` (clip).
    """
    value = read(codes, scaling[1])
    (scale, _), (out_scale, out_zero_point) = scaling, out_scaling
    fixed_point = np.issubdtype(codes.dtype, np.signedinteger)
    if fixed_point:  # read in real units
        value, scale = value * scale, 1.0
    if op == "relu" and not fixed_point:
        negative = np.where(np.abs(value) < TINY / 2, 0.0, -0.0)
        result = np.where(value < TINY / 2, negative, value)
        factor = ratio(scale, out_scale)
    elif op in LINEAR:
        result = lookup(LINEAR[op](**parameters), value)
        factor = ratio(scale, out_scale)
    else:
        function = _sample(op, parameters)
        odd = op == "tanh"
        real = np.float64 if odd else np.float32
        result = lookup(table(lambda v: function(v * scale), odd, real=real), value, odd)
        factor = ratio(1.0, out_scale)
    return store(round_tp(result * factor), dtype, out_zero_point)
