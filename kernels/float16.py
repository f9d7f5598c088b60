"""Half precision by bit pattern, as the engines read and write it.

Numba has no float16 on the CPU: halves travel as uint16 bit patterns. Every function is exact; the
engines know no infinity and no NaN. On numpy's float16: ``engines.tp.read_f16`` and
``nearest_f16``, ``engines.nn_store.cut_to_f16``.
"""

import numpy as np

from npusim.kernels._jit import primitive


@primitive
def half_to_f32(bits):
    """Return the value of a half as float32: subnormals are kept, exponent 31 is a plain binade.

    Equals numpy's conversion on every finite half.
    """
    magnitude = np.uint32(bits & np.uint16(0x7FFF))
    sign = np.uint32(bits & np.uint16(0x8000)) << np.uint32(16)
    normal = (magnitude << np.uint32(13)) + np.uint32(112 << 23)
    subnormal = np.float32(np.float32(np.int32(magnitude)) * np.float32(2.0**-24)).view(np.uint32)
    value = normal if magnitude >= np.uint32(0x0400) else subnormal
    return np.uint32(value | sign).view(np.float32)


@primitive
def half_to_f32_flushed(bits):
    """Return the value of a half as the NN engine reads it: subnormals are zero.

    Exponent 31 is a plain binade: 0x7C00 reads as 65536.
    Source: measured, docs/arithmetic/nn.md rule 1.4.
    """
    magnitude = np.uint32(bits & np.uint16(0x7FFF))
    sign = np.uint32(bits & np.uint16(0x8000)) << np.uint32(16)
    normal = (magnitude << np.uint32(13)) + np.uint32(112 << 23)
    return np.uint32((normal if magnitude >= np.uint32(0x0400) else np.uint32(0)) | sign).view(
        np.float32
    )


@primitive
def truncate_to_half(value):
    """Return a float32 cut toward zero to a half: the NN engine's store.

    Beyond 65504: +-65504. Below 2**-14: zero with the sign of ``value``.
    Source: measured, docs/arithmetic/nn.md rule 2.6.
    """
    bits = np.float32(value).view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    half = (magnitude >> np.uint32(13)) - np.uint32(112 << 10)
    half = half if magnitude < np.uint32(0x477FE000) else np.uint32(0x7BFF)
    half = half if magnitude >= np.uint32(0x38800000) else np.uint32(0)
    return np.uint16(half | ((bits >> np.uint32(16)) & np.uint32(0x8000)))


@primitive
def nearest_half(value):
    """Return the half nearest to a float64, ties to even: the TP engine's store.

    Beyond 65504: +-65504. What rounds to a subnormal half becomes zero with the sign of ``value``
    (so 2**-14 - 2**-25 still rounds up to 2**-14).
    Source: measured, docs/arithmetic/tp.md rule 1.3.
    """
    bits = np.float64(value).view(np.uint64)
    magnitude = bits & np.uint64(0x7FFFFFFFFFFFFFFF)
    rounded = magnitude + np.uint64((1 << 41) - 1) + ((magnitude >> np.uint64(42)) & np.uint64(1))
    half = (rounded >> np.uint64(42)) - np.uint64(1008 << 10)
    half = half if magnitude < np.uint64(0x40EFFC0000000000) else np.uint64(0x7BFF)
    normal = half if magnitude >= np.uint64(0x3F10000000000000) else np.uint64(0x0400)
    # 2**-14 - 2**-25 is half way between the largest subnormal and 2**-14, and goes up
    half = normal if magnitude >= np.uint64(0x3F0FFC0000000000) else np.uint64(0)
    return np.uint16(half | ((bits >> np.uint64(48)) & np.uint64(0x8000)))
