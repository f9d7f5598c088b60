"""Reading and stretching calibration images, the way TensorFlow 1 does it.

Pixels are decoded to red, green, blue (or grey) as they are stored: EXIF rotation is not applied.
JPEG files are decoded as TensorFlow does by default: fast integer DCT, smooth chroma upsampling.
The accurate DCT, which Pillow and OpenCV use, gives other values for two bytes in three.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from simplejpeg import decode_jpeg

from npusim.ir.graph import LETTERBOX, STRETCH
from npusim.reading.pictures import open_picture
from npusim.reference.stretch import stretched

BORDER = 114.0  # Source: Ultralytics YOLO, letterbox: colour (114, 114, 114)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from the header; raises one of ``DECODE_ERRORS``."""
    with open_picture(path) as image:
        return image.height, image.width


def read_image(path: Path, channels: int) -> tuple[NDArray[np.uint8], bool]:
    """Return pixels (H, W, channels) in 0..255 and whether colour was converted.

    Parameters
    ----------
    path : Path
        A jpg, png or bmp file.
    channels : int
        3 for red, green, blue; 1 for grey: the luma that a JPEG file stores, ITU-R 601-2 luma of
        other colour images. Transparency is dropped; 16-bit values keep their upper eight bits.

    Raises
    ------
    one of ``DECODE_ERRORS``
        When the file is damaged.

    Source: with a real toolkit's calibration picture 47 of 47 ranges are equal to the last bit,
    0.9 % apart (rms) with the accurate DCT; bytes equal those of TensorFlow 2.21's ``decode_jpeg``
    (docs/quantization.md).
    """
    with open_picture(path) as image:
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
        if image.format in ("JPEG", "MPO"):
            pixels = _decode_jpeg(path, image, channels)
        elif image.mode.startswith("I"):
            pixels = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            pixels = np.repeat(pixels[:, :, None], channels, axis=2)
        else:
            mode = "L" if channels == 1 else "RGB"
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
            pixels = pixels.reshape(*pixels.shape[:2], channels)
    return pixels, grey != (channels == 1)


def _decode_jpeg(path: Path, header: Image.Image, channels: int) -> NDArray[np.uint8]:
    data = path.read_bytes()
    if header.mode != "CMYK":
        found: NDArray[np.uint8] = decode_jpeg(
            data, "GRAY" if channels == 1 else "RGB", fastdct=True, fastupsample=False
        )
        return found
    if channels == 1:
        raise ValueError("a JPEG of four inks (CMYK) has no grey form; save it as RGB")
    inks = decode_jpeg(data, "CMYK", fastdct=True, fastupsample=False).astype(np.int32)
    if "adobe" not in header.info:  # Adobe's programs store ink as 255 - amount
        inks = 255 - inks
    found = (inks[:, :, :3] * inks[:, :, 3:] // 255).astype(np.uint8)
    return found


def stretch(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Return the image stretched to (height, width) with bilinear interpolation, in float32.

    Output row i reads input row ``i * (in_h - 1) / (height - 1)``: first and last pixels meet, as
    in TensorFlow 1's ``resize_bilinear(align_corners=True)``. Results are not rounded to integers.

    Source: a real toolkit's calibration picture, as in ``read_image``; bit-equal to TensorFlow 2.21
    in 600 of 600 random sizes (docs/quantization.md).
    """
    if image.shape[:2] == (height, width):
        return image.astype(np.float32)
    rows = _sources(height, range(height), image.shape[0])
    columns = _sources(width, range(width), image.shape[1])
    return stretched(image, rows, columns)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in an input, in input pixels.

    Attributes
    ----------
    height, width : int
        Size that the whole picture is stretched to.
    top, left : int
        Its first row and column in the input; negative where it is cut.
    """

    height: int
    width: int
    top: int
    left: int


def placement(picture: tuple[int, int], size: tuple[int, int], fit: str) -> Placement:
    """Return where a picture goes.

    Parameters
    ----------
    picture, size : (height, width)
        Of the picture and of the input.
    fit : str
        As in ``Preprocess``. A letterboxed picture lies in the middle and a cropped one loses as
        much on either side.
    """
    if fit == STRETCH:
        return Placement(*size, 0, 0)
    choose = min if fit == LETTERBOX else max
    scale = choose(size[0] / picture[0], size[1] / picture[1])
    height, width = (max(1, round(side * scale)) for side in picture)
    return Placement(height, width, (size[0] - height) // 2, (size[1] - width) // 2)


def fitted(image: NDArray[np.uint8], height: int, width: int, fit: str) -> NDArray[np.float32]:
    """Return the picture in an input's size; borders of a letterbox are grey (``BORDER``)."""
    if fit == STRETCH:
        return stretch(image, height, width)
    place = placement(image.shape[:2], (height, width), fit)
    # only what is seen is made: the whole of a picture of one line, cut, would fill the memory
    rows, columns = _seen(place.top, place.height, height), _seen(place.left, place.width, width)
    result = np.full((height, width, image.shape[2]), BORDER, np.float32)
    top, left = max(0, place.top), max(0, place.left)
    result[top : top + len(rows), left : left + len(columns)] = stretched(
        image,
        _sources(place.height, rows, image.shape[0]),
        _sources(place.width, columns, image.shape[1]),
    )
    return result


def _seen(begin: int, size: int, room: int) -> range:
    """Return which of the pixels from ``begin`` on lie in the room 0 .. ``room``."""
    first = max(0, -begin)
    return range(first, first + min(room, size))


def _sources(
    size: int, wanted: range, in_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first input index and the share of the next one, per wanted output index."""
    step = np.float32(in_size - 1) / np.float32(size - 1) if size > 1 else np.float32(in_size)
    place = np.arange(wanted.start, wanted.stop).astype(np.float32) * step
    first = np.minimum(np.floor(place).astype(np.int64), in_size - 1)
    return first, (place - first).astype(np.float32)
