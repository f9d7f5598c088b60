"""One process at a time: locks that end with the process that holds them, however it ends."""

import errno
import os
import weakref
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG
from typing import IO, Any

from npusim import words
from npusim.errors import ConfigError
from npusim.reading.files import mode_of

try:
    import fcntl
except ImportError:  # Windows: an open file cannot be removed there, other bytes can be locked
    fcntl = None  # type: ignore[assignment]

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
UNFINISHED = "npusim-unfinished.txt"
"""Stands in a folder while a set of files is written into it, and afterwards if that stopped."""


def try_lock(file: IO[Any]) -> bool | None:
    """Lock an open file until it is closed.

    Returns
    -------
    bool or None
        False when another open file holds the lock; None where the file system knows no locks.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            place = file.tell()
            file.seek(1 << 30)  # far behind the content: locked bytes cannot be read
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(place)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True


def _made_when_missing(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


class Held:
    """A file that this process alone has locked; ``free`` or the end of the process frees it.

    Parameters
    ----------
    path : path
        Made when missing, in a folder that exists.
    what : str
        What another process would do there, for the error.
    remedy : str

    Raises
    ------
    ConfigError
        When another process, or another part of this one, holds it.
    OSError
        When the file cannot be made.
    """

    def __init__(self, path: str | Path, *, what: str, remedy: str) -> None:
        self.path = Path(path)
        while True:
            # closed by free() or with this object, which may be long after this
            # unbuffered: on a full disk closing would fail once more
            file = open(self.path, "r+b", buffering=0, opener=_made_when_missing)  # noqa: SIM115
            if try_lock(file) is False:
                file.close()
                raise ConfigError(what, where=str(self.path), remedy=remedy)
            if self._is_named(file):
                break
            file.close()  # its holder has removed it since: the name is another file's
        self.file = file
        weakref.finalize(self, file.close)

    def free(self, *, remove: bool) -> None:
        """Let others have it; ``remove`` the file first."""
        if self.file.closed:
            return
        if remove and fcntl is not None:
            self.path.unlink(missing_ok=True)  # before the lock ends: nobody takes it in between
        self.file.close()
        if remove and fcntl is None:
            with suppress(OSError):  # the next one has it open
                self.path.unlink(missing_ok=True)

    def _is_named(self, file: IO[Any]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


class Unfinished:
    """Marks a folder while a set of files is written into it.

    A run that stops leaves the mark, with its id, and readers refuse the folder until a set has
    been written whole. Only one run at a time writes into a folder.

    Parameters
    ----------
    folder : path
        Made when missing.
    what : str
        The set's name, such as ``"layer dump"``.
    """

    def __init__(self, folder: str | Path, what: str) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.run = token_hex(8)
        self._held = Held(
            folder / UNFINISHED,
            what=f"another run is writing a {what} into this folder",
            remedy="wait until it has ended, or give another folder",
        )
        text = f"The {what} of run {self.run} was not finished.\n"
        try:  # over what a run that stopped has left: at no moment the mark is empty again
            self._held.file.truncate(self._held.file.write(text.encode()))
        except OSError:
            self._held.free(remove=not unfinished(folder))
            raise

    def __enter__(self) -> "Unfinished":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._held.free(remove=kind is None)

    def finish(self) -> None:
        """Say that the set is whole."""
        self._held.free(remove=True)

    def stop(self) -> None:
        """Leave the mark; a set that is finished stays so."""
        self._held.free(remove=False)


def state_lock(path: Path) -> Held:
    """Hold the lock of a state file: what two runs put into one file is nobody's state.

    Raises
    ------
    ConfigError
        When another run holds it, or the path is that of a folder, a pipe or a device.
    OSError
        When the folder cannot be written.
    """
    try:
        mode = mode_of(path)
    except ValueError as error:  # a zero byte in the name
        raise ConfigError(f"{error}", where=str(path), rule="a state is a file") from error
    if not path.name or (mode and not S_ISREG(mode)):
        raise ConfigError(
            "this is a folder, a pipe or a device",
            where=str(path),
            rule="a state is a file",
            remedy=f"give another {words.say('state')}",
        )
    return Held(
        path.with_name(f".{path.name}.lock"),
        what=f"another run uses the state {path.name}",
        remedy=f"wait until it has ended, or give another {words.say('state')}",
    )


def unfinished(folder: Path) -> str:
    """Return what is not finished in a folder; nothing when there is no mark."""
    try:
        return (folder / UNFINISHED).read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
