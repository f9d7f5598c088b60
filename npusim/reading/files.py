"""Bytes and text of a file, up to a size."""

import errno
import os
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

from npusim.errors import UNREADABLE, NpusimError

_PIECE = 1 << 20
MOST_TEXT = 1 << 28
"""Bytes of a text: a list of a million files is a fifth of it."""


def read_bytes(
    path: str | Path,
    error: type[NpusimError],
    *,
    most: int = MOST_TEXT,
    remedy: str = UNREADABLE,
) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : path
    error : type of NpusimError
        What is raised.
    most : int
        Size in bytes up to which a file is read; pipes are read up to it as well.
    remedy : str
        What to do about a file that cannot be read.

    Raises
    ------
    NpusimError
        Of the type ``error``, when it cannot be read or is larger.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = b"" if size > most else _content(file, size, most)
    except (OSError, ValueError, MemoryError) as reason:  # ValueError: a zero byte in the name
        raise error(
            f"cannot be read: {getattr(reason, 'strerror', None) or reason}",
            where=str(path),
            remedy=remedy,
        ) from reason
    if size > most or len(content) > most:
        raise error(
            f"the file has {max(size, len(content))} bytes or more",
            where=str(path),
            rule=f"at most {most} bytes",
        )
    return content


def _content(file: BinaryIO, size: int, most: int) -> bytes:
    """Return what a file of a size holds; of a pipe, which has none, up to the limit and more."""
    content = file.read(size + 1)
    if len(content) <= size:
        return content
    pieces, length = [content], len(content)
    while length <= most and (piece := file.read(_PIECE)):
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)


def is_path(value: object) -> bool:
    """Tell whether a value is a path: text that can name a file, or an object that stands for it.

    The system takes neither zero bytes nor halves of characters; bytes are no path of npusim's.
    """
    if not isinstance(value, str | os.PathLike):
        return False
    name = os.fspath(value)
    try:
        return isinstance(name, str) and bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # halves of characters
        return False


def mode_of(path: Path) -> int:
    """Return the file's kind and permissions; 0 where there is none.

    Raises
    ------
    OSError, ValueError
        When nobody may look, or the name is none: since Python 3.14 ``Path.exists`` and its like
        call that missing.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def refuse_pipe(path: Path, error: type[NpusimError]) -> None:
    """Refuse what another file names and is no file: a pipe would be waited for.

    Raises
    ------
    NpusimError
        Of the type ``error``.
    """
    try:
        mode = mode_of(path)
    except (OSError, ValueError):  # who reads it says why
        return
    if mode and not (S_ISREG(mode) or S_ISDIR(mode)):
        raise error("this is a pipe or a device, not a file", where=str(path))


def open_file(path: str | Path) -> BufferedReader:
    """Open a file that is one: a pipe that lies in a folder of files would be waited for.

    Raises
    ------
    OSError
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise OSError(errno.EINVAL, f"this is {kind}, not a file", str(path))
    return open(path, "rb")


def as_text(content: bytes, where: str, error: type[NpusimError], rule: str = "") -> str:
    """Return bytes as text: UTF-8, with or without a mark at the begin.

    Raises
    ------
    NpusimError
        Of the type ``error``, naming the first byte that is no text.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(
            f"this is no text file: byte {reason.start} is not UTF-8", where=where, rule=rule
        ) from reason


def read_text(
    path: str | Path,
    error: type[NpusimError],
    *,
    most: int = MOST_TEXT,
    rule: str = "",
    remedy: str = UNREADABLE,
) -> str:
    """Return the text of a file; parameters and errors as in ``read_bytes`` and ``as_text``."""
    return as_text(read_bytes(path, error, most=most, remedy=remedy), str(path), error, rule)
