"""Files of layer dumps: which tools write which names, and reading their values.

Names (docs/rknn-compat.md sections 11 and 12)
----------------------------------------------
``NodeID_<uid>_<Layer>_w_<W>_h_<H>_d_<C>_batchID_<b>_out_<k>.txt``
    npusim and the 1.7 era driver; npusim adds ``nn_layer_dump_index.csv``, and ends in ``.npy``
    unless the driver's text is asked for.
``<Layer>_<counter>_<W>_<H>_<C>_<N>.txt``
    Older drivers.
``operation_<counter>_<Layer>.txt``, ``layerOut_<b>_uid_<uid>_NodeID_<n>_<Layer>.txt``
    Current drivers, both with the same values, in a folder ``LayerDump``. Source: measured, the
    vendor's simulator of this chip writes them.
``<layer>_<uid>_out<k>_nhwc_<N>_<H>_<W>_<C>.tensor`` or ``.npy``
    Snapshots of accuracy_analysis.
``<id>_<Layer>_<k>_<bytes>.bin``
    Pre-compiled graphs; the content's layout is not known.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.dump import HOST_FORM, INDEX_NAME
from npusim.analysis.names import origin_from
from npusim.analysis.snapshot import ENTIRE, FILE_PATTERN, FOLDERS
from npusim.errors import InputError
from npusim.ir.locks import UNFINISHED, unfinished
from npusim.ir.tensor import within_limits
from npusim.plain import from_cell, number_in
from npusim.reading import arrays
from npusim.reading.files import open_file, read_bytes
from npusim.reading.tables import read_table

DRIVER = re.compile(
    r"NodeID_(?P<uid>\d+)_(?P<kind>.+)_w_(?P<w>\d+)_h_(?P<h>\d+)_d_(?P<d>\d+)"
    r"_batchID_(?P<batch>\d+)_out_(?P<output>\d+)\.(?:txt|npy)"
)
OLD_DRIVER = re.compile(
    r"(?P<kind>[A-Za-z].*)_(?P<uid>\d+)_(?P<w>\d+)_(?P<h>\d+)_(?P<d>\d+)_(?P<n>\d+)\.txt"
)
NEW_DRIVER = re.compile(r"operation_(?P<uid>\d+)_(?P<kind>.+)\.txt")
NEW_FOLDER = "LayerDump"
BINARY = re.compile(r"\d+_.+_\d+_\d+\.bin")
LONGEST_VALUE = 64  # characters of a number and what stands behind it
NHWC, NCHW, MEMORY = "NHWC", "NCHW", "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFile:
    """One file of a dump and what its name or the index says.

    Attributes
    ----------
    layer : str
        ``<name>_<uid>``; empty when only the driver's class is known.
    kind : str
        The driver's layer class; empty in snapshots.
    uid : int
        The writing tool's number of the layer.
    shape : tuple of int
        In the file's own order; of a driver's file the sizes (d, h, w), or only the number of
        values when the name has no sizes.
    order : str
        ``"NHWC"``, ``"NCHW"``, ``"memory"``; empty when the name does not say.
    sha256 : str
        Digest of the content; empty where no index names it.
    """

    path: Path
    layer: str = ""
    kind: str = ""
    uid: int
    output: int = 0
    shape: tuple[int, ...]
    order: str = ""
    origin: tuple[str, ...] = ()
    tensor: str = ""
    sha256: str = ""

    @property
    def elements(self) -> int:
        """Return the number of values that the name promises."""
        return prod(self.shape)

    def values(self) -> NDArray[np.float32]:
        """Return the values, flat, in the file's order.

        Raises
        ------
        InputError
            When the file is damaged or holds another number of values.
        """
        try:
            self._check_digest()
            if self.path.suffix == ".npy":
                found = arrays.read_npy(self.path, 8 * self.elements).reshape(-1)
            else:
                open_file(self.path).close()
                _check_length(self.path, self.elements)
                with warnings.catch_warnings():  # numpy only warns of text that is no number
                    warnings.simplefilter("error")
                    found = np.fromfile(self.path, dtype=np.float64, sep=" ")
        except (*arrays.DAMAGE, DeprecationWarning) as error:
            raise InputError(
                f"the dump cannot be read: {error}",
                where=str(self.path),
                rule="one number a line, or a numeric npy array",
                remedy="dump it again",
            ) from error
        if found.size != self.elements:
            raise InputError(
                f"{found.size} values",
                where=str(self.path),
                rule=f"its name says {'x'.join(map(str, self.shape))}, {self.elements} values",
                remedy="dump it again; a run that is stopped leaves half a file",
            )
        real: NDArray[np.float32] = found.astype(np.float32)
        return real

    def _check_digest(self) -> None:
        if not self.sha256:
            return
        with open_file(self.path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise InputError(
                "this is not the file that the dump's index names",
                where=str(self.path),
                rule=f"{INDEX_NAME} and the files beside it come from one run",
                remedy="dump again, or remove the index to go by the file names",
            )


def dump_files(folder: Path) -> tuple[DumpFile, ...]:
    """Return the files of the first batch item of a dump.

    A snapshot's root stands for its ``entire_qnt``, the folder in which a driver ran for its
    ``LayerDump``.

    Raises
    ------
    InputError
        When the folder is missing or holds no dump.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder", where=str(folder), rule="a folder of dumps")
    for place in (folder, folder.parent if folder.name in FOLDERS else folder):
        if said := unfinished(place):
            raise InputError(
                f"what lies here is no whole dump: {said.rstrip('.')}",
                where=str(place),
                rule="a dump is complete, or it is not there",
                remedy=f"dump again, or remove {UNFINISHED} to read what there is",
            )
    if (folder / INDEX_NAME).is_file():
        return tuple(_indexed(folder))
    for inner in (ENTIRE, NEW_FOLDER):
        if (folder / inner).is_dir():
            folder = folder / inner
            break
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    found = [file for name in names if (file := _named(folder / name)) is not None]
    if not found:
        binary = any(BINARY.fullmatch(name) for name in names)
        raise InputError(
            "these are raw dumps of a pre-compiled graph"
            if binary
            else f"none of its {len(names)} files is a layer dump",
            where=str(folder),
            rule="dumps of NN_LAYER_DUMP (NodeID_..._out_k.txt or .npy) or a snapshot of "
            "accuracy_analysis (..._nhwc_....tensor or .npy)",
            remedy="build without pre_compile and dump again"
            if binary
            else "give the folder that holds the files themselves",
        )
    return tuple(sorted(found, key=lambda file: (file.uid, file.output)))


def _indexed(folder: Path) -> Iterator[DumpFile]:
    index = folder / INDEX_NAME
    for number, row in read_table(index, InputError):
        try:
            if int(row["batch"]) or row.get("form") == HOST_FORM:
                continue  # what the CPU makes has no counterpart in a run of the NPU
            match = DRIVER.fullmatch(row["file"])
            if match is None:
                raise ValueError(f"file name {row['file']!r}")
            yield DumpFile(
                path=folder / row["file"],
                layer=f"{from_cell(row['layer'])}_{row['uid']}",
                kind=match["kind"],
                uid=int(row["uid"]),
                output=int(match["output"]),
                shape=_sizes(row["shape"].split("x")),
                order=row["order"],
                origin=origin_from(from_cell(row["origin"])),
                tensor=from_cell(row["tensor"]),
                sha256=row.get("sha256") or "",  # not in dumps of development versions
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"line {number} is damaged: {error}",
                where=str(index),
                remedy="dump again, or remove the index to go by the file names",
            ) from error


def _sizes(words: Iterable[str]) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in words if n)
    if not within_limits(sizes):
        raise ValueError(f"the sizes {sizes}")
    return sizes


def _check_length(path: Path, elements: int) -> None:
    """Refuse a text that is longer than its values can be, before it is read."""
    size = path.stat().st_size
    if size > LONGEST_VALUE * (elements + 1):
        raise ValueError(f"{size} bytes for {elements} values")


def _named(path: Path) -> DumpFile | None:
    if match := FILE_PATTERN.fullmatch(path.name):
        sizes = tuple(map(int, match["sizes"].split("_")))
        return DumpFile(
            path=path,
            layer=match["layer"],
            uid=number_in(match["layer"].rpartition("_")[2]) or 0,
            output=int(match["output"]),
            shape=sizes,
            order=NHWC if len(sizes) == 4 else MEMORY,
        )
    if match := NEW_DRIVER.fullmatch(path.name):
        count = read_bytes(path, InputError).count(b"\n")
        return DumpFile(path=path, kind=match["kind"], uid=int(match["uid"]), shape=(count,))
    match = DRIVER.fullmatch(path.name) or OLD_DRIVER.fullmatch(path.name)
    if match is None or int(match.groupdict().get("batch") or 0):
        return None
    return DumpFile(
        path=path,
        kind=match["kind"],
        uid=int(match["uid"]),
        output=int(match.groupdict().get("output") or 0),
        shape=tuple(int(match[name]) for name in "dhw"),
    )
