"""Element-wise operators, activations, reductions and normalisations."""

from math import pi, prod, sqrt

import numpy as np

from npusim.importers.common.builder import FLOAT, UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.ops_conv import dequantized
from npusim.importers.tflite.table import converter, substitute
from npusim.ir.attrs import (
    NO_ATTRS,
    AlphaAttrs,
    ArgAttrs,
    AxisAttrs,
    ClipAttrs,
    EltwiseAttrs,
    FcAttrs,
    LrnAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.ir.codes import quantize
from npusim.ir.quant import Affine
from npusim.ops import is_function, ops_named_in

BINARY = ops_named_in("tflite", lambda d: d.attrs is EltwiseAttrs)
UNARY = ops_named_in("tflite", is_function)
REDUCE = ops_named_in("tflite", lambda d: d.attrs is ReduceAttrs)


def operands_of(op: Operator, context: TfliteContext) -> list[str]:
    """Return two operands that broadcast against each other in the graph's order."""
    rank = max(len(context.shape(index)) for index in op.inputs[:2])
    return [context.widened(op, position, rank) for position in range(2)]


@converter(*BINARY)
def binary(op: Operator, context: TfliteContext) -> None:
    """Two operands that broadcast from their last axes."""
    operands = operands_of(op, context)
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, BINARY[op.type], operands, EltwiseAttrs(), activation=activation)


@converter("SQUARED_DIFFERENCE")
def squared_difference(op: Operator, context: TfliteContext) -> None:
    """Compute (a - b) squared, of real tensors."""
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Sub and Mul")
    operands = operands_of(op, context)
    difference = context.part(op, "difference", "sub", operands, EltwiseAttrs())
    context.emit(op, "square", (difference,))


@converter("FLOOR_DIV")
def floor_div(op: Operator, context: TfliteContext) -> None:
    """Compute floor(a / b), of real tensors."""
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Div and Floor")
    operands = operands_of(op, context)
    quotient = context.part(op, "quotient", "div", operands, EltwiseAttrs())
    context.emit(op, "floor", (quotient,))


@substitute("FLOOR_MOD")
def floor_mod(op: Operator, context: TfliteContext) -> None:
    """Compute a - b * floor(a / b), of real tensors."""
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Div, Floor, Mul and Sub")
    first, second = operands_of(op, context)
    attrs = EltwiseAttrs()
    quotient = context.part(op, "quotient", "div", (first, second), attrs)
    whole = context.part(op, "whole", "floor", (quotient,))
    product = context.part(op, "product", "mul", (whole, second), attrs)
    context.emit(op, "sub", (first, product), attrs)


@substitute("ADD_N")
def add_n(op: Operator, context: TfliteContext) -> None:
    """Sum of tensors of one shape, from the first on."""
    total, *rest = (context.feature(index) for index in op.inputs)
    if not rest:
        context.alias(op, total)
        return
    for number, operand in enumerate(rest[:-1]):
        total = context.part(op, f"sum{number}", "add", (total, operand), EltwiseAttrs())
    context.emit(op, "add", (total, rest[-1]), EltwiseAttrs())


@substitute("CEIL")
def ceil(op: Operator, context: TfliteContext) -> None:
    """Compute -floor(-x), of real tensors."""
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Neg, Floor and Neg")
    negative = context.part(op, "negative", "neg", (context.feature(op.inputs[0]),))
    context.emit(op, "neg", (context.part(op, "floor", "floor", (negative,)),))


@substitute("RELU_0_TO_1")
def relu_0_to_1(op: Operator, context: TfliteContext) -> None:
    """Clamp to 0 .. 1."""
    context.emit(op, "clip", (context.feature(op.inputs[0]),), ClipAttrs(minimum=0.0, maximum=1.0))


@converter(*UNARY)
def unary(op: Operator, context: TfliteContext) -> None:
    """Functions without attributes."""
    context.emit(op, UNARY[op.type], (context.feature(op.inputs[0]),))


@converter("LEAKY_RELU", "ELU")
def with_alpha(op: Operator, context: TfliteContext) -> None:
    """Slope or scale of the negative side."""
    alpha = 1.0 if op.type == "ELU" else float(op.needed("Alpha"))
    attrs = AlphaAttrs(alpha=alpha)
    context.emit(op, op.type.lower(), (context.feature(op.inputs[0]),), attrs)


@converter("GELU")
def gelu(op: Operator, context: TfliteContext) -> None:
    """With erf, or spelt out with tanh; of codes both are tables that agree within 0.0005."""
    data = context.feature(op.inputs[0])
    if not op.option("Approximate", False) or context.is_quantized(op.inputs[0]):
        context.emit(op, "gelu", (data,))
        return

    def step(part: str, kind: str, first: str, second: str | float) -> str:
        if isinstance(second, float):
            value = np.array(second, np.float32)
            second = context.constant(f"{context.origin(op)}/{part}_by", value, 0)
        return context.part(op, part, kind, (first, second), EltwiseAttrs())

    squared = context.part(op, "square", "square", (data,))
    small = step("small", "mul", step("cube", "mul", squared, data), 0.044715)
    scaled = step("scaled", "mul", step("inner", "add", small, data), sqrt(2 / pi))
    gate = step("gate", "add", context.part(op, "tanh", "tanh", (scaled,)), 1.0)
    context.emit(op, "mul", (step("half", "mul", data, 0.5), gate), EltwiseAttrs())


@converter("PRELU")
def prelu(op: Operator, context: TfliteContext) -> None:
    """Slope that broadcasts to the input, constant."""
    context.fixed(op, 1, "the slope")
    rank = len(context.shape(op.inputs[0]))
    slope = context.widened(op, 1, rank)
    context.emit(op, "prelu", (context.feature(op.inputs[0]), slope))


@converter("SOFTMAX", "LOG_SOFTMAX")
def softmax(op: Operator, context: TfliteContext) -> None:
    """Over the last axis, of the input times beta."""
    data = op.inputs[0]
    attrs, name = AxisAttrs(axis=context.axis(data, -1)), context.feature(data)
    beta = float(op.needed("Beta")) if op.type == "SOFTMAX" else 1.0
    if beta != 1.0:
        if context.is_quantized(data):
            raise UnsupportedForm(f"it is quantized with beta {beta:g}", "convert it with beta 1")
        by = context.constant(f"{context.origin(op)}/beta", np.array(beta, np.float32), 0)
        name = context.part(op, "scaled", "mul", (name, by), EltwiseAttrs())
    context.emit(op, op.type.lower(), (name,), attrs)


@substitute("CUMSUM")
def cumsum(op: Operator, context: TfliteContext) -> None:
    """Sum up to each element: a product with a constant triangle."""
    data = op.inputs[0]
    if context.is_quantized(data):
        raise UnsupportedForm("it is quantized", "write it as FullyConnected")
    (axis,) = context.fixed_ints(op, 1, "the axis")
    shape = context.shape(data)
    axis %= len(shape)
    size = shape[axis]
    context.check_size((size, size))
    triangle = np.tri(size, k=-1 if op.option("Exclusive", False) else 0, dtype=np.float32)
    weights = triangle.T if op.option("Reverse", False) else triangle
    name, label = context.in_source(data), context.origin(op)
    perm = (*(i for i in range(len(shape)) if i != axis), axis)
    if axis != perm[axis]:
        name = context.part(op, "last", "transpose", (name,), TransposeAttrs(perm=perm))
    rows = ReshapeAttrs(shape=(prod(shape) // size, size))
    operands = (
        context.part(op, "rows", "reshape", (name,), rows),
        context.constant(f"{label}/triangle", weights, 0),
        context.constant(f"{label}/zeros", np.zeros(size, np.float32), 0),
    )
    sums = context.part(op, "sums", "fc", operands, FcAttrs())
    back = ReshapeAttrs(shape=tuple(shape[i] for i in perm))
    if axis == perm[axis]:
        context.emit_source(op, "reshape", (sums,), back)
        return
    sums = context.part(op, "whole", "reshape", (sums,), back)
    inverse = TransposeAttrs(perm=tuple(perm.index(i) for i in range(len(shape))))
    context.emit_source(op, "transpose", (sums,), inverse)


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
    size = 2 * op.needed("Radius") + 1
    attrs = LrnAttrs(
        size=size,
        alpha=float(op.needed("Alpha")) * size,
        beta=float(op.needed("Beta")),
        bias=float(op.needed("Bias")),
    )
    context.emit(op, "lrn", (context.feature(op.inputs[0]),), attrs)


@converter(*REDUCE)
def reduce(op: Operator, context: TfliteContext) -> None:
    """Axes from the second input; without keep_dims the axes vanish in source order."""
    data = op.inputs[0]
    shape = context.shape(data)
    wanted = context.fixed_ints(op, 1, "the axes")
    kind, keep = REDUCE[op.type], bool(op.option("KeepDims", False))
    ours = {context.axis(data, axis) for axis in wanted}  # which also checks them
    gone = {axis % len(shape) for axis in wanted} if shape else set()
    if not gone:
        context.alias(op, context.feature(data))
        return
    if keep:
        attrs = ReduceAttrs(axes=tuple(sorted(ours)))
        context.emit(op, kind, (context.feature(data),), attrs)
        return
    # axes that stay and have elements: is their order the same in the file and in the graph?
    stay = [context.axis(data, i) for i, n in enumerate(shape) if i not in gone and n > 1]
    if stay == sorted(stay):
        attrs = ReduceAttrs(axes=tuple(sorted(ours)), keepdims=False)
        context.emit_source(op, kind, (context.feature(data),), attrs)
        return
    kept = context.part(
        op, "kept", kind, (context.feature(data),), ReduceAttrs(axes=tuple(sorted(ours)))
    )
    rest = tuple(n for i, n in enumerate(shape) if i not in gone)
    context.emit(
        op, "reshape", (context.turned(kept, context.origin(op)),), ReshapeAttrs(shape=rest)
    )


@converter("ARG_MAX", "ARG_MIN")
def arg_extreme(op: Operator, context: TfliteContext) -> None:
    """Index of the first extreme along a known axis, which vanishes."""
    data = op.inputs[0]
    (axis,) = context.fixed_ints(op, 1, "the axis")
    rank = len(context.shape(data))
    kind = op.type.lower().replace("_", "")
    ours = context.axis(data, axis)
    if rank != 4 or axis % rank == 3:  # the other axes keep their order
        attrs = ArgAttrs(axis=ours, keepdims=False)
        context.emit_source(op, kind, (context.feature(data),), attrs)
        return
    attrs = ArgAttrs(axis=axis % rank, keepdims=False)
    context.emit_source(op, kind, (context.in_source(data),), attrs)


@converter("QUANTIZE", "DEQUANTIZE")
def requantize(op: Operator, context: TfliteContext) -> None:
    """Change of number format; known values change at once."""
    data, index = op.inputs[0], op.outputs[0]
    value = context.value(data)
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
    dtype, quant = context.spec(index)
    if value is not None and value.dtype.kind == "f" and isinstance(quant, Affine):
        codes = quantize(value.astype(np.float32), dtype, quant)
        context.values[index] = codes
        return
    name = context.feature(data)
    spec = context.builder.tensors[name]
    if (spec.dtype, spec.quant) == (dtype, quant):
        context.alias(op, name)
        return
    if not spec.dtype.is_float and spec.quant == FLOAT:
        raise UnsupportedForm(f"{source.type} without a scale", "convert the model again")
    context.emit(op, "convert", (name,), NO_ATTRS)
