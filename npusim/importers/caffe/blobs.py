"""The learned blobs of layers: from the weights file, by name, or made by their fillers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from zlib import crc32

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.caffe.schema import Record
from npusim.importers.caffe.weights_file import StoredBlob, WeightsFile
from npusim.importers.common.builder import Array, check_elements
from npusim.importers.common.two_files import NO_WEIGHTS

_RANDOM = ("xavier", "msra", "gaussian", "uniform", "positive_unitball")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob that a layer has.

    Attributes
    ----------
    what : str
        Its name in messages and constants.
    filler : Record, optional
        How it is made without a file; by default all ``value``.
    learned : bool
        A network without weights gets pseudo-random numbers here when the filler says nothing.
    """

    what: str
    shape: tuple[int, ...]
    filler: Record | None = None
    value: float = 0.0
    learned: bool = False


@dataclass(slots=True)
class Blobs:
    """Where the blobs of a network come from.

    Attributes
    ----------
    file : WeightsFile or None
        None: structure only.
    missing, invented : list of str
        Layers that the file does not have; layers with pseudo-random weights.
    """

    file: WeightsFile | None
    shared: dict[str, Array] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)

    def stored(self, layer: CaffeLayer) -> tuple[StoredBlob, ...] | None:
        """Return what the file has for a layer; None when it has nothing."""
        return None if self.file is None else self.file.layers.get(layer.name)

    def of(self, layer: CaffeLayer, wanted: Sequence[Wanted]) -> list[Array]:
        """Return the blobs of a layer in float32, in the shapes wanted.

        Raises
        ------
        ModelImportError
            When the file has another number of blobs or other shapes.
        """
        for blob in wanted:
            check_elements(blob.shape, f"the {blob.what}", layer.where)
        names = [record.text("name") for record in layer.params.records("param")]
        names += [""] * (len(wanted) - len(names))
        stored = None if layer.name in self.taken else self.stored(layer)
        self.taken.add(layer.name)
        if stored is None:
            if self.file is not None and not all(n in self.shared for n in names[: len(wanted)]):
                self.missing.append(layer.name)
        elif len(stored) != len(wanted):
            raise ModelImportError(
                f"{len(stored)} blobs are stored, the layer has {len(wanted)}",
                where=layer.where,
                rule=f"blobs: {', '.join(f'{b.what} {b.shape}' for b in wanted)}",
                remedy=f"take the network and the weights of one training ({self._path()})",
            )
        found = []
        for index, blob in enumerate(wanted):
            name = names[index]
            if name in self.shared and self.shared[name].size == prod(blob.shape):
                found.append(self.shared[name].reshape(blob.shape))
                continue
            value = self._read(layer, blob, stored[index]) if stored else self._made(layer, blob)
            if name:
                self.shared[name] = value
            found.append(value)
        return found

    def _path(self) -> str:
        return str(self.file.path) if self.file else ""

    def _read(self, layer: CaffeLayer, blob: Wanted, stored: StoredBlob) -> Array:
        if not _fits(stored.dims, blob.shape):
            raise ModelImportError(
                f"the {blob.what} are {stored.dims} in the file",
                where=layer.where,
                rule=f"the layer wants {blob.shape}",
                remedy=f"take the network and the weights of one training ({self._path()})",
            )
        assert self.file is not None
        return self.file.read(stored).reshape(blob.shape)

    def _made(self, layer: CaffeLayer, blob: Wanted) -> Array:
        filler = blob.filler
        kind = filler.text("type", "constant") if filler else "constant"
        if filler is not None and filler.values and kind == "constant":
            return np.full(blob.shape, filler.real("value"), np.float32)
        if kind == "bilinear":
            return _bilinear(blob.shape)
        if kind in _RANDOM or (blob.learned and self.file is None):
            self.invented.append(layer.name)
            rng = np.random.default_rng(crc32(f"{layer.name}/{blob.what}".encode()))
            limit = np.sqrt(3.0 / max(prod(blob.shape[1:]), 1))
            return rng.uniform(-limit, limit, blob.shape).astype(np.float32)
        return np.full(blob.shape, blob.value, np.float32)

    def notes(self) -> list[str]:
        """Return what a reader must know about the weights."""
        lines = []
        if self.missing:
            lines.append(
                f"the weights file has nothing for {_listed(self.missing)}: "
                "their fillers or zeros stand in, as in Caffe"
            )
        if self.invented:
            lines.append(
                f"{NO_WEIGHTS} for {_listed(self.invented)}: seeded pseudo-random numbers; "
                "speed can be measured, results mean nothing"
            )
        return lines


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - 4} more layers" if len(unique) > 4 else ""
    return ", ".join(map(repr, unique[:4])) + more


def _fits(stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Tell whether two shapes agree up to sizes of one (files before N-d blobs have four)."""
    return [n for n in stored if n != 1] == [n for n in wanted if n != 1]


def _bilinear(shape: tuple[int, ...]) -> Array:
    """Return Caffe's bilinear filler: interpolation weights over the last two axes."""
    height, width = shape[-2:]
    factor = (width + 1) // 2
    centre = (2 * factor - 1 - factor % 2) / (2.0 * factor)
    rows = 1 - np.abs(np.arange(height) / factor - centre)
    columns = 1 - np.abs(np.arange(width) / factor - centre)
    return np.broadcast_to(rows[:, None] * columns, shape).astype(np.float32)
