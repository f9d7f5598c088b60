"""A pad that a maximum never chooses becomes the padding of the pool behind it."""

from dataclasses import replace

from npusim.ir.attrs import PadAttrs, PadMode, Pool2dAttrs, PoolKind
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import LARGEST_F16
from npusim.passes.draft import Draft
from npusim.passes.rewrite import merged_origin, same_numbers


def fold_max_pad(graph: Graph) -> Graph:
    """Fold a pad of height and width with -65504 or less into the max pool that alone reads it.

    Frameworks write -inf or the lowest float32. The pool's own padding counts as lower than
    everything, and every window holds an element of the input: padding is less than the window.
    """
    draft = Draft(graph)
    for node in [node for node in graph.nodes if node.op == "pad"]:
        user = draft.only_user(node.outputs[0])
        if user is None or (pad := _joint_pad(graph, node, user)) is None:
            continue
        assert isinstance(user.attrs, Pool2dAttrs)
        fused = replace(
            user,
            inputs=node.inputs,
            attrs=replace(user.attrs, pad=pad),
            origin=merged_origin(node, user),
        )
        draft.replace((node, user), fused)
    return draft.done()


def _joint_pad(graph: Graph, node: Node, user: Node) -> tuple[int, int, int, int] | None:
    """Return the padding of pad and pool together when the pool can have it."""
    attrs, pool = node.attrs, user.attrs
    if not isinstance(attrs, PadAttrs) or not isinstance(pool, Pool2dAttrs):
        return None
    if pool.kind is not PoolKind.MAX or pool.ceil_mode or len(attrs.front) != 4:
        return None
    if attrs.mode is not PadMode.CONSTANT or not attrs.value <= -LARGEST_F16:
        return None
    if any(attrs.front[:2]) or any(attrs.back[:2]) or min(*attrs.front, *attrs.back) < 0:
        return None
    if not same_numbers(graph, node.inputs[0], node.outputs[0]):
        return None
    top, bottom, left, right = pool.pad
    pad = (
        top + attrs.front[2],
        bottom + attrs.back[2],
        left + attrs.front[3],
        right + attrs.back[3],
    )
    fits = max(pad[:2]) < pool.kernel[0] and max(pad[2:]) < pool.kernel[1]
    return pad if fits else None
