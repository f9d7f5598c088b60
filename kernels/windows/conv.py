"""Convolution on the NN engine: dense, grouped and depthwise, one kernel per store.

Layouts: ifm and ofm (N, H, W, C); weights, offsets and units as ``npusim.kernels.pack.geometry``
makes them.
Products and partial sums are exact real numbers:

    8 bit   float32, flushed every CHUNK taps into accumulators that wrap at 32 bits
    i16     float64 (products below 2**30, sums below 2**53)
    f16     float32, one chain per output in the order of ``offsets``; each addition rounds

so only the order of float16 sums matters, and that is the engine's own.
Source: measured, docs/arithmetic/nn.md section 1.
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.float16 import nearest_half, truncate_to_half
from npusim.kernels.operand import as_number
from npusim.kernels.pack.geometry import CHUNK
from npusim.kernels.tiles.fma import (
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
from npusim.kernels.tiles.store_row import store_row
from npusim.kernels.windows.units import (
    copy_window,
    panel_of,
    place_pixels,
    unit_of,
    unpack_geometry,
)


@primitive
def read_chunk(weights, flip, zeros, width, chunk):
    """Set chunk (k, PANEL) to the real values of the first ``width`` columns of weights."""
    for k in range(weights.shape[0]):
        codes, numbers = weights[k], chunk[k * PANEL : k * PANEL + width]
        for j in range(numbers.size):
            numbers[j] = as_number(codes[j], (flip, zeros[j]), numbers.dtype)


@primitive
def multiply_tile(
    window, in_starts, pixel, shift, offsets, first, last, chunk, width, lanes, own_channels, sums,
    sums_at,
):  # fmt: skip
    """Add the products of taps first..last to ROWS rows of sums (see ``tiles.fma``)."""
    wide = VECTORS * lanes
    column = 0
    while column < width:
        if width - column >= wide:
            if own_channels:
                wide_tile_depthwise(
                    window, in_starts, pixel, shift, offsets, first, last, chunk, column, sums,
                    sums_at,
                )  # fmt: skip
            else:
                wide_tile(
                    window, in_starts, pixel, shift, offsets, first, last, chunk, column, sums,
                    sums_at,
                )  # fmt: skip
            column += wide
        else:
            if own_channels:
                narrow_tile_depthwise(
                    window, in_starts, pixel, shift, offsets, first, last, chunk, column, sums,
                    sums_at,
                )  # fmt: skip
            else:
                narrow_tile(
                    window, in_starts, pixel, shift, offsets, first, last, chunk, column, sums,
                    sums_at,
                )  # fmt: skip
            column += lanes


@primitive
def add_wrapping(sums, acc):
    """Add whole float32 numbers to int32 accumulators modulo 2**32."""
    for j in range(acc.size):
        acc[j] = np.int32(acc[j] + np.int32(sums[j]))


@primitive
def start_rows(rows, first, values, acc):
    """Set ``rows`` rows of PANEL numbers, from row ``first`` of acc on, to the same values."""
    for row in range(first, first + rows):
        line = acc[row * PANEL : (row + 1) * PANEL]
        for j in range(PANEL):
            line[j] = values[j]


_CODE_SIGNATURE = (
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8, f8, i8[::1], "
    "Array(u1, 3, 'C', readonly=True), i8, f4[::1], i4[::1], f8[::1], {store} "
    "f4[::1], f4[::1], i4[::1], {ofm}[:, :, :, ::1], i8, i8)"
)


@kernel(_CODE_SIGNATURE.format(store="f8, f8, f8, f8,", ofm="u1"))
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
    zero_before,
    zero_after,
    low,
    high,
    window,
    chunk,
    acc,
    ofm,
    start,
    stop,
):
    """Convolve u8 or i8 and store u8 or i8 as ``store_row`` does.

    i8 arrays are bit patterns: their inputs have ``flip`` 128 and zero points 128 higher.
    ``acc * scale`` is exact in float64 when scale has 16 significant bits.

    Parameters
    ----------
    ifm : uint8 (N, H, W, C)
    geometry : int64 vector of ``pack.geometry.Geometry``
    offsets : int64 (K,)
    weights : uint8 (panels, K, PANEL)
    zero_weights, bias, scale : float32, int32, float64 (panels * PANEL,)
    window, chunk, acc : scratch
    ofm : uint8 (N, OH, OW, O)
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    flip, zero = np.uint8(flip_in), np.float32(zero_in)
    codes = ofm.reshape(ofm.size)
    tile = np.empty(ROWS * PANEL, np.float32)
    in_starts = np.empty(g.block_h * g.out_w + ROWS, np.int64)
    out_starts = np.empty_like(in_starts)
    panels, taps = weights.shape[0], offsets.size
    last_chunk = max(taps - 1, 0) // CHUNK * CHUNK
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        copy_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, (flip, zero), window)
        pixels = place_pixels(image, first, rows, g, ROWS, in_starts, out_starts)
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            lane = panel * PANEL
            step = PANEL if last_chunk else 0  # one chunk: all pixels share the row of the bias
            start_rows(pixels if last_chunk else 1, 0, bias[lane:], acc)
            for begin in range(0, last_chunk + 1, CHUNK):
                end = min(begin + CHUNK, taps)
                read_chunk(
                    weights[panel, begin:end], np.uint8(flip_weights), zero_weights[lane:], width,
                    chunk,
                )  # fmt: skip
                for pixel in range(0, pixels, ROWS):
                    tile[:] = 0
                    multiply_tile(
                        window, in_starts, pixel, shift, offsets, begin, end, chunk, width,
                        LANES_F32, g.own_channels, tile, 0,
                    )  # fmt: skip
                    for row in range(min(ROWS, pixels - pixel)):
                        if begin < last_chunk:
                            at = (pixel + row) * PANEL
                            add_wrapping(
                                tile[row * PANEL : row * PANEL + width], acc[at : at + width]
                            )
                        else:
                            store_row(
                                tile, row * PANEL, acc, (pixel + row) * step, scale, lane,
                                zero_before, zero_after, low, high, codes,
                                out_starts[pixel + row] + channel, valid,
                            )  # fmt: skip


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
    acc,
    ofm,
    start,
    stop,
):
    """Convolve i8 and store the half nearest to ``acc * scale[o]``; see ``conv2d_8bit``."""
    g = unpack_geometry(geometry)
    flip, zero = np.uint8(flip_in), np.float32(zero_in)
    codes = ofm.reshape(ofm.size)
    tile = np.empty(ROWS * PANEL, np.float32)
    in_starts = np.empty(g.block_h * g.out_w + ROWS, np.int64)
    out_starts = np.empty_like(in_starts)
    panels, taps = weights.shape[0], offsets.size
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        copy_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, (flip, zero), window)
        pixels = place_pixels(image, first, rows, g, ROWS, in_starts, out_starts)
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            lane = panel * PANEL
            start_rows(pixels, 0, bias[lane:], acc)
            for begin in range(0, taps, CHUNK):
                end = min(begin + CHUNK, taps)
                read_chunk(
                    weights[panel, begin:end], np.uint8(flip_weights), zero_weights[lane:], width,
                    chunk,
                )  # fmt: skip
                for pixel in range(0, pixels, ROWS):
                    tile[:] = 0
                    multiply_tile(
                        window, in_starts, pixel, shift, offsets, begin, end, chunk, width,
                        LANES_F32, g.own_channels, tile, 0,
                    )  # fmt: skip
                    for row in range(min(ROWS, pixels - pixel)):
                        at = (pixel + row) * PANEL
                        add_wrapping(tile[row * PANEL : row * PANEL + width], acc[at : at + width])
            for pixel in range(pixels):
                at = out_starts[pixel] + channel
                halves = codes[at : at + valid]
                for j in range(valid):
                    total = np.float64(acc[pixel * PANEL + j])
                    halves[j] = nearest_half(total * scale[lane + j])


_REAL_SIGNATURE = (
    "void(Array({code}, 4, 'C', readonly=True), i8[::1], i8[::1], "
    "Array({code}, 3, 'C', readonly=True), {real}[::1], {store}, {real}[::1], {real}[::1], "
    "{real}[::1], {code}[:, :, :, ::1], i8, i8)"
)


@primitive
def accumulate_real(
    window, in_starts, pixels, shift, own_channels, offsets, weights, bias, width, lanes, chunk,
    sums,
):  # fmt: skip
    """Set sums (pixels, PANEL) to bias + products of one panel, added one by one in order of k."""
    start_rows(pixels + ROWS - 1, 0, bias, sums)
    for first in range(0, offsets.size, CHUNK):
        last = min(first + CHUNK, offsets.size)
        read_chunk(weights[first:last], 0, bias, width, chunk)
        for pixel in range(0, pixels, ROWS):
            multiply_tile(
                window, in_starts, pixel, shift, offsets, first, last, chunk, width, lanes,
                own_channels, sums, pixel * PANEL,
            )  # fmt: skip


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
    codes = ofm.reshape(ofm.size)
    in_starts = np.empty(g.block_h * g.out_w + ROWS, np.int64)
    out_starts = np.empty_like(in_starts)
    panels = weights.shape[0]
    largest = np.uint16(0x7FFF if relu else 0xFFFF)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        copy_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, (), window)
        pixels = place_pixels(image, first, rows, g, ROWS, in_starts, out_starts)
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            accumulate_real(
                window, in_starts, pixels, shift, g.own_channels, offsets, weights[panel],
                bias[panel * PANEL :], width, LANES_F32, chunk, sums,
            )  # fmt: skip
            for pixel in range(pixels):
                at = out_starts[pixel] + channel
                halves, totals = codes[at : at + valid], sums[pixel * PANEL :]
                if nearest:
                    for j in range(valid):
                        halves[j] = nearest_half(totals[j])
                else:
                    for j in range(valid):
                        half = truncate_to_half(totals[j])
                        halves[j] = half if half <= largest else np.uint16(0)


@kernel(_REAL_SIGNATURE.format(code="i2", real="f8", store="f8[::1], f8, f8"))
def conv2d_i16(
    ifm, geometry, offsets, weights, bias, scale, low, high, window, chunk, sums, ofm, start, stop
):
    """Convolve i16: exact sums, ``clip(rne(acc * scale[o]), low, high)``.

    Parameters as in ``conv2d_8bit``; bias is float64 (a whole number of at most 48 bits).
    """
    g = unpack_geometry(geometry)
    codes = ofm.reshape(ofm.size)
    in_starts = np.empty(g.block_h * g.out_w + ROWS, np.int64)
    out_starts = np.empty_like(in_starts)
    panels = weights.shape[0]
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        copy_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, (), window)
        pixels = place_pixels(image, first, rows, g, ROWS, in_starts, out_starts)
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            accumulate_real(
                window, in_starts, pixels, shift, g.own_channels, offsets, weights[panel],
                bias[panel * PANEL :], width, LANES_F64, chunk, sums,
            )  # fmt: skip
            factors = scale[panel * PANEL :]
            for pixel in range(pixels):
                at = out_starts[pixel] + channel
                out, totals = codes[at : at + valid], sums[pixel * PANEL :]
                for j in range(valid):
                    value = np.rint(totals[j] * factors[j])
                    value = value if value > low else low
                    out[j] = np.int16(value if value < high else high)
