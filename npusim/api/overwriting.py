"""Files that would be lost: written although they are read, or written twice."""

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


def _is_same(first: Path, second: Path) -> bool:
    """Tell whether two paths lead to one file that exists, by links of any kind."""
    return _exists(first) and _exists(second) and first.samefile(second)


def _exists(path: Path) -> bool:
    """Tell whether a path leads to something; what may not be looked at, is said by its reader."""
    return os.path.exists(path)  # Path.exists raises for names that are too long
