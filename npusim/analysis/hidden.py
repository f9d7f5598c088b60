"""Masked values in comparisons: as long as they are far off, it makes no difference how far."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.limits import representable
from npusim.ir.tensor import TensorSpec
from npusim.quantization.masks import FAR_HALF, hidden_tensors, seen_from

Array = NDArray[Any]


def end_of(spec: TensorSpec, side: int) -> float:
    """Return where a stored type ends on a side, seen from it; float16 at half its masks."""
    if spec.dtype is DType.F16:
        return -FAR_HALF / 2
    return seen_from(side, representable(spec))[0]


def cut(value: Array, side: int, end: float) -> Array:
    """Return an array whose values end on a side."""
    return value if not np.isfinite(end) else np.maximum(value * side, end) * side


def masked_at_ends(source: Graph, stored: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """Return real values with masked ones no further off than the stored type reaches.

    Parameters
    ----------
    source, stored : Graph
        The float graph, whose constants show the masks, and what became of it.
    values : mapping
        Float results by tensor name of the stored graph.
    """
    sides = {**hidden_tensors(source), **hidden_tensors(stored)}
    result = dict(values)
    for name, side in sides.items():
        if name not in result or name not in stored.tensors:
            continue
        spec = stored.spec(name)
        end = -FAR_HALF if spec.dtype is DType.F16 else end_of(spec, side)
        result[name] = cut(result[name], side, end).astype(result[name].dtype)
    return result
