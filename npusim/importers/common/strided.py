"""TensorFlow's strided slice: what its masks mean."""

from collections.abc import Mapping
from dataclasses import dataclass

from npusim.errors import ModelImportError
from npusim.ir.tensor import Shape

SHAPING = ("Ellipsis", "NewAxis", "ShrinkAxis")
MASKS = ("Begin", "End", *SHAPING)


@dataclass(frozen=True, slots=True)
class Strided:
    """Begin, end and step of every entry; with ``offset`` an end counts from its begin."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    step: tuple[int, ...]
    offset: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """What is taken.

    Attributes
    ----------
    bounds : tuple of (int, int, int)
        Begin, end and step of ``range`` for every axis of the operand.
    whole, shape : tuple of int
        Shape of the cut with all axes, and with those removed and added that the masks name.
    """

    bounds: tuple[tuple[int, int, int], ...]
    whole: Shape
    shape: Shape


def index_of(shape: Shape, entries: Strided, masks: Mapping[str, int]) -> Index:
    """Return what a strided slice takes from an operand of a shape.

    An ellipsis beats a new axis, which beats a removed one; the begin mask of a removed axis has no
    effect. Source: run on TensorFlow.

    Parameters
    ----------
    masks : mapping
        Word of ``MASKS`` -> bits, one per entry.

    Raises
    ------
    ModelImportError
        For entries that do not fit the operand.
    """
    begin, end, step = entries.begin, entries.end, entries.step
    if not len(begin) == len(end) == len(step):
        raise ModelImportError(f"begin {begin}, end {end} and step {step} differ in length")
    if lost := [word for word in SHAPING if masks[word] >> len(begin)]:
        # TensorFlow does not look at these bits, LiteRT takes them for axes
        raise ModelImportError(
            f"mask {lost[0]} is {masks[lost[0]]:#b}", rule=f"a bit for each of {len(begin)} entries"
        )
    flags = [{word: bool(masks[word] >> i & 1) for word in MASKS} for i in range(len(begin))]
    if sum(flag["Ellipsis"] for flag in flags) > 1:
        raise ModelImportError("more than one ellipsis")
    taken = sum(not (flag["Ellipsis"] or flag["NewAxis"]) for flag in flags)
    rest = len(shape) - taken
    if rest < 0:
        raise ModelImportError(f"{taken} entries for {len(shape)} axes", rule="at most one each")
    bounds: list[tuple[int, int, int]] = []
    result: list[int] = []
    for i, flag in enumerate(flags):
        if flag["Ellipsis"]:
            sizes = shape[len(bounds) : len(bounds) + rest]
            bounds += [(0, n, 1) for n in sizes]
            result += sizes
        elif flag["NewAxis"]:
            result.append(1)
        else:
            size = shape[len(bounds)]
            one = (begin[i], end[i], step[i])
            if entries.offset:
                one = _counted(one, size)
            bounds.append(_bounds(one, size, flag))
            if not flag["ShrinkAxis"]:
                result.append(len(range(*bounds[-1])))
    tail = shape[len(bounds) :]
    bounds += [(0, n, 1) for n in tail]
    result += tail
    return Index(tuple(bounds), tuple(len(range(*b)) for b in bounds), tuple(result))


def _counted(entry: tuple[int, int, int], size: int) -> tuple[int, int, int]:
    """Return begin, end and step where the end was told from the begin."""
    begin, count, step = entry
    start = begin + size if begin < 0 else begin
    if not 0 <= start <= start + count <= size:
        # LiteRT does not cut such an end off: it reads beside the tensor
        raise ModelImportError(
            f"{count} elements from {begin} on", rule=f"a part of the {size} of the axis"
        )
    return start, start + count, step


def _bounds(
    entry: tuple[int, int, int], size: int, flag: Mapping[str, bool]
) -> tuple[int, int, int]:
    begin, end, step = entry
    if flag["ShrinkAxis"]:
        start = begin + size if begin < 0 else begin
        if not 0 <= start < size:
            raise ModelImportError(f"index {begin} of {size} elements")
        return start, start + 1, 1
    if step == 0:
        raise ModelImportError("step 0")
    return slice(None if flag["Begin"] else begin, None if flag["End"] else end, step).indices(size)
