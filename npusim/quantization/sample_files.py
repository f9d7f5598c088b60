"""One file of a calibration sample: checked by its header first, read later.

jpg, jpeg, png and bmp images are stretched (or fitted) to the input's size; npy arrays have the
input's own size, feature maps in N, H, W, C order.
"""

import re
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import InputError
from npusim.ir.graph import STRETCH
from npusim.ir.tensor import TensorSpec
from npusim.quantization.images import SUFFIXES, fitted, image_size, read_image
from npusim.reading import arrays
from npusim.reading.files import mode_of
from npusim.reading.pictures import DECODE_ERRORS
from npusim.runtime.feeds import arrange

Array = NDArray[Any]
KNOWN_SUFFIXES = (*SUFFIXES, ".npy")
_DAMAGE = (*DECODE_ERRORS, *arrays.DAMAGE)


_COLUMN = re.compile(r'"([^"]*)"|(\S+)')


def columns(line: str) -> list[str]:
    """Return the columns of a line of a list: separated by blanks, or in double quotes."""
    return [quoted or plain for quoted, plain in _COLUMN.findall(line)]


def wrong_count(line: str, wanted: int) -> str:
    """Return what to say of a line with another number of columns."""
    found = columns(line)
    said = f"{len(found)} column{'s' if len(found) != 1 else ''}, {wanted} expected"
    if len(found) > wanted and '"' not in line:
        said += f'; a path with blanks goes in double quotes: "{" ".join(found[:2])}"'
    return said


class Unusable(Exception):
    """A file cannot be read: its line is left out with a warning."""


class Misfit(Exception):
    """A file can never be right for this model: the whole list is refused."""


def find_file(name: str, folder: Path) -> Path:
    """Return the path of a listed file: beside the list, else in the working directory."""
    suffix = Path(name).suffix.lower()
    if suffix not in KNOWN_SUFFIXES:
        known = ", ".join(KNOWN_SUFFIXES)
        raise Unusable(f"{name} has the suffix {suffix or 'nothing'!r}, not one of {known}")
    tried = list(dict.fromkeys([folder / name, Path(name)]))
    try:
        for path in tried:
            if S_ISREG(mode_of(path)):
                return path
    except (OSError, ValueError) as error:  # too long, a zero byte, a folder not to be entered
        raise Unusable(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    folders = " and ".join(dict.fromkeys(str(path.parent.absolute()) for path in tried))
    raise Unusable(f"{name} does not exist; looked in {folders}")


def check_file(path: Path, spec: TensorSpec) -> tuple[int, int] | None:
    """Check a file's header against an input; return (height, width) of an image."""
    try:
        if path.suffix.lower() == ".npy":
            _check_npy(path, spec)
            return None
        size = image_size(path)
    except _DAMAGE as error:
        raise Unusable(f"{path.name} cannot be read: {error}") from error
    if len(spec.shape) != 4 or spec.shape[1] not in (1, 3) or spec.shape[0] != 1:
        raise Misfit(
            f"{path.name}: an image cannot fill input {spec.name!r} {spec.shape}; give an npy file"
        )
    return size


def read_file(path: Path, spec: TensorSpec, fit: str = STRETCH) -> tuple[Array, bool]:
    """Return raw data in the input's shape, and whether an image changed between grey and colour.

    ``fit`` says how images get the input's size, as in ``Preprocess``.

    Raises
    ------
    Unusable
        When the file is damaged.
    """
    try:
        if path.suffix.lower() == ".npy":
            data = arrays.read_npy(path)
            return arrange(data, spec, where=str(path)), False
        _, channels, height, width = spec.shape
        pixels, converted = read_image(path, channels)
    except _DAMAGE as error:
        raise Unusable(f"{path.name} cannot be read: {error}") from error
    return fitted(pixels, height, width, fit).transpose(2, 0, 1)[None], converted


def _check_npy(path: Path, spec: TensorSpec) -> None:
    try:
        shape = arrays.npy_header(path).shape
    except arrays.NoNumbers as error:
        raise Misfit(f"{path.name} {str(error).removeprefix('it ')}") from error
    try:
        arrange(np.broadcast_to(np.uint8(0), shape), spec, where=path.name)
    except InputError as error:
        advice = f"; {error.remedy}" if error.remedy else ""
        raise Misfit(f"{error.where}: {error.what}; {error.rule}{advice}") from None
