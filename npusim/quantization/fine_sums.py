"""i16 results that are finer than the sums they come from, which the NN engine stores wrongly.

Source: measured, docs/arithmetic/nn.md rule 2.4; docs/quantization.md, dynamic fixed point.
"""

from collections.abc import Container, Iterator

from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import DynamicFixedPoint
from npusim.passes.pipeline import place
from npusim.passes.requant import excess_fraction_bits
from npusim.quantization.groups import groups


def finer_than_sums(
    graph: Graph, stored: Graph, given: Container[str]
) -> tuple[tuple[str, DynamicFixedPoint], ...]:
    """Return the tensors that need fewer fraction bits, with those of their sums.

    Parameters
    ----------
    graph : Graph
        Float graph.
    stored : Graph
        The same in its formats.
    given : container of str
        Tensors whose parameters somebody has chosen; they stay.
    """
    if not any(spec.dtype is DType.I16 for spec in stored.tensors.values()):
        return ()
    try:
        placed = place(stored)
    except GraphError:
        return ()  # a layer that no engine takes: lowering says so, and to whom it matters
    return tuple(
        (name, DynamicFixedPoint(fl=fl))
        for tensor, fl in _sums(placed)
        for name in _sharing(graph, stored, tensor)
        if name not in given
    )


def _sums(placed: Graph) -> Iterator[tuple[str, int]]:
    for node in placed.nodes:
        if excess := excess_fraction_bits(node, placed):
            quant = placed.spec(node.outputs[0]).quant
            assert isinstance(quant, DynamicFixedPoint)  # nothing else has fraction bits
            yield node.outputs[0], quant.fl - excess


def _sharing(graph: Graph, stored: Graph, tensor: str) -> tuple[str, ...]:
    """Return a tensor and those that have its parameters because they move or join its values."""
    quant = stored.spec(tensor).quant
    for group in groups(graph):
        if tensor in group.members:
            return tuple(
                name
                for name in group.members
                if stored.spec(name).quant == quant and stored.spec(name).dtype is DType.I16
            )
    return (tensor,)
