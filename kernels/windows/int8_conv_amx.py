"""8-bit convolution with Intel AMX: the contract of ``conv.conv2d_8bit``, by whole tiles.

A tile instruction multiplies 16 pixels x 64 inputs by 64 inputs x 16 channels, u8 x s8 or s8 x s8,
and adds modulo 2**32, as the engine does. Weights are signed bytes w - c, where c is the zero
point zw if all of them fit, else the middle of the codes:

    sum (x - zx)(w - zw) = sum x (w - c)  -  (zw - c) sum x  -  zx sum (w - zw)

The last term is one constant per output channel and starts the sums with the bias. The middle one,
where c is not zw, is one sum of inputs per pixel: sums over channels first, then over the taps.

Two tiles of pixels times two of channels are computed at a time, of few pixels one times four. The
store follows one block behind, so that the vector units work while the tiles multiply. Windows and
weights: ``pack.steps``.
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.features import AMX_INT8
from npusim.kernels.tiles.amx import LANES, ROWS, TILE_BYTES, configure, release
from npusim.kernels.tiles.amx_blocks import add_runs, make_block, make_store
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.tiles.fours_avx512 import interleave_three
from npusim.kernels.windows.units import copy_planes, panel_of, unit_of, unpack_geometry

IN_PLACE, WINDOW, PICTURE = range(3)  # how the input is read, see conv2d_8bit
BLOCK = 2 * ROWS  # pixels
SUMS_SIZE = 2 * BLOCK * PANEL  # of scratch for sums: two blocks
_PAIR_LANES = 2 * LANES

_block_2_2 = make_block(2, 2)
_block_2_1 = make_block(2, 1)
_block_1_4 = make_block(1, 4)
_store_16, _store_16_fixed = make_store(1, False), make_store(1, True)
_store_32, _store_32_fixed = make_store(2, False), make_store(2, True)
_store_64, _store_64_fixed = make_store(4, False), make_store(4, True)


@primitive
def join_rows(ifm, image, first_row, rows, g, planes, flip, zero, window):
    """Copy as ``copy_planes`` does, from a picture (N, 3, H, W)."""
    columns, lines, down = planes
    in_h, in_w = ifm.shape[2], ifm.shape[3]
    source = np.int64(ifm.ctypes.data) + image * 3 * in_h * in_w
    target = np.int64(window.ctypes.data)
    size = columns * g.stride_w * 3
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, in_w + g.pad_left))
    for plane in range(down):  # in order: more is written behind a line
        for i in range(plane, rows, g.stride_h):
            row = first_row + i
            at = (plane * lines + i // g.stride_h) * size
            if row < 0 or row >= in_h or right == left:
                window[at : at + size] = zero
                continue
            window[at : at + left * 3] = zero
            first = source + row * in_w + left - g.pad_left
            second, third = first + in_h * in_w, first + 2 * in_h * in_w
            interleave_three(
                first, second, third, first, flip, target + at + left * 3, right - left
            )
            window[at + right * 3 : at + size] = zero


@primitive
def sum_inputs(source, g, rows, runs, factor, places, fixes):
    """Set fixes (groups, places) to ``factor`` times the sum of each place's inputs.

    ``rows`` and ``runs`` (start, length, start, ..) as ``pack.steps.Sums``. Behind its result fixes
    is scratch.
    """
    channels, distance = g.in_c // g.groups, g.stride_w * g.in_c
    behind = g.groups * places
    count = places
    for row in rows:
        count = max(count, places + row)
    sums = fixes[behind : behind + count]
    for group in range(g.groups):
        sums[:] = 0
        for run in range(runs.size // 2):
            first = source + group * channels + runs[2 * run]
            add_runs(first, distance, runs[2 * run + 1], count, fixes, behind)
        fix = fixes[group * places : (group + 1) * places]
        fix[:] = 0
        for row in rows:
            line = sums[row : row + places]
            for j in range(places):
                fix[j] += line[j]
        for j in range(places):
            fix[j] *= factor


@primitive
def _store(block, fixed, sums, places, scale, zero_out, low, flip, codes, out_starts):
    """Store a block (width, sums, first place, fixes, pixels from .. to, lane, channel, valid).

    With as many vectors as its width has, see ``make_store``.
    """
    width, at, first, fixes_at, begin, end, lane, out, valid = block
    if width == LANES:
        if fixed:
            _store_16_fixed(
                sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
                codes, out, out_starts, valid,
            )  # fmt: skip
        else:
            _store_16(
                sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
                codes, out, out_starts, valid,
            )  # fmt: skip
    elif width == _PAIR_LANES:
        if fixed:
            _store_32_fixed(
                sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
                codes, out, out_starts, valid,
            )  # fmt: skip
        else:
            _store_32(
                sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
                codes, out, out_starts, valid,
            )  # fmt: skip
    elif fixed:
        _store_64_fixed(
            sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
            codes, out, out_starts, valid,
        )  # fmt: skip
    else:
        _store_64(
            sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
            codes, out, out_starts, valid,
        )  # fmt: skip


@primitive
def first_at(place, columns, out_w):
    """Return the first output pixel at or behind a place."""
    row = place // columns
    return row * out_w + min(place - row * columns, out_w)


# {tiles}: int32 means tile registers, int64 emulated ones, see ``tiles.amx``
SIGNATURE = (
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], "
    "i8[::1], Array(i1, 1, 'C', readonly=True), i4[::1], f4[::1], u1[::1], i4[::1], {tiles}[::1], "
    "u1[:, :, :, ::1], i8, i8)"
)


@kernel(SIGNATURE.format(tiles="i4"), features=AMX_INT8)
def conv2d_8bit(
    ifm,
    geometry,
    options,
    places,
    out_starts,
    rows_at,
    runs,
    offsets,
    weights,
    starts,
    scale,
    window,
    sums,
    tiles,
    ofm,
    start,
    stop,
):
    """Convolve u8 or i8 and store u8 or i8; see ``conv.conv2d_8bit`` for the common parameters.

    Parameters
    ----------
    ifm : uint8 (N, H, W, C), or (N, 3, H, W) when read as PICTURE
    options : int64 (reading, is_signed, flip_in, zero_in, zero_out, low, flip_out, factor, \
            columns, lines, down, reach)
        reading: IN_PLACE, where it lies (no padding, stride 1, no flip), but for units whose tiles
        would reach beyond its end; WINDOW, through a copy; PICTURE, the same from three planes.
        is_signed: inputs are signed bytes. zero_in: padding as a code, before the flip. zero_out,
        low and flip_out as in ``int8_conv_vnni``. factor: what is taken off per unit of a pixel's
        sum of inputs, zw - c. columns, lines, down: see ``pack.steps.Planes``. reach: bytes from a
        place on that its steps read, fills and all groups included.
    places : int64
        Of a whole block's output pixels.
    out_starts : int64
        See ``pack.geometry.block_places``.
    rows_at, runs : int64
        See ``pack.steps.Sums``; runs flat. Not read without a factor.
    offsets : int64 (steps,)
        In bytes, see ``pack.steps.steps_of``.
    weights
        See ``pack.steps.pack_steps``.
    starts : int32 (panels * PANEL,)
        Bias and zero-point constant of each output channel.
    scale : float32 (panels * PANEL,)
        Must fit, see ``store_avx512.fits``.
    window, sums : scratch
        sums has ``SUMS_SIZE`` numbers and, with a factor, those of ``sum_inputs``.
    tiles : scratch
        ``tiles.amx.STATE_SIZE`` numbers.
    """
    g = unpack_geometry(geometry)
    reading, is_signed, flip_in, zero_in, zero_out, low, flip_out = (
        options[0], options[1], options[2], options[3], options[4], options[5], options[6],
    )  # fmt: skip
    factor, reach = options[7], options[11]
    planes = (options[8], options[9], options[10])
    columns = options[8]
    how = (np.uint8(flip_in), np.uint8(zero_in))
    distance = g.stride_w * g.in_c  # of places
    codes = ofm.reshape(ofm.size)
    panels = starts.size // PANEL
    per_group = panels // g.groups
    group_tiles = (g.out_c // g.groups + LANES - 1) // LANES
    tile_size = offsets.size * TILE_BYTES  # of weights: all steps of a tile of channels
    configure(tiles)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        top = first * g.stride_h - g.pad_top
        pixels = (rows - 1) * columns + g.out_w
        source = np.int64(window.ctypes.data)
        begins = (image * ifm.shape[1] + top) * ifm.shape[2] * g.in_c
        ends = begins + (max(pixels, BLOCK) - 1) * distance + reach
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        if reading == IN_PLACE and ends <= ifm.size:
            source = np.int64(ifm.ctypes.data) + begins
        elif reading == PICTURE:
            join_rows(ifm, image, top, in_rows, g, planes, flip_in, how[1], window)
        else:
            copy_planes(ifm, image, top, in_rows, g, planes, how, window)
        if factor:
            fixes = sums[SUMS_SIZE:]
            sum_inputs(source, g, rows_at, runs, np.int32(factor), pixels, fixes)
        out_row = image * g.ofm_h + first * g.out_h_step + g.out_h_start
        out = (out_row * g.ofm_w + g.out_w_start) * g.out_c
        blocks = (pixels + BLOCK - 1) // BLOCK
        at = 0
        pending = (0, 0, 0, 0, 0, 0, 0, 0, 0)  # the block before, computed and not stored
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            group, lane = panel // per_group, panel * PANEL
            tile = group * group_tiles + (panel - group * per_group) * (PANEL // LANES)
            end = 0
            for block in range(blocks):
                few = pixels - block * BLOCK <= ROWS and width == PANEL
                size = ROWS if few else BLOCK
                first_place = max(min(block * BLOCK, pixels - size), 0)  # may repeat some
                place = source + shift + first_place * distance
                if few:
                    _block_1_4(
                        tiles, place, distance, is_signed, offsets, weights, tile * tile_size,
                        starts, lane, sums, at,
                    )  # fmt: skip
                else:
                    for column in range(0, width, _PAIR_LANES):
                        weights_at = (tile + column // LANES) * tile_size
                        if width - column >= _PAIR_LANES:
                            _block_2_2(
                                tiles, place, distance, is_signed, offsets, weights, weights_at,
                                starts, lane + column, sums, at + column,
                            )  # fmt: skip
                        else:
                            _block_2_1(
                                tiles, place, distance, is_signed, offsets, weights, weights_at,
                                starts, lane + column, sums, at + column,
                            )  # fmt: skip
                if pending[0]:
                    _store(
                        pending, factor != 0, sums, places, scale, zero_out, low, flip_out, codes,
                        out_starts,
                    )  # fmt: skip
                begin, end = end, first_at(min((block + 1) * BLOCK, pixels), columns, g.out_w)
                fixes_at = SUMS_SIZE + group * pixels
                pending = (
                    width, at, first_place, fixes_at, begin, end, lane, out + channel, valid
                )  # fmt: skip
                at = BLOCK * PANEL - at
        if pending[0]:
            _store(
                pending, factor != 0, sums, places, scale, zero_out, low, flip_out, codes,
                out_starts,
            )  # fmt: skip
    release(tiles)
