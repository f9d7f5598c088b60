"""Parts of a concat in place are stored in its parameters when theirs differ by a trifle."""

from dataclasses import replace

from npusim.ir.graph import Graph
from npusim.passes.graph_view import GraphView
from npusim.passes.memory_predicates import joined_in_place


def store_as_joined(graph: Graph) -> Graph:
    """Return the graph in which such parts have exactly the parameters of the result.

    Only parts that nothing else reads.
    Source: measured, docs/arithmetic/whole-networks.md rule 4.1.
    """
    view = GraphView(graph)
    changed = {}
    for node in graph.nodes:
        if node.op != "concat" or not joined_in_place(node, view):
            continue
        quant = view.ofm(node).quant
        for name in node.inputs:
            if graph.spec(name).quant != quant and view.is_private(name):
                changed[name] = replace(graph.spec(name), quant=quant)
    return graph.copy(tensors={**graph.tensors, **changed}) if changed else graph
