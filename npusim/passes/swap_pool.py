"""A max pool moves in front of the clamp or leaky relu that feeds it, as the driver does it."""

from dataclasses import replace

from npusim.ir.attrs import AlphaAttrs, Pool2dAttrs, PoolKind
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
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
    moved: set[str] = set()
    for name in [node.name for node in graph.nodes if node.op == "pool2d"]:
        view = GraphView(graph)
        pool = graph.node(name)
        act = view.producer_of(pool.inputs[0], *RISING)
        if act is None or act.name in moved or not _moves(act, pool, view):
            continue
        graph = _swapped(graph, act, pool)
        moved.add(act.name)
    return graph


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


def _swapped(graph: Graph, act: Node, pool: Node) -> Graph:
    before, after = graph.spec(act.inputs[0]), graph.spec(pool.outputs[0])
    between = fresh(graph, f"{after.name}.pooled")
    graph = graph.copy(
        tensors=graph.tensors | {between: replace(before, name=between, shape=after.shape)}
    )
    # The pooled map before the activation is no tensor of the source: it has no counterpart there.
    first = replace(pool, inputs=act.inputs, outputs=(between,), origin=())
    second = replace(act, inputs=(between,), outputs=pool.outputs, origin=merged_origin(act, pool))
    return graph.copy(
        nodes=tuple(
            changed
            for node in graph.nodes
            if node.name != act.name
            for changed in ((first, second) if node.name == pool.name else (node,))
        )
    )
