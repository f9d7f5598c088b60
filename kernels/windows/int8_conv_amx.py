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
from npusim.kernels.tiles.amx_blocks import make_block, make_store, sum_channels
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.windows.units import panel_of, unit_of, unpack_geometry

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
def copy_planes(ifm, image, top, in_rows, g, planes, flip, zero, window):
    """Copy ``in_rows`` padded input rows from row ``top`` on into the planes of ``pack.steps``.

    ``planes``: columns, lines, down, across. Codes are stored ``code ^ flip``; padding is ``zero``.
    """
    columns, lines, down, across = planes
    in_h, in_w = ifm.shape[1], ifm.shape[2]
    size = columns * g.in_c
    for i in range(in_rows):
        p, row = i % g.stride_h, top + i
        if p >= down:
            continue
        for q in range(across):
            at = ((p * across + q) * lines + i // g.stride_h) * size
            line = window[at : at + size]
            if row < 0 or row >= in_h:
                line[:] = zero
                continue
            codes = ifm[image, row].reshape(in_w * g.in_c)
            # columns of this plane that lie in the input: pad_left <= q + x * stride_w < ..
            left = min(max((g.pad_left - q + g.stride_w - 1) // g.stride_w, 0), columns)
            right = (in_w + g.pad_left - q + g.stride_w - 1) // g.stride_w
            right = max(left, min(right, columns))
            line[: left * g.in_c] = zero
            line[right * g.in_c :] = zero
            source = (left * g.stride_w + q - g.pad_left) * g.in_c
            if g.stride_w == 1:
                copy_codes(codes[source:], flip, line[left * g.in_c : right * g.in_c])
            else:
                for x in range(left, right):
                    copy_codes(codes[source:], flip, line[x * g.in_c : (x + 1) * g.in_c])
                    source += g.stride_w * g.in_c


@primitive
def copy_codes(codes, flip, target):
    """Set target to the first codes, each xor ``flip``."""
    for j in range(target.size):
        target[j] = codes[j] ^ flip


@primitive
def sum_inputs(source, g, taps, factor, pixels, fixes):
    """Set fixes (groups, pixels) to ``factor`` times the sum of each pixel's inputs.

    ``taps`` are pixels from a pixel's place. Behind its result fixes is scratch.
    """
    channels = g.in_c // g.groups
    behind = g.groups * pixels
    last = 0
    for tap in taps:
        last = max(last, tap)
    for group in range(g.groups):
        sum_channels(source + group * channels, g.in_c, channels, pixels + last, fixes, behind)
        fix = fixes[group * pixels : (group + 1) * pixels]
        fix[:] = 0
        for tap in taps:
            line = fixes[behind + tap : behind + tap + pixels]
            for j in range(pixels):
                fix[j] += line[j]
        for j in range(pixels):
            fix[j] *= factor


@primitive
def _turn(turn, blocks, panel_begin, pixels, panels, g):
    """Return (panel, first pixel, whether one tile holds the pixels) of a block of sums."""
    panel, block = panel_begin + turn // blocks, turn % blocks
    _, _, width, _ = panel_of(panel, panels, g)
    few = pixels - block * BLOCK <= ROWS and width == PANEL
    size = ROWS if few else BLOCK
    return panel, max(min(block * BLOCK, pixels - size), 0), few  # the last one may repeat some


@primitive
def _store(
    width, fixed, sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip,
    codes, out, out_starts, valid,
):  # fmt: skip
    """Store the pixels of a block with as many vectors as it has, see ``make_store``."""
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
            sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip, codes,
            out, out_starts, valid,
        )  # fmt: skip
    else:
        _store_64(
            sums, at, first, places, fixes_at, begin, end, scale, lane, zero_out, low, flip, codes,
            out, out_starts, valid,
        )  # fmt: skip


@primitive
def first_at(place, columns, out_w):
    """Return the first output pixel at or behind a place."""
    row = place // columns
    return row * out_w + min(place - row * columns, out_w)


# {tiles}: int32 means tile registers, int64 emulated ones, see ``tiles.amx``
SIGNATURE = (
    "void(Array(u1, 4, 'C', readonly=True), i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], "
    "Array(i1, 1, 'C', readonly=True), i4[::1], f4[::1], u1[::1], i4[::1], {tiles}[::1], "
    "u1[:, :, :, ::1], i8, i8)"
)


@kernel(SIGNATURE.format(tiles="i4"), features=AMX_INT8)
def conv2d_8bit(
    ifm,
    geometry,
    options,
    places,
    out_starts,
    taps,
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
    options : int64 (in_place, is_signed, flip_in, zero_in, zero_out, low, flip_out, factor, \
            columns, lines, down, across, reach)
        in_place: read the input where it lies (no padding, stride 1, no flip), but for units whose
        tiles would reach beyond its end. is_signed: inputs are signed bytes. zero_in: padding in
        the window. zero_out, low and flip_out as in
        ``int8_conv_vnni``. factor: what is taken off per unit of a pixel's sum of inputs, zw - c.
        columns .. across: see ``pack.steps.Planes``. reach: bytes from a pixel's place on that
        its steps read, fills and all groups included.
    places : int64
        Of a whole block's output pixels.
    out_starts : int64
        See ``pack.geometry.block_places``.
    taps : int64
        See ``pack.steps.Planes``.
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
    in_place, is_signed, flip_in, zero_in, zero_out, low, flip_out = (
        options[0], options[1], options[2], options[3], options[4], options[5], options[6],
    )  # fmt: skip
    factor, columns, lines, down, across, reach = (
        options[7], options[8], options[9], options[10], options[11], options[12],
    )  # fmt: skip
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
        ends = begins + (max(pixels, BLOCK) - 1) * g.in_c + reach
        if in_place and ends <= ifm.size:
            source = np.int64(ifm.ctypes.data) + begins
        else:
            in_rows = g.window_h - (g.block_h - rows) * g.stride_h
            planes = (columns, lines, down, across)
            copy_planes(
                ifm, image, top, in_rows, g, planes, np.uint8(flip_in), np.uint8(zero_in), window
            )
        if factor:
            sum_inputs(source, g, taps, np.int32(factor), pixels, sums[SUMS_SIZE:])
        out_row = image * g.ofm_h + first * g.out_h_step + g.out_h_start
        out = (out_row * g.ofm_w + g.out_w_start) * g.out_c
        blocks = (pixels + BLOCK - 1) // BLOCK
        panel_begin = share * panels // g.shares
        turns = ((share + 1) * panels // g.shares - panel_begin) * blocks
        for turn in range(turns + 1):
            if turn < turns:
                panel, pixel, few = _turn(turn, blocks, panel_begin, pixels, panels, g)
                _, _, width, shift = panel_of(panel, panels, g)
                group = panel // per_group
                tile = group * group_tiles + (panel - group * per_group) * (PANEL // LANES)
                place, lane = source + shift + pixel * g.in_c, panel * PANEL
                at = turn % 2 * BLOCK * PANEL
                if few:
                    _block_1_4(
                        tiles, place, g.in_c, is_signed, offsets, weights, tile * tile_size,
                        starts, lane, sums, at,
                    )  # fmt: skip
                else:
                    for column in range(0, width, _PAIR_LANES):
                        weights_at = (tile + column // LANES) * tile_size
                        if width - column >= _PAIR_LANES:
                            _block_2_2(
                                tiles, place, g.in_c, is_signed, offsets, weights, weights_at,
                                starts, lane + column, sums, at + column,
                            )  # fmt: skip
                        else:
                            _block_2_1(
                                tiles, place, g.in_c, is_signed, offsets, weights, weights_at,
                                starts, lane + column, sums, at + column,
                            )  # fmt: skip
            if turn > 0:
                before = turn - 1
                panel, pixel, _ = _turn(before, blocks, panel_begin, pixels, panels, g)
                channel, valid, width, _ = panel_of(panel, panels, g)
                block = before % blocks
                begin = first_at(block * BLOCK, columns, g.out_w)
                end = first_at(min((block + 1) * BLOCK, pixels), columns, g.out_w)
                _store(
                    width, factor != 0, sums, before % 2 * BLOCK * PANEL, pixel, places,
                    SUMS_SIZE + panel // per_group * pixels, begin, end, scale, panel * PANEL,
                    zero_out, low, flip_out, codes, out + channel, out_starts, valid,
                )  # fmt: skip
    release(tiles)
