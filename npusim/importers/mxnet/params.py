"""MXNet parameter files: a list of arrays and a list of names."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, check_elements, refuse_absent
from npusim.importers.common.stretch import read_numbers
from npusim.importers.common.two_files import Fingerprint

MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""Marks of an array; an older array begins with its number of axes."""

MOST_AXES = 16
MOST_NAME_BYTES = 1 << 16
BFLOAT16 = 12
TYPES = ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?", "i2", "u2", "u4", "u8", "u2")
"""Element types by their number; the last is bfloat16, stored as its bits."""

DENSE, ROW_SPARSE = 0, 1


@dataclass(frozen=True, slots=True)
class Block:
    """Where numbers lie in the file."""

    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def bytes(self) -> int:
        """Return how many bytes they take."""
        return prod(self.shape) * np.dtype(TYPES[self.type]).itemsize


@dataclass(frozen=True, slots=True)
class Entry:
    """One array of the file.

    Attributes
    ----------
    rows : Block or None
        Of an array that is kept by rows: their numbers; ``data`` holds these rows only.
    """

    shape: tuple[int, ...]
    data: Block
    rows: Block | None = None


@dataclass(slots=True)
class Params:
    """The arrays of a parameter file; their numbers are read when they are asked for.

    Attributes
    ----------
    used : set of str
        Names that were asked for.
    """

    path: Path
    fingerprint: Fingerprint
    entries: dict[str, Entry]
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is an array of a name."""
        return name in self.entries

    def value(self, name: str) -> Array:
        """Return an array; real numbers as float32, as the framework binds them."""
        entry = self.entries[name]
        self.used.add(name)
        data = self._numbers(entry.data)
        if entry.rows is None:
            return data
        rows = self._numbers(entry.rows).astype(np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < entry.shape[0]):
            raise ModelImportError(
                f"array {name!r} has rows up to {rows.max()}",
                where=str(self.path),
                rule=f"its shape is {entry.shape}",
            )
        full = np.zeros(entry.shape, data.dtype)
        full[rows] = data
        return full

    def _numbers(self, block: Block) -> Array:
        kind = np.dtype(TYPES[block.type]).newbyteorder("<")
        found = read_numbers(self.path, block.offset, prod(block.shape), kind)
        found = found.reshape(block.shape)
        if block.type == BFLOAT16:
            return (found.astype(np.uint32) << 16).view(np.float32)
        if found.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return found.astype(np.float32, copy=False)
        return found

    def unused(self) -> list[str]:
        """Return the names that nothing asked for."""
        return [name for name in self.entries if name not in self.used]


class _Reader:
    """Reads numbers and refuses to read past the end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.where = file, str(path)
        self.size = file.seek(0, 2)
        file.seek(0)

    def number(self, code: str, what: str) -> int:
        """Return one whole number."""
        return self.numbers(code, 1, what)[0]

    def numbers(self, code: str, count: int, what: str) -> tuple[int, ...]:
        """Return whole numbers in a row."""
        layout = f"<{count}{code}"
        return struct.unpack(layout, self.bytes(struct.calcsize(layout), what))

    def bytes(self, count: int, what: str) -> bytes:
        """Return bytes of the file."""
        self.need(count, what)
        return self.file.read(count)

    def need(self, count: int, what: str) -> None:
        """Refuse a file that has fewer bytes left."""
        left = self.size - self.file.tell()
        if count > left:
            raise ModelImportError(
                f"the file ends inside {what}: {count} bytes are needed, {left} are left",
                where=self.where,
                rule="a list of arrays, then their names",
                remedy="the file is cut off; copy it again",
            )

    def wrong(self, what: str, rule: str) -> ModelImportError:
        """Return an error about what stands in the file."""
        return ModelImportError(
            what, where=self.where, rule=rule, remedy="save the parameters again"
        )


def read_params(path: Path) -> Params:
    """Read the list of a parameter file, without the numbers.

    Raises
    ------
    ModelImportError
        When there is no file, it is no parameter file, ends too early or holds absurd sizes.
    """
    refuse_absent(path, "weights")
    try:
        with path.open("rb") as file:
            return Params(path, Fingerprint(path), _entries(_Reader(file, path)))
    except OSError as error:
        raise ModelImportError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _entries(reader: _Reader) -> dict[str, Entry]:
    magic, _, count = reader.numbers("Q", 3, "the head")
    if magic != MAGIC:
        raise reader.wrong(
            f"this is no MXNet parameter file (it begins with {magic:#x})",
            f"it begins with {MAGIC:#x}",
        )
    reader.need(4 * count, f"the list of {count} arrays")
    arrays = [_array(reader, f"array {index + 1} of {count}") for index in range(count)]
    names = list(_names(reader))
    if len(names) != len(arrays):
        raise reader.wrong(f"{len(arrays)} arrays and {len(names)} names", "a name for each array")
    entries: dict[str, Entry] = {}
    for name, entry in zip(names, arrays, strict=True):
        kind, colon, rest = name.partition(":")
        key = rest if colon and kind in ("arg", "aux") else name
        if key in entries:
            raise reader.wrong(f"two arrays are called {key!r}", "a name for each array")
        if entry is not None:
            entries[key] = entry
    return entries


def _names(reader: _Reader) -> Iterator[str]:
    count = reader.number("Q", "the number of names")
    reader.need(8 * count, f"the list of {count} names")
    for index in range(count):
        what = f"name {index + 1} of {count}"
        length = reader.number("Q", what)
        if length > MOST_NAME_BYTES:
            raise reader.wrong(f"{what} has {length} bytes", f"at most {MOST_NAME_BYTES}")
        yield reader.bytes(length, what).decode("utf-8", "backslashreplace")


def _array(reader: _Reader, what: str) -> Entry | None:
    """Return an array; None for one that was never filled."""
    magic, storage, kept = reader.number("I", what), DENSE, None
    if magic in (V2, V3):
        storage = reader.number("i", what)
        if storage not in (DENSE, ROW_SPARSE):
            raise reader.wrong(
                f"{what} is stored in form {storage} (csr?)", "dense arrays, or row_sparse ones"
            )
        kept = _shape(reader, "i", "q", what) if storage == ROW_SPARSE else None
        shape = _shape(reader, "i", "q", what)
        empty = not shape and magic == V2
    elif magic == V1:
        shape = _shape(reader, "I", "q", what)
        empty = not shape
    else:
        shape = _axes(reader, magic, "I", what)
        empty = not shape
    if empty:
        return None
    reader.numbers("i", 2, what)  # the device
    kind = _kind(reader, what)
    if kept is None:
        return Entry(shape, _block(reader, shape, kind, what))
    row_kind = _kind(reader, what)
    row_shape = _shape(reader, "i", "q", what)
    if row_shape != kept[:1] or kept[1:] != shape[1:]:
        raise reader.wrong(f"{what} keeps rows {kept} of {shape}", "some rows of the array")
    data = _block(reader, kept, kind, what)
    return Entry(shape, data, _block(reader, row_shape, row_kind, what))


def _shape(reader: _Reader, count_code: str, size_code: str, what: str) -> tuple[int, ...]:
    return _axes(reader, reader.number(count_code, what), size_code, what)


def _axes(reader: _Reader, count: int, code: str, what: str) -> tuple[int, ...]:
    if not 0 <= count <= MOST_AXES:
        raise reader.wrong(f"{what} has {count} axes", f"at most {MOST_AXES}")
    shape = reader.numbers(code, count, what)
    check_elements(shape, what, reader.where)
    return shape


def _kind(reader: _Reader, what: str) -> int:
    kind = reader.number("i", what)
    if not 0 <= kind < len(TYPES):
        raise reader.wrong(f"{what} has element type {kind}", f"types 0 to {len(TYPES) - 1}")
    return kind


def _block(reader: _Reader, shape: tuple[int, ...], kind: int, what: str) -> Block:
    block = Block(shape, kind, reader.file.tell())
    reader.need(block.bytes, f"the numbers of {what}")
    reader.file.seek(block.bytes, 1)
    return block
