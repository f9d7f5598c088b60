"""8-bit convolution with AVX2: the contract of ``conv.conv2d_8bit`` on processors without VNNI.

``vpmaddubsw`` saturates, so codes less their zero point are multiplied as 16-bit numbers, two at a
time (``tiles.pairs``), in 32-bit lanes that wrap like the engine's.
"""

import numpy as np
from llvmlite import ir

from npusim.kernels._jit import kernel
from npusim.kernels.features import AVX2
from npusim.kernels.rounding import ROUND_F32, ROUND_F32_BITS
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, vector_code
from npusim.kernels.tiles.pairs import make_tile
from npusim.kernels.windows.units import copy_window, panel_of, unit_of, unpack_geometry

ROWS, COLUMNS = 6, 16
_LANES = 16

_tile = make_tile(ROWS, 2, 8, False)
_pixel = make_tile(1, 2, 8, False)


@vector_code
def _store(v, sums, at, scale, column, zero_out, low, flip, codes, codes_at, count):
    """Store ``count`` <= 16 codes ``clip(rne(sums * scale) + zero_out, low, 255) ^ flip``.

    See ``tiles.store_avx512`` for the arithmetic.
    """
    builder = v.builder
    reals, integers = ir.VectorType(F32, _LANES), ir.VectorType(I32, _LANES)
    fma = v.function(f"llvm.fma.v{_LANES}f32", reals, [reals] * 3)
    offset = builder.sub(builder.trunc(zero_out, I32), ir.Constant(I32, ROUND_F32_BITS))
    acc = v.load(v.at(sums.data, at), I32, _LANES)
    factor = v.load(v.at(scale.data, column), F32, _LANES)
    magic, high = v.constant(ROUND_F32, F32, _LANES), v.constant(255, I32, _LANES)
    total = builder.call(fma, [builder.sitofp(acc, reals), factor, magic])
    code = builder.add(builder.bitcast(total, integers), v.splat(offset, _LANES))
    low = v.splat(builder.trunc(low, I32), _LANES)
    code = builder.select(builder.icmp_signed(">", code, low), code, low)
    code = builder.select(builder.icmp_signed("<", code, high), code, high)
    code = builder.trunc(code, ir.VectorType(I8, _LANES))
    code = builder.xor(code, v.splat(builder.trunc(flip, I8), _LANES))
    v.store_up_to(code, v.at(codes.data, codes_at), count)


@kernel(
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], "
    "i8[::1], Array(i2, 1, 'C', readonly=True), i4[::1], f4[::1], i2[::1], u1[:, :, :, ::1], "
    "i8, i8)",
    features=AVX2,
)
def conv2d_8bit(
    ifm,
    geometry,
    options,
    in_starts,
    out_starts,
    offsets,
    chunks,
    ends,
    weights,
    starts,
    scale,
    window,
    ofm,
    start,
    stop,
):
    """Convolve u8 or i8 and store u8 or i8; see ``int8_conv_vnni.conv2d_8bit``.

    Parameters
    ----------
    options : int64 (flip_in, zero_in, zero_out, low, flip_out)
    offsets, chunks, ends, weights
        See ``pack.pairs.Chunks``.
    starts : int32 (panels * PANEL,)
        The bias.
    window : int16 scratch
    """
    g = unpack_geometry(geometry)
    flip, zero = np.uint8(options[0]), np.int16(options[1])
    zero_out, low, flip_out = options[2], options[3], options[4]
    codes = ofm.reshape(ofm.size)
    panels = ends.size - 1
    source = np.int64(window.ctypes.data)
    sums = np.empty(ROWS * PANEL, np.int32)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        copy_window(ifm, image, first * g.stride_h - g.pad_top, in_rows, g, (flip, zero), window)
        pixels = rows * g.out_w
        out_row = image * g.ofm_h + first * g.out_h_step + g.out_h_start
        out = (out_row * g.ofm_w + g.out_w_start) * g.out_c
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            begin, end, lane = ends[panel], ends[panel + 1], panel * PANEL
            tiles = (pixels + ROWS - 1) // ROWS if pixels >= ROWS else 0
            for column in range(0, width, COLUMNS):
                for tile in range(tiles):
                    pixel = min(tile * ROWS, pixels - ROWS)  # the last one may repeat some
                    _tile(
                        source + 2 * shift, in_starts, pixel, offsets, chunks, begin, end,
                        weights, column, starts, starts, lane, sums, sums,
                    )  # fmt: skip
                    for row in range(ROWS):
                        _store(
                            sums, row * PANEL + column, scale, lane + column, zero_out, low,
                            flip_out, codes, out + out_starts[pixel + row] + channel + column,
                            valid - column,
                        )  # fmt: skip
                for pixel in range(tiles * ROWS, pixels):
                    _pixel(
                        source + 2 * shift, in_starts, pixel, offsets, chunks, begin, end,
                        weights, column, starts, starts, lane, sums, sums,
                    )  # fmt: skip
                    _store(
                        sums, column, scale, lane + column, zero_out, low, flip_out, codes,
                        out + out_starts[pixel] + channel + column, valid - column,
                    )  # fmt: skip
