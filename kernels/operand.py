"""How stored codes are read as exact floating-point numbers, chosen by their element type.

uint8   u8, and i8 as bit patterns with ``flip`` 128:  f32(code ^ flip) - zero
uint16  halves as the NN engine reads them (flip and zero unused):  f32
int16   i16 (flip and zero unused):  f64
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from npusim.kernels.float16 import half_to_f32, half_to_f32_flushed


def as_real(code, flip, zero):
    """Return a code as a number; only callable from compiled code."""
    raise TypeError("as_real exists in compiled code only")


@overload(as_real)
def _as_real(code, flip, zero):
    if code == types.uint8:
        return lambda code, flip, zero: np.float32(np.uint8(code ^ flip)) - zero
    if code == types.uint16:
        return lambda code, flip, zero: half_to_f32_flushed(code)
    if code == types.int16:
        return lambda code, flip, zero: np.float64(code)
    return None


def as_tp_real(code):
    """Return a code as the TP engine reads it (float32); only callable from compiled code."""
    raise TypeError("as_tp_real exists in compiled code only")


@overload(as_tp_real)
def _as_tp_real(code):
    if code == types.uint16:
        return lambda code: half_to_f32(code)
    if code == types.int16:
        return lambda code: np.float32(code)
    return None
