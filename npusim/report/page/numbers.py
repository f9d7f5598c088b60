"""Numbers as the page's JSON holds them: finite, and no longer than what is read."""

from collections.abc import Sequence
from math import floor, isfinite, log10

DIGITS = 5
NO_ERROR_DB = 200.0  # stands for an infinite SQNR, beyond what float32 can reach


def short(value: float | None, digits: int = DIGITS) -> float | None:
    """Return a number with few significant digits; None for what is no number.

    >>> short(0.123456789), short(123456.0), short(float("nan"))
    (0.12346, 123460.0, None)
    """
    if value is None or not isfinite(value):
        return None
    value = float(value)
    if value == 0.0:
        return 0.0
    return round(value, digits - 1 - floor(log10(abs(value))))


def decibel(value: float | None) -> float | None:
    """Return an SQNR with two decimals; equal tensors, which have no error, get ``NO_ERROR_DB``.

    >>> decibel(31.41592), decibel(float("inf")), decibel(float("-inf"))
    (31.42, 200.0, -200.0)
    """
    if value is None or value != value:
        return None
    return round(max(-NO_ERROR_DB, min(NO_ERROR_DB, float(value))), 2)


def cosine(value: float | None) -> float | None:
    """Return a cosine with seven decimals: what counts lies near 1."""
    return None if value is None or not isfinite(value) else round(float(value), 7)


def whole(value: float) -> int:
    """Return a count or bytes as a whole number."""
    return round(float(value))


def class_name(labels: Sequence[str], number: int) -> str:
    """Return the name of a class, or its number in words where it has none.

    >>> class_name(["cat"], 0), class_name(["cat"], 1)
    ('cat', 'class 1')
    """
    return labels[number] if number < len(labels) else f"class {number}"
