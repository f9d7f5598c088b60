"""Tensors that must or should share one range.

Rules, measured on the vendor's current tool (rknn-api section 7): max pooling, reshape, split,
nearest resize and other movement take their input's range; a convolution or addition before relu or
relu6 takes the relu's; a concat joins its producers' ranges and gives the union to all of them (a
relu producer gets 0 .. union maximum), one level deep. A graph input that feeds a concat takes part
as well: the vendor's tool forgets it and clips.
"""

from npusim.ir.attrs import Activation
from npusim.ir.graph import Graph, Node
from npusim.ops import keeps_codes, op_def
from npusim.passes.rewrite import View
from npusim.quantization.schemes import Range


def constrain(graph: Graph, measured: dict[str, Range]) -> dict[str, Range]:
    """Return ranges in which tensors that share parameters have equal ranges.

    Parameters
    ----------
    graph : Graph
        Float graph.
    measured : dict
        Range of every activation, from ``calibrate``.
    """
    ranges = dict(measured)
    view = View(graph)
    for node in graph.nodes:
        if node.op in ("relu", "relu6"):
            before = view.producer.get(node.inputs[0])
            accumulates = before is not None and op_def(before.op).accumulates
            if accumulates and view.is_private(node.inputs[0]):
                ranges[node.inputs[0]] = ranges[node.outputs[0]]
    _propagate(graph, ranges)
    joined = dict(ranges)
    for node in graph.nodes:
        if node.op == "concat":
            _join(view, node, ranges, joined)
    _propagate(graph, joined)
    return joined


def _propagate(graph: Graph, ranges: dict[str, Range]) -> None:
    for node in graph.nodes:
        if keeps_codes(node):
            for name in node.outputs:
                ranges[name] = ranges[node.inputs[0]]


def _source(view: View, tensor: str) -> str:
    """Return the tensor whose range ``tensor`` takes, through movement operators."""
    while (node := view.producer.get(tensor)) is not None and keeps_codes(node):
        tensor = node.inputs[0]
    return tensor


def _join(view: View, node: Node, ranges: dict[str, Range], joined: dict[str, Range]) -> None:
    parts = [name for name in node.inputs if name in ranges]
    low = min(ranges[name][0] for name in parts)
    high = max(ranges[name][1] for name in parts)
    joined[node.outputs[0]] = (low, high)
    for name in parts:
        source = _source(view, name)
        producer = view.producer.get(source)
        if producer is not None and producer.op == "concat":
            continue  # one level: an inner concat keeps its own union
        bottom = 0.0 if producer is not None and _rectifies(producer) else low
        joined[source] = joined[name] = (bottom, high)


def _rectifies(node: Node) -> bool:
    activation = getattr(node.attrs, "activation", Activation.NONE)
    return node.op in ("relu", "relu6") or activation is not Activation.NONE
