"""Remove data movement that cancels out or does nothing."""

from dataclasses import replace

from npusim.ir.attrs import ReshapeAttrs, TransposeAttrs
from npusim.ir.graph import Graph, Node, rename_inputs
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import merged_origin, replaced, same_numbers


def simplify_moves(graph: Graph) -> Graph:
    """Merge chains of reshapes and of transposes; drop the ones that change nothing."""
    seen: Graph | None = None
    for name in [node.name for node in graph.nodes if node.op in ("reshape", "transpose")]:
        if seen is not graph:  # loops written out have thousands of moves, most of them needed
            seen, view, named = graph, GraphView(graph), {n.name: n for n in graph.nodes}
        node = named.get(name)
        if node is None:
            continue
        before = view.producer_of(node.inputs[0], node.op)
        if (
            before is not None
            and view.is_private(node.inputs[0])
            and same_numbers(graph, before.inputs[0], node.inputs[0], node.outputs[0])
        ):
            merged = replace(
                node,
                inputs=before.inputs,
                attrs=_combined(before, node),
                origin=merged_origin(before, node),
            )
            graph = graph.copy(nodes=replaced(graph.nodes, (before, node), merged))
            node = merged
        if _does_nothing(graph, node) and node.outputs[0] not in graph.outputs:
            rename = {node.outputs[0]: node.inputs[0]}
            graph = graph.copy(
                nodes=tuple(rename_inputs(n, rename) for n in graph.nodes if n.name != node.name)
            )
    return graph


def _combined(first: Node, second: Node) -> ReshapeAttrs | TransposeAttrs:
    if isinstance(first.attrs, TransposeAttrs) and isinstance(second.attrs, TransposeAttrs):
        perm = first.attrs.perm
        return TransposeAttrs(perm=tuple(perm[p] for p in second.attrs.perm))
    assert isinstance(second.attrs, ReshapeAttrs)
    return second.attrs


def _does_nothing(graph: Graph, node: Node) -> bool:
    if not same_numbers(graph, node.inputs[0], node.outputs[0]):
        return False
    if isinstance(node.attrs, TransposeAttrs):
        return node.attrs.perm == tuple(range(len(node.attrs.perm)))
    return graph.spec(node.inputs[0]).shape == graph.spec(node.outputs[0]).shape
