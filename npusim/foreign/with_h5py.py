"""HDF5 files, read once from end to end; runs in a process of its own.

A damaged file can keep the library busy for ever.
"""

import io
import os
from contextlib import suppress
from typing import Any

from npusim.foreign.side import imported


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
    """
    h5py = imported("h5py")
    source = io.BytesIO(content) if content else os.fsdecode(path)
    with suppress(Exception), h5py.File(source, "r") as file:
        return _walk(h5py, file, most)
    return ""


def _walk(h5py: Any, file: Any, most: int) -> str:
    waiting, seen, leads_out = [file], set(), ""
    while waiting:
        found = waiting.pop()
        with suppress(Exception):
            if found in seen:
                continue
            seen.add(found)
            for name in _names(found.attrs):
                with suppress(Exception):
                    found.attrs[name]
            if not isinstance(found, h5py.Group):
                leads_out = leads_out or _read(found, most)
                continue
            for name in _names(found):
                with suppress(Exception):
                    if isinstance(found.get(name, getlink=True), h5py.ExternalLink):
                        leads_out = leads_out or f"{found.name}/{name}"
                    else:
                        waiting.append(found[name])
    return leads_out


def _read(dataset: Any, most: int) -> str:
    """Read an array; return its name when it lies in other files."""
    if dataset.external or dataset.is_virtual:
        return str(dataset.name)
    if dataset.chunks and dataset.size <= most:
        dataset[()]
    return ""


def _names(keyed: Any) -> list[str]:
    """Return the names that a group or its attributes have; none where they cannot be read."""
    with suppress(Exception):
        return list(keyed)
    return []
