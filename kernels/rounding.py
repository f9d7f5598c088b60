"""The numbers that stores of several kernels share.

Adding ``ROUND_F32`` to a number below 2**22 leaves its nearest integer, ties to even, in the low
bits of the sum, whose last bit is worth 1; one fused multiply-add so rounds an exact product once.
"""

ROUND_F32 = 1.5 * 2.0**23
ROUND_F32_BITS = 0x4B400000  # its bit pattern: that of a sum less this is the integer
ROUND_F64 = 1.5 * 2.0**52  # the same for float64
LARGEST_HALF = 65504.0
SMALLEST_HALF = 2.0**-14  # the smallest normal float16; the engines store smaller numbers as 0
