"""Values that are computed while a file is read: how much a small file may make of them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError
from npusim.importers.common.builder import check_elements

MOST_MADE = 1 << 25
"""Elements of one value that is made of less: a mask of 5000 x 5000 fits."""

MOST_TOGETHER = 1 << 26
PER_STORED = 8
"""All computed values have at most so many elements, and so many per element of the file: weights
go through casts, products and transpositions before they are used."""

Name = TypeVar("Name", bound=Hashable)


def check_made(shape: Sequence[int], what: str, where: str, given: int = 0) -> int:
    """Return the number of elements of a value that is to be computed.

    Parameters
    ----------
    given : int
        Elements of the largest value that it is made of.

    Raises
    ------
    ModelImportError
        When there are more than ``MOST_MADE`` and than were given, or the shape is absurd.
    """
    count = check_elements(shape, what, where)
    if count > max(MOST_MADE, given):
        raise ModelImportError(
            f"{what} of shape {tuple(shape)} would have {count} elements",
            where=where,
            rule=f"values that are computed while importing have at most {MOST_MADE}, or as many "
            "as what they are made of",
            remedy="let the network compute it, or store it in the file",
        )
    return count


class Values(dict[Name, NDArray[Any]]):
    """Known values by tensor; what is put in counts, what a file holds goes in by ``store``.

    Parameters
    ----------
    beside : Values, optional
        Values that the same limit is for.
    """

    def __init__(self, beside: "Values[Name] | None" = None) -> None:
        super().__init__()
        self._left: list[int] = [MOST_TOGETHER] if beside is None else beside._left

    def store(self, name: Name, value: NDArray[Any]) -> None:
        """Add a value that the file holds."""
        self._left[0] += PER_STORED * value.size
        super().__setitem__(name, value)

    def share(self, name: Name, value: NDArray[Any]) -> None:
        """Add a value that is there under another name."""
        super().__setitem__(name, value)

    def __setitem__(self, name: Name, value: NDArray[Any]) -> None:
        """Add a value that was computed.

        Raises
        ------
        ModelImportError
            When all of them are too many elements.
        """
        self._left[0] -= held(np.asarray(value))
        if self._left[0] < 0:
            raise ModelImportError(
                f"the values that are computed while importing, up to {name!r}, are too large",
                rule=f"{MOST_TOGETHER} elements and {PER_STORED} for each one of the file",
                remedy="store them in the file, or let the network compute them",
            )
        super().__setitem__(name, value)

    def update(self, pairs: Any = (), /, **more: Any) -> None:
        """Add several values that were computed."""
        items: Iterable[tuple[Any, Any]] = pairs.items() if isinstance(pairs, Mapping) else pairs
        for name, value in (*items, *more.items()):
            self[name] = value


def held(value: NDArray[Any]) -> int:
    """Return how many elements are in memory; one that is repeated counts once."""
    return prod(n for n, step in zip(value.shape, value.strides, strict=True) if step)
