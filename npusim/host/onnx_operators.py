"""ONNX operators of which the reference evaluator's own form has limits or is wrong."""

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


class LRN(OpRun):
    """Normalisation across channels; onnx's evaluator does only as many as the batch has images."""

    op_domain = ""

    def _run(
        self, x: Array, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int
    ) -> tuple[Array]:
        before = (size - 1) // 2
        pads = [(0, 0)] * x.ndim
        pads[1] = (before, size - 1 - before)
        squares = np.pad(x * x, pads)
        sums = np.lib.stride_tricks.sliding_window_view(squares, size, axis=1).sum(axis=-1)
        return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)


CORRECTED: tuple[type[OpRun], ...] = (GatherElements, LRN)
"""What stands in for the evaluator's own forms wherever it runs."""
