"""Constants that are sizes, axes or places."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError


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
