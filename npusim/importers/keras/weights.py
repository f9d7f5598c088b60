"""The weights of layers, in the two layouts of Keras files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, check_elements
from npusim.plain import number_in

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises for what it cannot read."""

_OPERATIONS = ("keras.src.ops", "keras.ops")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer is.

    Attributes
    ----------
    path : tuple of str
        Names of the models around it and its own, from outside in.
    keys : tuple of str
        The same in a ``.keras`` archive: names made of classes.
    """

    path: tuple[str, ...]
    keys: tuple[str, ...]


class Weights(Protocol):
    """The weights of a file."""

    def of(self, place: Place, inner: Sequence[str] = ()) -> list[Array]:
        """Return a layer's arrays in order; ``inner`` names a part of the layer."""


def snake(word: str) -> str:
    """Return a class name as Keras writes it in archives."""
    text = re.sub(r"\W+", "", word)
    text = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", text)
    return re.sub("([a-z])([A-Z])", r"\1_\2", text).lower()


def archive_keys(layers: Sequence[Mapping[str, Any]], *, sequential: bool) -> list[str]:
    """Return the archive's names of the layers of a model, in order.

    Sequential models leave out their input; operations are no layers.
    """
    counts: dict[str, int] = {}
    keys = []
    for layer in layers:
        word = str(layer.get("class_name", ""))
        operation = str(layer.get("module") or "").startswith(_OPERATIONS)
        if operation or (sequential and word == "InputLayer"):
            keys.append("")
            continue
        name = snake(word)
        count = counts.get(name, 0)
        counts[name] = count + 1
        keys.append(f"{name}_{count}" if count else name)
    return keys


@contextmanager
def readable(place: Place, where: str) -> Iterator[None]:
    """Turn what a damaged file ends in, into an error that names the layer."""
    try:
        yield
    except UNREADABLE as error:
        raise ModelImportError(
            f"the weights of layer {'/'.join(place.path)!r} cannot be read: {error}",
            where=where,
            rule="arrays of numbers in HDF5 groups",
            remedy="the file is damaged; copy or save it again",
        ) from error


def _array(dataset: Any, what: str, where: str) -> Array:
    check_elements(dataset.shape, what, where)
    if dataset.dtype.kind not in "fiub":
        raise ModelImportError(
            f"{what} has element type {dataset.dtype}", where=where, rule="numbers"
        )
    return np.asarray(dataset[()])


@dataclass(frozen=True, slots=True)
class ArchiveWeights:
    """``layers/dense/vars/0`` ..: the layout of ``.keras``."""

    file: Any
    where: str

    def of(self, place: Place, inner: Sequence[str] = ()) -> list[Array]:
        """Return a layer's arrays in order."""
        with readable(place, self.where):
            return self._of(place, inner)

    def _of(self, place: Place, inner: Sequence[str]) -> list[Array]:
        group: Any = self.file
        for key, name in zip(place.keys, place.path, strict=True):
            group = self._child(group, key, name)
            if group is None:
                return []
        for key in (*inner, "vars"):
            if key not in group:
                return []
            group = group[key]
        numbers = {name: number for name in group if (number := number_in(name)) is not None}
        names = sorted(numbers, key=numbers.__getitem__)
        label = "/".join((*place.path, *inner))
        return [_array(group[n], f"weight {n} of layer {label!r}", self.where) for n in names]

    def _child(self, group: Any, key: str, name: str) -> Any:
        if "layers" not in group:
            return None
        layers = group["layers"]
        found = layers.get(key) if key else None
        if found is not None and _named(found) in ("", name):
            return found
        named = [layers[k] for k in layers if _named(layers[k]) == name]
        return named[0] if len(named) == 1 else found


def _named(group: Any) -> str:
    if not hasattr(group, "keys") or "vars" not in group:
        return ""
    value = group["vars"].attrs.get("name", "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class NamedWeights:
    """``dense/dense/kernel:0`` ..: the layout of ``.h5``, a list of names per outer layer."""

    file: Any
    where: str

    def of(self, place: Place, inner: Sequence[str] = ()) -> list[Array]:
        """Return a layer's arrays in order."""
        with readable(place, self.where):
            return self._of(place, inner)

    def _of(self, place: Place, inner: Sequence[str]) -> list[Array]:
        outer = place.path[0]
        if outer not in self.file:
            return []
        group = self.file[outer]
        names = list(_listed(group.attrs, "weight_names"))
        if len(place.path) > 1:
            names = self._nested(names, place)
        if inner:
            names = [n for n in names if _is_part(n, place, inner[0])]
        label = "/".join((*place.path, *inner))
        return [
            _array(group[n], f"weight {n!r} of layer {label!r}", self.where)
            for n in names
            if n in group
        ]

    def _nested(self, names: list[str], place: Place) -> list[str]:
        """Return the names of a layer inside of a model: with the fewest foreign parts in front."""
        layer, around = place.path[-1], set(place.path[:-1])
        groups: dict[tuple[int, int, tuple[str, ...]], list[str]] = {}
        for name in names:
            if not _has(name, layer):
                continue
            parts = name.split("/")
            front = tuple(parts[: parts.index(layer)]) if layer in parts else ()
            matched = sum(part in around for part in front)
            groups.setdefault((len(front) - matched, -matched, front), []).append(name)
        return groups[min(groups)] if groups else []


def _has(name: str, word: str) -> bool:
    """Tell whether a weight's name has a layer's among its parts."""
    parts = name.split("/")
    return word in parts[:-1] or (len(parts) == 1 and parts[0].startswith(f"{word}_"))


def _is_part(name: str, place: Place, word: str) -> bool:
    """Tell whether a weight's name has a part of the layer (query_dense: "query") in it."""
    stem = word.removesuffix("_dense").removesuffix("_layer")
    return any(stem in part for part in name.split("/")[:-1] if part not in place.path)


def _listed(attrs: Any, key: str) -> Iterator[str]:
    """Yield names of an attribute, which is cut into numbered ones when it is long."""
    pieces = [attrs[key]] if key in attrs else []
    while f"{key}{len(pieces)}" in attrs:
        pieces.append(attrs[f"{key}{len(pieces)}"])
    for piece in pieces:
        for name in np.asarray(piece).reshape(-1):
            yield name.decode("utf-8") if isinstance(name, bytes) else str(name)
