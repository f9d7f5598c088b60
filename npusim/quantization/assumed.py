"""Quantize a network whose activations nobody has measured, to price it: the numbers are no use."""

from npusim.ir.graph import Graph
from npusim.quantization.apply import apply_scheme
from npusim.quantization.constrain import constrain, takes_input_range
from npusim.quantization.float16 import to_float16
from npusim.quantization.schemes import Range, Scheme

_UNIT = ("sigmoid", "hard_sigmoid", "softmax")
_RECTIFIERS = ("relu", "relu6")
# Operators that keep the sign when all their operands have none.
_KEEP_SIGN = ("add", "mul", "max", "min", "div", "pool2d", "global_pool", "reduce_mean", "resize")


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
    """
    if scheme is Scheme.F16:
        return to_float16(graph)
    ranges: dict[str, Range] = dict.fromkeys(graph.inputs, (-1.0, 1.0))
    for node in graph.nodes:
        usual = (-6.0, 6.0)
        if takes_input_range(node):
            usual = ranges.get(node.inputs[0], usual)
        elif node.op in _UNIT:
            usual = (0.0, 1.0)
        elif (
            node.op in _RECTIFIERS
            or _rectified(node.attrs)
            or (node.op in _KEEP_SIGN and all(_low(graph, x, ranges) >= 0 for x in node.inputs))
        ):
            usual = (0.0, 6.0)
        ranges |= dict.fromkeys(node.outputs, usual)
    return apply_scheme(graph, constrain(graph, ranges), scheme)


def _low(graph: Graph, tensor: str, ranges: dict[str, Range]) -> float:
    if tensor in graph.constants:
        return float(graph.constants[tensor].min(initial=0.0))
    return ranges.get(tensor, (-1.0, 1.0))[0]


def _rectified(attrs: object) -> bool:
    return getattr(getattr(attrs, "activation", None), "value", "none") != "none"
