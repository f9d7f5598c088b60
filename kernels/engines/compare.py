"""Comparisons and choices of the shader on stored codes.

Numpy only; operands broadcast. Truth values are numpy's.

Source: measured, docs/arithmetic/shader.md section 9.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.kernels.engines.eltwise import cut_ratio
from npusim.kernels.engines.shader import Scaling, dequantize

Codes = NDArray[Any]
Truth = NDArray[np.bool_]

COMPARISONS: Mapping[str, Callable[[Codes, Codes], Truth]] = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
LOGICAL: Mapping[str, Callable[..., Truth]] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
}


def compare(name: str, a: Codes, b: Codes, a_scaling: Scaling, b_scaling: Scaling) -> Truth:
    """Compare real values, float32."""
    return COMPARISONS[name](dequantize(a, a_scaling), dequantize(b, b_scaling))


def select(
    condition: Truth,
    a: Codes,
    b: Codes,
    scalings: tuple[Scaling, Scaling],
    dtype: DTypeLike,
    scaling: Scaling,
) -> Codes:
    """Return ``a`` where the condition holds, else ``b``, each in the result's format."""
    stored = [
        moved(codes, own, dtype, scaling) for codes, own in zip((a, b), scalings, strict=True)
    ]
    return np.where(condition, *stored)


def moved(codes: Codes, own: Scaling, dtype: DTypeLike, scaling: Scaling) -> Codes:
    """Return codes in another format of the same type as ``select`` stores them.

    Rounded downward, and the bits that do not fit are cut off: values beyond the range wrap round.
    """
    if codes.dtype == np.float16 or own == scaling:
        return codes
    ratio = cut_ratio(own[0], scaling[0])
    steps = np.floor((codes.astype(np.int64) - own[1]) * ratio + scaling[1])
    return np.asarray(steps.astype(np.int64).astype(dtype))
