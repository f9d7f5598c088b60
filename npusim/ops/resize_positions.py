"""Where a resize reads: the float meaning of the operator, and what importers compare with.

Source: docs/arithmetic/shader.md rule 8.1. TensorFlow has the same formula; other formats have
theirs, and their importers choose this operator only where it reads the same.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Coordinates, ResizeAttrs, ResizeMode
from npusim.ir.tensor import Shape

HALF = np.float32(0.5)
Positions = NDArray[Any]


def positions(size: int, target: int, coordinates: Coordinates, *, centred: bool) -> Positions:
    """Return the input position of every output index along one axis, float32.

    Asymmetric ``o * (in / out)``, align_corners ``o * ((in - 1) / (out - 1))``, half_pixel
    ``(o + 0.5) * (in / out)``, when ``centred`` (bilinear) minus 0.5.
    """
    out = np.arange(target, dtype=np.float32)
    if coordinates is Coordinates.ALIGN_CORNERS:
        return out * np.float32((size - 1) / max(1, target - 1))
    ratio = np.float32(size / target)
    if coordinates is Coordinates.HALF_PIXEL:
        place = (out + HALF) * ratio
        return place - HALF if centred else place
    return out * ratio


def nearest_indices(size: int, target: int, coordinates: Coordinates) -> Positions:
    """Return the input index of every output index, int64: floor, align_corners rounds half up."""
    place = positions(size, target, coordinates, centred=False)
    if coordinates is Coordinates.ALIGN_CORNERS:
        place = place + HALF
    return np.clip(np.floor(place).astype(np.int64), 0, size - 1)


def takes_first_rows(attrs: ResizeAttrs, ifm: Shape) -> bool:
    """Tell whether TP copies the first of several rows where half_pixel means a middle one.

    So it is where rows shrink by a whole factor and columns stay. Source: measured,
    docs/arithmetic/tp.md rule 2.5.
    """
    (rows, columns), (out_rows, out_columns) = ifm[2:], attrs.size
    return (
        attrs.mode is ResizeMode.NEAREST
        and attrs.coordinates is Coordinates.HALF_PIXEL
        and columns == out_columns
        and rows > out_rows
        and rows % out_rows == 0
    )
