"""Reading and stretching calibration images, the way TensorFlow 1 does it.

Pixels are decoded to red, green, blue (or grey) as they are stored: EXIF rotation is not applied.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

# What Pillow raises for files it cannot decode, besides OSError.
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from the header; raises one of ``DECODE_ERRORS``."""
    with Image.open(path) as image:
        return image.height, image.width


def read_image(path: Path, channels: int) -> tuple[NDArray[np.uint8], bool]:
    """Return pixels (H, W, channels) in 0..255 and whether colour was converted.

    Parameters
    ----------
    path : Path
        A jpg, png or bmp file.
    channels : int
        3 for red, green, blue; 1 for grey (ITU-R 601-2 luma of a colour image). Transparency is
        dropped; of 16-bit values the upper eight bits are kept.

    Raises
    ------
    OSError and the other ``DECODE_ERRORS``
        When the file is damaged.
    """
    with Image.open(path) as image:
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
        if image.mode.startswith("I"):
            pixels = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            pixels = np.repeat(pixels[:, :, None], channels, axis=2)
        else:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
            pixels = pixels.reshape(*pixels.shape[:2], channels)
    return pixels, grey != (channels == 1)


def stretch(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Return the image stretched to (height, width) with bilinear interpolation, in float32.

    Output row i reads input row ``i * in_h / height``: corners are not aligned and pixel centres
    not shifted, as ``tf.image.resize_bilinear`` of TensorFlow 1 does by default. Results are not
    rounded to integers.

    Source: RKNN-Toolkit logs name this TensorFlow operator; which decoder it used is not settled.
    """
    if image.shape[:2] == (height, width):
        return image.astype(np.float32)
    rows, row_part = _sources(height, image.shape[0])
    cols, col_part = _sources(width, image.shape[1])
    down = np.minimum(rows + 1, image.shape[0] - 1)
    right = np.minimum(cols + 1, image.shape[1] - 1)
    col_part = col_part[None, :, None]
    upper, lower = image[rows].astype(np.float32), image[down].astype(np.float32)
    top = upper[:, cols] + (upper[:, right] - upper[:, cols]) * col_part
    bottom = lower[:, cols] + (lower[:, right] - lower[:, cols]) * col_part
    result: NDArray[np.float32] = top + (bottom - top) * row_part[:, None, None]
    return result


def _sources(size: int, in_size: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the first input index and the share of the next one, per output index."""
    place = np.arange(size, dtype=np.float32) * (np.float32(in_size) / np.float32(size))
    first = np.minimum(np.floor(place).astype(np.intp), in_size - 1)
    return first, (place - first).astype(np.float32)
