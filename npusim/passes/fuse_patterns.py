"""Recognise activations that exporters write as several operators."""

from collections.abc import Callable
from dataclasses import replace

from npusim.ir.attrs import NO_ATTRS, Attrs, ClipAttrs, HardSigmoidAttrs
from npusim.ir.graph import Graph, Node
from npusim.passes.draft import Draft
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import is_real, merged_origin, scalar

SIXTH_TOLERANCE = 1e-6  # exporters write 1/6 as 0.16666667 or 0.166666


def fuse_activation_patterns(graph: Graph) -> Graph:
    """Replace spelled-out swish and hard-swish by one operator.

    - ``x * sigmoid(x)`` -> swish
    - ``x * clip(x + 3, 0, 6) / 6`` in any order of the last two steps -> hard_swish
    - ``x * hard_sigmoid(x, 1/6, 1/2)`` -> hard_swish
    - ``clip(x + 3, 0, 6) / 6`` -> hard_sigmoid

    In a model that came quantized only the first one, as the driver does: behind another layer, and
    in the quantization of the product.
    Source: measured, docs/arithmetic/whole-networks.md rule 2.4.
    """
    for match in (_swish, hard_swish, _hard_sigmoid):
        graph = _apply(graph, match)
    return graph


Match = Callable[[GraphView, Node], tuple[str, list[Node], str, Attrs] | None]


def _apply(graph: Graph, match: Match) -> Graph:
    draft = Draft(graph)
    for name in [
        node.name for node in graph.nodes if match is _swish or is_real(graph, *node.outputs)
    ]:
        node = draft.named.get(name)
        found = match(draft, node) if node is not None else None
        if found is None or node is None:
            continue
        op, parts, source, attrs = found
        if graph.spec(source).shape != graph.spec(node.outputs[0]).shape:
            continue  # a constant of the pattern makes the result larger
        chain = sorted([*parts, node], key=draft.order)
        fused = replace(node, op=op, inputs=(source,), attrs=attrs, origin=merged_origin(*chain))
        draft.replace(chain, fused)
    return draft.done()


def _swish(view: GraphView, node: Node) -> tuple[str, list[Node], str, Attrs] | None:
    if node.op != "mul":
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        sigmoid = view.producer_of(gate, "sigmoid")
        if (
            sigmoid
            and sigmoid.inputs == (x,)
            and view.is_private(gate)
            and (is_real(view.graph, x) or _is_swish_of_driver(view, x, node.outputs[0]))
        ):
            return "swish", [sigmoid], x, NO_ATTRS
    return None


def _is_swish_of_driver(view: GraphView, x: str, product: str) -> bool:
    spec = view.graph.spec
    return x in view.producers and spec(x).dtype is spec(product).dtype


def _relu6_of_x_plus_3(view: GraphView, tensor: str) -> tuple[str, list[Node]] | None:
    clip = view.producer_of(tensor, "relu6", "clip")
    if clip is None or not view.is_private(tensor):
        return None
    if isinstance(clip.attrs, ClipAttrs) and (clip.attrs.minimum, clip.attrs.maximum) != (0, 6):
        return None
    add = view.producer_of(clip.inputs[0], "add")
    if add is None or not view.is_private(clip.inputs[0]):
        return None
    for x, three in (add.inputs, add.inputs[::-1]):
        if scalar(view.graph, three) == 3.0:
            return x, [add, clip]
    return None


def _is_sixth(view: GraphView, node: Node, tensor: str) -> bool:
    """Tell whether ``node`` divides its other operand by six."""
    value = scalar(view.graph, tensor)
    if value is None:
        return False
    if node.op == "div":
        return value == 6.0 and node.inputs[1] == tensor
    return node.op == "mul" and abs(value - 1 / 6) < SIXTH_TOLERANCE


def hard_swish(view: GraphView, node: Node) -> tuple[str, list[Node], str, Attrs] | None:
    """Return (operator, nodes before this one, input, attributes) where a hard-swish ends."""
    # (x * relu6(x + 3)) / 6
    if node.op in ("mul", "div"):
        for product, six in (node.inputs, node.inputs[::-1]):
            mul = view.producer_of(product, "mul")
            if mul is None or not _is_sixth(view, node, six) or not view.is_private(product):
                continue
            for x, gate in (mul.inputs, mul.inputs[::-1]):
                inner = _relu6_of_x_plus_3(view, gate)
                if inner and inner[0] == x:
                    return "hard_swish", [*inner[1], mul], x, NO_ATTRS
    # x * (relu6(x + 3) / 6) and x * hard_sigmoid(x)
    if node.op == "mul":
        for x, gate in (node.inputs, node.inputs[::-1]):
            if not view.is_private(gate):
                continue
            sigmoid = view.producer_of(gate, "hard_sigmoid")
            if sigmoid and sigmoid.inputs == (x,) and _is_sixth_slope(sigmoid.attrs):
                return "hard_swish", [sigmoid], x, NO_ATTRS
            scaled = view.producer_of(gate, "mul", "div")
            if scaled is None:
                continue
            for inner_name, six in (scaled.inputs, scaled.inputs[::-1]):
                inner = _relu6_of_x_plus_3(view, inner_name)
                if inner and inner[0] == x and _is_sixth(view, scaled, six):
                    return "hard_swish", [*inner[1], scaled], x, NO_ATTRS
    return None


def _is_sixth_slope(attrs: Attrs) -> bool:
    return (
        isinstance(attrs, HardSigmoidAttrs)
        and abs(attrs.alpha - 1 / 6) < SIXTH_TOLERANCE
        and attrs.beta == 0.5
    )


def _hard_sigmoid(view: GraphView, node: Node) -> tuple[str, list[Node], str, Attrs] | None:
    if node.op not in ("mul", "div"):
        return None
    for gate, six in (node.inputs, node.inputs[::-1]):
        inner = _relu6_of_x_plus_3(view, gate)
        if inner and _is_sixth(view, node, six):
            return "hard_sigmoid", inner[1], inner[0], HardSigmoidAttrs(alpha=1 / 6, beta=0.5)
    return None
