"""Quantize a network whose activations nobody has measured, to price it: the numbers are no use."""

from npusim.ir.graph import Graph, Node
from npusim.ops import keeps_codes, op_def
from npusim.passes.driver import check_parameters
from npusim.quantization.apply import apply_scheme
from npusim.quantization.constrain import constrain
from npusim.quantization.float16 import to_float16
from npusim.quantization.schemes import Range, Scheme

_USUAL = (-6.0, 6.0)


def assume_quantized(graph: Graph, scheme: Scheme) -> Graph:
    """Return the graph in a scheme, with ranges that are usual for each operator.

    The layers, their types and the zeros among the weights are those of a calibrated model, and so
    are the engines, as far as they do not hang on ranges far apart.

    Parameters
    ----------
    graph : Graph
        Float graph after ``optimize``.
    scheme : Scheme

    Raises
    ------
    QuantizationError
        When a constant cannot be stored in the scheme.
    GraphError
        When a parameter of a layer is computed by the network.
    """
    check_parameters(graph)
    if scheme is Scheme.F16:
        return to_float16(graph)
    ranges: dict[str, Range] = dict.fromkeys(graph.inputs, (-1.0, 1.0))
    for node in graph.nodes:
        if keeps_codes(node):
            usual = ranges.get(node.inputs[0], _USUAL)
        else:
            low, high = op_def(node.op).bounds
            if _rectified(node.attrs) or _keeps_sign(node, graph, ranges):
                low = max(low, 0.0)
            usual = (max(low, _USUAL[0]), min(high, _USUAL[1]))
        ranges |= dict.fromkeys(node.outputs, usual)
    return apply_scheme(graph, constrain(graph, ranges), scheme)


def _keeps_sign(node: Node, graph: Graph, ranges: dict[str, Range]) -> bool:
    return op_def(node.op).keeps_sign and all(_low(graph, x, ranges) >= 0 for x in node.inputs)


def _low(graph: Graph, tensor: str, ranges: dict[str, Range]) -> float:
    if tensor in graph.constants:
        return float(graph.constants[tensor].min(initial=0.0))
    return ranges.get(tensor, (-1.0, 1.0))[0]


def _rectified(attrs: object) -> bool:
    return getattr(getattr(attrs, "activation", None), "value", "none") != "none"
