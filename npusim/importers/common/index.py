"""Basic indexing: slices, numbers, new axes, an ellipsis; also by TensorFlow's five masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.common.ordered import SourceNode


@dataclass(frozen=True, slots=True)
class Strided:
    """What a slice takes.

    Attributes
    ----------
    cuts : tuple of (begin, end, step)
        For every axis of the input, as ``slice.indices`` gives them.
    shape : tuple of int
        Of the result, with new axes and without those that shrink.
    """

    cuts: tuple[tuple[int, int, int], ...]
    shape: tuple[int, ...]

    def of(self, value: Array) -> Array:
        """Return the slice of a known value."""
        for axis, bounds in enumerate(self.cuts):
            value = value.take(range(*bounds), axis)
        return value.reshape(self.shape)


def strided_by(node: SourceNode, shape: tuple[int, ...], key: Sequence[Any]) -> Strided:
    """Return what an index takes: whole numbers, slices, None for a new axis, an ellipsis."""
    masks = dict.fromkeys(_MASKS, 0)
    parts: list[list[int]] = [[], [], []]
    for bit, item in enumerate(key):
        bounds = (0, 0, 1)
        if item is None:
            masks["new_axis"] |= 1 << bit
        elif item is ...:
            masks["ellipsis"] |= 1 << bit
        elif isinstance(item, slice):
            masks["begin"] |= (item.start is None) << bit
            masks["end"] |= (item.stop is None) << bit
            bounds = (item.start or 0, item.stop or 0, 1 if item.step is None else item.step)
        else:
            masks["shrink_axis"] |= 1 << bit
            bounds = (int(item), int(item) + 1, 1)
        for part, number in zip(parts, bounds, strict=True):
            part.append(int(number))
    return strided(node, shape, *map(np.array, parts), masks=masks.__getitem__)


_MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")


def strided(
    node: SourceNode, shape: tuple[int, ...], *parts: Array, masks: Callable[[str], int]
) -> Strided:
    """Return what a StridedSlice takes of a tensor.

    An ellipsis beats a new axis, which beats shrinking; the begin mask of a shrunk axis has no
    effect. Source: measured, TensorFlow 2.21.

    Parameters
    ----------
    parts : arrays
        begin, end and step.
    masks : callable
        "begin", "end", "ellipsis", "new_axis" or "shrink_axis" -> bits.
    """
    begin, end, step = ([int(n) for n in np.asarray(part).reshape(-1)] for part in parts)
    if not len(begin) == len(end) == len(step):
        raise ModelImportError(
            f"begin {begin}, end {end}, step {step}", where=node.where, rule="equal lengths"
        )
    bits = {word: masks(word) for word in _MASKS}

    def has(word: str, bit: int) -> bool:
        return bool(bits[word] >> bit & 1)

    dots = [i for i in range(len(begin)) if has("ellipsis", i)]
    if len(dots) > 1:
        raise ModelImportError("two ellipses", where=node.where, rule="at most one")
    taken = sum(not has("ellipsis", i) and not has("new_axis", i) for i in range(len(begin)))
    if taken > len(shape):
        raise ModelImportError(
            f"{taken} axes are cut of {shape}", where=node.where, rule="as many as there are"
        )
    cuts: list[tuple[int, int, int]] = []
    result: list[int] = []
    for i in range(len(begin)):
        if has("ellipsis", i):
            for size in shape[len(cuts) : len(shape) - taken]:
                cuts.append((0, size, 1))
                result.append(size)
            continue
        if has("new_axis", i):
            result.append(1)
            continue
        taken -= 1
        size = shape[len(cuts)]
        cuts.append(_bounds(node, i, size, begin[i], end[i], step[i], has))
        if not has("shrink_axis", i):
            result.append(len(range(*cuts[-1])))
    for size in shape[len(cuts) :]:
        cuts.append((0, size, 1))
        result.append(size)
    return Strided(tuple(cuts), tuple(result))


def _bounds(
    node: SourceNode, bit: int, size: int, begin: int, end: int, step: int, has: Any
) -> tuple[int, int, int]:
    if step == 0:
        raise ModelImportError("a step of 0", where=node.where, rule="not 0")
    if has("shrink_axis", bit):
        place = begin + size if begin < 0 else begin
        if not 0 <= place < size or step < 0:
            raise ModelImportError(
                f"index {begin}, step {step}", where=node.where, rule=f"an axis of {size} elements"
            )
        return place, place + 1, 1
    first = None if has("begin", bit) else begin
    last = None if has("end", bit) else end
    return slice(first, last, step).indices(size)
