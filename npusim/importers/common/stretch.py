"""Stretches of a file, read where they stand: nothing is mapped, so nothing changes once read."""

from pathlib import Path

import numpy as np

from npusim.errors import UNREADABLE, ModelImportError
from npusim.importers.common.builder import Array

_WINDOW = 1 << 16


def changed(path: Path) -> ModelImportError:
    """Return the error for a file that another program writes while it is being read."""
    return ModelImportError(
        "the file changed while it was being read",
        where=str(path),
        rule="a model file stays as it is while it is loaded",
        remedy="wait until it is written, and load it again",
    )


def read_numbers(path: Path, offset: int, count: int, dtype: np.dtype) -> Array:
    """Return numbers of a file as an array of one axis.

    Parameters
    ----------
    offset : int
        Of the first number, in bytes.
    count : int
        How many there are; known to lie in the file.
    dtype : numpy dtype

    Raises
    ------
    ModelImportError
        When the file cannot be read or has become shorter.
    """
    try:
        with path.open("rb") as file:
            found: Array = np.fromfile(file, dtype, count, offset=offset)
    except OSError as error:
        raise ModelImportError(
            f"cannot be read: {error.strerror or error}", where=str(path), remedy=UNREADABLE
        ) from error
    if found.size != count:
        raise changed(path)
    return found


class FileBytes:
    """The bytes of a file as if they were in memory: a window of them is.

    Raises ``ModelImportError`` from every access when the file cannot be read or has become
    shorter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size
        self._begin = 0
        self._window = b""

    def __len__(self) -> int:
        """Return the size of the file when it was opened."""
        return self._size

    def byte(self, position: int) -> int:
        """Return one byte, from 0 up to the size."""
        place = position - self._begin
        if not 0 <= place < len(self._window):
            end = min(position + _WINDOW, self._size)
            self._begin, self._window = position, self._read(position, end)
            place = 0
        return self._window[place]

    def stretch(self, begin: int, end: int) -> bytes:
        """Return bytes of the file; both places lie in it."""
        place = begin - self._begin
        if place >= 0 and end - self._begin <= len(self._window):
            return self._window[place : end - self._begin]
        return self._read(begin, end)

    def _read(self, begin: int, end: int) -> bytes:
        return read_numbers(self.path, begin, end - begin, np.dtype(np.uint8)).tobytes()
