"""8-bit convolution with AVX512-VNNI: the contract of ``conv.conv2d_8bit``, several times faster.

``vpdpbusd`` adds four products u8 x s8 per 32-bit lane and wraps, so every sum is exact modulo
2**32, as the engine's own. Weights are stored minus 128 (w' = w - 128, or i8 as it is), and

    sum (x - zx)(w' - zw') = sum x w'  -  zw' sum x  +  (K zx zw' - zx sum w')

where the last bracket is one constant per output channel, folded into the bias, and ``sum x`` one
number per output pixel. The store follows on the registers (``x86_store``).

Taps come four at a time: ``offsets`` holds the byte offset of each group of four inputs that lie
side by side, runs that are no multiple of four end in zero weights. Depthwise work has no such
runs and stays with ``conv.conv2d_8bit``.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.fma_tile import PANEL
from npusim.kernels.llvm_vectors import I8, I32, Vectors
from npusim.kernels.pack import TILE_ROWS
from npusim.kernels.units import panel_of, place_pixels, unit_of, unpack_geometry
from npusim.kernels.x86_store import LANES, V16I32, V64I8, Store, dot, scales_at

FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")
_BYTES = 4 * PANEL  # of packed weights per group of four taps


def _make_tile(rows, vectors):
    """Return an intrinsic for ``rows`` pixels x ``vectors`` * 16 columns, store included."""

    def tile(
        typing_context, source, in_starts, pixel, row_terms, offsets, weights, weights_at, starts,
        scale, column_at, zero_out, low, flip, codes, out_starts, channel, valid,
    ):  # fmt: skip
        def generate(context, builder, signature, arguments):
            v = Vectors(context, builder, signature, arguments)
            (source, _, pixel, _, _, _, weights_at, _, _, column_at, zero_out, low, flip, _, _,
             channel, valid) = arguments  # fmt: skip
            base = builder.inttoptr(source, I8.as_pointer())
            in_starts, row_terms = v.at(v.data(1), pixel), v.at(v.data(3), pixel)
            offsets, weights = v.data(4), v.at(v.data(5), weights_at)
            starts, scale = v.at(v.data(7), column_at), v.at(v.data(8), column_at)
            places, acc = [], []
            columns = [
                v.load(v.at(starts, v.number(LANES * j)), I32, LANES) for j in range(vectors)
            ]
            for row in range(rows):
                at = v.number(row)
                places.append(v.at(base, builder.load(v.at(in_starts, at))))
                term = v.splat(builder.load(v.at(row_terms, at)), LANES)
                acc.append([cgutils.alloca_once(builder, V16I32) for _ in range(vectors)])
                for column, cell in zip(columns, acc[row], strict=True):
                    builder.store(builder.add(column, term), cell)
            with cgutils.for_range(builder, v.size(4)) as loop:
                line = v.at(weights, builder.mul(loop.index, v.number(_BYTES)))
                factors = [v.load(v.at(line, v.number(64 * j)), I8, 64) for j in range(vectors)]
                offset = builder.load(v.at(offsets, loop.index))
                for row in range(rows):
                    place = builder.bitcast(v.at(places[row], offset), I32.as_pointer())
                    four = v.splat(builder.load(place, align=1), LANES)
                    four = builder.bitcast(four, V64I8)
                    for factor, cell in zip(factors, acc[row], strict=True):
                        builder.store(dot(v, builder.load(cell), four, factor), cell)
            codes, out_starts = v.at(v.data(13), channel), v.at(v.data(14), pixel)
            store = Store(v, zero_out, low, flip)
            scales = [scales_at(v, v.at(scale, v.number(LANES * j))) for j in range(vectors)]
            for row in range(rows):
                out = v.at(codes, builder.load(v.at(out_starts, v.number(row))))
                sums = [builder.load(cell) for cell in acc[row]]
                v.store_first(store.codes(sums, scales), out, valid)
            return context.get_dummy_value()

        arguments = (
            source, in_starts, pixel, row_terms, offsets, weights, weights_at, starts, scale,
            column_at, zero_out, low, flip, codes, out_starts, channel, valid,
        )  # fmt: skip
        return types.void(*arguments), generate

    return intrinsic(tile)


_tile_64 = _make_tile(6, 4)
_tile_48 = _make_tile(8, 3)
_tile_32 = _make_tile(12, 2)
_tile_16 = _make_tile(12, 1)


@intrinsic
def _sum_runs(typing_context, source, starts, lengths):
    """Return the sum of the unsigned bytes of all runs from an address on."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder, signature, arguments)
        base = builder.inttoptr(arguments[0], I8.as_pointer())
        starts, lengths = v.data(1), v.data(2)
        total = cgutils.alloca_once_value(builder, ir.Constant(V16I32, [0] * LANES))
        ones = ir.Constant(V64I8, [1] * 64)
        load = v.function(
            "llvm.masked.load.v64i8.p0",
            V64I8,
            [V64I8.as_pointer(), I32, ir.VectorType(ir.IntType(1), 64), V64I8],
        )
        with cgutils.for_range(builder, v.size(1)) as loop:
            place = v.at(base, builder.load(v.at(starts, loop.index)))
            length = builder.load(v.at(lengths, loop.index))
            blocks = builder.sdiv(builder.add(length, v.number(63)), v.number(64))
            with cgutils.for_range(builder, blocks) as block:
                done = builder.mul(block.index, v.number(64))
                mask = v.first_lanes(builder.sub(length, done), 64)
                pointer = builder.bitcast(v.at(place, done), V64I8.as_pointer())
                zeros = ir.Constant(V64I8, [0] * 64)
                read = builder.call(load, [pointer, v.number(1, I32), mask, zeros])
                builder.store(dot(v, builder.load(total), read, ones), total)
        reduce = v.function("llvm.vector.reduce.add.v16i32", I32, [V16I32])
        return builder.call(reduce, [builder.load(total)])

    return types.int32(source, starts, lengths), generate


@primitive
def copy_window(ifm, image, first_row, rows, g, flip, zero, window):
    """Copy ``rows`` padded input rows from ``first_row`` on as bytes; padding is ``zero``."""
    in_h, in_w = ifm.shape[1], ifm.shape[2]
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, in_w + g.pad_left))
    for i in range(rows):
        row = first_row + i
        line = window[i * g.window_w * g.in_c : (i + 1) * g.window_w * g.in_c]
        inside = row >= 0 and row < in_h and right > left
        begin = left * g.in_c if inside else line.size
        line[:begin] = zero
        if inside:
            codes = ifm[image, row].reshape(in_w * g.in_c)[(left - g.pad_left) * g.in_c :]
            bytes_in = line[begin : right * g.in_c]
            for j in range(bytes_in.size):
                bytes_in[j] = np.uint8(codes[j] ^ flip)
            line[right * g.in_c :] = zero


@kernel(
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8, i8, boolean, i8[::1], "
    "Array(i1, 1, 'C', readonly=True), i8, i8[::1], i8[::1], i4[::1], f8[::1], i8, i8, i8, "
    "u1[::1], i4[::1], u1[:, :, :, ::1], i8, i8)",
    features=FEATURES,
)
def conv2d_8bit(
    ifm,
    geometry,
    flip_in,
    zero_in,
    direct,
    offsets,
    weights,
    zero_weights,
    run_starts,
    run_lengths,
    column_starts,
    scale,
    zero_out,
    low,
    flip_out,
    window,
    row_terms,
    ofm,
    start,
    stop,
):
    """Convolve u8 or i8 and store u8 or i8; see ``conv.conv2d_8bit`` for the common parameters.

    Parameters
    ----------
    direct : bool
        The input is read where it lies: no padding, no flip, ``window_w`` is the input's width.
    offsets : int64 (K4,)
        Of each group of four taps; one group's offsets serve every group of channels.
    weights : int8, flat (panels, K4, PANEL, 4)
    zero_weights : int
        Zero point of the stored weights.
    run_starts, run_lengths : int64
        The bytes a window covers, for the sum of inputs.
    column_starts : int32 (panels * PANEL,)
        Bias and zero-point constant of each output channel.
    scale : float64 (panels * PANEL,)
        Below ``x86_store.LARGEST_SCALE``.
    zero_out, low, flip_out : int
        The store in terms of u8 codes; ``flip_out`` 128 turns them into i8 patterns.
    window : uint8 scratch
    row_terms : int32 scratch (pixels + TILE_ROWS,)
    """
    g = unpack_geometry(geometry)
    codes = ofm.reshape(ofm.size)
    in_starts = np.empty(g.block_h * g.out_w + TILE_ROWS, np.int64)
    out_starts = np.empty_like(in_starts)
    taps = offsets.size
    panels = column_starts.size // PANEL
    row_bytes = g.window_w * g.in_c
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        top = first * g.stride_h - g.pad_top
        if direct:
            source = np.int64(ifm.ctypes.data) + (image * ifm.shape[1] + top) * row_bytes
        else:
            source = np.int64(window.ctypes.data)
            in_rows = g.window_h - (g.block_h - rows) * g.stride_h
            copy_window(ifm, image, top, in_rows, g, np.uint8(flip_in), np.uint8(zero_in), window)
        pixels = place_pixels(image, first, rows, g, TILE_ROWS, in_starts, out_starts)
        summed = -1  # first input channel of the group whose inputs are summed
        row_terms[: pixels + TILE_ROWS] = 0
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            if zero_weights and summed != shift:
                for pixel in range(pixels + TILE_ROWS - 1):
                    total = _sum_runs(source + shift + in_starts[pixel], run_starts, run_lengths)
                    row_terms[pixel] = -zero_weights * total
                summed = shift
            at, lane = panel * taps * _BYTES, panel * PANEL
            if width == 64:
                for pixel in range(0, pixels, 6):
                    _tile_64(
                        source + shift, in_starts, pixel, row_terms, offsets, weights, at,
                        column_starts, scale, lane, zero_out, low, flip_out, codes, out_starts,
                        channel, valid,
                    )  # fmt: skip
            elif width == 48:
                for pixel in range(0, pixels, 8):
                    _tile_48(
                        source + shift, in_starts, pixel, row_terms, offsets, weights, at,
                        column_starts, scale, lane, zero_out, low, flip_out, codes, out_starts,
                        channel, valid,
                    )  # fmt: skip
            elif width == 32:
                for pixel in range(0, pixels, 12):
                    _tile_32(
                        source + shift, in_starts, pixel, row_terms, offsets, weights, at,
                        column_starts, scale, lane, zero_out, low, flip_out, codes, out_starts,
                        channel, valid,
                    )  # fmt: skip
            else:
                for pixel in range(0, pixels, 12):
                    _tile_16(
                        source + shift, in_starts, pixel, row_terms, offsets, weights, at,
                        column_starts, scale, lane, zero_out, low, flip_out, codes, out_starts,
                        channel, valid,
                    )  # fmt: skip
