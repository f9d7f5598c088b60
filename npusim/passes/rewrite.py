"""What rewrites have in common: asking for values and replacing a chain by one node."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.ir.quant import Float
from npusim.ir.tensor import TensorSpec


def merged_origin(*nodes: Node) -> tuple[str, ...]:
    """Return the source nodes of several nodes, in order, each once."""
    return tuple(dict.fromkeys(name for node in nodes for name in node.origin))


def same_numbers(graph: Graph, *tensors: str) -> bool:
    """Tell whether tensors have one element type and one quantization.

    In a model that came quantized, a rewrite must not skip a step that stores in another one.
    """
    specs = [graph.spec(name) for name in tensors]
    return all((spec.dtype, spec.quant) == (specs[0].dtype, specs[0].quant) for spec in specs)


def is_real(graph: Graph, *tensors: str) -> bool:
    """Tell whether tensors hold float32, so that their values may be folded."""
    return all(graph.spec(name).dtype is DType.F32 for name in tensors)


def scalar(graph: Graph, tensor: str) -> float | None:
    """Return the value of a constant with one element (or all elements equal), else None."""
    value = graph.constants.get(tensor)
    if value is None or value.size == 0 or not isinstance(graph.spec(tensor).quant, Float):
        return None
    first = value.reshape(-1)[0]
    if value.size > 1 and not bool(np.all(value == first)):
        return None
    return float(first)


def channel_vector(graph: Graph, tensor: str, like: str) -> NDArray[np.float64] | None:
    """Return a constant operand as one value per channel (axis 1) of ``like``, else None."""
    value = graph.constants.get(tensor)
    shape = graph.spec(like).shape
    if not isinstance(graph.spec(tensor).quant, Float) or not is_real(graph, like):
        return None
    if value is None or len(shape) < 2 or value.ndim > len(shape):
        return None
    padded = (1,) * (len(shape) - value.ndim) + value.shape
    if any(n != 1 for axis, n in enumerate(padded) if axis != 1) or padded[1] not in (1, shape[1]):
        return None
    return np.broadcast_to(value.reshape(-1).astype(np.float64), (shape[1],))


def add_constant(graph: Graph, stem: str, value: NDArray[Any]) -> str:
    """Add a float32 constant to a graph under construction; return its name."""
    name = fresh(graph, stem)
    array = np.asarray(value, dtype=np.float32, order="C")
    graph.constants[name] = array
    graph.tensors[name] = TensorSpec(name=name, shape=array.shape, dtype=DType.F32)
    return name


def replaced(nodes: Iterable[Node], old: Iterable[Node], new: Node) -> tuple[Node, ...]:
    """Return ``nodes`` with ``old`` removed and ``new`` at the place of the last of them."""
    gone = {node.name for node in old}
    last = [node.name for node in nodes if node.name in gone][-1]
    return tuple(
        new if node.name == last else node
        for node in nodes
        if node.name == last or node.name not in gone
    )


def with_output_of(node: Node, last: Node, **changes: Any) -> Node:
    """Return ``node`` absorbing ``last``: its output, its identity and both origins.

    The surviving name is the last fused operator's, as in the vendor's dumps and tables.
    """
    return replace(
        node,
        name=last.name,
        uid=last.uid,
        outputs=last.outputs,
        origin=merged_origin(node, last),
        **changes,
    )
