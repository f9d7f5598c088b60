"""What layers learned, checked at import: weights and biases are numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import GraphError, ModelImportError
from npusim.ir.graph import Graph
from npusim.ir.verify import verify
from npusim.ops import op_def


def check_graph(graph: Graph, where: str) -> None:
    """Check a graph that was imported.

    Raises
    ------
    ModelImportError
        Naming file and layer, when weights or biases hold NaN or infinity, zero points are not of
        their type, attributes are no numbers, or the graph contradicts itself otherwise.
    """
    try:
        verify(graph)
    except GraphError as error:
        raise ModelImportError(
            error.what,
            where=f"{where}: {error.where}" if error.where not in ("", graph.name) else where,
            rule=error.rule,
            remedy=error.remedy,
        ) from None
    for node in graph.nodes:
        if not op_def(node.op).weighted:
            continue
        for name in node.inputs[1:]:
            value = graph.constants.get(name)
            if value is not None and not _finite(value):
                raise ModelImportError(
                    f"constant {name!r} of layer {node.name!r} ({node.op}) holds NaN or infinity",
                    where=where,
                    rule="weights and biases are finite numbers",
                    remedy="the training failed or the file is damaged: make the model again",
                )


def _finite(value: NDArray[Any]) -> bool:
    if value.dtype.kind != "f" or not value.size:
        return True
    return bool(np.isfinite(value.min()) and np.isfinite(value.max()))  # NaN is both
