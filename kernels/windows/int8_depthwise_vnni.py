"""8-bit depthwise convolution with AVX512-VNNI: the contract of ``conv.conv2d_8bit``.

``vpdpbusd`` adds four products per 32-bit lane. A lane belongs to one channel of one output pixel;
its four bytes are that channel's inputs in four rows of one column (``tiles.fours_avx512``). The
input rows under a band of output rows are written out as such fours, once,

    fours[group, x * channels + c] = bytes (row 4 * group + i, x, c), i = 0..3

and every kernel column then costs one instruction for 16 outputs and four kernel rows. Lanes run
through pixels and channels alike, so no number of channels leaves lanes idle. With a stride the
columns are sorted by their phase first, so that the inputs of neighbouring outputs are neighbours.
"""

import numpy as np
from numba.core import cgutils

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.features import AVX512_VNNI
from npusim.kernels.pack.depthwise import BLOCK
from npusim.kernels.tiles.fours_avx512 import interleave
from npusim.kernels.tiles.llvm_vectors import F32, I8, I32, vector_code
from npusim.kernels.tiles.store_avx512 import LANES, V16I32, Store, dot
from npusim.kernels.windows.units import unit_of, unpack_geometry

_VECTORS = BLOCK // LANES
_BYTES = 4 * BLOCK


def _make_band(band, passes=None):
    """Return an intrinsic for one block of codes in ``band`` rows, of which ``rows`` are stored.

    ``passes``: their number, if it is known.
    """

    @vector_code
    def block(
        v, source, offsets, weights, weights_at, starts, scale, column_at, zero_out, low, flip,
        codes, codes_at, row_step, rows, valid,
    ):  # fmt: skip
        builder = v.builder
        base = builder.inttoptr(source, I8.as_pointer())
        places, weights = offsets.data, v.at(weights.data, weights_at)
        starts, scale = v.at(starts.data, column_at), v.at(scale.data, column_at)
        acc = [[cgutils.alloca_once(builder, V16I32) for _ in range(_VECTORS)]
               for _ in range(band)]  # fmt: skip
        for j in range(_VECTORS):
            first = v.load(v.at(starts, v.number(LANES * j)), I32, LANES)
            for row in range(band):
                builder.store(first, acc[row][j])

        def add(number):
            place = v.at(base, builder.load(v.at(places, number)))
            line = v.at(weights, builder.mul(number, v.number(band * _BYTES)))
            for j in range(_VECTORS):
                inputs = v.load(v.at(place, v.number(64 * j)), I8, 64)
                for row in range(band):
                    factors = v.load(v.at(line, v.number(row * _BYTES + 64 * j)), I8, 64)
                    cell = acc[row][j]
                    builder.store(dot(v, builder.load(cell), inputs, factors), cell)

        if passes:
            for number in range(passes):
                add(v.number(number))
        else:
            with cgutils.for_range(builder, offsets.size) as loop:
                add(loop.index)
        store = Store(v, zero_out, low, flip)
        scales = [v.load(v.at(scale, v.number(LANES * j)), F32, LANES) for j in range(_VECTORS)]
        out = v.at(codes.data, codes_at)
        for row in range(band):
            with builder.if_then(builder.icmp_signed("<", v.number(row), rows)):
                sums = [builder.load(cell) for cell in acc[row]]
                target = v.at(out, builder.mul(row_step, v.number(row)))
                v.store_up_to(store.codes(sums, scales), target, valid)

    return block


_band_1 = _make_band(1)
_band_2 = _make_band(2)
_band_4 = _make_band(4)
_band_1_of_3, _band_2_of_3 = _make_band(1, 3), _make_band(2, 3)  # kernels of 3 x 3


@primitive
def row_address(ifm, image, row, outside):
    """Return the address of an input row, or that of a row of padding."""
    if row < 0 or row >= ifm.shape[1]:
        return outside
    row_bytes = ifm.shape[2] * ifm.shape[3] * ifm.itemsize
    return np.int64(ifm.ctypes.data) + (image * ifm.shape[1] + row) * row_bytes


@primitive
def write_fours(ifm, image, top, g, flip, four, outside, fours, at, line_size):
    """Write the fours of input rows top..top + 3 to ``fours[at:]``; padding is ``four``.

    Phase p of the columns (all of them with stride 1) begins at ``at + p * line_size``.
    """
    first = row_address(ifm, image, top, outside)
    second = row_address(ifm, image, top + 1, outside)
    third = row_address(ifm, image, top + 2, outside)
    fourth = row_address(ifm, image, top + 3, outside)
    target = np.int64(fours.ctypes.data)
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, ifm.shape[2] + g.pad_left))
    if g.stride_w == 1:
        skipped = (left - g.pad_left) * g.in_c
        fours[at : at + left * g.in_c] = four
        interleave(
            first + skipped, second + skipped, third + skipped, fourth + skipped, flip,
            target + 4 * (at + left * g.in_c), (right - left) * g.in_c,
        )  # fmt: skip
        fours[at + right * g.in_c : at + g.window_w * g.in_c] = four
        return
    for x in range(g.window_w):
        begin = at + x % g.stride_w * line_size + x // g.stride_w * g.in_c
        if x < left or x >= right:
            fours[begin : begin + g.in_c] = four
        else:
            skipped = (x - g.pad_left) * g.in_c
            interleave(
                first + skipped, second + skipped, third + skipped, fourth + skipped, flip,
                target + 4 * begin, g.in_c,
            )  # fmt: skip


@kernel(
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8[::1], i8[::1], "
    "Array(i1, 1, 'C', readonly=True), i4[::1], f4[::1], u1[::1], u4[::1], "
    "u1[:, :, :, ::1], i8, i8)",
    features=AVX512_VNNI,
)
def depthwise_8bit(
    ifm, geometry, options, offsets, weights, starts, scale, outside, fours, ofm, start, stop
):
    """Convolve every channel with its own kernel and store u8 or i8.

    Parameters
    ----------
    ifm : uint8 (N, H, W, C)
    geometry : int64 vector of ``pack.geometry.Geometry``
        ``out_*_step`` 1.
    options : int64 (flip_in, zero_in, zero_out, low, flip_out, band, groups, line_size)
        The first five as in ``int8_conv_vnni.conv2d_8bit``; output rows of a band, its groups of
        four input rows, fours of one phase of a group.
    offsets : int64 (passes,)
        Byte offset of each pass's inputs in ``fours``.
    weights : int8
        See ``pack.depthwise.Passes``.
    starts, scale : int32, float32 (period,)
        Bias with the zero-point constant; scales must fit, see ``store_avx512.fits``.
    outside : uint8 (W * C,)
        An input row of padding, as it would be stored.
    fours : uint32 scratch
    ofm : uint8 (N, OH, OW, C)
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    flip_in, zero_in, zero_out, low, flip_out = (
        options[0], options[1], options[2], options[3], options[4],
    )  # fmt: skip
    band, groups, line_size = options[5], options[6], options[7]
    four = np.uint32(zero_in * 0x01010101)
    nowhere = np.int64(outside.ctypes.data)
    source = np.int64(fours.ctypes.data)
    codes = ofm.reshape(ofm.size)
    count = g.out_w * g.in_c
    set_bytes = offsets.size * band * _BYTES
    for unit in range(start, stop):
        image, first, rows, _ = unit_of(unit, g)
        for y in range(first, first + rows, band):
            top = y * g.stride_h - g.pad_top
            for group in range(groups):
                write_fours(
                    ifm, image, top + 4 * group, g, flip_in, four, nowhere, fours,
                    group * g.stride_w * line_size, line_size,
                )  # fmt: skip
            kept = min(band, first + rows - y)
            out = (image * g.ofm_h + y) * count
            for column in range(0, min(starts.size, count), BLOCK):  # one set of weights at a time
                set_at = column // BLOCK * set_bytes
                for at in range(column, count, starts.size):
                    if band == 2 and offsets.size == 3:
                        _band_2_of_3(
                            source + 4 * at, offsets, weights, set_at, starts, scale, column,
                            zero_out, low, flip_out, codes, out + at, count, kept, count - at,
                        )  # fmt: skip
                    elif band == 1 and offsets.size == 3:
                        _band_1_of_3(
                            source + 4 * at, offsets, weights, set_at, starts, scale, column,
                            zero_out, low, flip_out, codes, out + at, count, kept, count - at,
                        )  # fmt: skip
                    elif band == 2:
                        _band_2(
                            source + 4 * at, offsets, weights, set_at, starts, scale, column,
                            zero_out, low, flip_out, codes, out + at, count, kept, count - at,
                        )  # fmt: skip
                    elif band == 4:
                        _band_4(
                            source + 4 * at, offsets, weights, set_at, starts, scale, column,
                            zero_out, low, flip_out, codes, out + at, count, kept, count - at,
                        )  # fmt: skip
                    else:
                        _band_1(
                            source + 4 * at, offsets, weights, set_at, starts, scale, column,
                            zero_out, low, flip_out, codes, out + at, count, kept, count - at,
                        )  # fmt: skip
