"""Remove data movement that cancels out or does nothing."""

from dataclasses import replace

from npusim.ir.attrs import ReshapeAttrs, TransposeAttrs
from npusim.ir.graph import Graph, Node
from npusim.passes.draft import Draft
from npusim.passes.rewrite import merged_origin, same_numbers


def simplify_moves(graph: Graph) -> Graph:
    """Merge chains of reshapes and of transposes; drop the ones that change nothing."""
    draft = Draft(graph)
    for name in [node.name for node in graph.nodes if node.op in ("reshape", "transpose")]:
        node = draft.named.get(name)
        if node is None:
            continue
        before = draft.producer_of(node.inputs[0], node.op)
        if (
            before is not None
            and draft.is_private(node.inputs[0])
            and same_numbers(graph, before.inputs[0], node.inputs[0], node.outputs[0])
        ):
            merged = replace(
                node,
                inputs=before.inputs,
                attrs=_combined(before, node),
                origin=merged_origin(before, node),
            )
            draft.replace((before, node), merged)
            node = merged
        if _does_nothing(graph, node) and not draft.exposed(node.outputs[0]):
            draft.rename(node.outputs[0], node.inputs[0])
            draft.remove(node)
    return draft.done()


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
