"""How a layer stores its sums, as the pass ``lower_requant`` wrote it on the node."""

from npusim.errors import GraphError
from npusim.ir.graph import Node
from npusim.ir.quant import Affine, Requant, Rounding
from npusim.ir.tensor import TensorSpec


def stored_requant(node: Node, ofm: TensorSpec, *roundings: Rounding) -> Requant:
    """Return a node's requantization; bindings compute none of their own.

    Parameters
    ----------
    node : Node
    ofm : TensorSpec
        What it stores; only asymmetric quantization has a zero point.
    roundings : Rounding
        What the node's engine can do with the output's type.

    Raises
    ------
    GraphError
        When the node has none, or one that the engine cannot do.
    """
    found = node.requant
    engine = node.engine.value if node.engine else "no engine"
    where = f"layer {node.name!r} ({node.op} on {engine})"
    if found is None:
        raise GraphError(
            "the layer accumulates and does not say how it stores its sums",
            where=where,
            rule="Node.requant is set on every layer with sums on NN or TP",
            remedy="lower the graph (passes.pipeline.lower, or passes.lower_requant alone)",
        )
    if found.rounding not in roundings:
        raise GraphError(
            f"the engine does not round {found.rounding.value!r} here",
            where=where,
            rule=" or ".join(repr(rounding.value) for rounding in roundings),
        )
    if found.zero_point and not isinstance(ofm.quant, Affine):
        raise GraphError(
            f"zero point {found.zero_point}",
            where=where,
            rule="dynamic fixed point and float16 have none",
        )
    return found
