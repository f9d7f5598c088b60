"""Arrays of numbers in ``.npy`` and ``.npz`` files, without pickles and without blind trust.

A file says how large its array is. Here that is compared with what the file holds, and with what
the caller expects, before memory is taken.
"""

import lzma
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from threading import Lock
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from npusim.errors import NpusimError
from npusim.reading.files import open_file

Array = NDArray[Any]
# numpy parses headers as Python. CPython 3.11.7 raised SystemError once (AST constructor recursion
# depth mismatch) where threads did so together.
_parsing = Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _parsing._at_fork_reinit())  # type: ignore[attr-defined]
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    TokenError,
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What damaged arrays and archives make of numpy and zipfile."""

MOST_AXES = 32
MOST_BYTES = 1 << 31
"""Of one array, unless the caller says otherwise."""

_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
_PIECE = 1 << 24


class NoNumbers(ValueError):
    """The file holds an array of something else than numbers."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an array's file says of it.

    Attributes
    ----------
    fortran : bool
        Elements lie in the order of the first axis.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def bytes(self) -> int:
        """Return what the elements take."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """Read the header of an array; the file then stands at its elements.

    Raises
    ------
    one of ``DAMAGE``
        When it is none, or an array of Python objects or structures.
    """
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"npy version {version}")
    with _parsing:
        shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise NoNumbers("it holds Python objects, not numbers; save a numeric array")
    if dtype.kind not in "buif":
        raise NoNumbers(f"it holds {dtype}; integers or floats are needed")
    if len(shape) > MOST_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    return Header(shape, dtype, fortran)


def _elements(file: IO[bytes], header: Header) -> Array:
    found = np.empty(prod(header.shape), header.dtype)
    target, place = found.view(np.uint8).data, 0
    while place < len(target):
        piece = file.read(min(_PIECE, len(target) - place))
        if not piece:
            raise EOFError(f"it is truncated, {len(target) - place} bytes are missing")
        target[place : place + len(piece)] = piece
        place += len(piece)
    return found.reshape(header.shape, order="F" if header.fortran else "C")


def npy_header(path: Path) -> Header:
    """Return what an ``.npy`` file says of its array, compared with the file's size.

    Raises
    ------
    one of ``DAMAGE``
    """
    with open_file(path) as file:
        header = read_header(file)
        missing = file.tell() + header.bytes - os.fstat(file.fileno()).st_size
    if missing > 0:
        raise ValueError(f"it is truncated, {missing} bytes are missing")
    return header


def read_npy(path: Path, most: int = MOST_BYTES) -> Array:
    """Return the array of an ``.npy`` file.

    Raises
    ------
    one of ``DAMAGE``
        Also when the array has more than ``most`` bytes.
    """
    header = npy_header(path)
    if header.bytes > most:
        raise ValueError(f"{header.shape} {header.dtype} is {header.bytes} bytes, limit {most}")
    with open_file(path) as file:
        return _elements(file, read_header(file))


@dataclass(frozen=True, slots=True)
class Npz:
    """An open ``.npz`` archive: arrays are read when they are asked for.

    Every method raises one of ``DAMAGE``.
    """

    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the arrays of the archive, in its order."""
        return tuple(self.members)

    def header(self, name: str) -> Header:
        """Return what the archive says of an array."""
        with self.archive.open(self.members[name]) as file:
            return read_header(file)

    def read(self, name: str, most: int = MOST_BYTES) -> Array:
        """Return an array of at most ``most`` bytes."""
        info = self.members[name]
        with self.archive.open(info) as file:
            header = read_header(file)
            if header.bytes > min(most, info.file_size):
                raise ValueError(
                    f"array {name!r} is {header.shape} {header.dtype}, {header.bytes} bytes; "
                    f"the archive holds {info.file_size} of it, the limit is {most}"
                )
            return _elements(file, header)

    def text(self, name: str, most: int = 1 << 28) -> str:
        """Return an array that is one text of at most ``most`` bytes."""
        info = self.members[name]
        if info.file_size > most:
            raise ValueError(f"{name!r} has {info.file_size} bytes, limit {most}")
        with self.archive.open(info) as file:
            array = npy.read_array(file, allow_pickle=False)
        if array.dtype.kind == "U" and not _is_unicode(array):
            raise ValueError(f"{name!r} has characters that do not exist")
        return str(array)


def _is_unicode(array: Array) -> bool:
    """Tell whether all characters exist; numpy makes broken texts of others."""
    if not array.nbytes:
        return True
    codes = np.atleast_1d(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return int(codes.max()) <= sys.maxunicode


@contextmanager
def open_npz(path: Path) -> Iterator[Npz]:
    """Open an ``.npz`` archive; two arrays of one name are refused."""
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in members:
                raise ValueError(f"two arrays are called {name!r}")
            members[name] = info
        yield Npz(archive, members)


def refusal(
    reason: BaseException, what: str, error: type[NpusimError], where: str, **more: str
) -> NpusimError:
    """Return the error for one of ``DAMAGE``; ``more`` are its ``rule`` and ``remedy``."""
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return error(f"{what}: {text}", where=where, **more)
