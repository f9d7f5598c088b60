"""The driver's error function: a power series in float32, cut where its terms get small.

Source: fitted to measured gelu results (1 mismatch in 131840 codes of u8, i8, i16 and f16).
"""

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
SMALLEST_TERM = np.float32(1e-5)
TWO_OVER_SQRT_PI = np.float32(1.1283791670955126)
REACH = np.float32(3)  # +-1 from here on


def erf(value: F32) -> F32:
    """Return 2 / sqrt(pi) * sum (-1)**n x**(2n+1) / (n! (2n+1)), every step in float32."""
    inside = np.where(np.abs(value) < REACH, value, np.float32(0))
    total, term, power = np.zeros_like(inside), inside, inside
    factorial, sign, n = np.float32(1), np.float32(1), 1
    going = np.abs(term) > SMALLEST_TERM
    while going.any():
        total = np.where(going, total + term, total)
        factorial, sign = factorial * np.float32(n), -sign
        power = power * (inside * inside)
        term = sign / factorial * power / np.float32(2 * n + 1)
        going &= np.abs(term) > SMALLEST_TERM
        n += 1
    return np.where(np.abs(value) < REACH, total * TWO_OVER_SQRT_PI, np.sign(value))
