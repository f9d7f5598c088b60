"""i16 depthwise convolution with AVX512-VNNI: the contract of ``conv.conv2d_i16``.

As ``int8_depthwise_vnni`` does with fours of bytes: the input rows under a band of two output rows
are written out as pairs of rows,

    pairs[group, x * channels + c] = numbers (row 2 * group, x, c), (row 2 * group + 1, x, c)

and ``vpdpwssd`` adds two kernel rows of one kernel column for 16 outputs. Chunks of passes keep the
sums exact, as in ``tiles.pairs``.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.pack.depthwise import BLOCK
from npusim.kernels.tiles.llvm_vectors import I16, I32, vector_code
from npusim.kernels.tiles.pairs import add_pairs
from npusim.kernels.tiles.store_avx512 import order
from npusim.kernels.windows.i16_conv_pairs import store_i16
from npusim.kernels.windows.int8_depthwise_vnni import row_address
from npusim.kernels.windows.units import unit_of, unpack_geometry

BAND = 2
_LANES, _WORDS = 16, 32
_VECTORS = BLOCK // _LANES
_BYTES = 4 * BLOCK


@vector_code
def interleave_words(v, first, second, target, count):
    """Write ``count`` pairs from two rows of 16-bit numbers; all are addresses.

    Whole blocks of 32 are written: up to 31 pairs more; no more than ``count`` numbers are read.
    """
    builder = v.builder
    sources = [builder.inttoptr(source, I16.as_pointer()) for source in (first, second)]
    target = builder.inttoptr(target, I32.as_pointer())
    kind = ir.VectorType(I16, _WORDS)
    quads = [4 * (i // 8) + 16 * (i % 8 // 4) + i % 4 for i in range(_WORDS)]
    undefined = ir.Constant(kind, ir.Undefined)

    def write(rows, at):
        rows = [builder.shuffle_vector(row, undefined, order(quads)) for row in rows]
        for half in (0, 1):
            numbers = [
                lane * 8 + 4 * half + i + side * _WORDS
                for lane in range(4)
                for i in range(4)
                for side in (0, 1)
            ]
            pairs = builder.shuffle_vector(*rows, order(numbers))
            v.store(pairs, v.at(target, builder.add(at, v.number(_LANES * half))))

    blocks = builder.sdiv(count, v.number(_WORDS))
    with cgutils.for_range(builder, blocks) as loop:
        at = builder.mul(loop.index, v.number(_WORDS))
        write([v.load(v.at(source, at), I16, _WORDS) for source in sources], at)
    done = builder.mul(blocks, v.number(_WORDS))
    with builder.if_then(builder.icmp_signed("<", done, count)):
        left = builder.sub(count, done)
        write([v.load_first(v.at(source, done), I16, _WORDS, left) for source in sources], done)


@vector_code
def _band(
    v, source, offsets, chunks, weights, weights_at, low_starts, high_starts, column, low, high
):  # fmt: skip
    """Set low and high (BAND rows of BLOCK int32) to the sums of one block."""
    builder = v.builder
    base = builder.inttoptr(source, I32.as_pointer())
    offsets, weights = offsets.data, v.at(weights.data, weights_at)
    kind = ir.VectorType(I32, _LANES)
    cells = []
    for values in (low_starts, high_starts):
        starts = v.at(values.data, column)
        rows = [[cgutils.alloca_once(builder, kind) for _ in range(_VECTORS)]
                for _ in range(BAND)]  # fmt: skip
        for j in range(_VECTORS):
            value = v.load(v.at(starts, v.number(_LANES * j)), I32, _LANES)
            for row in rows:
                builder.store(value, row[j])
        cells.append(rows)
    half, mask = (v.constant(value, I32, _LANES) for value in (16, 0xFFFF))
    with cgutils.for_range(builder, builder.sub(chunks.size, v.number(1))) as chunk:
        at = v.at(chunks.data, chunk.index)
        first, last = builder.load(at), builder.load(v.at(at, v.number(1)))
        with cgutils.for_range(builder, builder.sub(last, first)) as loop:
            number = builder.add(first, loop.index)
            place = v.at(base, builder.load(v.at(offsets, number)))
            line = v.at(weights, builder.mul(number, v.number(2 * BAND * BLOCK)))
            for j in range(_VECTORS):
                inputs = v.load(v.at(place, v.number(_LANES * j)), I16, _WORDS)
                for row in range(BAND):
                    at = v.number(2 * (row * BLOCK + _LANES * j))
                    factors = v.load(v.at(line, at), I16, _WORDS)
                    cell = cells[0][row][j]
                    total = add_pairs(v, _LANES, builder.load(cell), inputs, factors)
                    builder.store(total, cell)
        for lower, upper in zip(*([*rows[0], *rows[1]] for rows in cells), strict=True):
            total = builder.load(lower)
            moved = builder.add(builder.load(upper), builder.ashr(total, half))
            builder.store(moved, upper)
            builder.store(builder.and_(total, mask), lower)
    for rows, sums in zip(cells, (low, high), strict=True):
        for row in range(BAND):
            for j, cell in enumerate(rows[row]):
                at = v.at(sums.data, v.number(row * BLOCK + _LANES * j))
                v.store(builder.load(cell), at)


@primitive
def write_pairs(ifm, image, top, g, outside, pairs, at, line_size):
    """Write the pairs of input rows top and top + 1 to ``pairs[at:]``; padding is 0.

    Phase p of the columns (all of them with stride 1) begins at ``at + p * line_size``.
    """
    first = row_address(ifm, image, top, outside)
    second = row_address(ifm, image, top + 1, outside)
    target = np.int64(pairs.ctypes.data)
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, ifm.shape[2] + g.pad_left))
    if g.stride_w == 1:
        skipped = 2 * (left - g.pad_left) * g.in_c
        pairs[at : at + left * g.in_c] = 0
        interleave_words(
            first + skipped, second + skipped, target + 4 * (at + left * g.in_c),
            (right - left) * g.in_c,
        )  # fmt: skip
        pairs[at + right * g.in_c : at + g.window_w * g.in_c] = 0
        return
    for x in range(g.window_w):
        begin = at + x % g.stride_w * line_size + x // g.stride_w * g.in_c
        if x < left or x >= right:
            pairs[begin : begin + g.in_c] = 0
        else:
            skipped = 2 * (x - g.pad_left) * g.in_c
            interleave_words(first + skipped, second + skipped, target + 4 * begin, g.in_c)


@kernel(
    "void(Array(i2, 4, 'C', readonly=True), i8[::1], i8, i8, i8[::1], i8[::1], "
    "Array(i2, 1, 'C', readonly=True), i4[::1], i4[::1], f8[::1], f8, f8, i2[::1], i4[::1], "
    "i2[:, :, :, ::1], i8, i8)",
    features=AVX512_VNNI,
)
def depthwise_i16(
    ifm,
    geometry,
    groups,
    line_size,
    offsets,
    chunks,
    weights,
    low_starts,
    high_starts,
    scale,
    low,
    high,
    outside,
    pairs,
    ofm,
    start,
    stop,
):
    """Convolve every channel with its own kernel, ``clip(rne(acc * scale), low, high)``.

    Parameters
    ----------
    ifm, ofm : int16 (N, H, W, C) and (N, OH, OW, C)
    geometry : int64 vector of ``pack.geometry.Geometry``
        ``out_*_step`` 1.
    groups, line_size : int
        Pairs of input rows under a band; pairs of one phase of a group.
    offsets : int64 (passes,)
        Where each pass's inputs begin in ``pairs``.
    chunks : int64
        Passes between carries, as in ``pack.pairs.Chunks``.
    weights : int16, flat (period / BLOCK, passes, BAND, BLOCK, 2)
    low_starts, high_starts, scale : int32, int32, float64 (period,)
        As in ``i16_conv_pairs.conv2d_i16_avx512``.
    outside : int16 (W * C,)
        An input row of padding: zeros.
    pairs : int32 scratch
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    nowhere, source = np.int64(outside.ctypes.data), np.int64(pairs.ctypes.data)
    codes = ofm.reshape(ofm.size)
    low_sums, high_sums = np.empty(BAND * BLOCK, np.int32), np.empty(BAND * BLOCK, np.int32)
    count = g.out_w * g.in_c
    set_size = offsets.size * BAND * BLOCK * 2
    for unit in range(start, stop):
        image, first, rows, _ = unit_of(unit, g)
        for y in range(first, first + rows, BAND):
            top = y * g.stride_h - g.pad_top
            for group in range(groups):
                at = group * g.stride_w * line_size
                write_pairs(ifm, image, top + 2 * group, g, nowhere, pairs, at, line_size)
            kept = min(BAND, first + rows - y)
            out = (image * g.ofm_h + y) * count
            for column in range(0, min(scale.size, count), BLOCK):  # one set of weights at a time
                set_at = column // BLOCK * set_size
                for at in range(column, count, scale.size):
                    _band(
                        source + 4 * at, offsets, chunks, weights, set_at, low_starts,
                        high_starts, column, low_sums, high_sums,
                    )  # fmt: skip
                    for row in range(kept):
                        store_i16(
                            low_sums, high_sums, row * BLOCK, scale, column, low, high, codes,
                            out + row * count + at, min(count - at, BLOCK),
                        )  # fmt: skip
