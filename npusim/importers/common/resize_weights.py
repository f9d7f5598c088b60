"""Weights of rows and columns for resizes that the chip has no operator for."""

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.importers.common.ordered_conv import positions
from npusim.ir.attrs import Coordinates

_STEPS = 1024
_LEGACY, _KEYS = -0.75, -0.5


def area_matrix(size: int, out: int, rule: Coordinates) -> Array:
    """Return (out, size) weights of the mean over what each output element covers."""
    check_made((out, size), "the weights of a resize", "")
    matrix = np.zeros((out, size), np.float32)
    scale = np.float32(size) / np.float32(out)
    if rule is Coordinates.ALIGN_CORNERS and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    for o in range(out):
        begin, end = np.float32(o) * scale, np.float32(o + 1) * scale
        for i in range(int(np.floor(begin)), int(np.ceil(end))):
            covered = min(float(i + 1), float(end)) - max(float(i), float(begin))
            matrix[o, min(max(i, 0), size - 1)] += np.float32(covered) / scale
    return matrix


def cubic_matrix(size: int, out: int, rule: Coordinates) -> Array:
    """Return (out, size) weights of bicubic interpolation.

    Coefficients are taken at 1024 steps, -0.75 in the older form and -0.5 with half pixel centres,
    where neighbours outside drop out. Source: measured, TensorFlow 2.21.
    """
    half = rule is Coordinates.HALF_PIXEL
    factor = _KEYS if half else _LEGACY
    check_made((out, size), "the weights of a resize", "")
    matrix = np.zeros((out, size), np.float32)
    for o, place in enumerate(positions(size, out, rule)):
        low = int(np.floor(place))
        step = int(np.rint((np.float32(place) - np.float32(low)) * np.float32(_STEPS)))
        weights = _cubic(step / _STEPS, factor)
        inside = [0 <= low + k < size for k in range(-1, 3)]
        if half:
            weights = np.where(inside, weights, 0)
            total = weights.sum()
            weights = weights / total if abs(total) >= 1000 * np.finfo(np.float32).tiny else weights
        for k, weight in zip(range(-1, 3), weights, strict=True):
            matrix[o, min(max(low + k, 0), size - 1)] += weight
    return matrix


def _cubic(x: float, a: float) -> Array:
    near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (x, 1 - x)]
    far = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (1 + x, 2 - x)]
    return np.array([far[0], near[0], near[1], far[1]], np.float32)
