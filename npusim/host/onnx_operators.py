"""ONNX operators of which the reference evaluator's own form has limits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Array = NDArray[Any]


class GatherElements(OpRun):
    """Elements by index along an axis; the evaluator of onnx takes axes of up to 63."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, *, axis: int = 0) -> tuple[Array]:
        size = data.shape[axis]
        parts = [slice(0, n) for n in indices.shape]
        parts[axis] = slice(None)
        return (np.take_along_axis(data[tuple(parts)], indices % size, axis),)
