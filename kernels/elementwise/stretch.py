"""Bilinear stretching of pictures in float32, one rounding a step."""

import numpy as np

from npusim.kernels._jit import kernel, primitive

_PLACES = "Array(int64, 1, 'C', readonly=True)"
_PARTS = "Array(float32, 1, 'C', readonly=True)"


@primitive
def _stretched_row(image, row, columns, parts, line):
    """Set ``line`` to one row of the picture, stretched along itself."""
    channels = image.shape[2]
    last = image.shape[1] - 1
    at = 0
    for i in range(columns.shape[0]):
        column = columns[i]
        right = min(column + 1, last)
        for channel in range(channels):
            value = np.float32(image[row, column, channel])
            other = np.float32(image[row, right, channel])
            line[at] = value + (other - value) * parts[i]
            at += 1


@kernel(
    f"void(Array(uint8, 3, 'C', readonly=True), {_PLACES}, {_PARTS}, {_PLACES}, {_PARTS}, "
    "float32[:, ::1])"
)
def stretch_bilinear(image, rows, row_parts, columns, column_parts, ofm):
    """Set ``ofm`` to (H, W, C) pixels between their neighbours.

    Output row i lies ``row_parts[i]`` of the way from input row ``rows[i]`` to the next one, and so
    do columns; behind the last one comes itself. Along rows first: ``a + (b - a) * part``.
    """
    last = image.shape[0] - 1
    upper = np.empty(ofm.shape[1], np.float32)
    lower = np.empty(ofm.shape[1], np.float32)
    in_upper = in_lower = -1  # the rows they hold
    for i in range(rows.shape[0]):
        above = rows[i]
        below = min(above + 1, last)
        if in_lower == above:
            upper, lower = lower, upper
            in_upper, in_lower = in_lower, in_upper
        if in_upper != above:
            _stretched_row(image, above, columns, column_parts, upper)
            in_upper = above
        if in_lower != below:
            _stretched_row(image, below, columns, column_parts, lower)
            in_lower = below
        for j in range(ofm.shape[1]):
            ofm[i, j] = upper[j] + (lower[j] - upper[j]) * row_parts[i]
