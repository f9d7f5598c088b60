"""i16 convolution by pairs of products: the contract of ``conv.conv2d_i16``; see ``tiles.pairs``.

Inputs are read from a padded window, or where they lie.
"""

import numpy as np
from llvmlite import ir

from npusim.kernels._jit import kernel
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.rounding import ROUND_F64
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.llvm_vectors import F64, I16, I32, I64, vector_code
from npusim.kernels.tiles.pairs import make_tile
from npusim.kernels.windows.units import copy_window, panel_of, unit_of, unpack_geometry

_LANES = 16


@vector_code
def store_i16(v, low_sums, high_sums, at, scale, column, low, high, codes, codes_at, count):
    """Store ``count`` codes ``clip(rne((high_sums * 2**16 + low_sums) * scale), low, high)``.

    One fused multiply-add rounds the exact product to the last bit of ``ROUND_F64``.
    """
    builder = v.builder
    integers, reals = ir.VectorType(I32, _LANES), ir.VectorType(F64, _LANES)
    fma = v.function(f"llvm.fma.v{_LANES}f64", reals, [reals] * 3)
    low, high = (builder.fadd(limit, ir.Constant(F64, ROUND_F64)) for limit in (low, high))
    low, high = v.splat(low, _LANES), v.splat(high, _LANES)
    carry, magic = (v.constant(value, F64, _LANES) for value in (65536.0, ROUND_F64))
    for j in range(0, PANEL, _LANES):
        with builder.if_then(builder.icmp_signed("<", v.number(j), count)):
            place, lane = builder.add(at, v.number(j)), builder.add(column, v.number(j))
            small, large = (
                builder.sitofp(v.load(v.at(sums.data, place), I32, _LANES), reals)
                for sums in (low_sums, high_sums)
            )
            factor = v.load(v.at(scale.data, lane), F64, _LANES)
            total = builder.call(fma, [large, carry, small])
            steps = v.clamp(builder.call(fma, [total, factor, magic]), low, high)
            bits = builder.bitcast(steps, ir.VectorType(I64, _LANES))
            words = builder.trunc(builder.trunc(bits, integers), ir.VectorType(I16, _LANES))
            target = v.at(codes.data, builder.add(codes_at, v.number(j)))
            v.store_first(words, target, builder.sub(count, v.number(j)))


_I16_SIGNATURE = (
    "void(Array(i2, 4, 'C', readonly=True), i8[::1], boolean, i8[::1], i8[::1], i8[::1], i8[::1], "
    "i8[::1], Array(i2, 1, 'C', readonly=True), i4[::1], i4[::1], f8[::1], f8, f8, i2[::1], "
    "i2[:, :, :, ::1], i8, i8)"
)
_wide_512, _narrow_512 = make_tile(3, 4, 16, True), make_tile(6, 2, 16, True)
_pixel_512 = make_tile(1, 4, 16, True)


@kernel(_I16_SIGNATURE, features=AVX512_VNNI)
def conv2d_i16_avx512(
    ifm,
    geometry,
    direct,
    in_starts,
    out_starts,
    offsets,
    chunks,
    ends,
    weights,
    low_starts,
    high_starts,
    scale,
    low,
    high,
    window,
    ofm,
    start,
    stop,
):
    """Convolve i16: exact sums, ``clip(rne(acc * scale[o]), low, high)``.

    Parameters
    ----------
    ifm, ofm : int16 (N, H, W, C) and (N, OH, OW, O)
    geometry : int64 vector of ``pack.geometry.Geometry``
    direct : bool
        The input is read where it lies: no padding, ``window_w`` is the input's width.
    in_starts, out_starts : int64
        See ``pack.geometry.block_places``.
    offsets, chunks, ends, weights
        See ``pack.pairs.Chunks``.
    low_starts, high_starts : int32 (panels * PANEL,)
        The bias: ``high * 2**16 + low``, low below 2**16.
    scale : float64 (panels * PANEL,)
        Of at most 16 significant bits, below 16.
    window : int16 scratch
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    codes = ofm.reshape(ofm.size)
    panels = ends.size - 1
    low_sums, high_sums = np.empty(6 * PANEL, np.int32), np.empty(6 * PANEL, np.int32)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        top = first * g.stride_h - g.pad_top
        source = np.int64(window.ctypes.data)
        if direct:
            row_bytes = 2 * g.window_w * g.in_c
            source = np.int64(ifm.ctypes.data) + (image * ifm.shape[1] + top) * row_bytes
        else:
            in_rows = g.window_h - (g.block_h - rows) * g.stride_h
            copy_window(ifm, image, top, in_rows, g, (), window)
        pixels = rows * g.out_w
        out_row = image * g.ofm_h + first * g.out_h_step + g.out_h_start
        out = (out_row * g.ofm_w + g.out_w_start) * g.out_c
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            begin, end, lane = ends[panel], ends[panel + 1], panel * PANEL
            place = source + 2 * shift
            size = 6 if width <= 32 else 3
            tiles = (pixels + size - 1) // size if pixels >= size else 0
            for tile in range(tiles):
                pixel = min(tile * size, pixels - size)  # the last one may repeat some
                if width <= 32:
                    _narrow_512(
                        place, in_starts, pixel, offsets, chunks, begin, end, weights, 0,
                        low_starts, high_starts, lane, low_sums, high_sums,
                    )  # fmt: skip
                else:
                    _wide_512(
                        place, in_starts, pixel, offsets, chunks, begin, end, weights, 0,
                        low_starts, high_starts, lane, low_sums, high_sums,
                    )  # fmt: skip
                for row in range(size):
                    store_i16(
                        low_sums, high_sums, row * PANEL, scale, lane, low, high, codes,
                        out + out_starts[pixel + row] + channel, valid,
                    )  # fmt: skip
            for pixel in range(tiles * size, pixels):
                _pixel_512(
                    place, in_starts, pixel, offsets, chunks, begin, end, weights, 0,
                    low_starts, high_starts, lane, low_sums, high_sums,
                )  # fmt: skip
                store_i16(
                    low_sums, high_sums, 0, scale, lane, low, high, codes,
                    out + out_starts[pixel] + channel, valid,
                )  # fmt: skip
