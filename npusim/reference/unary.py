"""Reference of the element-wise functions of one tensor, and prelu."""

from collections.abc import Callable

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import AlphaAttrs, ClipAttrs, HardSigmoidAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.reference.table import Array, Step, Workers, attributes, contiguous, reference

_SQRT_HALF = float(np.sqrt(0.5))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); exp overflows to infinity, which gives the right 0."""
    return np.asarray(1 / (1 + np.exp(-x)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) without overflow."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def erf(x: Array) -> Array:
    """Error function; SciPy's is imported by the first network that has one."""
    from scipy.special import erf

    return np.asarray(erf(x))


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "hard_swish": lambda x: x * (np.clip(x + 3, 0, 6) / 6),
    "swish": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "gelu": lambda x: x * (1 + erf(x * _SQRT_HALF)) / 2,
    "erf": erf,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sign": np.sign,
}
_EXACT: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu1": lambda x: np.clip(x, -1, 1),
    "relu6": lambda x: np.clip(x, 0, 6),
    "abs": np.abs,
    "neg": np.negative,
    "square": np.square,
}


@reference(*_FUNCTIONS)
def prepare_function(node: Node, graph: Graph, workers: Workers) -> Step:
    """Functions without attributes."""
    function = _FUNCTIONS[node.op]
    return lambda x: (np.asarray(function(contiguous(x))),)


@reference(*_EXACT, integers=True)
def prepare_exact(node: Node, graph: Graph, workers: Workers) -> Step:
    """Functions without attributes and without rounding of their own."""
    function = _EXACT[node.op]
    return lambda x: (np.asarray(function(x)),)


@reference("leaky_relu")
def prepare_leaky_relu(node: Node, graph: Graph, workers: Workers) -> Step:
    """Slope alpha below zero."""
    attrs = attributes(node, AlphaAttrs)
    alpha = np.float32(attrs.alpha)
    return lambda x: (np.where(x < 0, x * alpha, x),)


@reference("elu")
def prepare_elu(node: Node, graph: Graph, workers: Workers) -> Step:
    """Apply alpha * (exp(x) - 1) below zero."""
    attrs = attributes(node, AlphaAttrs)
    alpha = np.float32(attrs.alpha)

    def step(x: Array) -> tuple[Array, ...]:
        x = contiguous(x)
        return (np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),)

    return step


@reference("hard_sigmoid")
def prepare_hard_sigmoid(node: Node, graph: Graph, workers: Workers) -> Step:
    """clip(alpha * x + beta, 0, 1)."""
    attrs = attributes(node, HardSigmoidAttrs)
    alpha, beta = np.float32(attrs.alpha), np.float32(attrs.beta)
    return lambda x: (np.clip(x * alpha + beta, 0, 1),)


@reference("clip", integers=True)
def prepare_clip(node: Node, graph: Graph, workers: Workers) -> Step:
    """Limits may be infinite; integer tensors ignore infinite ones."""
    attrs = attributes(node, ClipAttrs)
    dtype = graph.spec(node.inputs[0]).dtype
    low, high = attrs.minimum, attrs.maximum
    if not dtype.is_float:
        low, high = max(low, dtype.min), min(high, dtype.max)
        if low != int(low) or high != int(high):
            raise GraphError(f"limits {low} and {high} of an integer tensor are not whole")
        low, high = int(low), int(high)
    return lambda x: (np.minimum(np.maximum(x, dtype.numpy.type(low)), dtype.numpy.type(high)),)


@reference("convert", integers=True)
def prepare_convert(node: Node, graph: Graph, workers: Workers) -> Step:
    """Keep the real values in the output's element type; float to integer cuts the fraction."""
    dtype = graph.spec(node.outputs[0]).dtype
    if dtype is DType.F16:
        raise GraphError("float16 output", rule="the reference computes in float32")
    return lambda x: (x.astype(dtype.numpy, copy=False),)


@reference("prelu")
def prepare_prelu(node: Node, graph: Graph, workers: Workers) -> Step:
    """Multiply by a slope that broadcasts below zero."""
    return lambda x, slope: (np.where(x < 0, x * slope, x),)
