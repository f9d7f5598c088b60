"""Element-wise functions of one tensor, and nodes that do nothing at inference."""

import math

import numpy as np
from onnx import TensorProto

from npusim import words
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.importers.onnx.tensor import element_type_name
from npusim.ir.attrs import AlphaAttrs, ClipAttrs, HardSigmoidAttrs
from npusim.ir.dtypes import DType
from npusim.ops import is_function, ops_named_in

PLAIN = ops_named_in("onnx", is_function)
FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_INTEGER_TYPES: dict[int, DType] = {
    TensorProto.UINT8: DType.U8,
    TensorProto.INT8: DType.I8,
    TensorProto.INT16: DType.I16,
    TensorProto.INT32: DType.I32,
    TensorProto.INT64: DType.I64,
}


@converter(*PLAIN)
def plain(node: OnnxNode, context: Context) -> None:
    """Functions without attributes."""
    context.emit(node, PLAIN[node.op_type], node.inputs[:1])


@converter("LeakyRelu")
def leaky_relu(node: OnnxNode, context: Context) -> None:
    """Slope ``alpha`` below zero."""
    attrs = AlphaAttrs(alpha=node.real("alpha", 0.01))
    context.emit(node, "leaky_relu", node.inputs[:1], attrs)


@converter("Elu")
def elu(node: OnnxNode, context: Context) -> None:
    """Compute alpha * (exp(x) - 1) below zero."""
    context.emit(node, "elu", node.inputs[:1], AlphaAttrs(alpha=node.real("alpha", 1.0)))


@converter("HardSigmoid")
def hard_sigmoid(node: OnnxNode, context: Context) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    attrs = HardSigmoidAttrs(alpha=node.real("alpha", 0.2), beta=node.real("beta", 0.5))
    context.emit(node, "hard_sigmoid", node.inputs[:1], attrs)


@converter("PRelu")
def prelu(node: OnnxNode, context: Context) -> None:
    """Slope per channel or element; one that is computed takes the parts below and above 0."""
    if context.known(node.inputs[1]) is not None:
        context.emit(node, "prelu", node.inputs[:2])
        return
    low = Chain(node, context, node.inputs[0]).binary("min", 0.0, "below")
    low.binary("mul", node.inputs[1], "sloped")
    high = Chain(node, context, node.inputs[0]).then("relu")
    high.binary("add", low.tensor(), "joined").end()


@converter("Gelu")
def gelu(node: OnnxNode, context: Context) -> None:
    """Compute x * (1 + erf(x / sqrt(2))) / 2; the tanh form is spelt out."""
    x = node.inputs[0]
    if node.text("approximate", "none") == "none":
        context.emit(node, "gelu", (x,))
        return
    squared = context.emit(node, "square", (x,), part="square")
    cubed = context.emit_binary(node, "mul", squared, x, "cube")
    small = context.emit_binary(node, "mul", cubed, context.scalar(node, "c", 0.044715), "small")
    inner = context.emit_binary(node, "add", small, x, "inner")
    factor = context.scalar(node, "root", math.sqrt(2.0 / math.pi))
    bent = context.emit(
        node, "tanh", (context.emit_binary(node, "mul", inner, factor, "scaled"),), part="tanh"
    )
    gate = context.emit_binary(node, "add", bent, context.scalar(node, "one", 1.0), "gate")
    half = context.emit_binary(node, "mul", x, context.scalar(node, "half", 0.5), "halved")
    context.emit_binary(node, "mul", half, gate)


@converter("Swish")
def swish(node: OnnxNode, context: Context) -> None:
    """Compute x * sigmoid(alpha * x)."""
    x, alpha = node.inputs[0], node.real("alpha", 1.0)
    if alpha == 1.0:
        context.emit(node, "swish", (x,))
        return
    scaled = context.emit_binary(node, "mul", x, context.scalar(node, "alpha", alpha), "scaled")
    gate = context.emit(node, "sigmoid", (scaled,), part="gate")
    context.emit_binary(node, "mul", x, gate)


@converter("Clip")
def clip(node: OnnxNode, context: Context) -> None:
    """Limits as attributes (opset < 11) or inputs; the common ranges become relu and relu6."""
    if node.version < 11:
        lowest: float | None = node.real("min", -math.inf)
        highest: float | None = node.real("max", math.inf)
    elif any(name and context.known(name) is None for name in node.inputs[1:3]):
        _computed_clip(node, context)
        return
    else:
        lowest = context.fixed_scalar(node, 1, "the lower limit")
        highest = context.fixed_scalar(node, 2, "the upper limit")
    limit = float(np.finfo(np.float32).max)
    low = -math.inf if lowest is None or lowest <= -limit else lowest
    high = math.inf if highest is None or highest >= limit else highest
    if math.isnan(low) or math.isnan(high):
        raise UnsupportedForm(f"limits {low} and {high}", "use numbers")
    ifm = node.inputs[:1]
    if (low, high) == (-math.inf, math.inf):
        context.alias(node.outputs[0], node.inputs[0])
    elif (low, high) == (0.0, math.inf):
        context.emit(node, "relu", ifm)
    elif (low, high) == (0.0, 6.0):
        context.emit(node, "relu6", ifm)
    else:  # ONNX: a lower limit above the upper one gives the upper one everywhere
        context.emit(node, "clip", ifm, ClipAttrs(minimum=min(low, high), maximum=high))


def _computed_clip(node: OnnxNode, context: Context) -> None:
    """Limits that depend on the data: a maximum, then a minimum, as ONNX says."""
    chain = Chain(node, context, node.inputs[0])
    for position, op in ((1, "max"), (2, "min")):
        if node.input(position):
            chain.binary(op, node.inputs[position])
    chain.end()


@converter("Identity", "Dropout")
def nothing(node: OnnxNode, context: Context) -> None:
    """Vanish."""
    if node.op_type == "Dropout" and node.input(2):
        training = context.fixed_scalar(node, 2, "training_mode")
        if training:
            raise UnsupportedForm("training_mode is set", "export the model in inference mode")
    context.alias(node.outputs[0], node.inputs[0])


@converter("Cast", "CastLike")
def cast(node: OnnxNode, context: Context) -> None:
    """Casts between real types vanish; integers become real or wider by ``convert``.

    Truth values become 1 and 0 by a choice, real numbers truth values by a comparison.

    int64 to int32 is allowed too: such tensors are indices, which are far below 2**31.
    """
    source = node.inputs[0]
    if node.op_type == "CastLike":
        target = context.dtype(node.inputs[1])
        to_float = target.is_float
        value = context.known(source)
        if value is not None:
            context.values[node.outputs[0]] = value.astype(target.numpy)
            return
    else:
        kind = node.integer("to")
        to_float = kind in FLOAT_TYPES
        found = DType.F32 if to_float else _INTEGER_TYPES.get(kind)
        if kind == TensorProto.BOOL:
            found = DType.BOOL
        if found is None:
            raise UnsupportedForm(f"cast to type {element_type_name(kind)}")
        target = found
    own = context.dtype(source)
    if own is target:
        context.alias(node.outputs[0], source)
    elif target is DType.BOOL and own.is_float:
        equal = context.emit_truth(
            node, "equal", (source, context.scalar(node, "zero", 0.0)), part="is_zero"
        )
        context.emit_truth(node, "logical_not", (equal,))
    elif own is DType.BOOL:  # integers made of truth values are 1 and 0, and stay real
        ends = [context.scalar(node, word, value) for word, value in (("one", 1.0), ("zero", 0.0))]
        context.emit(node, "select", (source, *ends), dtype=DType.F32)
    elif own.is_float:
        raise UnsupportedForm(
            f"cast of real numbers to {target.value} cuts off fractions",
            f"remove the cast, or end the graph before it ({words.cut_at(outputs=[source])})",
        )
    elif not to_float and not _holds(target, own):
        raise UnsupportedForm(f"cast of {own.value} to {target.value}, which holds fewer numbers")
    else:
        context.emit(node, "convert", (source,), dtype=target)


def _holds(target: DType, own: DType) -> bool:
    """Tell whether an integer type holds all that another does, or all indices."""
    if own is DType.BOOL or (own, target) == (DType.I64, DType.I32):
        return True
    return target.min <= own.min and own.max <= target.max
