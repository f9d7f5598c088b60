"""Fuse rectifiers into the layer before them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from npusim.ir.attrs import Activation
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import scale_of, zero_point_of
from npusim.ops import keeps_codes, op_def
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import is_real, same_numbers, with_output_of

SIX = 6.001


def fuse_relu(graph: Graph) -> Graph:
    """Fuse relu into the convolution, deconvolution or fully connected layer before it.

    The NN engine applies relu while it stores, at no cost and with the same result. In a float
    graph a relu that feeds a concat stays apart until ranges are set: the layer before it has one
    of its own there. Source: docs/quantization.md, tensors that share a range.
    """
    return _fuse(graph, "relu", Activation.RELU, _has_weights)


def fuse_sum_relu(graph: Graph) -> Graph:
    """Fuse relu into a sum that runs on the NN engine; behind a shader sum it stays on TP.

    Source: measured, docs/arithmetic/nn.md rule 4.4 and docs/arithmetic/shader.md rule 3.9.
    """
    return _fuse(graph, "relu", Activation.RELU, _is_sum_on_nn)


def fuse_relu6(graph: Graph) -> Graph:
    """Fuse relu6 where the output type saturates at or below 6, so that storing is the clamp.

    Needs a quantized graph. Where the type reaches beyond 6 (fp16, dynamic fixed point with a power
    of two above 6) relu6 stays an activation of its own on TP.
    """
    return _fuse(graph, "relu6", Activation.RELU6, _has_weights)


def _saturates_at_six(graph: Graph, carrier_out: str, out: str) -> bool:
    """Tell whether storing in u8 is the clamp.

    Source: measured, docs/arithmetic/whole-networks.md rule 2.2: equal parameters, zero point 0,
    and a largest value of at most 6 (6.0006 still fuses, 6.01 does not).
    """
    spec = graph.spec(out)
    if spec.dtype is not DType.U8 or graph.spec(carrier_out).quant != spec.quant:
        return False
    return zero_point_of(spec.quant) == 0 and 255 * scale_of(spec.quant) <= SIX


def _stores_for_relu(graph: Graph, carrier: str, before: str, after: str) -> bool:
    """Tell whether a layer stores in the rectifier's quantization, in one rounding.

    Source: measured, docs/arithmetic/whole-networks.md rule 2.1: deconvolutions do not.
    """
    if carrier == "deconv2d":
        return same_numbers(graph, before, after)
    return graph.spec(before).dtype is graph.spec(after).dtype


def _feeds_concat(view: GraphView, tensor: str) -> bool:
    """Tell whether a concat reads a tensor, directly or through moves."""
    waiting = [tensor]
    while waiting:
        for user in view.consumers[waiting.pop()]:
            if user.op == "concat":
                return True
            if keeps_codes(user):
                waiting += user.outputs
    return False


def _has_weights(node: Node) -> bool:
    return op_def(node.op).weighted


def _is_sum_on_nn(node: Node) -> bool:
    definition = op_def(node.op)
    return definition.accumulates and not definition.weighted and node.engine is Engine.NN


def _fuse(graph: Graph, op: str, activation: Activation, carries: Callable[[Node], bool]) -> Graph:
    view, gone = GraphView(graph), set()
    fused: dict[str, Node] = {}  # in the place of the activations; no two of them share a carrier
    for node in graph.nodes:
        carrier = view.producers.get(node.inputs[0]) if node.op == op else None
        if carrier is None or not carries(carrier) or not view.is_private(node.inputs[0]):
            continue
        if not _stores_for_relu(graph, carrier.op, node.inputs[0], node.outputs[0]):
            continue
        attrs: Any = carrier.attrs
        if attrs.activation is not Activation.NONE:
            continue
        if is_real(graph, node.outputs[0]) and _feeds_concat(view, node.outputs[0]):
            continue
        if activation is Activation.RELU6 and not _saturates_at_six(
            graph, node.inputs[0], node.outputs[0]
        ):
            continue
        fused[node.name] = with_output_of(
            carrier, node, attrs=replace(attrs, activation=activation)
        )
        gone.add(carrier.name)
    if not fused:
        return graph
    left = (node for node in graph.nodes if node.name not in gone)
    return graph.copy(nodes=tuple(fused.get(node.name, node) for node in left))
