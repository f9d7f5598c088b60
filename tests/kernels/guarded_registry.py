"""What the modules of cases for ``tests.kernels.guarded`` have in common."""

from collections.abc import Callable

import numpy as np

from npusim.kernels._jit import Kernel
from tests.kernels.guarded import Case

LENGTHS = (1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 130)
CASES: dict[str, list[Case]] = {}


def case(*kernels: Kernel) -> Callable[[Case], Case]:
    """Register a case of each kernel: a function that calls it and returns the results."""

    def add(function: Case) -> Case:
        for kernel in kernels:
            CASES.setdefault(kernel.name, []).append(function)
        return function

    return add


def drawn(dtype, *shape) -> np.ndarray:
    """Return any bit patterns; small numbers of float32."""
    rng = np.random.default_rng(sum(shape))
    if np.dtype(dtype) == np.float32:
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def constant(array: np.ndarray) -> np.ndarray:
    """Return an array that a kernel gets as a constant: read only."""
    array.flags.writeable = False
    return array
