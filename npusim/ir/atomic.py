"""Write a file, or a set of files that belong together, completely or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from secrets import token_hex
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from npusim.ir.locks import try_lock

ENDING = ".npusim-tmp"
OLD_S = 24 * 3600.0
_LEFT_OVER = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(ENDING)}")
_swept: set[Path] = set()  # folders that this process has looked through


class FileSet:
    """Files that take their names together, when all of them are written.

    Parameters
    ----------
    index : path, optional
        The one without which the others are not a set: of an earlier set it vanishes first, and it
        takes its name last. One that is never written vanishes only.
    """

    def __init__(self, index: str | Path | None = None) -> None:
        self._index = None if index is None else Path(os.path.realpath(index))
        self._written: dict[Path, BinaryIO] = {}  # open, and so locked, until they are named

    @contextmanager
    def write(self, path: str | Path) -> Iterator[BinaryIO]:
        """Open a temporary neighbour of ``path`` for writing; a device or pipe gets its content.

        Yields
        ------
        BinaryIO
            Removed again when the block raises.

        Raises
        ------
        OSError
            When the folder is missing or not writable.
        """
        final = Path(os.path.realpath(path))
        if final.is_dir():  # now, and not when everything has been written
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
        if is_device(final):
            with TemporaryFile() as content:
                yield cast(BinaryIO, content)
                content.seek(0)
                with open(final, "wb") as device:
                    copyfileobj(content, device)
            return
        _remove_left_over(final.parent)
        temporary = final.with_name(f".{final.name}.{token_hex(4)}{ENDING}")
        file = open(temporary, "x+b")  # noqa: SIM115 (closed by finish or drop)
        try:
            try_lock(file)  # says to other processes that this one lives
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            _discard(file)
            raise
        self._written[final] = file

    def finish(self) -> None:
        """Give all files their names."""
        index = self._index
        if index is not None and (len(self._written) > 1 or index not in self._written):
            index.unlink(missing_ok=True)
        for final in sorted(self._written, key=lambda path: path == index):
            file = self._written[final]
            file.close()  # Windows renames no open file
            os.replace(file.name, final)
            del self._written[final]

    def drop(self) -> None:
        """Remove what has no name yet."""
        while self._written:
            _discard(self._written.popitem()[1])


def is_device(path: Path) -> bool:
    """Tell whether a path is a device or a pipe, which a file must not take the name of."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _discard(file: BinaryIO) -> None:
    with suppress(OSError):  # what is still in its buffer finds no room on a full disk
        file.close()
    Path(file.name).unlink(missing_ok=True)


@contextmanager
def atomic_set(index: str | Path | None = None) -> Iterator[FileSet]:
    """Yield a set of files; they get their names when the block ends well, else none is written."""
    files = FileSet(index)
    try:
        yield files
        files.finish()
    finally:
        files.drop()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of ``path`` for writing; it takes the name when all went well.

    Parameters
    ----------
    path : path
        Final name; an existing file is replaced. A link keeps pointing to its target.

    Yields
    ------
    BinaryIO
        Removed again when the block raises, so ``path`` never holds half a file.

    Raises
    ------
    OSError
        When the folder is missing or not writable.
    """
    with atomic_set() as files, files.write(path) as file:
        yield file


def _remove_left_over(folder: Path) -> None:
    """Remove temporary files that killed runs have left behind, more than a day ago.

    Files of runs that live are locked, whatever the clocks say.
    """
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):  # what cannot be looked at or removed stays: nothing depends on it
        found = [e for e in os.scandir(folder) if _LEFT_OVER.fullmatch(e.name)]
        now = _time_of(folder) if found else 0.0
        for entry in found:
            with suppress(OSError):
                if now - entry.stat(follow_symlinks=False).st_mtime > OLD_S:
                    _remove_unused(entry.path)


def _remove_unused(path: str) -> None:
    with open(path, "rb") as file:
        if try_lock(file) is False:
            return
    os.unlink(path)


def _time_of(folder: Path) -> float:
    """Return the time as the folder's file system has it; another computer's clock may differ."""
    probe = folder / f".{token_hex(4)}{ENDING}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
