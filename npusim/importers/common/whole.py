"""Constants that are sizes, axes or places."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError

MOST_RESULTS = 1 << 16


def result_count(count: int, where: str) -> int:
    """Return the number of results that a layer says it has, before a name is made for each.

    Raises
    ------
    ModelImportError
        When it is negative or absurd.
    """
    if not 0 <= count <= MOST_RESULTS:
        raise ModelImportError(f"{count} results", where=where, rule=f"0 to {MOST_RESULTS}")
    return count


def whole_numbers(value: NDArray[Any], what: str) -> tuple[int, ...]:
    """Return the elements of a constant of integers.

    Raises
    ------
    ModelImportError
        For any other type: runtimes read its bytes as integers, or round.
    """
    if not np.issubdtype(value.dtype, np.integer):
        raise ModelImportError(
            f"{what} is of type {value.dtype}",
            rule="integers",
            remedy="the file is damaged: copy or export it again",
        )
    return tuple(int(n) for n in value.reshape(-1))
