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

from npusim.kernels._jit import kernel
from npusim.kernels.tiles.float32 import LANES, ROWS, multiply_add_tile

BLOCK = 64  # pixels whose inputs stay in the cache while all panels of weights pass by


_VALUES = "Array(float32, 1, 'C', readonly=True)"  # constants may be memory-mapped files
_TABLE = "Array(float32, 2, 'C', readonly=True)"
_NUMBERS = "Array(int64, 1, 'C', readonly=True)"


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
    image_step, row_step, column_step = geometry[0], geometry[1], geometry[2]
    out_h, out_w = geometry[3], geometry[4]
    group_c = ofm.shape[1] // groups
    panels = (group_c + LANES - 1) // LANES
    panel_size = runs.shape[0] * run_length * LANES
    starts = np.empty(ROWS, np.int64)
    sums = np.empty(ROWS * LANES, np.float32)
    for block in range(pixel_begin, pixel_end, BLOCK):
        block_end = min(block + BLOCK, pixel_end)
        for panel in range(panel_begin, panel_end):
            group = panel // panels
            first = (panel - group * panels) * LANES  # first channel within the group
            valid = min(LANES, group_c - first)
            channel = group * group_c + first
            for pixel in range(block, block_end, ROWS):
                rows = min(ROWS, block_end - pixel)
                for row in range(ROWS):
                    at = pixel + min(row, rows - 1)  # rows beyond the end repeat the last one
                    line = at // out_w
                    image = line // out_h
                    starts[row] = (
                        image * image_step
                        + (line - image * out_h) * row_step
                        + (at - line * out_w) * column_step
                        + group * group_step
                    )
                    for lane in range(valid):
                        sums[row * LANES + lane] = bias[channel + lane]
                    for lane in range(valid, LANES):
                        sums[row * LANES + lane] = np.float32(0)
                begin = panel * panel_size
                for run in range(runs.shape[0]):
                    multiply_add_tile(ifm, starts, runs[run], weights, begin, run_length, sums)
                    begin += run_length * LANES
                for row in range(rows):
                    for lane in range(valid):
                        value = sums[row * LANES + lane]
                        if value < low:
                            value = low
                        if value > high:
                            value = high
                        ofm[pixel + row, channel + lane] = value


@kernel(
    f"void({_VALUES}, {_TABLE}, {_VALUES}, {_NUMBERS}, {_NUMBERS}, float32, float32, "
    "float32[:, ::1], int64, int64)"
)
def depthwise(ifm, weights, bias, taps, geometry, low, high, ofm, pixel_begin, pixel_end):
    """Depthwise convolution of one range of pixels; ``weights`` is (taps, C), ``taps`` as runs."""
    image_step, row_step, column_step = geometry[0], geometry[1], geometry[2]
    out_h, out_w = geometry[3], geometry[4]
    channels = ofm.shape[1]
    for pixel in range(pixel_begin, pixel_end):
        line = pixel // out_w
        image = line // out_h
        start = (
            image * image_step
            + (line - image * out_h) * row_step
            + (pixel - line * out_w) * column_step
        )
        sums = ofm[pixel]
        for channel in range(channels):
            sums[channel] = bias[channel]
        for tap in range(taps.shape[0]):
            begin = start + taps[tap]
            values = ifm[begin : begin + channels]
            factors = weights[tap]
            for channel in range(channels):
                sums[channel] += values[channel] * factors[channel]
        for channel in range(channels):
            value = sums[channel]
            if value < low:
                value = low
            if value > high:
                value = high
            sums[channel] = value
