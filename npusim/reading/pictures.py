"""Pictures: only JPEG, PNG and BMP are decoded, up to a number of pixels.

Pillow knows some forty formats, one of which starts other programs; content counts there, not the
name. What is documented is what is tried.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP")
MOST_PIXELS = 1 << 26
"""67 megapixels; decoding takes up to seven bytes a pixel."""

MOST_BYTES = 1 << 28
"""Of a file, whatever it holds behind its picture: the largest pictures take less in any format."""

# What Pillow and simplejpeg raise for files they cannot decode.
DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    Image.DecompressionBombError,
)


@contextmanager
def open_picture(
    source: str | Path | IO[bytes], formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Open a picture; its pixels are decoded when they are asked for.

    Parameters
    ----------
    source : path or file
    formats : tuple of str
        Pillow's names of what is accepted.

    Raises
    ------
    one of ``DECODE_ERRORS``
        Also for other formats, and more than ``MOST_PIXELS`` or ``MOST_BYTES``.
    """
    if isinstance(source, str | Path) and (size := os.stat(source).st_size) > MOST_BYTES:
        raise ValueError(f"the file has {size} bytes, more than {MOST_BYTES}")
    Image.preinit()  # else a PNG as the first picture makes Pillow import all its formats
    with Image.open(source, formats=formats) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(
                f"it has {image.width} x {image.height} pixels, more than {MOST_PIXELS}; "
                "scale it down"
            )
        yield image
