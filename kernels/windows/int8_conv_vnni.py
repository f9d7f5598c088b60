"""8-bit convolution with AVX512-VNNI: the contract of ``conv.conv2d_8bit``, several times faster.

``vpdpbusd`` adds four products u8 x s8 per 32-bit lane and wraps, so every sum is exact modulo
2**32, as the engine's own:

    sum (x - zx)(w - zw) = sum x (w - zw)  -  zx sum (w - zw)

where the last term is one constant per output channel, folded into the bias, and w - zw is a sum of
signed bytes (``pack.fours``). The store follows on the registers (``tiles.store_avx512``).

While the first tiles of a panel are computed, the next panel's weights are asked for: layers of few
pixels would wait for the memory, which gives less than the first tile of a panel wants.

Taps come four at a time: ``offsets`` holds the byte offset of each group of four inputs that lie
side by side, runs that are no multiple of four end in zero weights. Depthwise work has no such
runs: ``windows.int8_depthwise_vnni``.
"""

import numpy as np
from numba.core import cgutils

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.fours_avx512 import interleave_three
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, vector_code
from npusim.kernels.tiles.store_avx512 import LANES, V16I32, V64I8, Store, dot
from npusim.kernels.windows.units import copy_window, panel_of, unit_of, unpack_geometry

DIRECT, WINDOW, PLANES = range(3)  # how the input is read, see conv2d_8bit
_BYTES = 4 * PANEL  # of packed weights per group of four taps
_LINE = 64  # bytes of a line of the cache
_LINES = _BYTES // _LINE


def _make_tile(rows, vectors):
    """Return an intrinsic for ``rows`` pixels x ``vectors`` * 16 columns, store included.

    Meanwhile as many lines as the panel has groups of taps come into the cache, from the address
    ``ahead`` on.
    """

    @vector_code
    def tile(
        v, source, in_starts, pixel, offsets, begin, end, weights, starts, scale, column_at,
        zero_out, low, flip, codes, out_starts, channel, valid, ahead,
    ):  # fmt: skip
        builder = v.builder
        ahead = builder.inttoptr(ahead, I8.as_pointer())
        base = builder.inttoptr(source, I8.as_pointer())
        in_starts = v.at(in_starts.data, pixel)
        offsets = v.at(offsets.data, begin)
        weights = v.at(weights.data, builder.mul(begin, v.number(_BYTES)))
        starts, scale = v.at(starts.data, column_at), v.at(scale.data, column_at)
        places, acc = [], []
        columns = [v.load(v.at(starts, v.number(LANES * j)), I32, LANES) for j in range(vectors)]
        for row in range(rows):
            places.append(v.at(base, builder.load(v.at(in_starts, v.number(row)))))
            acc.append([cgutils.alloca_once(builder, V16I32) for _ in range(vectors)])
            for column, cell in zip(columns, acc[row], strict=True):
                builder.store(column, cell)
        with cgutils.for_range(builder, builder.sub(end, begin)) as loop:
            line = v.at(weights, builder.mul(loop.index, v.number(_BYTES)))
            factors = [v.load(v.at(line, v.number(64 * j)), I8, 64) for j in range(vectors)]
            if vectors > 1 and rows > 1:  # narrow tiles have no register to spare
                v.prefetch(v.at(ahead, builder.mul(loop.index, v.number(_LINE))))
            offset = builder.load(v.at(offsets, loop.index))
            for row in range(rows):
                place = builder.bitcast(v.at(places[row], offset), I32.as_pointer())
                four = v.splat(builder.load(place, align=1), LANES)
                four = builder.bitcast(four, V64I8)
                for factor, cell in zip(factors, acc[row], strict=True):
                    builder.store(dot(v, builder.load(cell), four, factor), cell)
        codes, out_starts = v.at(codes.data, channel), v.at(out_starts.data, pixel)
        store = Store(v, zero_out, low, flip)
        scales = [v.load(v.at(scale, v.number(LANES * j)), F32, LANES) for j in range(vectors)]
        for row in range(rows):
            out = v.at(codes, builder.load(v.at(out_starts, v.number(row))))
            sums = [builder.load(cell) for cell in acc[row]]
            v.store_up_to(store.codes(sums, scales), out, valid)

    return tile


_tile_64 = _make_tile(6, 4)
_tile_48 = _make_tile(8, 3)
_tile_32 = _make_tile(8, 2)
_tile_16 = _make_tile(10, 1)
_tile_pixel = _make_tile(1, 4)
FEW = 3  # so many pixels are computed one by one rather than in a tile


@primitive
def join_planes(ifm, image, first_row, rows, g, flip, zero, window):
    """Copy as ``copy_window`` does, from three planes (N, 3, H, W)."""
    in_h, in_w = ifm.shape[2], ifm.shape[3]
    plane = in_h * in_w
    source = np.int64(ifm.ctypes.data) + image * 3 * plane
    target = np.int64(window.ctypes.data)
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, in_w + g.pad_left))
    for i in range(rows):
        row = first_row + i
        begin = i * g.window_w * 3
        if row < 0 or row >= in_h or right == left:
            window[begin : begin + g.window_w * 3] = zero
            continue
        window[begin : begin + left * 3] = zero
        at = source + row * in_w + left - g.pad_left
        interleave_three(
            at, at + plane, at + 2 * plane, at, flip, target + begin + left * 3, right - left
        )
        window[begin + right * 3 : begin + g.window_w * 3] = zero


@kernel(
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], "
    "Array(i1, 1, 'C', readonly=True), i4[::1], f4[::1], u1[::1], u1[:, :, :, ::1], i8, i8)",
    features=AVX512_VNNI,
)
def conv2d_8bit(
    ifm,
    geometry,
    options,
    in_starts,
    out_starts,
    offsets,
    ends,
    weights,
    starts,
    scale,
    window,
    ofm,
    start,
    stop,
):
    """Convolve u8 or i8 and store u8 or i8; see ``conv.conv2d_8bit`` for the common parameters.

    Parameters
    ----------
    ifm : uint8 (N, H, W, C), or (N, 3, H, W) when read as PLANES
    options : int64 (reading, flip_in, zero_in, zero_out, low, flip_out)
        reading: DIRECT, where it lies (no padding, no flip, ``window_w`` is the input's width);
        WINDOW, through a padded copy; PLANES, the same from three planes. zero_out, low and
        flip_out are the store in terms of u8 codes; ``flip_out`` 128 turns them into i8 patterns.
    in_starts, out_starts : int64
        Of a whole block's pixels, see ``pack.geometry.block_places``.
    offsets, ends, weights
        See ``pack.fours.Panels``; one group's offsets serve every group of channels.
    starts : int32 (panels * PANEL,)
        Bias and zero-point constant of each output channel.
    scale : float32 (panels * PANEL,)
        Must fit, see ``store_avx512.fits``.
    window : uint8 scratch
    """
    g = unpack_geometry(geometry)
    reading, flip_in, zero_in, zero_out, low, flip_out = (
        options[0], options[1], options[2], options[3], options[4], options[5],
    )  # fmt: skip
    flip, zero = np.uint8(flip_in), np.uint8(zero_in)
    codes = ofm.reshape(ofm.size)
    panels = ends.size - 1
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        top = first * g.stride_h - g.pad_top
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        source = np.int64(window.ctypes.data)
        if reading == DIRECT:
            row_bytes = g.window_w * g.in_c
            source = np.int64(ifm.ctypes.data) + (image * ifm.shape[1] + top) * row_bytes
        elif reading == WINDOW:
            copy_window(ifm, image, top, in_rows, g, (flip, zero), window)
        else:
            join_planes(ifm, image, top, in_rows, g, flip_in, zero, window)
        pixels = rows * g.out_w
        out_row = image * g.ofm_h + first * g.out_h_step + g.out_h_start
        out = (out_row * g.ofm_w + g.out_w_start) * g.out_c
        last_panel = (share + 1) * panels // g.shares - 1
        for panel in range(share * panels // g.shares, last_panel + 1):
            channel, valid, width, shift = panel_of(panel, panels, g)
            begin, end, lane = ends[panel], ends[panel + 1], panel * PANEL
            size = 6 if width == 64 else 10 if width == 16 else 8
            tiles = pixels // size
            if pixels - tiles * size > FEW and tiles:
                tiles += 1
            own = np.int64(weights.ctypes.data) + begin * _BYTES
            for tile in range(tiles):
                ahead = own  # is in the cache: nothing happens
                if tile < _LINES and panel < last_panel:
                    ahead += (_BYTES + _LINE * tile) * (end - begin)
                pixel = min(tile * size, pixels - size)  # the last one may repeat some
                if width == 64:
                    _tile_64(
                        source + shift, in_starts, pixel, offsets, begin, end, weights, starts,
                        scale, lane, zero_out, low, flip_out, codes, out_starts, out + channel,
                        valid, ahead,
                    )  # fmt: skip
                elif width == 48:
                    _tile_48(
                        source + shift, in_starts, pixel, offsets, begin, end, weights, starts,
                        scale, lane, zero_out, low, flip_out, codes, out_starts, out + channel,
                        valid, ahead,
                    )  # fmt: skip
                elif width == 32:
                    _tile_32(
                        source + shift, in_starts, pixel, offsets, begin, end, weights, starts,
                        scale, lane, zero_out, low, flip_out, codes, out_starts, out + channel,
                        valid, ahead,
                    )  # fmt: skip
                else:
                    _tile_16(
                        source + shift, in_starts, pixel, offsets, begin, end, weights, starts,
                        scale, lane, zero_out, low, flip_out, codes, out_starts, out + channel,
                        valid, ahead,
                    )  # fmt: skip
            for pixel in range(tiles * size, pixels):
                _tile_pixel(
                    source + shift, in_starts, pixel, offsets, begin, end, weights, starts, scale,
                    lane, zero_out, low, flip_out, codes, out_starts, out + channel, valid, 0,
                )  # fmt: skip
