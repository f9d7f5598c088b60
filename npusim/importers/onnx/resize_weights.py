"""Interpolation as a matrix (out, in): what the chip's two rules of a resize cannot express."""

import math
from collections.abc import Callable

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.ops.onnx_resize import Axis

Kernel = Callable[[Array], Array]


def linear_filter(x: Array) -> Array:
    """Return the triangle of width 2."""
    return np.maximum(1.0 - np.abs(x), 0.0)


def cubic_filter(a: float) -> Kernel:
    """Return the cubic convolution kernel of width 4."""

    def weight(x: Array) -> Array:
        t = np.abs(x)
        near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
        far = ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
        return np.where(t < 1.0, near, np.where(t < 2.0, far, 0.0))

    return weight


def matrix(
    positions: Array,
    axis: Axis,
    kernel: Kernel,
    *,
    width: int,
    antialias: bool,
    exclude_outside: bool,
) -> Array:
    """Return the weights, float64; what lies outside repeats the border, or counts nothing.

    Parameters
    ----------
    positions : array
        Source position of every output element.
    kernel, width
        Of the interpolation: 2 for linear, 4 for cubic.
    antialias : bool
        Widen the kernel by the factor of shrinking.
    exclude_outside : bool
        Leave the part of the kernel outside of the input away, and divide by the rest.
    """
    place = positions.astype(np.float64)
    stretch = max(1.0 / float(axis.scale), 1.0) if antialias else 1.0
    reach = math.ceil(width / 2 * stretch) + 1
    check_made((axis.out, axis.size), "the weights of a resize", "")
    result = np.zeros((axis.out, axis.size))
    base = np.floor(place).astype(np.int64)
    rows = np.arange(axis.out)
    for offset in range(-reach, reach + 1):
        index = base + offset
        weight = kernel((index - place) / stretch)
        if exclude_outside:
            weight = np.where((index < 0) | (index >= axis.size), 0.0, weight)
        np.add.at(result, (rows, np.clip(index, 0, axis.size - 1)), weight)
    total: Array = result.sum(axis=1, keepdims=True)
    return np.asarray(result / total)
