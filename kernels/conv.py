"""Convolution on the NN engine: dense, grouped and depthwise, one kernel per store.

Layouts: ifm and ofm (N, H, W, C); weights, offsets and units as ``npusim.kernels.pack`` makes them.
Products and partial sums are exact real numbers:

    8 bit   float32, flushed every CHUNK taps into accumulators that wrap at 32 bits
    i16     float64 (products below 2**30, sums below 2**53)
    f16     float32, one chain per output in the order of ``offsets``; each addition rounds

so only the order of float16 sums matters, and that is the engine's own. Source: ARITHMETIC_NN 1,
measured.
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.float16 import nearest_half, truncate_to_half
from npusim.kernels.fma_tile import (
    LANES_F32,
    LANES_F64,
    PANEL,
    ROWS,
    VECTORS,
    narrow_tile,
    narrow_tile_depthwise,
    wide_tile,
    wide_tile_depthwise,
)
from npusim.kernels.operand import as_real
from npusim.kernels.pack import CHUNK, Geometry

_FIELDS = len(Geometry._fields)
_ALIGN = 16  # columns are computed in multiples of this


@primitive
def unpack_geometry(g):
    """Return the int64 vector of a geometry as the record of names."""
    return Geometry(
        g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13],
        g[14], g[15], g[16], g[17], g[18],
    )  # fmt: skip


@primitive
def fill_window(ifm, image, first_row, rows, g, flip, zero, window):
    """Copy ``rows`` padded input rows from ``first_row`` on as real numbers; padding is 0."""
    in_h, in_w, in_c = ifm.shape[1], ifm.shape[2], g.in_c
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, in_w + g.pad_left))
    at = 0
    for row in range(first_row, first_row + rows):
        if row < 0 or row >= in_h:
            for i in range(at, at + g.window_w * in_c):
                window[i] = 0
        else:
            for i in range(at, at + left * in_c):
                window[i] = 0
            for column in range(left, right):
                start = at + column * in_c
                for c in range(in_c):
                    window[start + c] = as_real(ifm[image, row, column - g.pad_left, c], flip, zero)
            for i in range(at + right * in_c, at + g.window_w * in_c):
                window[i] = 0
        at += g.window_w * in_c


@primitive
def multiply_chunk(
    window, pixels, g, shift, offsets, first, last, chunk, width, lanes, starts, sums
):
    """Add taps first..last of all pixels of a block to its sums (pixels, PANEL).

    ``pixels`` is the number of output pixels, ``shift`` the first input channel of this panel.
    """
    wide = VECTORS * lanes
    for pixel in range(0, pixels, ROWS):
        for row in range(ROWS):
            at = min(pixel + row, pixels - 1)  # rows beyond the end repeat the last pixel
            y = at // g.out_w
            x = at - y * g.out_w
            starts[row] = (y * g.stride_h * g.window_w + x * g.stride_w) * g.in_c + shift
        tile = sums[pixel * PANEL : (pixel + ROWS) * PANEL]
        column = 0
        while column < width:
            if width - column >= wide:
                if g.own_channels:
                    wide_tile_depthwise(window, starts, offsets, first, last, chunk, column, tile)
                else:
                    wide_tile(window, starts, offsets, first, last, chunk, column, tile)
                column += wide
            else:
                if g.own_channels:
                    narrow_tile_depthwise(window, starts, offsets, first, last, chunk, column, tile)
                else:
                    narrow_tile(window, starts, offsets, first, last, chunk, column, tile)
                column += lanes


@primitive
def unit_of(unit, g):
    """Return (image, first output row, output rows, share) of a unit."""
    share = unit % g.shares
    block = (unit // g.shares) % g.blocks
    first = block * g.block_h
    return unit // (g.shares * g.blocks), first, min(g.block_h, g.out_h - first), share


@primitive
def panel_of(panel, panels, g):
    """Return (first output channel, valid columns, computed columns, first input channel)."""
    per_group = panels // g.groups
    group = panel // per_group
    inside = (panel - group * per_group) * PANEL
    group_c = g.out_c // g.groups
    valid = min(PANEL, group_c - inside)
    first_in = inside if g.own_channels else group * (g.in_c // g.groups)
    return (
        group * group_c + inside,
        valid,
        (valid + _ALIGN - 1) // _ALIGN * _ALIGN,
        first_in,
    )


@primitive
def ofm_pixel(pixel, first, g):
    """Return (row, column) in the ofm of a block's output pixel."""
    y = pixel // g.out_w
    x = pixel - y * g.out_w
    return (first + y) * g.out_h_step + g.out_h_start, x * g.out_w_step + g.out_w_start


@primitive
def accumulate_8bit(
    window, pixels, g, shift, width, offsets, weights, flip, zeros, bias, chunk, starts, sums, acc
):
    """Set acc (pixels, PANEL) to bias + sum of products of one panel, modulo 2**32."""
    for pixel in range(pixels):
        for j in range(width):
            acc[pixel * PANEL + j] = bias[j]
    for first in range(0, offsets.size, CHUNK):
        last = min(first + CHUNK, offsets.size)
        for k in range(first, last):
            for j in range(width):
                chunk[(k - first) * PANEL + j] = as_real(weights[k, j], flip, zeros[j])
        for i in range((pixels + ROWS) * PANEL):
            sums[i] = np.float32(0)
        multiply_chunk(
            window, pixels, g, shift, offsets, first, last, chunk, width, LANES_F32, starts, sums
        )
        for pixel in range(pixels):
            for j in range(width):
                at = pixel * PANEL + j
                acc[at] = np.int32(acc[at] + np.int32(sums[at]))


@primitive
def accumulate_real(
    window, pixels, g, shift, width, lanes, offsets, weights, bias, chunk, starts, sums
):
    """Set sums (pixels, PANEL) to bias + products of one panel, added one by one in order of k."""
    for pixel in range(pixels + ROWS):
        for j in range(width):
            sums[pixel * PANEL + j] = bias[j]
    for first in range(0, offsets.size, CHUNK):
        last = min(first + CHUNK, offsets.size)
        for k in range(first, last):
            for j in range(width):
                chunk[(k - first) * PANEL + j] = as_real(weights[k, j], 0, 0)
        multiply_chunk(
            window, pixels, g, shift, offsets, first, last, chunk, width, lanes, starts, sums
        )


_CODE_SIGNATURE = (
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8, f8, i8[::1], "
    "Array(u1, 3, 'C', readonly=True), i8, f4[::1], i4[::1], f8[::1], {store} "
    "f4[::1], f4[::1], f4[::1], i4[::1], {ofm}[:, :, :, ::1], i8, i8)"
)


@kernel(_CODE_SIGNATURE.format(store="f8, f8, f8,", ofm="u1"))
def conv2d_8bit(
    ifm,
    geometry,
    flip_in,
    zero_in,
    offsets,
    weights,
    flip_weights,
    zero_weights,
    bias,
    scale,
    zero_out,
    low,
    high,
    window,
    chunk,
    sums,
    acc,
    ofm,
    start,
    stop,
):
    """Convolve u8 or i8 and store u8 or i8: ``clip(rne(acc * scale[o]) + zero_out, low, high)``.

    i8 arrays are bit patterns: their inputs have ``flip`` 128 and zero points 128 higher.
    ``acc * scale`` is exact in float64 when scale has 16 significant bits.

    Parameters
    ----------
    ifm : uint8 (N, H, W, C)
    geometry : int64 vector of ``pack.Geometry``
    offsets : int64 (K,)
    weights : uint8 (panels, K, PANEL)
    zero_weights, bias, scale : float32, int32, float64 (panels * PANEL,)
    window, chunk, sums, acc : scratch
    ofm : uint8 (N, OH, OW, O)
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    starts = np.empty(ROWS, np.int64)
    panels = weights.shape[0]
    flip, zero = np.uint8(flip_in), np.float32(zero_in)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        fill_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, flip, zero, window)
        pixels = rows * g.out_w
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            lane = panel * PANEL
            accumulate_8bit(
                window, pixels, g, shift, width, offsets, weights[panel], np.uint8(flip_weights),
                zero_weights[lane:], bias[lane:], chunk, starts, sums, acc,
            )  # fmt: skip
            for pixel in range(pixels):
                y, x = ofm_pixel(pixel, first, g)
                for j in range(valid):
                    value = np.rint(np.float64(acc[pixel * PANEL + j]) * scale[lane + j]) + zero_out
                    value = value if value > low else low
                    value = value if value < high else high
                    ofm[image, y, x, channel + j] = np.uint8(np.int32(value))


@kernel(_CODE_SIGNATURE.format(store="", ofm="u2"))
def conv2d_8bit_to_half(
    ifm,
    geometry,
    flip_in,
    zero_in,
    offsets,
    weights,
    flip_weights,
    zero_weights,
    bias,
    scale,
    window,
    chunk,
    sums,
    acc,
    ofm,
    start,
    stop,
):
    """Convolve i8 and store the half nearest to ``acc * scale[o]``; see ``conv2d_8bit``."""
    g = unpack_geometry(geometry)
    starts = np.empty(ROWS, np.int64)
    panels = weights.shape[0]
    flip, zero = np.uint8(flip_in), np.float32(zero_in)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        fill_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, flip, zero, window)
        pixels = rows * g.out_w
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            lane = panel * PANEL
            accumulate_8bit(
                window, pixels, g, shift, width, offsets, weights[panel], np.uint8(flip_weights),
                zero_weights[lane:], bias[lane:], chunk, starts, sums, acc,
            )  # fmt: skip
            for pixel in range(pixels):
                y, x = ofm_pixel(pixel, first, g)
                for j in range(valid):
                    value = np.float64(acc[pixel * PANEL + j]) * scale[lane + j]
                    ofm[image, y, x, channel + j] = nearest_half(value)


_REAL_SIGNATURE = (
    "void(Array({code}, 4, 'C', readonly=True), i8[::1], i8[::1], "
    "Array({code}, 3, 'C', readonly=True), {real}[::1], {store}, {real}[::1], {real}[::1], "
    "{real}[::1], {code}[:, :, :, ::1], i8, i8)"
)


@kernel(_REAL_SIGNATURE.format(code="u2", real="f4", store="boolean, boolean"))
def conv2d_f16(
    ifm, geometry, offsets, weights, bias, nearest, relu, window, chunk, sums, ofm, start, stop
):
    """Convolve float16: float32 sums in the order of ``offsets``, stored as float16.

    Halves are bit patterns. Parameters as in ``conv2d_8bit``; bias is float32. ``nearest`` rounds
    the sums to nearest (shader) instead of cutting them toward zero (NN); ``relu`` turns negative
    results into +0.
    """
    g = unpack_geometry(geometry)
    starts = np.empty(ROWS, np.int64)
    panels = weights.shape[0]
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        fill_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, 0, 0, window)
        pixels = rows * g.out_w
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            accumulate_real(
                window, pixels, g, shift, width, LANES_F32, offsets, weights[panel],
                bias[panel * PANEL :], chunk, starts, sums,
            )  # fmt: skip
            for pixel in range(pixels):
                y, x = ofm_pixel(pixel, first, g)
                for j in range(valid):
                    value = sums[pixel * PANEL + j]
                    half = nearest_half(value) if nearest else truncate_to_half(value)
                    half = np.uint16(0) if relu and half >= np.uint16(0x8000) else half
                    ofm[image, y, x, channel + j] = half


@kernel(_REAL_SIGNATURE.format(code="i2", real="f8", store="f8[::1], f8, f8"))
def conv2d_i16(
    ifm, geometry, offsets, weights, bias, scale, low, high, window, chunk, sums, ofm, start, stop
):
    """Convolve i16: exact sums, ``clip(rne(acc * scale[o]), low, high)``.

    Parameters as in ``conv2d_8bit``; bias is float64 (a whole number of at most 48 bits).
    """
    g = unpack_geometry(geometry)
    starts = np.empty(ROWS, np.int64)
    panels = weights.shape[0]
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        fill_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, 0, 0, window)
        pixels = rows * g.out_w
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            accumulate_real(
                window, pixels, g, shift, width, LANES_F64, offsets, weights[panel],
                bias[panel * PANEL :], chunk, starts, sums,
            )  # fmt: skip
            for pixel in range(pixels):
                y, x = ofm_pixel(pixel, first, g)
                for j in range(valid):
                    value = np.rint(sums[pixel * PANEL + j] * scale[panel * PANEL + j])
                    value = value if value > low else low
                    value = value if value < high else high
                    ofm[image, y, x, channel + j] = np.int16(value)
