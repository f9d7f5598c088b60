"""Max pooling of stored codes, and sums of all pixels.

Padding never wins; a window without inputs gives the lowest code.

Codes are compared through keys whose order as integers is the order of the values, so that one
loop serves several types:

    8 bit    key = code ^ flip                          flip 128 orders i8 patterns as uint8
    16 bit   key = code ^ ((code >> 15) & mask)         mask 0x7FFF orders halves as int16
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from npusim.kernels._jit import kernel, primitive


def key_of(code, mask):
    """Return the key of a code, or the code of a key; only callable from compiled code."""
    raise TypeError("key_of exists in compiled code only")


@overload(key_of)
def _key_of(code, mask):
    if code == types.uint8:
        return lambda code, mask: np.uint8(code ^ np.uint8(mask))
    return lambda code, mask: np.int16(code ^ ((code >> 15) & np.int16(mask)))


@primitive
def pool_rows(ifm, mask, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, ofm,
              start, stop):  # fmt: skip
    """Pool rows start..stop of all images; ``lowest`` is a key."""
    in_h, in_w, channels = ifm.shape[1], ifm.shape[2], ifm.shape[3]
    out_h, out_w = ofm.shape[1], ofm.shape[2]
    for row in range(start, stop):
        image = row // out_h
        y = row - image * out_h
        top = y * stride_h - pad_top
        for x in range(out_w):
            left = x * stride_w - pad_left
            best = ofm[image, y, x]
            for c in range(channels):
                best[c] = lowest
            for in_y in range(max(top, 0), min(top + kernel_h, in_h)):
                for in_x in range(max(left, 0), min(left + kernel_w, in_w)):
                    codes = ifm[image, in_y, in_x]
                    for c in range(channels):
                        best[c] = max(best[c], key_of(codes[c], mask))
            if mask:
                for c in range(channels):
                    best[c] = key_of(best[c], mask)


_SIGNATURE = (
    "void(Array({0}, 4, 'C', readonly=True), i8, i8, i8, i8, i8, i8, i8, i8, {0}[:, :, :, ::1],"
    " i8, i8)"
)


@kernel(_SIGNATURE.format("u1"))
def max_pool_8bit(
    ifm, flip, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, ofm, start, stop
):
    """Set ofm to the maximum of each window.

    Parameters
    ----------
    ifm, ofm : uint8 (N, H, W, C) and (N, OH, OW, C)
        Bit patterns of u8 (``flip`` 0) or i8 (``flip`` 128).
    lowest : int
        Key of the result of a window without inputs.
    start, stop : int
        Range of the N * OH output rows.
    """
    pool_rows(ifm, flip, np.uint8(lowest), kernel_h, kernel_w, stride_h, stride_w, pad_top,
              pad_left, ofm, start, stop)  # fmt: skip


@kernel(_SIGNATURE.format("i2"))
def max_pool_16bit(
    ifm, mask, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, ofm, start, stop
):
    """Set ofm to the maximum of each window; i16 (``mask`` 0) or halves (``mask`` 0x7FFF)."""
    pool_rows(ifm, mask, np.int16(lowest), kernel_h, kernel_w, stride_h, stride_w, pad_top,
              pad_left, ofm, start, stop)  # fmt: skip


@kernel(
    "void(Array(u1, 3, 'C', readonly=True), i8[:, ::1])",
    "void(Array(i1, 3, 'C', readonly=True), i8[:, ::1])",
    "void(Array(i2, 3, 'C', readonly=True), i8[:, ::1])",
)
def sum_pixels(ifm, sums):
    """Set ``sums[n, c]`` to the sum of ifm[n, :, c] over all pixels; ifm is (N, pixels, C)."""
    block = 1 << 15  # of pixels: their sums fit 32 bits
    part = np.empty(ifm.shape[2], np.int32)
    for image in range(ifm.shape[0]):
        totals = sums[image]
        totals[:] = 0
        for first in range(0, ifm.shape[1], block):
            part[:] = 0
            for pixel in range(first, min(first + block, ifm.shape[1])):
                codes = ifm[image, pixel]
                for c in range(part.size):
                    part[c] += codes[c]
            for c in range(part.size):
                totals[c] += part[c]


AVERAGED = 64  # channels of a row of ``average_maps``
MOST_PIXELS = 1 << 23  # their sums fit 32 bits


@kernel(
    "void(Array(u1, 3, 'C', readonly=True), i8, f4, f4, f4, f4, i4[::1], u1[:, ::1], i8, i8)",
)
def average_maps(ifm, zero, zeros, scale, factor, zero_out, sums, ofm, start, stop):
    """Store the shader's averages of whole u8 maps: ``engines.shader_average.global_average``.

    Parameters
    ----------
    ifm : uint8 (N, pixels, C)
        At most MOST_PIXELS.
    zero : int
        Zero point of the input; ``zeros`` is float32(pixels * zero).
    scale, factor, zero_out : float32
        Input scale, 1 / (output scale * pixels), output zero point.
    sums : int32 scratch (AVERAGED,)
    ofm : uint8 (N, C)
    start, stop : int
        Range of rows: AVERAGED channels of an image each, of which there are ``averaged_rows``.
    """
    pixels, channels = ifm.shape[1], ifm.shape[2]
    blocks = (channels + AVERAGED - 1) // AVERAGED
    for row in range(start, stop):
        image = row // blocks
        begin = (row - image * blocks) * AVERAGED
        count = min(AVERAGED, channels - begin)
        for c in range(count):
            sums[c] = 0
        for pixel in range(pixels):
            codes = ifm[image, pixel, begin : begin + count]
            for c in range(count):
                sums[c] += codes[c]
        for c in range(count):
            total = np.float32(np.int64(sums[c]) - zero * pixels)
            real = (total + zeros) * scale - zeros * scale
            value = np.rint(real * factor + zero_out)
            ofm[image, begin + c] = min(max(value, np.float32(0)), np.float32(255))


def averaged_rows(images: int, channels: int) -> int:
    """Return the rows of ``average_maps``."""
    return images * -(-channels // AVERAGED)
