"""The activations of Darknet, written with the chip's operators."""

import math
from collections.abc import Callable

from npusim.importers.common.layers import Step, clipped, leaky, plus, times
from npusim.importers.darknet.context import DarknetContext
from npusim.importers.darknet.net import DarknetLayer, is_of_the_fork
from npusim.ir.attrs import AlphaAttrs, EltwiseAttrs, HardSigmoidAttrs, ReduceAttrs

_EPSILON = 1e-4  # of normalize_channels
_GELU = (math.sqrt(2 / math.pi), 0.044715)
_SELU = (1.0507, 1.6732)

_PLAIN: dict[str, list[Step]] = {
    "linear": [],
    "logistic": [Step("logistic", "sigmoid")],
    "loggy": [Step("logistic", "sigmoid"), *times(2.0), *plus(-1.0)],
    "relu": [Step("relu", "relu")],
    "relu6": [Step("relu6", "relu6")],
    "elu": [Step("elu", "elu", AlphaAttrs(alpha=1.0))],
    "selu": [Step("elu", "elu", AlphaAttrs(alpha=_SELU[1])), *times(_SELU[0])],
    "relie": [leaky(0.01)],
    "ramp": [leaky(0.1 / 1.1), *times(1.1)],
    "leaky": [leaky(0.1)],
    "tanh": [Step("tanh", "tanh")],
    "hardtan": [clipped(-1.0, 1.0)],
    "swish": [Step("swish", "swish")],
    "mish": [Step("mish", "mish")],
}
Function = Callable[[DarknetLayer, DarknetContext, str], None]


def activation_of(layer: DarknetLayer, context: DarknetContext, default: str) -> str:
    """Return the activation of a layer by the program's rules; unknown words are relu."""
    word = layer.section.text("activation", default)
    known = word in _PLAIN or word in _FUNCTIONS
    if known and (context.fork or not is_of_the_fork(word)):
        return word
    context.notes.append(
        f"layer {layer.name!r}: activation {word!r} is not known to the program "
        f"({context.program}), which takes relu"
    )
    return "relu"


def activate(layer: DarknetLayer, context: DarknetContext, source: str, word: str) -> None:
    """Give the layer's output as an activation of a tensor."""
    if word in _PLAIN:
        context.chain(layer, source, _PLAIN[word])
    else:
        _FUNCTIONS[word](layer, context, source)


def _between(low: float, high: float, inner: float, outer: float, shift: float) -> Function:
    """Return inner * clip(x) + outer * x + shift: lines that meet at the limits."""

    def function(layer: DarknetLayer, context: DarknetContext, x: str) -> None:
        middle = context.emit(layer, "clip", (x,), clipped(low, high).attrs, part="clipped")
        by = context.constant(f"{layer.name}/inner", inner)
        middle = context.emit(layer, "mul", (middle, by), EltwiseAttrs(), part="inner")
        joined = Step("joined", "add", EltwiseAttrs(), middle)
        context.chain(layer, x, [*times(outer, "outer"), joined, *plus(shift)])

    return function


def _stair(layer: DarknetLayer, context: DarknetContext, x: str) -> None:
    """Compute floor(x / 2), plus the fraction of x where floor(x) is odd."""
    whole = context.emit(layer, "floor", (x,), part="whole")
    half = context.constant(f"{layer.name}/half", 0.5)
    halves = context.emit(layer, "mul", (x, half), EltwiseAttrs(), part="halved")
    pairs = context.emit(layer, "floor", (halves,), part="pairs")
    two = context.constant(f"{layer.name}/two", 2.0)
    even = context.emit(layer, "mul", (pairs, two), EltwiseAttrs(), part="even")
    odd = context.binary(layer, "sub", whole, even, part="odd")
    fraction = context.binary(layer, "sub", x, whole, part="fraction")
    rise = context.binary(layer, "mul", fraction, odd, part="rise")
    context.binary(layer, "add", rise, pairs)


def _hard_mish(layer: DarknetLayer, context: DarknetContext, x: str) -> None:
    """Compute x * clip(x + 2, 0, 2) / 2."""
    gate = context.emit(
        layer, "hard_sigmoid", (x,), HardSigmoidAttrs(alpha=0.5, beta=1.0), part="gate"
    )
    context.binary(layer, "mul", x, gate)


def _gelu(layer: DarknetLayer, context: DarknetContext, x: str) -> None:
    """Compute x / 2 * (1 + tanh(a * (x + b * x ** 3)))."""
    square = context.emit(layer, "square", (x,), part="square")
    cube = context.binary(layer, "mul", square, x, part="cube")
    small = context.constant(f"{layer.name}/small", _GELU[1])
    cube = context.emit(layer, "mul", (cube, small), EltwiseAttrs(), part="small_cube")
    inner = context.binary(layer, "add", cube, x, part="inner")
    root = context.constant(f"{layer.name}/root", _GELU[0])
    inner = context.emit(layer, "mul", (inner, root), EltwiseAttrs(), part="argument")
    bent = context.emit(layer, "tanh", (inner,), part="bent")
    one = context.constant(f"{layer.name}/one", 1.0)
    gate = context.emit(layer, "add", (bent, one), EltwiseAttrs(), part="gate")
    half = context.constant(f"{layer.name}/half", 0.5)
    halved = context.emit(layer, "mul", (x, half), EltwiseAttrs(), part="halved")
    context.binary(layer, "mul", halved, gate)


def _normalize_channels(softmax: bool, largest: bool) -> Function:
    def function(layer: DarknetLayer, context: DarknetContext, x: str) -> None:
        over = ReduceAttrs(axes=(1,))
        if largest:
            top = context.emit(layer, "reduce_max", (x,), over, part="largest")
            x = context.binary(layer, "sub", x, top, part="below")
        op = "exp" if softmax else "relu"
        parts = context.emit(layer, op, (x,), part="parts")
        total = context.emit(layer, "reduce_sum", (parts,), over, part="sum")
        small = context.constant(f"{layer.name}/epsilon", _EPSILON)
        total = context.emit(layer, "add", (total, small), EltwiseAttrs(), part="total")
        context.binary(layer, "div", parts, total)

    return function


_FUNCTIONS: dict[str, Function] = {
    "plse": _between(-4.0, 4.0, 0.115, 0.01, 0.5),
    "lhtan": _between(0.0, 1.0, 0.999, 0.001, 0.0),
    "stair": _stair,
    "hard_mish": _hard_mish,
    "gelu": _gelu,
    "normalize_channels": _normalize_channels(False, False),
    "normalize_channels_softmax": _normalize_channels(True, False),
    "normalize_channels_softmax_maxval": _normalize_channels(True, True),
}
