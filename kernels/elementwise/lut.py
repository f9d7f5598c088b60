"""Code tables: functions of one or two stored codes, tabulated for every code.

A function of 8-bit or 16-bit codes is a table of 256 or 65536 codes, one of two 8-bit operands a
table of 65536. The tables are filled by the exact arithmetic of ``engines.tp``, ``engines.shader``
and ``engines.eltwise`` when a network is loaded, so these loops only move codes. Codes are bit
patterns: signed and float16 arrays are passed as unsigned views.
"""

import numpy as np

from npusim.kernels._jit import kernel
from npusim.kernels.rounding import ROUND_F32

_READ = "Array({}, 1, 'C', readonly=True)"
_BYTES, _WORDS, _OFFSETS = _READ.format("u1"), _READ.format("u2"), _READ.format("i8")


@kernel(
    f"void({_BYTES}, {_BYTES}, u1[::1], i8, i8)",
    f"void({_BYTES}, {_WORDS}, u2[::1], i8, i8)",
    f"void({_WORDS}, {_BYTES}, u1[::1], i8, i8)",
    f"void({_WORDS}, {_WORDS}, u2[::1], i8, i8)",
)
def map_codes(ifm, table, ofm, first, last):
    """Set ``ofm[i] = table[ifm[i]]`` for first <= i < last. All arrays are flat."""
    codes, results = ifm[first:last], ofm[first:last]  # from 0 on no index can be negative
    for i in range(codes.size):
        results[i] = table[codes[i]]


@kernel("void(Array(i2, 1, 'C', readonly=True), f4, f4, f4, i2[::1], i8, i8)")
def clip_words(ifm, scale, low, high, ofm, first, last):
    """Set ``ofm[i] = clip(rne(ifm[i] * scale), low, high)``, scale a power of two; flat arrays."""
    magic = np.float32(ROUND_F32)
    codes, results = ifm[first:last], ofm[first:last]  # from 0 on: else nothing is vectorized
    for i in range(codes.size):
        value = np.float32(codes[i]) * scale
        value = value if value > low else low
        value = value if value < high else high
        results[i] = np.int16((value + magic) - magic)


@kernel(
    f"void({_BYTES}, {_OFFSETS}, {_BYTES}, {_OFFSETS}, {_BYTES}, u1[::1], i8, i8, i8)",
    f"void({_BYTES}, {_OFFSETS}, {_BYTES}, {_OFFSETS}, {_WORDS}, u2[::1], i8, i8, i8)",
)
def map_pairs(a, a_rows, b, b_rows, table, ofm, row_length, first, last):
    """Set ``ofm = table[256 * a + b]`` for the rows first <= row < last.

    All arrays are flat. Row r of the result has ``row_length`` codes from ``r * row_length`` on and
    reads as many from ``a_rows[r]`` of ``a`` and ``b_rows[r]`` of ``b`` (rows may repeat:
    broadcasting).
    """
    for row in range(first, last):
        left = a[a_rows[row] : a_rows[row] + row_length]
        right = b[b_rows[row] : b_rows[row] + row_length]
        result = ofm[row * row_length : (row + 1) * row_length]
        for k in range(row_length):
            result[k] = table[(left[k] << 8) | right[k]]
