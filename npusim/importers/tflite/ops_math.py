"""Element-wise operators, activations, reductions and normalisations."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import FLOAT, Array, UnsupportedForm
from npusim.importers.tflite.context import TO_NCHW, TfliteContext, converter, physical
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.ops_conv import dequantized
from npusim.ir.attrs import (
    NO_ATTRS,
    AlphaAttrs,
    ArgAttrs,
    AxisAttrs,
    EltwiseAttrs,
    LrnAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ops import is_function, ops_named_in

BINARY = ops_named_in("tflite", lambda d: d.attrs is EltwiseAttrs)
UNARY = ops_named_in("tflite", is_function)
REDUCE = ops_named_in("tflite", lambda d: d.attrs is ReduceAttrs)


def broadcast_operand(op: Operator, context: TfliteContext, position: int, rank: int) -> str:
    """Return an operand that broadcasts against ``rank`` axes of the graph's order."""
    index = op.inputs[position]
    shape = context.shape(index)
    if rank != 4 or len(shape) in (0, 4):
        return context.feature(index)
    wide = (1,) * (4 - len(shape)) + shape
    value = context.value(index) if index not in context.names else None
    if value is not None:
        array: Array = value.reshape(wide).transpose(TO_NCHW)
        return context.add_constant(f"{context.labels[index]}/4d", array, index)
    flat = context.feature(index)
    if 1 not in (wide[3], wide[1] * wide[2]):
        raise UnsupportedForm(f"operands of {len(shape)} and four axes", "reshape the smaller one")
    attrs = ReshapeAttrs(shape=physical(wide))
    return context.part(op, f"operand{position}", "reshape", (flat,), attrs)


@converter(*BINARY)
def binary(op: Operator, context: TfliteContext) -> None:
    """Two operands that broadcast from their last axes."""
    rank = max(len(context.shape(index)) for index in op.inputs[:2])
    operands = [broadcast_operand(op, context, i, rank) for i in range(2)]
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, BINARY[op.type], operands, EltwiseAttrs(), activation=activation)


@converter("SQUARED_DIFFERENCE")
def squared_difference(op: Operator, context: TfliteContext) -> None:
    """Compute (a - b) squared, of real tensors."""
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Sub and Mul")
    rank = max(len(context.shape(index)) for index in op.inputs[:2])
    operands = [broadcast_operand(op, context, i, rank) for i in range(2)]
    difference = context.part(op, "difference", "sub", operands, EltwiseAttrs())
    context.emit(op, "square", (difference,))


@converter("FLOOR_DIV")
def floor_div(op: Operator, context: TfliteContext) -> None:
    """Compute floor(a / b), of real tensors."""
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Div and Floor")
    rank = max(len(context.shape(index)) for index in op.inputs[:2])
    operands = [broadcast_operand(op, context, i, rank) for i in range(2)]
    quotient = context.part(op, "quotient", "div", operands, EltwiseAttrs())
    context.emit(op, "floor", (quotient,))


@converter(*UNARY)
def unary(op: Operator, context: TfliteContext) -> None:
    """Functions without attributes."""
    context.emit(op, UNARY[op.type], (context.feature(op.inputs[0]),))


@converter("LEAKY_RELU", "ELU")
def with_alpha(op: Operator, context: TfliteContext) -> None:
    """Slope or scale of the negative side."""
    attrs = AlphaAttrs(alpha=float(op.option("Alpha", 1.0)))
    context.emit(op, op.type.lower(), (context.feature(op.inputs[0]),), attrs)


@converter("GELU")
def gelu(op: Operator, context: TfliteContext) -> None:
    """Only the exact form."""
    if op.option("Approximate", False):
        raise UnsupportedForm("the approximate form", "use the exact one")
    context.emit(op, "gelu", (context.feature(op.inputs[0]),))


@converter("PRELU")
def prelu(op: Operator, context: TfliteContext) -> None:
    """Slope that broadcasts to the input, constant."""
    context.fixed(op, 1, "the slope")
    rank = len(context.shape(op.inputs[0]))
    slope = broadcast_operand(op, context, 1, rank)
    context.emit(op, "prelu", (context.feature(op.inputs[0]), slope))


@converter("SOFTMAX", "LOG_SOFTMAX")
def softmax(op: Operator, context: TfliteContext) -> None:
    """Over the last axis."""
    if op.type == "SOFTMAX" and op.option("Beta", 1.0) != 1.0:
        raise UnsupportedForm(f"beta {op.option('Beta', 1.0):g}", "multiply the input by beta")
    data = op.inputs[0]
    attrs = AxisAttrs(axis=context.axis(data, -1))
    context.emit(op, op.type.lower(), (context.feature(data),), attrs)


@converter("L2_NORMALIZATION")
def l2_normalization(op: Operator, context: TfliteContext) -> None:
    """Over the last axis."""
    data = op.inputs[0]
    attrs = AxisAttrs(axis=context.axis(data, -1))
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, "l2norm", (context.feature(data),), attrs, activation=activation)


@converter("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(op: Operator, context: TfliteContext) -> None:
    """X / (bias + alpha * sum) ** beta over 2 * radius + 1 channels; ONNX divides alpha by them."""
    size = 2 * op.option("Radius", 0) + 1
    attrs = LrnAttrs(
        size=size,
        alpha=float(op.option("Alpha", 1.0)) * size,
        beta=float(op.option("Beta", 0.5)),
        bias=float(op.option("Bias", 1.0)),
    )
    context.emit(op, "lrn", (context.feature(op.inputs[0]),), attrs)


@converter(*REDUCE)
def reduce(op: Operator, context: TfliteContext) -> None:
    """Axes from the second input; without keep_dims the axes vanish in source order."""
    data = op.inputs[0]
    shape = context.shape(data)
    wanted = context.fixed_ints(op, 1, "the axes")
    axes = tuple(sorted({context.axis(data, axis) for axis in wanted}))
    kind, name = REDUCE[op.type], context.feature(data)
    gone = {axis % len(shape) for axis in wanted}
    if op.option("KeepDims", False) or len(shape) != 4:
        keep = bool(op.option("KeepDims", False))
        context.emit(op, kind, (name,), ReduceAttrs(axes=axes, keepdims=keep))
        return
    rest = tuple(n for i, n in enumerate(shape) if i not in gone)
    # real axes that stay: their order must be the same in the file and in the graph
    stay = [i for i, n in enumerate(shape) if i not in gone and n > 1]
    if [context.axis(data, i) for i in stay] == sorted(context.axis(data, i) for i in stay):
        if len(rest) == 4:
            raise ModelImportError("no axis to reduce")
        context.emit(op, kind, (name,), ReduceAttrs(axes=axes, keepdims=False))
        return
    kept = context.part(op, "kept", kind, (name,), ReduceAttrs(axes=axes))
    order = tuple(context.axis(data, i) for i in range(4))
    turned = context.part(op, "nhwc", "transpose", (kept,), TransposeAttrs(perm=order))
    context.emit(op, "reshape", (turned,), ReshapeAttrs(shape=rest))


@converter("ARG_MAX", "ARG_MIN")
def arg_extreme(op: Operator, context: TfliteContext) -> None:
    """Index of the first extreme along a known axis, which vanishes."""
    data = op.inputs[0]
    (axis,) = context.fixed_ints(op, 1, "the axis")
    shape = context.shape(data)
    axis %= len(shape)
    kind = op.type.lower().replace("_", "")
    rest = tuple(n for i, n in enumerate(shape) if i != axis)
    attrs = ArgAttrs(axis=context.axis(data, axis), keepdims=False)
    index = op.outputs[0]
    dtype = DType.I64 if context.tensor(index).type == "INT64" else DType.I32
    if len(shape) == 4 and axis != 3:
        raise UnsupportedForm(f"axis {axis} of four", "take the extreme over the last axis")
    label = context.labels[index]
    context.add(label, kind, (context.feature(data),), label, attrs, dtype=dtype)
    context.names[index] = label
    assert context.builder.tensors[label].shape == rest


@converter("QUANTIZE", "DEQUANTIZE")
def requantize(op: Operator, context: TfliteContext) -> None:
    """Change of number format; known values change at once."""
    data, index = op.inputs[0], op.outputs[0]
    value = context.value(data) if data not in context.names else None
    source = context.tensor(data)
    if value is not None and op.type == "DEQUANTIZE":
        if value.dtype.kind == "f":
            context.values[index] = value.astype(np.float32)
            return
        axis = getattr(source.quant, "axis", 0)
        moved = np.moveaxis(value, axis, 0) if value.ndim else value
        real = dequantized(moved, source.quant, axis)
        context.values[index] = np.moveaxis(real, 0, axis) if value.ndim else real
        return
    name = context.feature(data)
    dtype, quant = context.spec(index)
    spec = context.builder.tensors[name]
    if (spec.dtype, spec.quant) == (dtype, quant):
        context.alias(op, name)
        return
    if not spec.dtype.is_float and spec.quant == FLOAT:
        raise UnsupportedForm(f"{source.type} without a scale", "convert the model again")
    context.emit(op, "convert", (name,), NO_ATTRS)
