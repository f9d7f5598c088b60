"""The special numbers of MXNet's Reshape."""

from collections.abc import Sequence
from math import prod

from npusim.errors import ModelImportError

_KEEP, _REST, _COPY_REST, _MERGE, _SPLIT = 0, -1, -2, -3, -4


def reshaped(
    shape: Sequence[int], codes: Sequence[int], where: str, *, reverse: bool = False
) -> tuple[int, ...]:
    """Return the shape that a Reshape gives.

    0 keeps an axis, -1 takes what is left, -2 copies the rest, -3 merges two axes, -4 splits one
    into the two numbers behind it. ``reverse`` works from the right.

    Raises
    ------
    ModelImportError
        When the codes do not fit the shape.
    """
    axes = list(shape[::-1] if reverse else shape)
    words = _turned(codes) if reverse else list(codes)

    def wrong(rule: str) -> ModelImportError:
        return ModelImportError(
            f"shape {tuple(codes)} of input {tuple(shape)}", where=where, rule=rule
        )

    out: list[int] = []
    place = index = 0
    while index < len(words):
        code = words[index]
        index += 1
        if code in (_KEEP, _MERGE, _SPLIT) and place + (code == _MERGE) >= len(axes):
            raise wrong(f"{code} stands for an axis that is not there")
        if code == _KEEP:
            out.append(axes[place])
            place += 1
        elif code == _COPY_REST:
            out += axes[place:]
            place = len(axes)
        elif code == _MERGE:
            out.append(axes[place] * axes[place + 1])
            place += 2
        elif code == _SPLIT:
            pair = words[index : index + 2]
            index += 2
            out += _split(axes[place], pair, wrong)
            place += 1
        elif code > 0 or code == _REST:
            out.append(code)
            place += 1
        else:
            raise wrong("numbers from -4 on")
    if out.count(_REST) > 1:
        raise wrong("one -1 at most")
    if _REST in out:
        rest = prod(n for n in out if n != _REST)
        if not rest or prod(shape) % rest:
            raise wrong("the number of elements stays")
        out[out.index(_REST)] = prod(shape) // rest
    if prod(out) != prod(shape):
        raise wrong("the number of elements stays")
    return tuple(out[::-1] if reverse else out)


def _split(size: int, pair: list[int], wrong: object) -> list[int]:
    if len(pair) == 2:
        first, second = pair
        if first == _REST and second > 0 and size % second == 0:
            first = size // second
        elif second == _REST and first > 0 and size % first == 0:
            second = size // first
        if first > 0 and second > 0 and first * second == size:
            return [first, second]
    assert callable(wrong)
    raise wrong("-4 stands in front of the two sizes an axis is split into")


def _turned(codes: Sequence[int]) -> list[int]:
    """Return codes from right to left; the sizes behind a -4 stay behind it."""
    words: list[list[int]] = []
    index = 0
    while index < len(codes):
        count = 3 if codes[index] == _SPLIT else 1
        group = list(codes[index : index + count])
        words.append([group[0], *group[:0:-1]])
        index += count
    return [code for group in words[::-1] for code in group]
