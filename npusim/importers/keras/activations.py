"""Activation functions by the names that Keras gives them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, clipped, leaky, plus, times
from npusim.importers.common.ordered_math import along, greater
from npusim.importers.keras.context import KerasContext, KerasNode, converter_of
from npusim.importers.keras.weights import Place
from npusim.ir.attrs import AlphaAttrs, EltwiseAttrs, HardSigmoidAttrs
from npusim.ops import is_function, op_def, op_names, ops_named_in

_ALPHA = 1.6732632423543772
_SCALE = 1.0507009873554805
Made = Callable[[KerasNode, KerasContext, str, str, str], str]
_FUNCTIONS: dict[str, Made] = {}
_PLAIN = {name: name for name in op_names() if is_function(op_def(name))}
_PLAIN |= ops_named_in("keras", is_function)
"""Functions without settings: Keras calls most of them as npusim does."""


def _function(*names: str) -> Callable[[Made], Made]:
    def add(make: Made) -> Made:
        for name in names:
            _FUNCTIONS[name] = make
        return make

    return add


def named(
    node: KerasNode,
    context: KerasContext,
    source: str,
    name: str,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Append an activation by name and return its tensor.

    Raises
    ------
    UnsupportedForm
        For names without a counterpart.
    """
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](node, context, source, part, output)
    if name in _PLAIN:
        return context.unary(node, _PLAIN[name], source, part=part, output=output)
    raise UnsupportedForm(f"activation {name!r}", "use a common one, or run the rest on the CPU")


def name_of(value: Any) -> str | None:
    """Return the name of an activation as the file has it; None for a layer in its place."""
    if value is None:
        return "linear"
    if isinstance(value, str):
        return value.rpartition(">")[2]
    if isinstance(value, Mapping):
        kind, config = value.get("class_name"), value.get("config")
        if kind == "function" and isinstance(config, str):
            return config
        if isinstance(config, str):
            return config
    return None


def activate(
    node: KerasNode, context: KerasContext, source: str, value: Any, *, part: str = "",
    output: str = "",
) -> str:  # fmt: skip
    """Append the activation of a layer; without one the output is another name of the source."""
    name = name_of(value)
    if name == "linear":
        if part:
            return source
        context.alias(output or node.outputs[0], source)
        return output or node.outputs[0]
    if name is not None:
        return named(node, context, source, name, part=part, output=output)
    if not isinstance(value, Mapping) or not isinstance(value.get("config"), Mapping):
        raise ModelImportError(
            f"activation {str(value)[:80]}", where=node.where, rule="a name or a layer"
        )
    return _layer(node, context, source, value, part, output)


def is_linear(value: Any) -> bool:
    """Tell whether an activation does nothing."""
    return name_of(value) == "linear"


def _layer(
    node: KerasNode, context: KerasContext, source: str, value: Mapping[str, Any], part: str,
    output: str,
) -> str:  # fmt: skip
    """Append a layer that stands in the place of an activation."""
    from npusim.importers.keras.config import Layer

    kind = str(value.get("class_name"))
    convert = converter_of(kind)
    if convert is None:
        raise UnsupportedForm(f"activation {kind!r}", "use a common one")
    target = output or (context.unused(f"{node.outputs[0]}/{part}") if part else node.outputs[0])
    place = Place((*node.source.place.path, "activation"), (*node.source.place.keys, ""))
    inner = KerasNode(
        name=f"{node.name}/activation",
        type=kind,
        inputs=(source,),
        outputs=(target,),
        source=Layer(f"{node.name}/activation", kind, dict(value["config"]), place),
    )
    convert(inner, context)
    return target


@_function("elu")
def _elu(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    return c.unary(n, "elu", x, AlphaAttrs(alpha=1.0), part=part, output=output)


@_function("celu")
def _celu(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    return c.unary(n, "elu", x, AlphaAttrs(alpha=1.0), part=part, output=output)


@_function("selu")
def _selu(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    steps = [Step("elu", "elu", AlphaAttrs(alpha=_ALPHA)), *times(_SCALE)]
    return c.chain(n, x, steps, part=part, output=output)


@_function("leaky_relu")
def _leaky(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    return c.chain(n, x, [leaky(0.2)], part=part, output=output)


@_function("hard_sigmoid")
def _hard_sigmoid(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    """Compute clip(x / 6 + .5) in Keras 3 and clip(.2 x + .5) before."""
    attrs = HardSigmoidAttrs(alpha=1 / 6 if c.era > 2 else 0.2, beta=0.5)
    return c.unary(n, "hard_sigmoid", x, attrs, part=part, output=output)


@_function("sparse_sigmoid")
def _sparse_sigmoid(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    attrs = HardSigmoidAttrs(alpha=0.5, beta=0.5)
    return c.unary(n, "hard_sigmoid", x, attrs, part=part, output=output)


@_function("hard_tanh")
def _hard_tanh(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    return c.chain(n, x, [clipped(-1.0, 1.0)], part=part, output=output)


@_function("log_sigmoid")
def _log_sigmoid(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    steps = [Step("negative", "neg"), Step("softplus", "softplus"), Step("back", "neg")]
    return c.chain(n, x, steps, part=part, output=output)


@_function("tanh_shrink")
def _tanh_shrink(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    inner = c.unary(n, "tanh", x, part=f"{part}tanh")
    return c.binary(n, "sub", x, inner, part=part, output=output)


@_function("soft_shrink")
def _soft_shrink(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    up = c.chain(n, x, [*plus(-0.5), Step("high", "relu")], part=f"{part}above")
    steps = [Step("negative", "neg"), *plus(-0.5), Step("low", "relu")]
    down = c.chain(n, x, steps, part=f"{part}below")
    return c.binary(n, "sub", up, down, part=part, output=output)


@_function("hard_shrink")
def _hard_shrink(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    length = c.unary(n, "abs", x, part=f"{part}length")
    half = c.constant(f"{n.name}/half", 0.5)
    kept = greater(c, n, length, half, part=f"{part}kept")
    return c.binary(n, "mul", x, kept, part=part, output=output)


@_function("squareplus")
def _squareplus(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    root = c.chain(
        n, x, [Step("square", "square"), *plus(4.0), Step("root", "sqrt")], part=f"{part}length"
    )
    total = c.binary(n, "add", x, root, part=f"{part}total")
    return c.chain(n, total, times(0.5), part=part, output=output)


@_function("sparse_plus")
def _sparse_plus(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    steps = [clipped(-1.0, 1.0), *plus(1.0), Step("square", "square"), *times(0.25, "quarter")]
    low = c.chain(n, x, steps, part=f"{part}low")
    high = c.chain(n, x, [*plus(-1.0), Step("relu", "relu")], part=f"{part}high")
    return c.binary(n, "add", low, high, part=part, output=output)


@_function("softmax", "log_softmax")
def _softmax(n: KerasNode, c: KerasContext, x: str, part: str, output: str) -> str:
    return softmax(n, c, x, "softmax", part, output)


def softmax(n: KerasNode, c: KerasContext, x: str, op: str, part: str, output: str) -> str:
    """Append a softmax over the last axis."""
    if c.rank(x) < 1:
        raise ModelImportError("its input has no axes", where=n.where, rule="at least one")
    return along(c, n, op, x, c.rank(x) - 1, part=part, output=output)


_FUNCTIONS["log_softmax"] = lambda n, c, x, part, output: softmax(
    n, c, x, "log_softmax", part, output
)


def rectified(
    node: KerasNode,
    context: KerasContext,
    source: str,
    most: float | None,
    slope: float,
    limit: float,
) -> str:
    """Append ReLU with its three settings: maximum, slope below, and where below begins."""
    steps: list[Step] = []
    if limit == 0:
        if slope == 0 and most is not None:
            return context.chain(node, source, [clipped(0.0, most)])
        steps.append(leaky(slope))
        if most is not None:
            steps.append(_highest(most))
        return context.chain(node, source, steps)
    edge = context.constant(f"{node.name}/threshold", limit)
    above = greater(context, node, source, edge, part="above")
    kept = context.binary(node, "mul", source, above, part="kept")
    if most is not None:  # Keras clips at 0 as well, which matters for a threshold below it
        kept = context.chain(node, kept, [clipped(0.0, most)], part="limited")
    if not slope:
        return context.chain(node, kept, [])
    below = [Step("under", "sub", EltwiseAttrs(), limit, first=True), Step("relu", "relu")]
    slanted = context.chain(node, source, [*below, *times(slope)], part="slanted")
    return context.binary(node, "sub", kept, slanted)


def _highest(most: float) -> Step:
    return Step("highest", "min", EltwiseAttrs(), np.float32(most))  # type: ignore[arg-type]


def activation_names() -> Sequence[str]:
    """Return the activations that have a counterpart."""
    return sorted({*_FUNCTIONS, *_PLAIN})
