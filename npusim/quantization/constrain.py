"""Tensors that share one range, as the toolkit sets them.

Max pooling, reshape, permute, slice, split, nearest resize and other moves have their input's
parameters. A concat, all that feeds it and all that is connected to those through moves and further
concats is one group with the union of its ranges, graph inputs too. A layer in front of a relu
takes the relu's range, unless the relu is in such a group: then it keeps its own and the relu
requantizes. Source: real files and one build log of the toolkit, docs/quantization.md.
"""

from collections.abc import Collection, Mapping

from npusim.ir.graph import Graph, Node
from npusim.ops import keeps_codes, op_def
from npusim.passes.graph_view import GraphView
from npusim.quantization.eras import DEFAULT_ERA, Era
from npusim.quantization.groups import groups
from npusim.quantization.schemes import Range

SIGMOID_REACH = 6.3


def constrain(
    graph: Graph,
    measured: Mapping[str, Range],
    *,
    era: Era = DEFAULT_ERA,
    apart: Collection[str] = (),
) -> dict[str, Range]:
    """Return ranges in which tensors that share parameters have equal ranges.

    Parameters
    ----------
    graph : Graph
        Float graph.
    measured : mapping
        Range of every activation, from ``calibrate``.
    era : Era
        Release whose rules count.
    apart : collection of str
        Names of concats that are not joined: their parts keep ranges of their own.
    """
    ranges = dict(measured)
    found = groups(graph, era=era, apart=apart)
    for group in found:
        if (union := group.union(measured)) is not None:
            ranges |= dict.fromkeys(group.members, union)
    view = GraphView(graph)
    joined = {name for group in found if group.concats for name in group.members}
    for node in graph.nodes:
        before = view.producers.get(node.inputs[0]) if node.op in ("relu", "relu6") else None
        if before is None or not view.is_private(node.inputs[0]):
            continue
        if _takes_range(before, node, joined=node.outputs[0] in joined):
            ranges[node.inputs[0]] = measured[node.outputs[0]]
    return ranges


def _takes_range(before: Node, rectifier: Node, *, joined: bool) -> bool:
    """Tell whether a layer takes the range of the rectifier behind it.

    relu6 is no layer of its own in the toolkit: a convolution in front of it ends at 6 whatever
    group it feeds, and a sum in front of it keeps its range.
    """
    definition = op_def(before.op)
    if rectifier.op == "relu6":
        return definition.weighted
    return not joined and (definition.accumulates or before.op == "batch_norm")


def clipped_for_sigmoid(
    graph: Graph, ranges: Mapping[str, Range], era: Era = DEFAULT_ERA
) -> dict[str, Range]:
    """Return the ranges of the tensors that sigmoids read, cut to -6.3 .. 6.3.

    Only the tensor itself: what a permute in front of the sigmoid reads keeps its range. The input
    of a swish is not cut, spelled out as ``x * sigmoid(x)`` neither: the toolkit always makes that
    one layer.
    """
    producers, users = graph.producers(), graph.consumers()
    swished = {
        node.inputs[0]
        for node in graph.nodes
        if node.op == "sigmoid"
        for user in users[node.outputs[0]]
        if user.op == "mul" and set(user.inputs) == {node.inputs[0], node.outputs[0]}
    }
    found = {}
    for node in graph.nodes:
        name = node.inputs[0]
        if node.op != "sigmoid" or name not in ranges or name in swished:
            continue
        before = producers.get(name)
        if era.moves_unclipped and before is not None and keeps_codes(before):
            continue
        low, high = (min(max(end, -SIGMOID_REACH), SIGMOID_REACH) for end in ranges[name])
        found[name] = (low, high)
    return found
