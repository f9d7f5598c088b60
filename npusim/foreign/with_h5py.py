"""HDF5 files, read once from end to end; runs in a process of its own.

A damaged file can keep the library busy for ever, or have it take memory for texts that are not
there.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from npusim.foreign.side import Refused, imported

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_ROOM = 1 << 28  # bytes that the library may take besides four times the file
_READERS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What the library raises for what it cannot read."""
_NO_MEMORY = ("memory", "allocate")  # in the words of HDF5 and numpy


def version() -> str:
    """Return the library's version."""
    return str(imported("h5py").version.hdf5_version)


def walked(path: bytes, content: bytes, most: int) -> str:
    """Read all that a file holds but for arrays that lie in it in one piece.

    What the library refuses is no matter: who reads the file meets it again and says where.

    Parameters
    ----------
    path : bytes
        Of the file, as the system has it.
    content : bytes
        The file itself where it has no path.
    most : int
        Elements of an array; larger ones are left alone.

    Returns
    -------
    str
        A link or an array that leads out of the file, which is not followed; empty without one.

    Raises
    ------
    Refused
        When an attribute takes more memory than what a file of this size can hold.
    """
    h5py = imported("h5py")
    source = io.BytesIO(content) if content else os.fsdecode(path)
    size = len(content) or os.stat(path).st_size
    with suppress(*_READERS), _limited(_ROOM + 4 * size), h5py.File(source, "r") as file:
        return _walk(h5py, file, most)
    return ""


@contextmanager
def _limited(more: int) -> Iterator[None]:
    """Let this process take so many bytes more, where the system can be told."""
    if resource is None or not os.path.exists("/proc/self/statm"):
        yield
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _walk(h5py: Any, file: Any, most: int) -> str:
    waiting, seen, leads_out = [file], set(), ""
    while waiting:
        found = waiting.pop()
        with suppress(*_READERS):
            if found in seen:
                continue
            seen.add(found)
            _read_attributes(found)
            if not isinstance(found, h5py.Group):
                leads_out = leads_out or _read(found, most)
                continue
            for name in _names(found):
                with suppress(*_READERS):
                    if isinstance(found.get(name, getlink=True), h5py.ExternalLink):
                        leads_out = leads_out or f"{found.name}/{name}"
                    else:
                        waiting.append(found[name])
    return leads_out


def _read_attributes(found: Any) -> None:
    for name in _names(found.attrs):
        try:
            found.attrs[name]
        except (MemoryError, *_READERS) as error:
            if isinstance(error, MemoryError) or any(word in str(error) for word in _NO_MEMORY):
                raise Refused(
                    f"attribute {name!r} of {found.name!r} takes more memory than the file can fill"
                ) from error


def _read(dataset: Any, most: int) -> str:
    """Read an array; return its name when it lies in other files."""
    if dataset.external or dataset.is_virtual:
        return str(dataset.name)
    if dataset.chunks and dataset.size <= most:
        with suppress(MemoryError):  # what is packed may be large
            dataset[()]
    return ""


def _names(keyed: Any) -> list[str]:
    """Return the names that a group or its attributes have; none where they cannot be read."""
    with suppress(*_READERS):
        return list(keyed)
    return []
