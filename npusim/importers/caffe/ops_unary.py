"""Functions of one blob, element by element, and layers that do nothing at test."""

import math

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.caffe.blobs import Wanted
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, clipped, leaky, plus, times
from npusim.importers.common.made import check_made
from npusim.ir.attrs import AlphaAttrs, EltwiseAttrs, HardSigmoidAttrs
from npusim.ops import is_function, ops_named_in, ops_where

_PLAIN = ops_named_in("caffe", is_function)
_NATURAL = -1.0  # the base of Exp and Log that stands for e


@converter(*_PLAIN)
def plain(layer: CaffeLayer, context: CaffeContext) -> None:
    """Functions without parameters."""
    needs(layer, 1)
    context.emit(layer, _PLAIN[layer.type], layer.inputs)


@converter("ReLU")
def relu(layer: CaffeLayer, context: CaffeContext) -> None:
    """Slope ``negative_slope`` below zero."""
    needs(layer, 1)
    slope = layer.parameters("relu_param").real("negative_slope")
    context.chain(layer, layer.inputs[0], [leaky(slope)])


@converter("ReLU6")
def relu6(layer: CaffeLayer, context: CaffeContext) -> None:
    """Limits 0 and 6, or the threshold of the file."""
    needs(layer, 1)
    high = layer.parameters("relu6_param").real("threshold", 6.0)
    context.chain(layer, layer.inputs[0], [clipped(0.0, high)])


@converter("Clip")
def clip(layer: CaffeLayer, context: CaffeContext) -> None:
    """Two limits."""
    needs(layer, 1)
    record = layer.parameters("clip_param")
    if not (record.has("min") and record.has("max")):
        raise ModelImportError("min or max is missing", where=layer.where, rule="both limits")
    context.chain(layer, layer.inputs[0], [clipped(record.real("min"), record.real("max"))])


@converter("ELU")
def elu(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute alpha * (exp(x) - 1) below zero."""
    needs(layer, 1)
    attrs = AlphaAttrs(alpha=layer.parameters("elu_param").real("alpha", 1.0))
    context.emit(layer, "elu", layer.inputs, attrs)


@converter("PReLU")
def prelu(layer: CaffeLayer, context: CaffeContext) -> None:
    """One slope per channel, or one for all."""
    needs(layer, 1)
    record = layer.parameters("prelu_param")
    shape = context.shape(layer.inputs[0])
    shared = record.flag("channel_shared")
    size = () if shared else shape[1:2]
    (slope,) = context.blobs.of(layer, [Wanted("slope", size, record.record("filler"), value=0.25)])
    if shared:
        context.chain(layer, layer.inputs[0], [leaky(float(slope))])
        return
    name = context.constant(f"{layer.name}/slope", slope.reshape(-1, *(1,) * (len(shape) - 2)))
    context.emit(layer, "prelu", (layer.inputs[0], name))


@converter("Swish", "SiLU")
def swish(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute x * sigmoid(beta * x)."""
    needs(layer, 1)
    beta, x = layer.parameters("swish_param").real("beta", 1.0), layer.inputs[0]
    if beta == 1.0:
        context.emit(layer, "swish", (x,))
        return
    gate = context.emit(layer, "mul", (x, _number(layer, context, beta)), EltwiseAttrs(), part="by")
    gate = context.emit(layer, "sigmoid", (gate,), part="gate")
    context.binary(layer, "mul", x, gate)


@converter("HardSwish", "Hswish", "HSwish")
def hard_swish(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute x * clip(x + 3, 0, 6) / 6."""
    needs(layer, 1)
    context.emit(layer, "hard_swish", layer.inputs)


@converter("HardSigmoid", "Hsigmoid", "HSigmoid")
def hard_sigmoid(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute clip(x + 3, 0, 6) / 6."""
    needs(layer, 1)
    attrs = HardSigmoidAttrs(alpha=1 / 6, beta=0.5)
    context.emit(layer, "hard_sigmoid", layer.inputs, attrs)


def _number(layer: CaffeLayer, context: CaffeContext, value: float) -> str:
    return context.constant(f"{layer.name}/number", value)


@converter("Power")
def power(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute (shift + scale * x) ** power."""
    needs(layer, 1)
    record = layer.parameters("power_param")
    exponent, scale = record.real("power", 1.0), record.real("scale", 1.0)
    shift = record.real("shift")
    if scale * exponent == 0:
        value = np.float32(1.0 if exponent == 0 else np.float32(shift) ** np.float32(exponent))
        shape = context.shape(layer.inputs[0])
        context.values[layer.outputs[0]] = np.broadcast_to(value, shape)
        return
    steps = [*times(scale), *plus(shift)]
    if named := ops_where(lambda d: d.power == exponent):
        steps.append(Step("power", named[0]))
    elif exponent != 1.0:
        steps.append(Step("power", "pow", EltwiseAttrs(), exponent))
    context.chain(layer, layer.inputs[0], steps)


def _base(layer: CaffeLayer, value: float) -> float:
    if value != _NATURAL and value <= 0:
        raise ModelImportError(f"base is {value}", where=layer.where, rule="positive, or -1 for e")
    return 1.0 if value == _NATURAL else math.log(value)


@converter("Exp")
def exponential(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute base ** (shift + scale * x)."""
    needs(layer, 1)
    record = layer.parameters("exp_param")
    logarithm = _base(layer, record.real("base", _NATURAL))
    inner, outer = logarithm * record.real("scale", 1.0), logarithm * record.real("shift")
    steps = [*times(inner), Step("exp", "exp"), *times(math.exp(outer), "outer")]
    context.chain(layer, layer.inputs[0], steps)


@converter("Log")
def logarithm(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute log(shift + scale * x) / log(base)."""
    needs(layer, 1)
    record = layer.parameters("log_param")
    base = _base(layer, record.real("base", _NATURAL))
    if base == 0:
        raise ModelImportError("base is 1", where=layer.where, rule="a base with a logarithm")
    steps = [*times(record.real("scale", 1.0)), *plus(record.real("shift"))]
    steps += [Step("log", "log"), *times(1 / base, "outer")]
    context.chain(layer, layer.inputs[0], steps)


@converter("Threshold")
def threshold(layer: CaffeLayer, context: CaffeContext) -> None:
    """One above the threshold, else zero: -floor(clip(threshold - x, -1, 0))."""
    needs(layer, 1)
    limit = layer.parameters("threshold_param").real("threshold")
    steps = [
        Step("below", "sub", EltwiseAttrs(), limit, first=True),
        clipped(-1.0, 0.0),
        Step("floor", "floor"),
        Step("negative", "neg"),
    ]
    context.chain(layer, layer.inputs[0], steps)


@converter("Dropout", "Split")
def nothing(layer: CaffeLayer, context: CaffeContext) -> None:
    """Give the input on."""
    needs(layer, 1, (1, 4096))
    for output in layer.outputs:
        context.alias(output, layer.inputs[0])


@converter("Silence")
def silence(layer: CaffeLayer, context: CaffeContext) -> None:
    """Nothing: it only keeps its inputs from being outputs."""


@converter("Parameter")
def parameter(layer: CaffeLayer, context: CaffeContext) -> None:
    """Give a learned blob."""
    needs(layer, 0)
    shape = layer.parameters("parameter_param").record("shape").wholes("dim")
    (value,) = context.blobs.of(layer, [Wanted("blob", shape)])
    context.values[layer.outputs[0]] = value


@converter("DummyData")
def dummy(layer: CaffeLayer, context: CaffeContext) -> None:
    """Give constant blobs; random ones are no network."""
    record = layer.parameters("dummy_data_param")
    shapes = [shape.wholes("dim") for shape in record.records("shape")]
    if not shapes:
        columns = (record.wholes(key) for key in ("num", "channels", "height", "width"))
        shapes = list(zip(*columns, strict=False))
    fillers = record.records("data_filler")
    if not shapes:
        raise ModelImportError("it has no shape", where=layer.where, rule="shape { dim: .. }")
    for index, output in enumerate(layer.outputs):
        filler = fillers[min(index, len(fillers) - 1)] if fillers else None
        if filler is not None and filler.text("type", "constant") != "constant":
            raise UnsupportedForm("its numbers are random", "use an Input layer")
        shape = shapes[min(index, len(shapes) - 1)]
        value = filler.real("value") if filler else 0.0
        check_made(shape, f"top {output!r}", layer.where)
        context.values[output] = np.full(shape, value, np.float32)
