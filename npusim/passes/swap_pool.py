"""A max pool moves in front of the clamp or leaky relu that feeds it, as the driver does it."""

from dataclasses import replace

from npusim.ir.attrs import AlphaAttrs, Pool2dAttrs, PoolKind
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.passes.draft import Draft
from npusim.passes.engine_predicates import is_chain_of_pools
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import is_real, merged_origin

RISING = ("relu1", "relu6", "leaky_relu")


def swap_pool(graph: Graph) -> Graph:
    """Return the stored graph in which such an activation works on the pooled map.

    The pool keeps the quantization of what the activation read, and so may run inside the layer
    before it; the activation stores in that of the pool's result. Only where nothing but the pool
    reads the activation's result. Chains of pools stay, and activations that came here that way.
    Source: measured, docs/arithmetic/whole-networks.md rule 2.5.
    """
    draft, moved = Draft(graph), set()
    for pool in [node for node in graph.nodes if node.op == "pool2d"]:
        act = draft.producer_of(pool.inputs[0], *RISING)
        if act is None or act.name in moved or not _moves(act, pool, draft):
            continue
        _swap(draft, act, pool)
        moved.add(act.name)
    return draft.done()


def _moves(act: Node, pool: Node, view: GraphView) -> bool:
    attrs = pool.attrs
    assert isinstance(attrs, Pool2dAttrs)  # by the operator's definition
    falling = isinstance(act.attrs, AlphaAttrs) and act.attrs.alpha < 0
    return (
        attrs.kind is PoolKind.MAX
        and not falling
        and view.is_private(pool.inputs[0])
        and act.inputs[0] not in view.graph.constants
        and not is_real(view.graph, act.inputs[0])
        and not is_chain_of_pools(attrs)
        and len({view.ifm(act).dtype, view.ofm(act).dtype, view.ofm(pool).dtype}) == 1
    )


def _swap(draft: Draft, act: Node, pool: Node) -> None:
    graph = draft.graph
    before, after = graph.spec(act.inputs[0]), graph.spec(pool.outputs[0])
    between = fresh(graph, f"{after.name}.pooled")
    graph.tensors[between] = replace(before, name=between, shape=after.shape)
    # The pooled map before the activation is no tensor of the source: it has no counterpart there.
    first = replace(pool, inputs=act.inputs, outputs=(between,), origin=())
    second = replace(act, inputs=(between,), outputs=pool.outputs, origin=merged_origin(act, pool))
    draft.replace((act, pool), first, second)
