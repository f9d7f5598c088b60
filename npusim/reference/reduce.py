"""Reference reductions, argmax and softmax."""

from collections.abc import Callable

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import ArgAttrs, AxisAttrs, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.reference.table import Array, Step, Workers, attributes, last_axes, reference

_REDUCTIONS: dict[str, Callable[[Array], Array]] = {
    "reduce_mean": lambda x: x.sum(-1) / np.float32(x.shape[-1]),
    "reduce_sum": lambda x: x.sum(-1, dtype=x.dtype),
    "reduce_max": lambda x: x.max(-1),
    "reduce_min": lambda x: x.min(-1),
    "reduce_prod": lambda x: x.prod(-1, dtype=x.dtype),
}


@reference(*_REDUCTIONS, integers=True)
def prepare_reduce(node: Node, graph: Graph, workers: Workers) -> Step:
    """Reduce over any set of axes."""
    attrs = attributes(node, ReduceAttrs)
    axes = tuple(sorted(attrs.axes))
    shape = graph.spec(node.outputs[0]).shape
    if node.op == "reduce_mean" and graph.spec(node.inputs[0]).dtype is not DType.F32:
        raise GraphError("mean of integers", rule="reduce_mean is defined for float32")
    function = _REDUCTIONS[node.op]
    if not axes:
        return lambda x: (x,)
    return lambda x: (np.asarray(function(last_axes(x, axes))).reshape(shape),)


@reference("argmax", "argmin", integers=True)
def prepare_arg_extreme(node: Node, graph: Graph, workers: Workers) -> Step:
    """Index of the first extreme, in the output's integer type."""
    attrs = attributes(node, ArgAttrs)
    function = np.argmax if node.op == "argmax" else np.argmin
    axis, keepdims = attrs.axis, attrs.keepdims
    dtype = graph.spec(node.outputs[0]).dtype.numpy
    return lambda x: (np.asarray(function(x, axis=axis, keepdims=keepdims)).astype(dtype),)


@reference("softmax", "log_softmax")
def prepare_softmax(node: Node, graph: Graph, workers: Workers) -> Step:
    """Softmax along one axis, or its logarithm."""
    attrs = attributes(node, AxisAttrs)
    axis = attrs.axis
    logarithm = node.op == "log_softmax"

    def step(x: Array) -> tuple[Array, ...]:
        last = np.asarray(np.moveaxis(x, axis, -1), order="C")
        shifted = last - last.max(-1, keepdims=True)
        powers = np.exp(shifted)
        total = powers.sum(-1, keepdims=True)
        ofm = shifted - np.log(total) if logarithm else powers / total
        return (np.moveaxis(ofm, -1, axis),)

    return step
