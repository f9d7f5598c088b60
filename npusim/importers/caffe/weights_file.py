"""Binary Caffe files (``.caffemodel``): the blobs of every layer, read where they stand.

Only the structure is walked through; numbers are read from the file when a layer asks for them, so
that a model takes no more memory than its weights. Field numbers are facts of the file format.
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from npusim.errors import UNREADABLE, ModelImportError
from npusim.importers.common.builder import Array, refuse_absent
from npusim.importers.common.stretch import FileBytes, read_numbers
from npusim.importers.common.two_files import Fingerprint
from npusim.importers.common.wire import BYTES, FIXED32, FIXED64, VARINT, Wire

_NET_V1_LAYER, _NET_LAYER = 2, 100
_LAYER_NAME, _LAYER_BLOBS = 1, 7
_V1_V0_LAYER, _V1_NAME, _V1_BLOBS = 1, 4, 6
_V0_NAME, _V0_BLOBS = 1, 50
_BLOB_LEGACY = (1, 2, 3, 4)
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE, _BLOB_RAW_TYPE, _BLOB_RAW = 5, 7, 8, 10, 12
_SHAPE_DIM = 1
_RAW_TYPES = {0: np.float64, 1: np.float32, 2: np.float16}  # of NVIDIA's branch
_LONGEST_SHAPE = 32

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob of the file.

    Attributes
    ----------
    dims : tuple of int
    legacy : bool
        ``dims`` are num, channels, height and width, which may have leading ones too many.
    dtype : numpy dtype
    spans : tuple of (begin, end)
        Where the numbers stand in the file.
    step : int
        0: the numbers follow each other; else a tag stands in front of each.
    """

    dims: tuple[int, ...]
    legacy: bool
    dtype: np.dtype
    spans: tuple[Span, ...]
    step: int = 0

    @property
    def elements(self) -> int:
        """Return how many numbers there are."""
        total = sum(end - begin for begin, end in self.spans)
        return total // (self.step or self.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The blobs of a file by layer, in the order of the file.

    Attributes
    ----------
    layers : dict
        Layer name -> blobs; the last layer of a name counts.
    """

    path: Path
    fingerprint: Fingerprint
    layers: dict[str, tuple[StoredBlob, ...]]

    def read(self, blob: StoredBlob) -> Array:
        """Return the numbers of a blob as float32, in one axis."""
        parts = []
        for begin, end in blob.spans:
            if blob.step:
                tagged = read_numbers(self.path, begin, end - begin, np.dtype(np.uint8))
                pieces = tagged.reshape(-1, blob.step)
                parts.append(np.asarray(pieces[:, 1:], order="C").view(blob.dtype)[:, 0])
            else:
                count = (end - begin) // blob.dtype.itemsize
                parts.append(read_numbers(self.path, begin, count, blob.dtype))
        whole = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, blob.dtype), *parts])
        return whole.astype(np.float32, copy=False)


def read_weights(path: Path) -> WeightsFile:
    """Return what a ``.caffemodel`` holds.

    Raises
    ------
    ModelImportError
        When it cannot be opened, is truncated or is something else.
    """
    where = str(path)
    refuse_absent(path, "weights")
    try:
        fingerprint, data = Fingerprint(path), FileBytes(path)
    except OSError as error:
        raise ModelImportError(
            f"cannot be read: {error.strerror}", where=where, remedy=UNREADABLE
        ) from error
    if not len(data):
        raise ModelImportError("the file is empty", where=where, rule="a .caffemodel")
    layers = _Walker(data, where, "a binary .caffemodel").layers()
    return WeightsFile(path, fingerprint, layers)


@dataclass(slots=True)
class _Walker(Wire):
    found: dict[str, tuple[StoredBlob, ...]] = field(default_factory=dict)

    def layers(self) -> dict[str, tuple[StoredBlob, ...]]:
        size = len(self.data)
        head = self.data.stretch(0, min(8, size))
        if head in (b"version ", b"\x89HDF\r\n\x1a\n"):
            what = "a pointer of Git LFS" if head[:1] == b"v" else "an HDF5 file"
            raise ModelImportError(
                f"this is {what}, not the weights",
                where=self.where,
                rule="a binary .caffemodel",
                remedy="git lfs pull" if head[:1] == b"v" else "save it as .caffemodel",
            )
        for number, kind, begin, end in self.fields(0, size):
            if kind != BYTES or number not in (_NET_LAYER, _NET_V1_LAYER):
                continue
            if number == _NET_LAYER:
                self._layer(begin, end, _LAYER_NAME, _LAYER_BLOBS)
            else:
                self._layer(begin, end, _V1_NAME, _V1_BLOBS)
        if not self.found:
            raise ModelImportError(
                "the file holds no layers",
                where=self.where,
                rule="a .caffemodel with the blobs of layers",
                remedy="the file is cut off or no .caffemodel; copy it again",
            )
        return self.found

    def _layer(self, begin: int, end: int, name_field: int, blob_field: int) -> None:
        name, blobs = "", []
        for number, kind, inner, stop in self.fields(begin, end):
            if kind != BYTES:
                continue
            if number == name_field:
                name = self.data.stretch(inner, stop).decode("utf-8", "replace")
            elif number == blob_field:
                blobs.append(self._blob(inner, stop))
            elif number == _V1_V0_LAYER and name_field == _V1_NAME:
                self._layer(inner, stop, _V0_NAME, _V0_BLOBS)
        if name and (blobs or name not in self.found):
            self.found[name] = tuple(blobs)

    def _blob(self, begin: int, end: int) -> StoredBlob:
        legacy: dict[int, int] = {}
        dims: tuple[int, ...] | None = None
        spans: dict[int, list[Span]] = {}
        raw_type, step = 1, 0
        for number, kind, inner, stop in self.fields(begin, end):
            if number in _BLOB_LEGACY and kind == VARINT:
                legacy[number] = inner
            elif number == _BLOB_RAW_TYPE and kind == VARINT:
                raw_type = inner
            elif number == _BLOB_SHAPE and kind == BYTES:
                dims = self._dims(inner, stop)
            elif number in (_BLOB_DATA, _BLOB_DOUBLE, _BLOB_RAW) and kind == BYTES:
                spans.setdefault(number, []).append((inner, stop))
            elif number in (_BLOB_DATA, _BLOB_DOUBLE) and kind in (FIXED32, FIXED64):
                step = 1 + stop - inner
                pieces = spans.setdefault(number, [])
                if pieces and pieces[-1][1] == inner - 1:
                    pieces[-1] = (pieces[-1][0], stop)
                else:
                    pieces.append((inner - 1, stop))
        wanted = tuple(legacy.get(number, 0) for number in _BLOB_LEGACY)
        dtypes = {_BLOB_DATA: np.float32, _BLOB_DOUBLE: np.float64}
        dtypes[_BLOB_RAW] = _RAW_TYPES.get(raw_type, np.float32)
        number = next((n for n in (_BLOB_DATA, _BLOB_DOUBLE, _BLOB_RAW) if n in spans), _BLOB_DATA)
        dtype = np.dtype(dtypes[number]).newbyteorder("<")
        places = tuple(spans.get(number, ()))
        found = StoredBlob(wanted if legacy else dims or (), bool(legacy), dtype, places, step)
        if any((stop - inner) % (step or dtype.itemsize) for inner, stop in places):
            raise self.damaged(begin, "a blob has a fraction of a number")
        if prod(found.dims) != found.elements:
            raise ModelImportError(
                f"a blob of shape {found.dims} has {found.elements} numbers",
                where=f"{self.where}: byte {begin}",
                rule="as many numbers as its sizes say",
                remedy="the file is damaged; copy it again",
            )
        return found

    def _dims(self, begin: int, end: int) -> tuple[int, ...]:
        dims: list[int] = []
        for number, kind, inner, stop in self.fields(begin, end):
            if number == _SHAPE_DIM and kind == VARINT:
                dims.append(inner)
            elif number == _SHAPE_DIM and kind == BYTES:
                position = inner
                while position < stop:
                    value, position = self.varint(position, stop)
                    dims.append(value)
            if len(dims) > _LONGEST_SHAPE:
                raise self.damaged(begin, f"a shape has more than {_LONGEST_SHAPE} sizes")
        return tuple(dims)
