"""Local response normalisation across channels: a table of TP, float32 on the shader.

Source: measured, docs/arithmetic/tp.md section 4 and docs/arithmetic/shader.md rule 7.8.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.shader import F32, dequantize
from npusim.kernels.engines.tp import (
    F64,
    Scaling,
    last_octave,
    lookup,
    ratio,
    read,
    round_tp,
    store,
    table,
)

# The driver's table ends there, in real units, unless the scale is part of its function (u8).
SMALLEST_SUM, LARGEST_SUM = 2.0**-6, 2.0**24


def normalizer(
    scale: float, table_step: float, alpha: float, beta: float, bias: float, *, ends: bool
) -> F64:
    """Return the table of (bias + alpha * sum of squares)**-beta, 32 segments an octave.

    Its argument is the sum of squared steps times ``table_step``. Unlike in other tables the last
    octave, from 2**16 on, holds finite values. ``ends``: smaller sums than ``SMALLEST_SUM`` give 1,
    whatever the bias, and larger ones than ``LARGEST_SUM`` count as that.
    """

    def power(total: F64) -> F64:
        total = np.where(np.isinf(total), last_octave(32), total) * scale * scale / table_step
        if not ends:
            return np.asarray((bias + alpha * total) ** -beta)
        result = (bias + alpha * np.minimum(total, LARGEST_SUM)) ** -beta
        return np.where(total < SMALLEST_SUM, 1.0, result)

    return table(power, odd=True)


def local_response(
    codes: NDArray[np.generic],
    scaling: Scaling,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> NDArray[np.generic]:
    """Normalise (N, C, ..) codes by the squares of ``size`` channels around each.

    ``alpha`` multiplies the sum (not the mean). Sums are rounded to 16 bits after every addition,
    in channel order. The window reaches (size - 1) // 2 channels back and size // 2 forward.
    """
    value = read(codes, scaling[1])
    table_step = 1.0 if codes.dtype == np.float16 else 2.0**-16
    squares = round_tp(value * value)
    channels, back = value.shape[1], (size - 1) // 2
    total = np.zeros_like(squares)
    for offset in range(-back, size - back):
        first, last = max(0, -offset), min(channels, channels - offset)
        if first < last:
            part = total[:, first:last] + squares[:, first + offset : last + offset]
            total[:, first:last] = round_tp(part)
    ends = codes.dtype != np.uint8
    entries = normalizer(scaling[0], table_step, alpha, beta, bias, ends=ends)
    factor = lookup(entries, total * table_step, odd=True)
    scaled = round_tp(round_tp(value * factor) * ratio(scaling[0], out_scaling[0]))
    return store(scaled, dtype, out_scaling[1])


def local_response_on_shader(
    codes: NDArray[np.generic],
    scaling: Scaling,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
) -> F32:
    """Return real values normalised in float32; an even window is one channel wider."""
    value = dequantize(codes, scaling)
    reach, channels = size // 2, value.shape[1]
    squares, total = value * value, np.zeros_like(value)
    for channel in range(channels):
        window = slice(max(0, channel - reach), channel + reach + 1)
        total[:, channel] = squares[:, window].sum(axis=1)
    power = (np.float32(bias) + np.float32(alpha) * total).astype(np.float64) ** -beta
    result: F32 = value * power.astype(np.float32)
    return result
