"""float32 convolution and matrix product with one fixed order of every sum.

Same bits for any number of threads, any split of the work and any machine: each output is one
chain ``bias, then fused multiply-adds in ascending k`` (k runs over kernel rows, kernel columns,
channels), then the clamp to [low, high]; NaN passes the clamp. ``npusim.reference.conv`` calls it.

Layouts: ``ifm`` is the flat content of a (N, H, W, C) array with its padding already in it; output
pixel p = (image, y, x) begins at ``image * image_step + y * row_step + x * column_step``; ``runs``
are the starts, relative to that, of the contiguous pieces of ``run_length`` values that the kernel
window covers. ``ofm`` is (pixels, out_c).
"""

import numpy as np

from npusim.kernels._jit import kernel, primitive
from npusim.kernels.tiles.float32 import (
    LANES,
    PIXELS,
    ROWS,
    depthwise_pixel,
    depthwise_pixels,
    product_tile,
)

BLOCK = 64  # pixels whose inputs stay in the cache while all panels of weights pass by
FEW_WEIGHTS = 4096  # that stay in the innermost cache beside inputs and outputs


_VALUES = "Array(float32, 1, 'C', readonly=True)"  # constants may be memory-mapped files
_TABLE = "Array(float32, 2, 'C', readonly=True)"
_NUMBERS = "Array(int64, 1, 'C', readonly=True)"


@primitive
def pixel_starts(geometry, offset, begin, end, starts):
    """Set ``starts`` to where the windows of pixels begin..end start; the rest repeats the last."""
    image_step, row_step, column_step = geometry[0], geometry[1], geometry[2]
    out_h, out_w = geometry[3], geometry[4]
    line = begin // out_w
    image = line // out_h
    x, y = begin - line * out_w, line - image * out_h
    at = np.int64(0)
    for i in range(end - begin):
        at = offset + image * image_step + y * row_step + x * column_step
        starts[i] = at
        x += 1
        if x == out_w:
            x = 0
            y += 1
            if y == out_h:
                y = 0
                image += 1
    for i in range(end - begin, starts.shape[0]):
        starts[i] = at


@kernel(
    f"void({_VALUES}, {_VALUES}, {_VALUES}, {_NUMBERS}, int64, {_NUMBERS}, float32, "
    "float32, float32[:, ::1], int64, int64, int64, int64, int64, int64)"
)
def dot_panels(
    ifm,
    weights,
    bias,
    runs,
    run_length,
    geometry,
    low,
    high,
    ofm,
    groups,
    group_step,
    pixel_begin,
    pixel_end,
    panel_begin,
    panel_end,
):
    """Convolution of one range of pixels with one range of panels.

    ``weights`` is the flat content of (groups, panels, k, LANES), zeros beyond a group's last
    channel; panels count through all groups. ``geometry`` is (image_step, row_step, column_step,
    out_h, out_w); group g reads from ``g * group_step`` on.
    """
    out_c = ofm.shape[1]
    group_c = out_c // groups
    panels = (group_c + LANES - 1) // LANES
    panel_size = runs.shape[0] * run_length * LANES
    starts = np.empty(BLOCK + ROWS, np.int64)
    lines = np.zeros((panel_end - panel_begin) * LANES, np.float32)  # bias, panel by panel
    for panel in range(panel_begin, panel_end):
        first = (panel - panel // panels * panels) * LANES
        channel = panel // panels * group_c + first
        for lane in range(min(LANES, group_c - first)):
            lines[(panel - panel_begin) * LANES + lane] = bias[channel + lane]
    tile = np.empty(ROWS * LANES, np.float32)
    flat = ofm.reshape(ofm.size)
    # few weights stay in the cache anyway, and then results are best written one after another
    by_pixel = groups == 1 and (panel_end - panel_begin) * panel_size <= FEW_WEIGHTS
    for block in range(pixel_begin, pixel_end, BLOCK):
        block_end = min(block + BLOCK, pixel_end)
        pixel, panel = block, panel_begin
        group = np.int64(-1)
        while pixel < block_end and panel < panel_end:
            if panel // panels != group:
                group = panel // panels
                pixel_starts(geometry, group * group_step, block, block_end, starts)
            first = (panel - group * panels) * LANES  # first channel within the group
            valid = min(LANES, group_c - first)
            channel = group * group_c + first
            rows = min(ROWS, block_end - pixel)  # the tile's other rows repeat the last one
            whole = rows == ROWS and valid == LANES
            product_tile(
                ifm,
                starts,
                pixel - block,
                runs,
                run_length,
                weights,
                panel * panel_size,
                lines,
                (panel - panel_begin) * LANES,
                low,
                high,
                flat if whole else tile,
                pixel * out_c + channel if whole else 0,
                out_c if whole else LANES,
            )
            if not whole:
                for row in range(rows):
                    for lane in range(valid):
                        ofm[pixel + row, channel + lane] = tile[row * LANES + lane]
            if by_pixel:
                panel += 1
                if panel == panel_end:
                    panel, pixel = panel_begin, pixel + ROWS
            else:
                pixel += ROWS
                if pixel >= block_end:
                    pixel, panel = block, panel + 1


@kernel(
    f"void({_VALUES}, {_TABLE}, {_VALUES}, {_NUMBERS}, {_NUMBERS}, float32, float32, "
    "float32[:, ::1], int64, int64)"
)
def depthwise(ifm, weights, bias, taps, geometry, low, high, ofm, pixel_begin, pixel_end):
    """Depthwise convolution of one range of pixels; ``weights`` is (taps, C), ``taps`` as runs."""
    channels = ofm.shape[1]
    starts = np.empty(BLOCK + PIXELS, np.int64)
    flat = ofm.reshape(ofm.size)
    for block in range(pixel_begin, pixel_end, BLOCK):
        block_end = min(block + BLOCK, pixel_end)
        pixel_starts(geometry, 0, block, block_end, starts)
        if channels < LANES:
            for pixel in range(block, block_end):
                _narrow_pixel(
                    ifm, starts[pixel - block], taps, weights, bias, low, high, ofm[pixel]
                )
            continue
        pixel = block
        while pixel < block_end:
            four = pixel + PIXELS <= block_end
            for begin in range(0, channels, LANES):
                channel = min(begin, channels - LANES)  # the last lanes again, to the same bits
                at = pixel * channels
                if four:
                    depthwise_pixels(
                        ifm,
                        starts,
                        pixel - block,
                        taps,
                        channel,
                        weights,
                        bias,
                        low,
                        high,
                        flat,
                        at,
                    )
                else:
                    depthwise_pixel(
                        ifm,
                        starts,
                        pixel - block,
                        taps,
                        channel,
                        weights,
                        bias,
                        low,
                        high,
                        flat,
                        at,
                    )
            pixel += PIXELS if four else 1


@primitive
def _narrow_pixel(ifm, start, taps, weights, bias, low, high, sums):
    """Compute one pixel of fewer channels than a vector has lanes."""
    channels = sums.shape[0]
    for channel in range(channels):
        sums[channel] = bias[channel]
    for tap in range(taps.shape[0]):
        begin = start + taps[tap]
        for channel in range(channels):
            sums[channel] += ifm[begin + channel] * weights[tap, channel]
    for channel in range(channels):
        value = sums[channel]
        if value < low:
            value = low
        if value > high:
            value = high
        sums[channel] = value
