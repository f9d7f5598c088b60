"""Max pooling of stored codes, and sums of all pixels.

Padding never wins; a window without inputs gives the lowest code.

Codes are compared through keys whose order as integers is the order of the values, so that one
loop serves several types:

    8 bit    key = code ^ flip                          flip 128 orders i8 patterns as uint8
    16 bit   key = code ^ ((code >> 15) & mask)         mask 0x7FFF orders halves as int16
"""

import numpy as np
from numba.core import cgutils

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.tiles.llvm_vectors import I8, I16, I32, vector_code


def _make_pixel(kind, key_of):
    """Return an intrinsic that sets all channels of a result to the maxima of a window.

    ``key_of(v, codes, mask)`` makes keys of codes and codes of keys. Arrays are flat; the window is
    ``rows`` x ``columns`` pixels from ``at`` on, its rows are ``row_step`` elements apart.
    """
    wide, narrow = 512 // kind.width, 128 // kind.width

    @vector_code
    def pixel(v, ifm, at, row_step, rows, columns, mask, lowest, ofm, ofm_at, channels):
        builder = v.builder
        compare = builder.icmp_unsigned if kind == I8 else builder.icmp_signed
        source, target = v.at(ifm.data, at), v.at(ofm.data, ofm_at)
        mask, lowest = builder.trunc(mask, kind), builder.trunc(lowest, kind)

        def write(channel, lanes):
            flips, start = v.splat(mask, lanes), v.splat(lowest, lanes)
            best = cgutils.alloca_once(builder, start.type)
            builder.store(start, best)
            with cgutils.for_range(builder, rows) as row:
                line = v.at(source, builder.add(channel, builder.mul(row.index, row_step)))
                with cgutils.for_range(builder, columns) as column:
                    place = v.at(line, builder.mul(column.index, channels))
                    key, most = key_of(v, v.load(place, kind, lanes), flips), builder.load(best)
                    builder.store(builder.select(compare(">", key, most), key, most), best)
            v.store(key_of(v, builder.load(best), flips), v.at(target, channel))

        blocks = builder.sdiv(channels, v.number(wide))
        with cgutils.for_range(builder, blocks) as loop:
            write(builder.mul(loop.index, v.number(wide)), wide)
        done = builder.mul(blocks, v.number(wide))
        last = builder.sub(channels, v.number(narrow))
        with builder.if_else(builder.icmp_signed(">=", last, v.number(0))) as (vectors, single):
            with vectors:  # the last one may repeat some channels
                rest = builder.add(builder.sub(channels, done), v.number(narrow - 1))
                with cgutils.for_range(builder, builder.sdiv(rest, v.number(narrow))) as loop:
                    channel = builder.add(done, builder.mul(loop.index, v.number(narrow)))
                    repeats = builder.icmp_signed(">", channel, last)
                    write(builder.select(repeats, last, channel), narrow)
            with single, cgutils.for_range(builder, channels) as loop:
                write(loop.index, 1)

    return pixel


def _key_of_words(v, codes, mask):
    sign = v.builder.ashr(codes, v.constant(15, I16, codes.type.count))
    return v.builder.xor(codes, v.builder.and_(sign, mask))


_pixel_8bit = _make_pixel(I8, lambda v, codes, flip: v.builder.xor(codes, flip))
_pixel_16bit = _make_pixel(I16, _key_of_words)


def _make_rows(pixel):
    @primitive
    def pool_rows(ifm, mask, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left,
                  ofm, start, stop):  # fmt: skip
        """Pool rows start..stop of all images; ``lowest`` is a key."""
        in_h, in_w, channels = ifm.shape[1], ifm.shape[2], ifm.shape[3]
        out_h, out_w = ofm.shape[1], ofm.shape[2]
        for row in range(start, stop):
            image = row // out_h
            top = (row - image * out_h) * stride_h - pad_top
            first_y, last_y = max(top, 0), min(top + kernel_h, in_h)
            for x in range(out_w):
                left = x * stride_w - pad_left
                first_x, last_x = max(left, 0), min(left + kernel_w, in_w)
                pixel(
                    ifm, ((image * in_h + first_y) * in_w + first_x) * channels, in_w * channels,
                    last_y - first_y, last_x - first_x, mask, lowest, ofm,
                    (row * out_w + x) * channels, channels,
                )  # fmt: skip

    return pool_rows


_rows_8bit, _rows_16bit = _make_rows(_pixel_8bit), _make_rows(_pixel_16bit)


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
    _rows_8bit(ifm, flip, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, ofm,
               start, stop)  # fmt: skip


@kernel(_SIGNATURE.format("i2"))
def max_pool_16bit(
    ifm, mask, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, ofm, start, stop
):
    """Set ofm to the maximum of each window; i16 (``mask`` 0) or halves (``mask`` 0x7FFF)."""
    _rows_16bit(ifm, mask, lowest, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, ofm,
                start, stop)  # fmt: skip


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


@vector_code
def _add_pixels(v, ifm, at, step, pixels, sums):
    """Set AVERAGED sums to those of codes over ``pixels``, ``step`` bytes apart."""
    builder, lanes = v.builder, 16
    parts = range(0, AVERAGED, lanes)
    zeros = v.constant(0, I32, lanes)
    totals = [cgutils.alloca_once_value(builder, zeros) for _ in parts]
    for total in totals:
        builder.store(zeros, total)
    source = v.at(ifm.data, at)
    with cgutils.for_range(builder, pixels) as loop:
        line = v.at(source, builder.mul(loop.index, step))
        for part, total in zip(parts, totals, strict=True):
            codes = builder.zext(v.load(v.at(line, v.number(part)), I8, lanes), zeros.type)
            builder.store(builder.add(builder.load(total), codes), total)
    for part, total in zip(parts, totals, strict=True):
        v.store(builder.load(total), v.at(sums.data, v.number(part)))


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
        if count == AVERAGED:
            _add_pixels(ifm, image * pixels * channels + begin, channels, pixels, sums)
        else:
            for c in range(count):
                sums[c] = 0
            for pixel in range(pixels):
                codes = ifm[image, pixel, begin : begin + count]
                for c in range(count):
                    sums[c] += codes[c]
        for c in range(count):
            total = np.float32(np.int32(sums[c] - zero * pixels))
            real = (total + zeros) * scale - zeros * scale
            value = np.rint(real * factor + zero_out)
            ofm[image, begin + c] = min(max(value, np.float32(0)), np.float32(255))


def averaged_rows(images: int, channels: int) -> int:
    """Return the rows of ``average_maps``."""
    return images * -(-channels // AVERAGED)
