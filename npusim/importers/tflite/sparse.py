"""Constant tensors that are stored sparsely: where their values belong."""

from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.common.made import PER_STORED, check_made

_REMEDY = "the file is damaged; convert the model again"


def dense(values: Array, shape: tuple[int, ...], proto: Any) -> Array:
    """Return a sparse tensor with all its elements.

    Parameters
    ----------
    values : array
        One-dimensional, as they lie in the buffer.
    shape : tuple of int
    proto : SparsityParameters
        Levels of the tree, outermost first: ``traversal_order`` says which axis a level counts in
        (those from the number of axes on count inside of a block, of the axis that ``block_map``
        names), ``dim_metadata`` whether all of its positions are stored or a list of them.

    Raises
    ------
    ModelImportError
        When levels, positions or the number of values do not fit the shape.
    """
    rank = len(shape)
    order = [int(n) for n in _list(proto.TraversalOrderAsNumpy())]
    blocked = [int(n) for n in _list(proto.BlockMapAsNumpy())]
    count = rank + len(blocked)
    if sorted(order) != list(range(count)) or proto.DimMetadataLength() != count:
        raise ModelImportError(
            f"sparse levels {order} of {rank} axes with blocks of {blocked}",
            rule="every axis and every block is one level",
            remedy=_REMEDY,
        )
    check_made(shape, "a sparse tensor", "", PER_STORED * len(values))
    places = np.zeros((1, count), np.int64)
    sizes = [0] * count
    levels = [proto.DimMetadata(level) for level in range(count)]
    listed = (_list(_vector(level, "ArraySegments")) for level in levels if level.Format())
    most = max(len(values), *(len(segments) for segments in listed), 1)
    for level, axis in zip(levels, order, strict=True):
        places, sizes[axis] = _level(places, axis, level, most)
    index, spans = _indices(places, shape, blocked, sizes)
    inside = all(np.all((i >= 0) & (i < n)) for i, n in zip(index, shape, strict=True))
    if len(places) != len(values) or not inside or spans != list(shape):
        raise ModelImportError(
            f"{len(values)} sparse values for {len(places)} places in {shape}", remedy=_REMEDY
        )
    whole = np.zeros(shape, values.dtype)
    whole[tuple(index)] = values
    return whole


def _list(value: Any) -> Array:
    return value if isinstance(value, np.ndarray) else np.zeros(0, np.int64)


def _level(places: Array, axis: int, level: Any, limit: int) -> tuple[Array, int]:
    """Return the places one level deeper, and the level's size (0 where it is not told).

    ``limit`` is the most places that a value or a segment of the file may be for.
    """
    if level.Format() == 0:  # all positions
        size = int(level.DenseSize())
        if size < 1 or len(places) * size > limit:
            raise ModelImportError(f"a level of {size} positions", remedy=_REMEDY)
        deeper = np.repeat(places, size, axis=0)
        deeper[:, axis] = np.tile(np.arange(size), len(places))
        return deeper, size
    segments, indices = (
        _list(_vector(level, word)).astype(np.int64) for word in ("ArraySegments", "ArrayIndices")
    )
    if len(segments) != len(places) + 1 or np.any(np.diff(segments) < 0) or segments[0]:
        raise ModelImportError(f"{len(segments)} segments of {len(places)} rows", remedy=_REMEDY)
    if segments[-1] != len(indices):
        raise ModelImportError(f"{len(indices)} positions in segments", remedy=_REMEDY)
    deeper = np.repeat(places, np.diff(segments), axis=0)
    deeper[:, axis] = indices
    return deeper, 0


def _vector(level: Any, word: str) -> Any:
    """Return the numbers of a vector that is a union of three widths."""
    import tflite

    table = getattr(level, word)()
    kinds = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}
    kind = kinds.get(getattr(level, f"{word}Type")())
    if table is None or kind is None:
        return None
    vector = kind()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy()


def _indices(
    places: Array, shape: tuple[int, ...], blocked: list[int], sizes: list[int]
) -> tuple[list[Array], list[int]]:
    """Return the index in every axis, and the size that the levels add up to."""
    rank = len(shape)
    index = [places[:, axis] for axis in range(rank)]
    spans = [sizes[axis] or shape[axis] for axis in range(rank)]
    for number, axis in enumerate(blocked):
        if not 0 <= axis < rank:
            raise ModelImportError(f"a block of axis {axis} of {rank}", remedy=_REMEDY)
        size = sizes[rank + number]
        if not size:
            raise ModelImportError(f"a block of axis {axis} without a size", remedy=_REMEDY)
        index[axis] = index[axis] * size + places[:, rank + number]
        spans[axis] = sizes[axis] * size if sizes[axis] else shape[axis]
    return index, spans
