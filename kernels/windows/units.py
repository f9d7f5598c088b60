"""What every convolution kernel does with its geometry: units, panels, positions, windows.

See ``npusim.kernels.pack.geometry`` for the terms.
"""

from npusim.kernels._jit import primitive
from npusim.kernels.operand import as_number, zero_number
from npusim.kernels.pack.geometry import ALIGN, Geometry
from npusim.kernels.tiles.fma import PANEL


@primitive
def unpack_geometry(g):
    """Return the int64 vector of a geometry as the record of names."""
    return Geometry(
        g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13],
        g[14], g[15], g[16], g[17], g[18], g[19], g[20],
    )  # fmt: skip


@primitive
def unit_of(unit, g):
    """Return (image, first output row, output rows, share) of a unit."""
    share = unit % g.shares
    block = (unit // g.shares) % g.blocks
    first = block * g.block_h
    return unit // (g.shares * g.blocks), first, min(g.block_h, g.out_h - first), share


@primitive
def panel_of(panel, panels, g):
    """Return (first output channel, valid columns, computed columns, first input channel)."""
    per_group = panels // g.groups
    group = panel // per_group
    inside = (panel - group * per_group) * PANEL
    group_c = g.out_c // g.groups
    valid = min(PANEL, group_c - inside)
    width = (valid + ALIGN - 1) // ALIGN * ALIGN
    first_in = inside if g.own_channels else group * (g.in_c // g.groups)
    return group * group_c + inside, valid, width, first_in


@primitive
def place_pixels(image, first, rows, g, tile_rows, in_starts, out_starts):
    """Set where each output pixel of a unit reads in the window and writes in the flat ofm.

    ``tile_rows - 1`` more entries repeat the last pixel, so that every tile is whole.
    """
    pixel = 0
    for y in range(rows):
        out_row = image * g.ofm_h + (first + y) * g.out_h_step + g.out_h_start
        for x in range(g.out_w):
            in_starts[pixel] = (y * g.stride_h * g.window_w + x * g.stride_w) * g.in_c
            column = x * g.out_w_step + g.out_w_start
            out_starts[pixel] = (out_row * g.ofm_w + column) * g.out_c
            pixel += 1
    for more in range(pixel, pixel + tile_rows - 1):
        in_starts[more] = in_starts[pixel - 1]
        out_starts[more] = out_starts[pixel - 1]
    return pixel


@primitive
def copy_window(ifm, image, first_row, rows, g, how, window):
    """Copy ``rows`` padded input rows from ``first_row`` on as numbers of the window's type.

    ``how`` codes are read is said in ``npusim.kernels.operand``; padding is a real zero.
    """
    in_h, in_w = ifm.shape[1], ifm.shape[2]
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, in_w + g.pad_left))
    for i in range(rows):
        row = first_row + i
        line = window[i * g.window_w * g.in_c : (i + 1) * g.window_w * g.in_c]
        inside = row >= 0 and row < in_h and right > left
        begin = left * g.in_c if inside else line.size
        line[:begin] = zero_number(how, window.dtype)
        if inside:
            codes = ifm[image, row].reshape(in_w * g.in_c)[(left - g.pad_left) * g.in_c :]
            numbers = line[begin : right * g.in_c]
            for j in range(numbers.size):
                numbers[j] = as_number(codes[j], how, window.dtype)
            line[right * g.in_c :] = zero_number(how, window.dtype)


@primitive
def copy_planes(ifm, image, first_row, rows, g, planes, how, window):
    """Copy as ``copy_window`` does, into the planes (columns, lines, down) of ``pack.steps``."""
    columns, lines, down = planes
    in_h, in_w = ifm.shape[1], ifm.shape[2]
    size = columns * g.stride_w * g.in_c
    left = min(max(g.pad_left, 0), g.window_w)
    right = max(left, min(g.window_w, in_w + g.pad_left))
    for plane in range(down):
        for i in range(plane, rows, g.stride_h):
            row = first_row + i
            at = (plane * lines + i // g.stride_h) * size
            line = window[at : at + size]
            inside = row >= 0 and row < in_h and right > left
            begin = left * g.in_c if inside else line.size
            line[:begin] = zero_number(how, window.dtype)
            if inside:
                codes = ifm[image, row].reshape(in_w * g.in_c)[(left - g.pad_left) * g.in_c :]
                numbers = line[begin : right * g.in_c]
                for j in range(numbers.size):
                    numbers[j] = as_number(codes[j], how, window.dtype)
                line[right * g.in_c :] = zero_number(how, window.dtype)
