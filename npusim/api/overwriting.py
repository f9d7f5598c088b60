"""Files that would be lost: written although they are read, written twice, or not writable."""

import os
from collections.abc import Iterable
from pathlib import Path

from npusim.errors import ConfigError
from npusim.ir.atomic import is_device

Named = Iterable[tuple[str, Path]]


def refuse_overwriting(read: Named, written: Named) -> None:
    """Refuse to write a file or folder that is read as well, or that two outputs share.

    Devices and pipes keep nothing and may be named as often as wanted.

    Parameters
    ----------
    read, written : iterable of (str, Path)
        What the reader calls it (option or parameter), and the path.

    Raises
    ------
    ConfigError
        Naming both and the file.
    """
    sources = tuple(read)
    outputs = tuple(pair for pair in written if not (_exists(pair[1]) and is_device(pair[1])))
    for number, (name, path) in enumerate(outputs):
        for other, source in sources:
            if _is_same(path, source):
                raise ConfigError(
                    f"{path} is {other} itself",
                    where=name,
                    rule="what is read is not written over",
                    remedy="give another name",
                )
        for other, earlier in outputs[:number]:
            if _is_same(path, earlier) or os.path.realpath(path) == os.path.realpath(earlier):
                raise ConfigError(
                    f"{path} is also what {other} writes",
                    where=name,
                    rule="each output is a file of its own",
                    remedy="give another name",
                )


def refuse_unwritable(files: Named, folders: Named = ()) -> None:
    """Refuse places where nothing can be written, before hours of work end there.

    Parameters
    ----------
    files, folders : iterable of (str, Path)
        What the reader calls it, and the path; folders are made where they are missing, those of
        files are not.

    Raises
    ------
    ConfigError
        Naming the path and what is in its way.
    """
    for name, path in files:
        place = Path(os.path.realpath(path))
        if _exists(place) and is_device(place):
            continue
        if os.path.isdir(place):
            raise _in_the_way(name, path, "this is a folder", "the name of a file")
        if not os.path.isdir(place.parent):
            what = "is no folder" if _exists(place.parent) else "is missing"
            raise _in_the_way(name, path, f"{path.parent} {what}", "a file in a folder that exists")
        _refuse_closed(name, path, place.parent)
    for name, path in folders:
        place = Path(os.path.realpath(path))
        while not _exists(place) and place != place.parent:
            place = place.parent
        if not os.path.isdir(place):
            raise _in_the_way(name, path, f"{place} is no folder", "the name of a folder")
        _refuse_closed(name, path, place)


def _refuse_closed(name: str, path: Path, folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _in_the_way(name, path, f"{folder} cannot be written to", "a place of your own")


def _in_the_way(name: str, path: Path, what: str, rule: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be written: {what}", where=name, rule=rule, remedy="give another name"
    )


def _is_same(first: Path, second: Path) -> bool:
    """Tell whether two paths lead to one file that exists, by links of any kind."""
    return _exists(first) and _exists(second) and first.samefile(second)


def _exists(path: Path) -> bool:
    """Tell whether a path leads to something; what may not be looked at, is said by its reader."""
    return os.path.exists(path)  # Path.exists raises for names that are too long
