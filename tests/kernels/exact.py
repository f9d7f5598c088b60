"""Slow exact arithmetic of the TP engine and of float16, on rational numbers."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

LARGEST_HALF = Fraction(65504)
TINY = Fraction(1, 2**14)


def significant(value: Fraction, bits: int) -> Fraction:
    """Return the nearest number with so many significant bits, ties to even."""
    if value == 0:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    if abs(value) < Fraction(2) ** exponent:
        exponent -= 1  # now 2**exponent <= |value| < 2**(exponent + 1)
    step = Fraction(2) ** (exponent + 1 - bits)
    return round(value / step) * step


def r16(value: Fraction) -> Fraction:
    """Return the TP engine's 22-bit float nearest to a number."""
    return significant(value, 16)


def half(value: Fraction) -> Fraction:
    """Return the float16 the TP engine stores: nearest, saturated, below 2**-14 zero."""
    value = max(-LARGEST_HALF, min(LARGEST_HALF, value))
    if abs(value) < TINY:
        return Fraction(round(value * 2**24) if round(abs(value) * 2**24) == 1024 else 0, 2**24)
    return significant(value, 11)


def integer(value: Fraction, dtype) -> int:
    """Return the nearest integer, ties to even, inside the type."""
    limits = np.iinfo(dtype)
    return max(int(limits.min), min(int(limits.max), round(value)))


def tp_store(value: Fraction, dtype, zero_point: int):
    """Return the code the TP engine stores for a number of output steps."""
    if np.dtype(dtype) == np.float16:
        return float(half(value))
    return integer(r16(value + zero_point), dtype)


def tp_ratio(numerator: float, denominator: float) -> Fraction:
    """Return the TP multiplier of two float32 scales."""
    return r16(Fraction(float(np.float32(numerator) / np.float32(denominator))))


def interpolate(entry: Callable[[int], Fraction], x: Fraction, *, odd: bool) -> Fraction:
    """Look a number up in a table by counting octaves and segments from the smallest."""
    magnitude, segments = abs(x), 32 if odd else 16
    index, fraction = 0, Fraction(0)
    if magnitude >= TINY / 2:
        low, octave = TINY / 2, 0
        while magnitude >= 2 * low:
            low, octave = 2 * low, octave + 1
        position = (magnitude - low) / low * segments
        index = octave * segments + int(position)
        fraction = position - int(position)
    if x < 0 and not odd:
        index += 512
    following = entry(min(index + 1, 1023))
    value = r16(r16(entry(index) * (1 - fraction)) + r16(following * fraction))
    return -value if odd and x < 0 else value
