"""What layers learned, checked at import: weights, biases and statistics are numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError, ModelImportError
from npusim.ir.attrs import NormAttrs
from npusim.ir.graph import Graph, Node
from npusim.ir.verify import refuse_empty, verify
from npusim.ops import op_def

MADE_AGAIN = "the training failed or the file is damaged: make the model again"


def check_graph(graph: Graph, where: str) -> None:
    """Check a graph that was imported.

    Raises
    ------
    ModelImportError
        Naming file and layer, when weights, biases or statistics hold NaN or infinity, a variance
        is negative, zero points are not of their type, attributes are no numbers, or the graph
        contradicts itself otherwise.
    """
    try:
        verify(graph)
        refuse_empty(graph)
    except GraphError as error:
        raise ModelImportError(
            error.what,
            where=f"{where}: {error.where}" if error.where not in ("", graph.name) else where,
            rule=error.rule,
            remedy=error.remedy,
        ) from None
    for node in graph.nodes:
        definition = op_def(node.op)
        if not (definition.weighted or definition.real_parameters):
            continue
        for name in node.inputs[1:]:
            value = graph.constants.get(name)
            if value is not None and not _finite(value):
                raise ModelImportError(
                    f"constant {name!r} of layer {node.name!r} ({node.op}) holds NaN or infinity",
                    where=where,
                    rule="weights, biases and statistics are finite numbers",
                    remedy=MADE_AGAIN,
                )
        if node.op == "batch_norm" and isinstance(node.attrs, NormAttrs):
            _check_variance(node, node.attrs, graph, where)


def _check_variance(node: Node, attrs: NormAttrs, graph: Graph, where: str) -> None:
    """Refuse a variance that has no root to divide by, as the folding of the layer computes it."""
    name = node.inputs[-1]
    value = graph.constants.get(name)
    if value is None or not value.size:
        return
    lowest = value.astype(np.float32).min()
    if not lowest + np.float32(attrs.epsilon) > 0:
        raise ModelImportError(
            f"variance {name!r} of layer {node.name!r} ({node.op}) has the value {lowest:g}, and "
            f"epsilon is {attrs.epsilon:g}",
            where=where,
            rule="variance and epsilon together are above 0",
            remedy=MADE_AGAIN,
        )


def _finite(value: NDArray[Any]) -> bool:
    if value.dtype.kind != "f" or not value.size:
        return True
    return bool(np.isfinite(value.min()) and np.isfinite(value.max()))  # NaN is both
