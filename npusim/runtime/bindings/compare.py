"""Comparisons, functions of truth values, and the choice by one: shader programs."""

import numpy as np

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.kernels.engines import compare
from npusim.runtime.binding import Step, binding
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of

TRUTH = (DType.BOOL,)


def _inputs(node: Node, graph: Graph, values: tuple[Array, ...]) -> list[Array]:
    feed = iter(values)
    return [
        graph.constants[name] if name in graph.constants else next(feed) for name in node.inputs
    ]


@binding(*compare.COMPARISONS, engine=Engine.SHADER, operands=True)
def bind_comparison(node: Node, graph: Graph) -> Step:
    """Bind a comparison of real values."""
    a, b = (graph.spec(name) for name in node.inputs)
    require_types(node, (a, b), ENGINE_TYPES)
    require_types(node, (graph.spec(node.outputs[0]),), TRUTH)

    def step(*values: Array) -> tuple[Array, ...]:
        left, right = _inputs(node, graph, values)
        return (compare.compare(node.op, left, right, scaling_of(a), scaling_of(b)),)

    return step


@binding(*compare.LOGICAL, engine=Engine.SHADER, operands=True)
def bind_logical(node: Node, graph: Graph) -> Step:
    """Bind a function of truth values."""
    require_types(node, [graph.spec(n) for n in (*node.inputs, *node.outputs)], TRUTH)
    function = compare.LOGICAL[node.op]
    return lambda *values: (np.asarray(function(*_inputs(node, graph, values))),)


@binding("select", engine=Engine.SHADER, operands=True)
def bind_select(node: Node, graph: Graph) -> Step:
    """Bind the choice between two tensors."""
    condition, a, b = (graph.spec(name) for name in node.inputs)
    ofm = graph.spec(node.outputs[0])
    require_types(node, (condition,), TRUTH)
    require_types(node, (a, b, ofm), ENGINE_TYPES)
    if not a.dtype is b.dtype is ofm.dtype:
        raise GraphError(
            f"{a.dtype.value}, {b.dtype.value} -> {ofm.dtype.value}",
            where=f"layer {node.name!r} (select on SH)",
            rule="both operands and the result have one type",
            remedy="give the layers around it one number format",
        )

    def step(*values: Array) -> tuple[Array, ...]:
        chosen, left, right = _inputs(node, graph, values)
        scalings = scaling_of(a), scaling_of(b)
        stored = compare.select(chosen, left, right, scalings, ofm.dtype.numpy, scaling_of(ofm))
        return (stored,)

    return step
