"""Functions of one tensor, element by element, and operators that do nothing at inference."""

import math

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, clipped, leaky, plus, times
from npusim.importers.mxnet.context import MxContext, channels_first, converter, needs
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import NO_ATTRS, AlphaAttrs, Attrs, ClipAttrs, EltwiseAttrs, HardSigmoidAttrs
from npusim.ops import is_function, op_def, ops_named_in, ops_where

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
PLAIN = ops_named_in("mxnet", is_function)
_ONLY_ACTIVATIONS = ("softrelu", "mish")
"""Words of Activation that are no operators of their own."""

_KINDS = tuple(word for word, op in PLAIN.items() if op_def(op).activation)


@converter(*(word for word in PLAIN if word not in _ONLY_ACTIVATIONS))
def plain(node: MxNode, context: MxContext) -> None:
    """Functions without settings."""
    needs(node, 1)
    context.emit(node, PLAIN[node.type], node.inputs)


@converter("Activation")
def activation(node: MxNode, context: MxContext) -> None:
    """relu, sigmoid, tanh, softrelu, softsign, log_sigmoid or mish."""
    needs(node, 1)
    word = node.attributes.text("act_type")
    if not word:
        raise node.attributes.missing("act_type")
    if word == "log_sigmoid":
        _log_sigmoid(node, context)
        return
    if word not in _KINDS:
        raise ModelImportError(
            f"act_type is {word!r}",
            where=node.where,
            rule=f"one of {', '.join((*_KINDS, 'log_sigmoid'))}",
        )
    context.emit(node, PLAIN[word], node.inputs)


def _log_sigmoid(node: MxNode, context: MxContext) -> None:
    steps = [Step("turned", "neg"), Step("softplus", "softplus"), Step("negative", "neg")]
    context.chain(node, node.inputs[0], steps)


@converter("LeakyReLU")
def leaky_relu(node: MxNode, context: MxContext) -> None:
    """leaky, prelu, elu, selu, gelu, or rrelu with the mean of its slopes."""
    kind = node.attributes.text("act_type", "leaky")
    needs(node, 2 if kind == "prelu" else 1)
    x, slope = node.inputs[0], node.attributes.real("slope", 0.25)
    if kind == "leaky":
        context.chain(node, x, [leaky(slope)])
    elif kind == "rrelu":
        low, high = (node.attributes.real(f"{end}_bound", d) for end, d in _BOUNDS)
        context.chain(node, x, [leaky(float((np.float32(low) + np.float32(high)) / 2))])
    elif kind == "elu":
        context.chain(node, x, [Step("elu", "elu", AlphaAttrs(alpha=slope))])
    elif kind == "selu":
        steps = [Step("elu", "elu", AlphaAttrs(alpha=SELU_ALPHA)), *times(SELU_SCALE)]
        context.chain(node, x, steps)
    elif kind == "gelu":
        context.emit(node, "gelu", (x,))
    elif kind == "prelu":
        _prelu(node, context)
    else:
        raise ModelImportError(
            f"act_type is {kind!r}",
            where=node.where,
            rule="leaky, prelu, elu, selu, gelu or rrelu",
        )


_BOUNDS = (("lower", 0.125), ("upper", 0.334))


def _prelu(node: MxNode, context: MxContext) -> None:
    """One slope per channel, or one for all."""
    shape, name = context.shape(node.inputs[0]), node.inputs[1]
    channels = shape[1] if len(shape) > 1 else shape[0]
    stored = context.values.get(name)
    size = (1,) if stored is not None and stored.size == 1 else (channels,)
    if stored is not None and stored.shape == ():
        context.values[name] = stored.reshape(1)
    slope = context.parameter(node, 1, size, 0.25)
    if slope.size == 1:
        context.chain(node, node.inputs[0], [leaky(float(slope[0]))])
        return
    by = context.constant(f"{node.name}/slope", slope.reshape(channels_first(shape, len(shape))))
    context.emit(node, "prelu", (node.inputs[0], by))


@converter("clip")
def clip(node: MxNode, context: MxContext) -> None:
    """Two limits."""
    needs(node, 1)
    for name in ("a_min", "a_max"):
        if not node.attributes.has(name):
            raise node.attributes.missing(name)
    low, high = node.attributes.real("a_min", 0.0), node.attributes.real("a_max", 0.0)
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ModelImportError(f"limits {low} and {high}", where=node.where, rule="low, then high")
    limit = float(np.finfo(np.float32).max)
    low = -math.inf if low <= -limit else low
    high = math.inf if high >= limit else high
    if (low, high) == (0.0, math.inf):
        context.emit(node, "relu", node.inputs)
    elif (low, high) == (-math.inf, math.inf):
        context.alias(node.outputs[0], node.inputs[0])
    else:
        context.chain(node, node.inputs[0], [clipped(low, high)])


@converter("hard_sigmoid")
def hard_sigmoid(node: MxNode, context: MxContext) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    needs(node, 1)
    attrs = HardSigmoidAttrs(
        alpha=node.attributes.real("alpha", 0.2), beta=node.attributes.real("beta", 0.5)
    )
    context.emit(node, "hard_sigmoid", node.inputs, attrs)


_MINUS_ONE_BELOW = [
    Step("limited", "clip", ClipAttrs(minimum=-1.0, maximum=0.0)),
    Step("below", "floor"),
]
"""-1 where the value is below zero, else 0."""


def below_zero(node: MxNode, context: MxContext, x: str, part: str) -> str:
    """Return a tensor that is 1 where ``x`` is below zero, else 0."""
    return context.part(node, x, [*_MINUS_ONE_BELOW, Step("one", "neg")], part)


@converter("sign")
def sign(node: MxNode, context: MxContext) -> None:
    """Give -1, 0 or 1: above zero minus below zero."""
    needs(node, 1)
    x = node.inputs[0]
    less = below_zero(node, context, x, "less")
    turned = context.emit(node, "neg", (x,), part="turned")
    more = below_zero(node, context, turned, "more")
    context.binary(node, "sub", more, less)


def _both_sides(node: MxNode, context: MxContext, steps: list[Step]) -> None:
    """Apply steps to the size of a value and give its sign back."""
    x = node.inputs[0]
    high = context.part(node, x, [Step("size", "relu"), *steps], "high")
    turned = [Step("turned", "neg"), Step("size", "relu"), *steps]
    low = context.part(node, x, turned, "low")
    context.binary(node, "sub", high, low)


@converter("round")
def round_(node: MxNode, context: MxContext) -> None:
    """Nearest integer, halves away from zero."""
    needs(node, 1)
    _both_sides(node, context, [*plus(0.5), Step("whole", "floor")])


@converter("fix", "trunc")
def trunc(node: MxNode, context: MxContext) -> None:
    """Cut fractions off."""
    needs(node, 1)
    _both_sides(node, context, [Step("whole", "floor")])


@converter("rint")
def rint(node: MxNode, context: MxContext) -> None:
    """Nearest integer, halves down."""
    needs(node, 1)
    steps = [Step("turned", "neg"), *plus(0.5), Step("whole", "floor"), Step("back", "neg")]
    context.chain(node, node.inputs[0], steps)


@converter("ceil")
def ceil(node: MxNode, context: MxContext) -> None:
    """Compute -floor(-x)."""
    needs(node, 1)
    steps = [Step("turned", "neg"), Step("floor", "floor"), Step("back", "neg")]
    context.chain(node, node.inputs[0], steps)


_LOGARITHMS = {"log2": math.log(2), "log10": math.log(10), "log1p": 1.0}


@converter(*_LOGARITHMS)
def logarithm(node: MxNode, context: MxContext) -> None:
    """Logarithms of other bases, and of 1 + x."""
    needs(node, 1)
    front = plus(1.0) if node.type == "log1p" else []
    steps = [*front, Step("log", "log"), *times(1 / _LOGARITHMS[node.type])]
    context.chain(node, node.inputs[0], steps)


@converter("expm1")
def expm1(node: MxNode, context: MxContext) -> None:
    """Compute exp(x) - 1."""
    needs(node, 1)
    context.chain(node, node.inputs[0], [Step("exp", "exp"), *plus(-1.0)])


@converter("degrees", "radians")
def angle(node: MxNode, context: MxContext) -> None:
    """Multiply by 180 / pi or its inverse."""
    needs(node, 1)
    factor = 180 / math.pi if node.type == "degrees" else math.pi / 180
    context.chain(node, node.inputs[0], times(factor))


@converter("cbrt", "rcbrt")
def cube_roots(node: MxNode, context: MxContext) -> None:
    """Cube root of either sign, or its reciprocal."""
    needs(node, 1)
    last = "root" if node.type == "rcbrt" else ""
    out = cube_root(node, context, node.inputs[0], part=last)
    if last:
        context.emit(node, "reciprocal", (out,))


def cube_root(node: MxNode, context: MxContext, x: str, *, part: str = "") -> str:
    """Return the cube root: of what is above zero minus that of what is below."""
    third = Step("root", "pow", EltwiseAttrs(), 1 / 3)
    high = context.part(node, x, [Step("size", "relu"), third], "high")
    low = context.part(node, x, [Step("turned", "neg"), Step("size", "relu"), third], "low")
    return context.binary(node, "sub", high, low, part=part)


@converter("smooth_l1")
def smooth_l1(node: MxNode, context: MxContext) -> None:
    """Square near zero, straight beyond: c * (abs(x) - c / 2) * s**2 with the cut size c."""
    needs(node, 1)
    sigma = node.attributes.real("scalar", 1.0) ** 2
    if sigma <= 0:
        raise ModelImportError("scalar is 0", where=node.where, rule="not zero")
    size = context.emit(node, "abs", node.inputs, part="size")
    cut = context.part(node, size, [clipped(0.0, 1 / sigma)], "cut")
    half = context.part(node, cut, times(0.5, "half"), "half")
    reach = context.binary(node, "sub", size, half, part="reach")
    last = "" if sigma == 1 else "product"
    out = context.binary(node, "mul", cut, reach, part=last)
    if last:
        context.chain(node, out, times(sigma))


@converter("_contrib_quadratic")
def quadratic(node: MxNode, context: MxContext) -> None:
    """Compute a * x * x + b * x + c."""
    needs(node, 1)
    a, b, c = (node.attributes.real(name, 0.0) for name in "abc")
    steps = [*times(a), *plus(b), Step("product", "mul", EltwiseAttrs(), node.inputs[0]), *plus(c)]
    context.chain(node, node.inputs[0], steps)


@converter("_contrib_div_sqrt_dim")
def div_sqrt_dim(node: MxNode, context: MxContext) -> None:
    """Divide by the root of the last axis' size."""
    needs(node, 1)
    size = context.shape(node.inputs[0])[-1]
    context.chain(node, node.inputs[0], times(1 / math.sqrt(size)))


_NOTHING = (
    *("_copy", "identity", "BlockGrad", "stop_gradient", "make_loss", "MakeLoss", "Dropout"),
    *("IdentityAttachKLSparseReg", "_contrib_gradientmultiplier", "_CrossDeviceCopy", "_copyto"),
    *("LinearRegressionOutput", "MAERegressionOutput", "SVMOutput", "cast_storage"),
    "_identity_with_attr_like_rhs",
)


@converter(*_NOTHING)
def nothing(node: MxNode, context: MxContext) -> None:
    """Give the first input on."""
    if node.type == "Dropout" and node.attributes.text("mode", "training") == "always":
        raise UnsupportedForm("mode is always: its numbers are random", "use mode='training'")
    context.alias(node.outputs[0], node.inputs[0])


@converter("amp_multicast")
def multicast(node: MxNode, context: MxContext) -> None:
    """Give every input on."""
    for output, source in zip(node.outputs, node.inputs, strict=True):
        context.alias(output, source)


_REAL_TYPES = ("float32", "float16", "float64", "bfloat16")


@converter("Cast", "cast", "amp_cast")
def cast(node: MxNode, context: MxContext) -> None:
    """Casts between real types vanish; whole numbers cut fractions off."""
    needs(node, 1)
    kind = node.attributes.text("dtype")
    if not kind:
        raise node.attributes.missing("dtype")
    if kind in _REAL_TYPES:
        context.alias(node.outputs[0], node.inputs[0])
    elif kind in ("int32", "int64"):
        _both_sides(node, context, [Step("whole", "floor")])
    else:
        raise UnsupportedForm(f"cast to {kind}", "its range is cut; use clip, floor or float32")


def powers(exponent: float) -> tuple[str, Attrs] | None:
    """Return the operator that is a power, if one is."""
    named = ops_where(lambda d: d.power == exponent)
    return (named[0], NO_ATTRS) if named else None
