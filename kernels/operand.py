"""How stored codes are read as exact numbers, chosen by their type and that of the number.

code     number    how
uint8    float32   (flip, zero): u8, and i8 as bit patterns with ``flip`` 128; (code ^ flip) - zero
uint8    int16     the same
uint8    uint8     (flip, zero): code ^ flip, zero points stay in
int16    uint8     (shift, zero): a byte of the bit pattern; zero is 0
uint16   float32   (): halves as the NN engine reads them
int16    float64   (): i16
int16    int16     (): i16
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from npusim.kernels.float16 import half_to_f32, half_to_f32_flushed


def as_number(code, how, dtype):
    """Return a code as a number of a type; only callable from compiled code."""
    raise TypeError("as_number exists in compiled code only")


@overload(as_number)
def _as_number(code, how, dtype):
    return {
        (types.uint8, types.float32): (
            lambda code, how, dtype: np.float32(np.uint8(code ^ how[0])) - how[1]
        ),
        (types.uint8, types.int16): (
            lambda code, how, dtype: np.int16(np.int16(np.uint8(code ^ how[0])) - how[1])
        ),
        (types.uint8, types.uint8): lambda code, how, dtype: np.uint8(code ^ how[0]),
        (types.uint16, types.float32): lambda code, how, dtype: half_to_f32_flushed(code),
        (types.int16, types.uint8): lambda code, how, dtype: np.uint8(code >> how[0]),
        (types.int16, types.float64): lambda code, how, dtype: np.float64(code),
        (types.int16, types.int16): lambda code, how, dtype: code,
    }.get((code, dtype.dtype))


def zero_number(how, dtype):
    """Return the number that ``as_number`` makes of a real zero, as padding."""
    raise TypeError("zero_number exists in compiled code only")


@overload(zero_number)
def _zero_number(how, dtype):
    if dtype.dtype == types.uint8:
        return lambda how, dtype: how[1]
    return lambda how, dtype: 0


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
