"""Bilinear stretching of pictures with a given place between neighbours for every pixel."""

import numpy as np
from numpy.typing import NDArray

from npusim.kernels.elementwise.stretch import stretch_bilinear

Places = tuple[NDArray[np.int64], NDArray[np.float32]]


def stretched(image: NDArray[np.uint8], rows: Places, columns: Places) -> NDArray[np.float32]:
    """Return (H, W, C) in float32: each pixel lies a part of the way from a place to the next.

    ``rows`` and ``columns`` hold the place in the picture (H, W, C) and the part, 0..1; behind the
    last row or column comes itself. Every step is rounded, along rows first.
    """
    height, width, channels = rows[0].size, columns[0].size, image.shape[2]
    result = np.empty((height, width * channels), np.float32)
    stretch_bilinear(np.asarray(image, order="C"), *rows, *columns, result)
    return result.reshape(height, width, channels)
