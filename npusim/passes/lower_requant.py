"""Make the integer requantization of NN and TP nodes visible on the nodes."""

from dataclasses import replace

from npusim.ir.graph import Graph
from npusim.passes.requant import requant_of


def lower_requant(graph: Graph) -> Graph:
    """Return the graph with ``requant`` set on every node that has one.

    Engines must be assigned. The bindings take the node's word for it, so what a dump shows is what
    runs.
    """
    return graph.copy(
        nodes=tuple(replace(node, requant=requant_of(node, graph)) for node in graph.nodes)
    )
