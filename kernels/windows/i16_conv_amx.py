"""i16 convolution with Intel AMX: the contract of ``conv.conv2d_i16``, as sums of byte products.

An input is 256 * xh + xl, a weight 256 * wh + wl, with signed upper and unsigned lower bytes:

    sum x w  =  2**16 sum xh wh  +  2**8 (sum xh wl + sum xl wh)  +  sum xl wl

Each of the four sums stays within 32 bits for at most ``LARGEST_DEPTH`` products; the bias begins
the first (its upper part) and the last (its lower 16 bits). The store adds them up in float64,
which holds sums of 53 bits.

The window is written out as two, upper bytes and then lower bytes; else it is that of
``int8_conv_amx``. A block is one tile of pixels times one of channels; the store follows one block
behind.
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.features import AMX_INT8
from npusim.kernels.tiles.amx import LANES, ROWS, TILE_BYTES, configure, release
from npusim.kernels.tiles.amx_words import PARTS, multiply_words, store_words
from npusim.kernels.tiles.fma import PANEL
from npusim.kernels.windows.int8_conv_amx import first_at
from npusim.kernels.windows.units import copy_planes, panel_of, unit_of, unpack_geometry

LARGEST_DEPTH = 1 << 15  # products of an output: 2**15 * 255 * 255 + 2**16 < 2**31
_BLOCK = PARTS * ROWS * LANES
SUMS_SIZE = 2 * _BLOCK  # of scratch for sums: two blocks


@primitive
def _turn(turn, blocks, pixels):
    """Return (tile of channels of the panel, first output place, first place) of a block."""
    block = turn % blocks
    return turn // blocks, block * ROWS, max(min(block * ROWS, pixels - ROWS), 0)


# {tiles}: int32 means tile registers, int64 emulated ones, see ``tiles.amx``
SIGNATURE = (
    "void(Array(i2, 4, 'C', readonly=True), i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], "
    "Array(i1, 1, 'C', readonly=True), i4[::1], i4[::1], f8[::1], f8, f8, u1[::1], i4[::1], "
    "{tiles}[::1], i2[:, :, :, ::1], i8, i8)"
)


@kernel(SIGNATURE.format(tiles="i4"), features=AMX_INT8)
def conv2d_i16(
    ifm,
    geometry,
    options,
    places,
    out_starts,
    offsets,
    weights,
    low_starts,
    high_starts,
    scale,
    low,
    high,
    window,
    sums,
    tiles,
    ofm,
    start,
    stop,
):
    """Convolve i16: exact sums, ``clip(rne(acc * scale[o]), low, high)``.

    Parameters
    ----------
    ifm, ofm : int16 (N, H, W, C) and (N, OH, OW, O)
    geometry : int64 vector of ``pack.geometry.Geometry``
    options : int64 (columns, lines, down)
        See ``pack.steps.Planes``.
    places, out_starts, offsets
        As in ``int8_conv_amx``.
    weights : int8, flat
        For every tile of channels its steps, each the tile of upper bytes and that of lower ones;
        see ``pack.steps.pack_words``.
    low_starts, high_starts : int32 (panels * PANEL,)
        The bias: ``high * 2**16 + low``, low below 2**16.
    scale : float64 (panels * PANEL,)
        Of at most 16 significant bits, at most 1.
    window, sums, tiles : scratch
        The window holds upper and lower bytes, each in half of it; sums ``SUMS_SIZE`` numbers.
    start, stop : int
        Range of units.
    """
    g = unpack_geometry(geometry)
    planes = (options[0], options[1], options[2])
    columns = options[0]
    codes = ofm.reshape(ofm.size)
    panels = scale.size // PANEL
    per_group = panels // g.groups
    group_tiles = (g.out_c // g.groups + LANES - 1) // LANES
    tile_size = offsets.size * 2 * TILE_BYTES  # of weights: all steps of a tile of channels
    distance = g.stride_w * g.in_c  # of places
    half = window.size // 2
    configure(tiles)
    for unit in range(start, stop):
        image, first, rows, share = unit_of(unit, g)
        top = first * g.stride_h - g.pad_top
        in_rows = g.window_h - (g.block_h - rows) * g.stride_h
        copy_planes(ifm, image, top, in_rows, g, planes, (8, np.uint8(0)), window[:half])
        copy_planes(ifm, image, top, in_rows, g, planes, (0, np.uint8(0)), window[half:])
        source = np.int64(window.ctypes.data)
        pixels = (rows - 1) * columns + g.out_w
        blocks = (pixels + ROWS - 1) // ROWS
        out_row = image * g.ofm_h + first * g.out_h_step + g.out_h_start
        out = (out_row * g.ofm_w + g.out_w_start) * g.out_c
        for panel in range(share * panels // g.shares, (share + 1) * panels // g.shares):
            channel, valid, width, shift = panel_of(panel, panels, g)
            group = panel // per_group
            tile = group * group_tiles + (panel - group * per_group) * (PANEL // LANES)
            turns = width // LANES * blocks
            for turn in range(turns + 1):
                if turn < turns:
                    column, _, pixel = _turn(turn, blocks, pixels)
                    multiply_words(
                        tiles, source + shift + pixel * distance, half, distance, offsets, weights,
                        (tile + column) * tile_size, low_starts, high_starts,
                        panel * PANEL + column * LANES, sums, turn % 2 * _BLOCK,
                    )  # fmt: skip
                if turn > 0:
                    column, place, pixel = _turn(turn - 1, blocks, pixels)
                    begin = first_at(place, columns, g.out_w)
                    end = first_at(min(place + ROWS, pixels), columns, g.out_w)
                    for n in range(begin, end):
                        store_words(
                            sums, (turn - 1) % 2 * _BLOCK + (places[n] - pixel) * LANES, scale,
                            panel * PANEL + column * LANES, low, high, codes,
                            out + out_starts[n] + channel + column * LANES, valid - column * LANES,
                        )  # fmt: skip
    release(tiles)
