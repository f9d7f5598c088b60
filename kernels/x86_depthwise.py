"""8-bit depthwise convolution with AVX512-VNNI: the contract of ``conv.conv2d_8bit``.

``vpdpbusd`` adds four products per 32-bit lane. A lane belongs to one channel of one output pixel;
its four bytes are the inputs of four taps of a kernel row, so each padded input row is first
written out as such fours:

    fours[row, group, x * channels + c] = bytes (x * stride + (4 * group + i) * step, c), i = 0..3

and a kernel row costs one instruction for 16 outputs. Lanes run through pixels and channels alike,
so no number of channels leaves lanes idle. Within a block of 64 the fours lie as byte unpacking
leaves them, which is how byte packing wants them (``pack_depthwise.ORDER``).
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from npusim.kernels._jit import kernel
from npusim.kernels.llvm_vectors import I8, I32, Vectors
from npusim.kernels.pack_depthwise import BLOCK
from npusim.kernels.units import unit_of, unpack_geometry
from npusim.kernels.x86_store import LANES, V16I32, Store, dot, scales_at
from npusim.kernels.x86_vnni import FEATURES, copy_window

_VECTORS = BLOCK // LANES
_BYTES = 4 * BLOCK


@intrinsic
def interleave(typing_context, first, second, third, fourth, target, blocks):
    """Write blocks of 64 fours from four rows of bytes, all given by address."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder, signature, arguments)
        *sources, target, blocks = arguments
        sources = [builder.inttoptr(source, I8.as_pointer()) for source in sources]
        target = builder.inttoptr(target, I8.as_pointer())

        def unpack(left, right, size):
            """Return low and high halves of each 128-bit lane, elements of ``size`` in turn."""
            kind = ir.VectorType(ir.IntType(8 * size), 64 // size)
            left, right = builder.bitcast(left, kind), builder.bitcast(right, kind)
            lane = 16 // size
            results = []
            for half in (0, lane // 2):
                order = [
                    start + half + i + side * kind.count
                    for start in range(0, kind.count, lane)
                    for i in range(lane // 2)
                    for side in (0, 1)
                ]
                numbers = ir.Constant(ir.VectorType(I32, kind.count), order)
                results.append(builder.shuffle_vector(left, right, numbers))
            return results

        with cgutils.for_range(builder, blocks) as loop:
            at = builder.mul(loop.index, v.number(BLOCK))
            rows = [v.load(v.at(source, at), I8, BLOCK) for source in sources]
            low, high = unpack(rows[0], rows[1], 1), unpack(rows[2], rows[3], 1)
            fours = [*unpack(low[0], high[0], 2), *unpack(low[1], high[1], 2)]
            place = v.at(target, builder.mul(at, v.number(4)))
            for j, four in enumerate(fours):
                v.store(four, v.at(place, v.number(64 * j)))
        return context.get_dummy_value()

    return types.void(first, second, third, fourth, target, blocks), generate


@intrinsic
def _block(
    typing_context, source, offsets, weights, weights_at, starts, scale, column_at, zero_out, low,
    flip, codes, codes_at, valid,
):  # fmt: skip
    """Compute and store one block of codes; ``offsets`` are bytes from the address ``source``."""

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder, signature, arguments)
        (source, _, _, weights_at, _, _, column_at, zero_out, low, flip, _, codes_at,
         valid) = arguments  # fmt: skip
        base = builder.inttoptr(source, I8.as_pointer())
        offsets, weights = v.data(1), v.at(v.data(2), weights_at)
        starts, scale = v.at(v.data(4), column_at), v.at(v.data(5), column_at)
        acc = [cgutils.alloca_once(builder, V16I32) for _ in range(_VECTORS)]
        for j, cell in enumerate(acc):
            builder.store(v.load(v.at(starts, v.number(LANES * j)), I32, LANES), cell)
        with cgutils.for_range(builder, v.size(1)) as loop:
            place = v.at(base, builder.load(v.at(offsets, loop.index)))
            line = v.at(weights, builder.mul(loop.index, v.number(_BYTES)))
            for j, cell in enumerate(acc):
                at = v.number(64 * j)
                inputs, factors = v.load(v.at(place, at), I8, 64), v.load(v.at(line, at), I8, 64)
                builder.store(dot(v, builder.load(cell), inputs, factors), cell)
        scales = [scales_at(v, v.at(scale, v.number(LANES * j))) for j in range(_VECTORS)]
        sums = [builder.load(cell) for cell in acc]
        out = v.at(v.data(10), codes_at)
        v.store_first(Store(v, zero_out, low, flip, in_order=False).codes(sums, scales), out, valid)
        return context.get_dummy_value()

    arguments = (
        source, offsets, weights, weights_at, starts, scale, column_at, zero_out, low, flip, codes,
        codes_at, valid,
    )  # fmt: skip
    return types.void(*arguments), generate


@intrinsic
def gather_pixels(typing_context, source, source_step, target, target_step, pixels):
    """Copy ``target_step`` bytes from every ``source_step``-th byte on; all are addresses or bytes.

    Whole blocks are copied in ascending order: up to 63 bytes more are read and written.
    """

    def generate(context, builder, signature, arguments):
        v = Vectors(context, builder, signature, arguments)
        source, source_step, target, target_step, pixels = arguments
        source, target = (builder.inttoptr(x, I8.as_pointer()) for x in (source, target))
        blocks = builder.sdiv(builder.add(target_step, v.number(BLOCK - 1)), v.number(BLOCK))
        with cgutils.for_range(builder, pixels) as pixel:
            read = v.at(source, builder.mul(pixel.index, source_step))
            written = v.at(target, builder.mul(pixel.index, target_step))
            with cgutils.for_range(builder, blocks) as loop:
                at = builder.mul(loop.index, v.number(BLOCK))
                v.store(v.load(v.at(read, at), I8, BLOCK), v.at(written, at))
        return context.get_dummy_value()

    return types.void(source, source_step, target, target_step, pixels), generate


@kernel(
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8, i8, i8[:, ::1], i8, i8, i8[::1], "
    "Array(i1, 1, 'C', readonly=True), i4[::1], f8[::1], i8, i8, i8, u1[::1], u1[::1], "
    "u1[:, :, :, ::1], i8, i8)",
    features=FEATURES,
)
def depthwise_8bit(
    ifm,
    geometry,
    flip_in,
    zero_in,
    columns,
    phase_bytes,
    line_bytes,
    offsets,
    weights,
    starts,
    scale,
    zero_out,
    low,
    flip_out,
    line,
    fours,
    ofm,
    start,
    stop,
):
    """Convolve every channel with its own kernel and store u8 or i8.

    Parameters
    ----------
    ifm : uint8 (N, H, W, C)
    geometry : int64 vector of ``pack.Geometry``
        ``out_*_step`` 1.
    columns : int64 (groups, 4)
        Where the taps of a kernel row begin in ``line``.
    phase_bytes, line_bytes : int
        Bytes of one phase of ``line``; bytes of one group's line of fours.
    offsets : int64 (fours,)
        Byte offset of each pass's inputs from the first kernel row's line.
    weights : int8, flat (period / BLOCK, fours, BLOCK, 4)
    starts, scale : int32, float64 (period,)
        Bias with the zero-point constant; scales below ``x86_store.LARGEST_SCALE``.
    zero_out, low, flip_out : int
        As in ``x86_vnni.conv2d_8bit``.
    line, fours : uint8 scratch
        One padded input row, behind it (stride above 1) its columns sorted by their phase; the
        fours of all window rows.
    ofm : uint8 (N, OH, OW, C)
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    codes = ofm.reshape(ofm.size)
    line_at, fours_at = np.int64(line.ctypes.data), np.int64(fours.ctypes.data)
    flip, zero = np.uint8(flip_in), np.uint8(zero_in)
    count = g.out_w * g.in_c
    groups = columns.shape[0]
    row_bytes = groups * line_bytes
    taps_bytes = offsets.size * _BYTES
    for unit in range(start, stop):
        image, first, rows, _ = unit_of(unit, g)
        top = first * g.stride_h - g.pad_top
        for row in range(g.window_h - (g.block_h - rows) * g.stride_h):
            copy_window(ifm, image, top + row, 1, g, flip, zero, line)
            if g.stride_w > 1:  # sort the columns by phase, behind the line as it came
                for phase in range(g.stride_w):
                    gather_pixels(
                        line_at + phase * g.in_c,
                        g.stride_w * g.in_c,
                        line_at + (phase + 1) * phase_bytes,
                        g.in_c,
                        (g.window_w + g.stride_w - 1 - phase) // g.stride_w,
                    )
            for group in range(groups):
                interleave(
                    line_at + columns[group, 0],
                    line_at + columns[group, 1],
                    line_at + columns[group, 2],
                    line_at + columns[group, 3],
                    fours_at + row * row_bytes + group * line_bytes,
                    line_bytes // _BYTES,
                )
        for y in range(rows):
            source = fours_at + y * g.stride_h * row_bytes
            out = (image * g.ofm_h + first + y) * count
            column = 0
            for at in range(0, count, BLOCK):
                _block(
                    source + 4 * at, offsets, weights, column // BLOCK * taps_bytes, starts,
                    scale, column, zero_out, low, flip_out, codes, out + at, count - at,
                )  # fmt: skip
                column += BLOCK
                if column == starts.size:
                    column = 0
