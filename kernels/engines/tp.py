"""The tensor processor (TP) on whole arrays: its 22-bit float, activation tables, stores.

Numpy only: these functions fill code tables when a network is loaded. All arithmetic is float64
rounded to 16 significant bits after each step, which is exact because products of two such numbers
need 32 bits. Compiled: ``float16.nearest_half``, and the sums of fully connected layers in
``windows.fc``.

Source: measured, docs/arithmetic/tp.md.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.rounding import LARGEST_HALF, SMALLEST_HALF

F64 = NDArray[np.float64]
Scaling = tuple[float, int]  # scale and zero point; (1, 0) for float16
TINY = SMALLEST_HALF
ENTRIES = 1024
LAST_SEGMENT = 61440.0  # begin of the last one between two samples of a signed table
LIMIT = 65535.0  # table entries saturate here; NaN becomes +LIMIT
Sample = Callable[[F64], NDArray[np.floating]]


def round_tp(value: NDArray[np.float64] | float) -> F64:
    """Round float64 to 16 significant bits, ties to even (sign, 6 exponent, 15 fraction bits).

    The exponent range is not limited here: no operator leaves it. Infinities stay.
    """
    bits = np.atleast_1d(np.asarray(value, np.float64)).view(np.int64)
    half = np.int64((1 << 36) - 1) + ((bits >> 37) & 1)
    return (((bits + half) >> 37) << 37).view(np.float64).reshape(np.shape(value))


def round_entry(value: F64) -> F64:
    """Round float64 to 16 significant bits, ties away from zero: how the driver fills tables.

    Source: measured over all 65536 halves, docs/arithmetic/tp.md rule 3.3.
    """
    bits = np.atleast_1d(value).view(np.int64)
    half = np.int64(1 << 36)
    return (((bits + half) >> 37) << 37).view(np.float64).reshape(value.shape)


def read_f16(codes: NDArray[np.float16]) -> F64:
    """Return float16 codes as TP numbers: subnormals count, exponent 31 is one more binade."""
    bits = np.asarray(codes, order="C").view(np.uint16).astype(np.int64)
    exponent, fraction = bits >> 10 & 31, bits & 1023
    magnitude = np.where(
        exponent == 0, fraction * 2.0**-24, (1024 + fraction) * np.exp2(exponent - 25.0)
    )
    return np.where(bits >> 15, -magnitude, magnitude)


def read(codes: NDArray[np.generic], zero_point: int) -> F64:
    """Return codes as the TP sees them: the value of float16, ``q - zero_point`` of integers."""
    if codes.dtype == np.float16:
        return read_f16(codes.view(np.float16))
    return codes.astype(np.float64) - zero_point


def nearest_f16(value: F64) -> NDArray[np.float16]:
    """Round to float16, ties to even, saturating; below 2**-14 zero with the value's sign."""
    half = np.clip(value, -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
    return np.where(np.abs(half) < np.float16(TINY), np.copysign(np.float16(0), half), half)


def saturate(value: NDArray[np.floating], dtype: DTypeLike) -> NDArray[np.generic]:
    """Round to integers, ties to even, and clamp to an integer type."""
    limits = np.iinfo(np.dtype(dtype))
    codes: NDArray[np.generic] = np.clip(np.rint(value), limits.min, limits.max).astype(dtype)
    return codes


def store(value: F64, dtype: DTypeLike, zero_point: int) -> NDArray[np.generic]:
    """Store TP numbers: float16, or integers after adding the zero point."""
    if np.dtype(dtype) == np.float16:
        return nearest_f16(value)
    return saturate(round_tp(value + zero_point), dtype)


def store_affine(
    acc: NDArray[np.float32], multiplier: int, shift: int, zero_point: int, dtype: DTypeLike
) -> NDArray[np.generic]:
    """Store sums as asymmetric integers: ``sat(rne(f32(f32(acc * scale) + zero_point)))``.

    ``scale`` is ``multiplier * 2**-shift``. Measured: 0 of 150000 differ, ties and sums beyond 2^24
    among them.
    """
    product = (acc.astype(np.float64) * (multiplier * 2.0**-shift)).astype(np.float32)
    return saturate(product + np.float32(zero_point), dtype)


def ratio(numerator: float, denominator: float) -> float:
    """Return the TP multiplier of two scales: float32 division, then 16 significant bits."""
    return float(round_tp(float(np.float32(numerator) / np.float32(denominator))))


def convert(
    codes: NDArray[np.generic],
    scaling: Scaling,
    dtype: DTypeLike,
    out_scaling: Scaling,
) -> NDArray[np.generic]:
    """Change type or quantization of codes of any shape."""
    if codes.dtype == np.float16 == np.dtype(dtype):
        flat = codes.view(np.uint16)
        return np.where(flat & 0x7C00, flat, flat & 0x8000).astype(np.uint16).view(np.float16)
    scaled = round_tp(read(codes, scaling[1]) * ratio(scaling[0], out_scaling[0]))
    return store(scaled, dtype, out_scaling[1])


def grid(odd: bool = False) -> F64:
    """Return the 1024 arguments of a table.

    Signed tables: sign, 5 exponent bits, 4 fraction bits (16 segments an octave). Odd tables: 5
    exponent bits and 5 fraction bits of the magnitude. Exponent field 0 stands for 0, field 31
    (reached only by interpolation) for infinity.
    """
    index = np.arange(ENTRIES)
    if odd:
        exponent, fraction, sign = index >> 5, (index & 31) / 32, np.ones(ENTRIES)
    else:
        exponent, fraction = index >> 4 & 31, (index & 15) / 16
        sign = np.where(index >> 9, -1.0, 1.0)
    magnitude = (1 + fraction) * np.exp2(exponent - 15.0)
    return sign * np.where(exponent == 0, 0.0, np.where(exponent == 31, np.inf, magnitude))


def last_octave(segments: int, shape: tuple[int, ...] = (ENTRIES,)) -> F64:
    """Return the arguments from 2**16 on, one for every place where a grid has infinity."""
    return np.resize(2.0**16 * (1 + np.arange(segments) / segments), shape)


def table(function: Sample, odd: bool = False, *, real: type = np.float32) -> F64:
    """Sample a function of the grid: float32, then 16 significant bits, saturated.

    ``real`` np.float64: the driver does not round to float32 first (tanh).
    """
    with np.errstate(all="ignore"):
        samples = np.asarray(function(grid(odd))).astype(real).astype(np.float64)
    samples = np.where(np.isnan(samples), LIMIT, samples)
    samples = np.clip(round_entry(samples), -LIMIT, LIMIT)
    return np.where(np.abs(samples) < TINY, 0.0, samples)


def lookup(entries: F64, value: F64, odd: bool = False) -> F64:
    """Interpolate a table linearly: r(r(T[i] * (1 - f)) + r(T[i + 1] * f)).

    Behind the last positive entry lies the first negative one; from 2**17 on the last entry counts
    for either sign (measured, docs/arithmetic/tp.md rule 3.4).
    """
    negative, magnitude = np.signbit(value), np.abs(value)
    segments = 32 if odd else 16
    small = magnitude < TINY / 2
    mantissa, exponent = np.frexp(np.maximum(magnitude, TINY / 2))
    position = (2 * mantissa - 1) * segments
    segment = np.floor(position)
    fraction = np.where(small, 0.0, position - segment)
    index = np.where(small, 0, (exponent + 14) * segments + segment).astype(np.int64)
    if not odd:
        index = np.where(magnitude < 2.0**17, index + 512 * negative, ENTRIES - 1)
    index = np.minimum(index, ENTRIES - 1)
    following = entries[np.minimum(index + 1, ENTRIES - 1)]
    result = round_tp(round_tp(entries[index] * (1 - fraction)) + round_tp(following * fraction))
    return np.where(negative, -result, result) if odd else result


def resampled(function: Sample) -> Sample:
    """Return the function as the driver's own table gives it.

    The driver samples the function on the signed grid in real units and fills the hardware's table
    by linear interpolation of those samples; visible when the scale is no power of two. Beyond the
    last sample, 63488, the line goes on (measured with log, docs/arithmetic/tp.md rule 3.8).
    """

    def interpolate(value: F64) -> F64:
        magnitude = np.where(np.isinf(value), last_octave(16, value.shape), np.abs(value))
        mantissa, exponent = np.frexp(np.clip(magnitude, TINY, LAST_SEGMENT))
        segment = np.floor((2 * mantissa - 1) * 16)
        low = (1 + segment / 16) * np.exp2(exponent - 1.0)
        high = (1 + (segment + 1) / 16) * np.exp2(exponent - 1.0)
        sign = np.where(np.signbit(value), -1.0, 1.0)
        at_low = function(sign * low).astype(np.float64)
        at_high = function(sign * high).astype(np.float64)
        result = at_low + (at_high - at_low) * ((magnitude - low) / (high - low))
        return np.where(magnitude < TINY, function(np.copysign(0.0, value)), result)

    return interpolate
