"""Convolutions, fully connected layers, matrix products and pooling."""

import struct
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, Stored, UnsupportedForm
from npusim.importers.common.quantized import bias_of
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.table import converter
from npusim.ir.attrs import (
    Conv2dAttrs,
    Deconv2dAttrs,
    EltwiseAttrs,
    FcAttrs,
    MatmulAttrs,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    TileAttrs,
)
from npusim.ir.quant import Affine, AffinePerChannel, Quant, scale_of

SAME, VALID = 0, 1


def _pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return SAME padding before and after: the odd element goes behind."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _padding(
    op: Operator,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right for an input (N, H, W, C)."""
    if not _is_same(op):
        return (0, 0, 0, 0)
    top, bottom = _pads(shape[1], kernel[0], stride[0], dilation[0])
    left, right = _pads(shape[2], kernel[1], stride[1], dilation[1])
    return (top, bottom, left, right)


def _is_same(op: Operator) -> bool:
    padding = op.option("Padding", SAME)
    if padding not in (SAME, VALID):
        raise ModelImportError(f"padding {padding}", rule=f"{SAME} (same) or {VALID} (valid)")
    return bool(padding == SAME)


def _stride(op: Operator) -> tuple[int, int]:
    stride = op.needed("StrideH"), op.needed("StrideW")
    if min(stride) < 1:
        raise ModelImportError(f"strides {stride}", rule="at least 1")
    return stride


def _dilation(op: Operator) -> tuple[int, int]:
    dilation = op.needed("DilationHFactor"), op.needed("DilationWFactor")
    if min(dilation) < 1:
        raise ModelImportError(f"dilations {dilation}", rule="at least 1")
    return dilation


def weights_and_bias(
    op: Operator, context: TfliteContext, weights: Array, axis: int, *, ifm: int, at: int, bias: int
) -> tuple[str, str]:
    """Add weights whose first axis has the outputs, and the bias, in the layer's number format.

    Parameters
    ----------
    weights : array
        In the graph's axis order.
    axis : int
        Axis of the file's weights that has the outputs.
    ifm, at, bias : int
        Positions of the inputs.
    """
    label, out_c = context.labels[op.outputs[0]], int(weights.shape[0])
    index = op.inputs[at]
    name = context.own_name(index)
    bias_index = op.inputs[bias] if bias < len(op.inputs) else -1
    value = context.value(bias_index)
    if value is None and bias_index >= 0:
        raise UnsupportedForm("the bias depends on the input data")
    bias_name = context.unused(f"{label}/bias") if value is None else context.own_name(bias_index)
    quant = context.tensor(index).quant
    if weights.dtype.kind == "f" or not context.is_quantized(op.inputs[ifm]):
        real = dequantized(weights, quant, axis)
        if value is not None and value.dtype.kind != "f":
            raise UnsupportedForm(f"its bias is {value.dtype}", "convert with a float bias")
        zeros = np.zeros(out_c, np.float32)
        return (
            context.builder.add_constant(name, real),
            context.builder.add_constant(bias_name, zeros if value is None else value),
        )
    if quant is None:
        raise UnsupportedForm("its weights have no scale", "convert the model again")
    if isinstance(quant, AffinePerChannel):
        if quant.axis != axis or len(quant.scales) != out_c:
            raise UnsupportedForm(f"its weights have scales on axis {quant.axis}")
        quant = AffinePerChannel(scales=quant.scales, zero_points=quant.zero_points, axis=0)
    data = context.builder.tensors[context.feature(op.inputs[ifm])]
    codes = np.zeros(out_c, np.int32) if value is None else value
    if codes.dtype != np.int32 or codes.size != out_c:
        raise UnsupportedForm(
            f"its bias is {codes.dtype}{list(codes.shape)}", "convert with 8-bit activations"
        )
    steps = context.tensor(bias_index).quant if value is not None else None
    stored = Stored(codes, steps) if steps is not None else None
    plain = np.zeros(out_c, np.float32) if stored is None else _real(stored)
    if stored is None and codes.any():
        raise UnsupportedForm("its bias has no scale", "convert the model again")
    own, bias_quant = bias_of(plain, stored, scale_of(data.quant), quant)
    return (
        context.builder.add_constant(name, np.asarray(weights, order="C"), quant),
        context.builder.add_constant(bias_name, own, bias_quant),
    )


def _real(stored: Stored) -> Array:
    quant = stored.quant
    scales = quant.scales if isinstance(quant, AffinePerChannel) else (quant.scale,)
    real: Array = stored.codes.astype(np.float64) * np.array(scales)
    return real.astype(np.float32)


def dequantized(weights: Array, quant: Quant | None, axis: int) -> Array:
    """Return real weights (outputs first), from codes where they are stored as such."""
    if weights.dtype.kind == "f":
        return weights.astype(np.float32)
    if quant is None:
        raise ModelImportError(
            f"weights are {weights.dtype} without a scale",
            rule="real numbers, or codes with scale and zero point",
        )
    if isinstance(quant, AffinePerChannel):
        if quant.axis != axis:
            raise UnsupportedForm(f"its weights have scales on axis {quant.axis}")
        column = (-1, *(1,) * (weights.ndim - 1))
        zeros = np.array(quant.zero_points).reshape(column)
        scales = np.array(quant.scales, np.float32).reshape(column)
    else:
        assert isinstance(quant, Affine)  # the file has no other kinds
        zeros, scales = np.array(quant.zero_point), np.array(quant.scale, np.float32)
    real: Array = (weights.astype(np.int64) - zeros).astype(np.float32) * scales
    return real


@converter("CONV_2D")
def conv_2d(op: Operator, context: TfliteContext) -> None:
    """Weights (O, kh, kw, C/group)."""
    shape = context.shape(op.inputs[0])
    weights = context.fixed(op, 1, "the weights")
    if weights.ndim != 4 or len(shape) != 4 or not weights.shape[3] or shape[3] % weights.shape[3]:
        raise ModelImportError(f"weights {weights.shape} do not fit the input {shape}")
    stride, dilation = _stride(op), _dilation(op)
    attrs = Conv2dAttrs(
        stride=stride,
        dilation=dilation,
        pad=_padding(op, shape, weights.shape[1:3], stride, dilation),
        group=shape[3] // weights.shape[3],
    )
    ours = weights.transpose(0, 3, 1, 2)
    names = weights_and_bias(op, context, ours, 0, ifm=0, at=1, bias=2)
    ifm = context.feature(op.inputs[0])
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, "conv2d", (ifm, *names), attrs, activation=activation)


@converter("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(op: Operator, context: TfliteContext) -> None:
    """Weights (1, kh, kw, C * multiplier)."""
    shape = context.shape(op.inputs[0])
    weights = context.fixed(op, 1, "the weights")
    if weights.ndim != 4 or len(shape) != 4 or weights.shape[3] % shape[3]:
        raise ModelImportError(f"weights {weights.shape} do not fit the input {shape}")
    stride, dilation = _stride(op), _dilation(op)
    attrs = Conv2dAttrs(
        stride=stride,
        dilation=dilation,
        pad=_padding(op, shape, weights.shape[1:3], stride, dilation),
        group=shape[3],
    )
    ours = weights.transpose(3, 0, 1, 2)
    names = weights_and_bias(op, context, ours, 3, ifm=0, at=1, bias=2)
    ifm = context.feature(op.inputs[0])
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, "conv2d", (ifm, *names), attrs, activation=activation)


@converter("TRANSPOSE_CONV")
def transpose_conv(op: Operator, context: TfliteContext) -> None:
    """Read output shape, weights (O, kh, kw, C), data and bias."""
    target = context.fixed_ints(op, 0, "the output shape")
    _transposed(op, context, (2, 1, 3), target, _stride(op), same=_is_same(op))


@converter("CUSTOM Convolution2DTransposeBias")
def transpose_conv_with_bias(op: Operator, context: TfliteContext) -> None:
    """Read data, weights (O, kh, kw, C) and bias: MediaPipe's own form of TRANSPOSE_CONV.

    Its options are three integers: padding (1 same, 2 valid), stride across, stride down.
    """
    if len(op.custom) < 12:
        raise ModelImportError(f"{len(op.custom)} bytes of options", rule="three integers")
    padding, across, down = struct.unpack("<iii", op.custom[:12])
    target = context.tensor(op.outputs[0]).shape
    if padding not in (1, 2) or min(across, down) < 1 or min(target, default=0) < 1:
        raise ModelImportError(f"padding {padding}, strides {(down, across)}, output {target}")
    _transposed(op, context, (0, 1, 2), target, (down, across), same=padding == 1)


def _transposed(
    op: Operator,
    context: TfliteContext,
    places: tuple[int, int, int],
    target: tuple[int, ...],
    stride: tuple[int, int],
    *,
    same: bool,
) -> None:
    """Emit a transposed convolution; ``places`` are those of data, weights and bias."""
    data, at, bias = places
    weights = context.fixed(op, at, "the weights")
    shape = context.shape(op.inputs[data])
    if weights.ndim != 4 or len(shape) != 4 or len(target) != 4 or weights.shape[3] != shape[3]:
        raise ModelImportError(f"weights {weights.shape} do not fit the input {shape}")
    pads: list[int] = []
    extra = []
    for axis in range(2):
        out, size = target[1 + axis], shape[1 + axis]
        reach = (size - 1) * stride[axis] + weights.shape[1 + axis]
        total = max(reach - out, 0) if same else 0
        pads += [total // 2, total - total // 2]
        extra.append(out - (reach - total))
    attrs = Deconv2dAttrs(
        stride=stride,
        pad=(pads[0], pads[1], pads[2], pads[3]),
        output_pad=(extra[0], extra[1]),
    )
    if min(extra) < 0:
        raise ModelImportError(
            f"output {target} does not fit input {shape}, weights {weights.shape}"
        )
    ours = weights.transpose(0, 3, 1, 2)
    names = weights_and_bias(op, context, ours, 0, ifm=data, at=at, bias=bias)
    ifm = context.feature(op.inputs[data])
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, "deconv2d", (ifm, *names), attrs, activation=activation)


@converter("FULLY_CONNECTED")
def fully_connected(op: Operator, context: TfliteContext) -> None:
    """Weights (O, K); the input is seen as rows of K values in source order."""
    data = op.inputs[0]
    if context.value(op.inputs[1]) is None:
        _computed_weights(op, context)
        return
    weights = context.fixed(op, 1, "the weights")
    if op.option("WeightsFormat", 0) or weights.ndim != 2:
        raise UnsupportedForm("weights in a shuffled format", "convert without it")
    out_c, depth = (int(n) for n in weights.shape)
    shape = context.shape(data)
    count = prod(shape)
    if not depth or count % depth:
        raise ModelImportError(f"input {shape} does not fit weights {weights.shape}")
    names = weights_and_bias(op, context, weights, 0, ifm=0, at=1, bias=2)
    activation = op.option("FusedActivationFunction", 0)
    keeps = bool(op.option("KeepNumDims", False))
    rows: tuple[int, ...] = (count // depth, depth)
    ifm = context.ordered(data)
    if context.builder.tensors[ifm].shape != rows:
        ifm = context.part(op, "rows", "reshape", (ifm,), ReshapeAttrs(shape=rows))
    result = (*shape[:-1], out_c) if keeps else (rows[0], out_c)
    if len(result) == 2:
        context.emit(op, "fc", (ifm, *names), FcAttrs(), activation=activation)
        return
    product = context.stored(op, "product", "fc", (ifm, *names), FcAttrs(), activation=activation)
    context.emit_reshape(op, product, result)


def _computed_weights(op: Operator, context: TfliteContext) -> None:
    """Multiply with weights that depend on the data: a product of matrices, then the bias."""
    data, weights = op.inputs[:2]
    if context.is_quantized(data):
        raise UnsupportedForm("quantized weights that depend on the input data")
    shape, (out_c, depth) = context.shape(data), context.shape(weights)
    rows = ReshapeAttrs(shape=(prod(shape) // depth, depth))
    ifm = context.part(op, "rows", "reshape", (context.ordered(data),), rows)
    attrs = MatmulAttrs(transpose_b=True)
    product = context.part(op, "product", "matmul", (ifm, context.feature(weights)), attrs)
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        operands = (product, context.feature(op.inputs[2]))
        product = context.part(op, "sum", "add", operands, EltwiseAttrs())
    activation = op.option("FusedActivationFunction", 0)
    keeps = bool(op.option("KeepNumDims", False))
    result = (*shape[:-1], out_c) if keeps else (prod(shape) // depth, out_c)
    product = context.stored(op, "clamped", "identity", (product,), activation=activation)
    context.emit_reshape(op, product, result)


@converter("BATCH_MATMUL")
def batch_matmul(op: Operator, context: TfliteContext) -> None:
    """Product of matrices; more than one leading axis is folded into one."""
    attrs = MatmulAttrs(
        transpose_a=bool(op.option("AdjX", False)), transpose_b=bool(op.option("AdjY", False))
    )
    shapes = [tuple(context.shape(index)) for index in op.inputs[:2]]
    if max(map(len, shapes)) <= 3:
        context.emit(op, "matmul", [context.feature(i) for i in op.inputs[:2]], attrs)
        return
    lead = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    operands = [_folded(op, context, position, lead) for position in range(2)]
    product = context.stored(op, "product", "matmul", operands, attrs)
    context.emit_reshape(op, product, (*lead, *context.builder.tensors[product].shape[-2:]))


def _folded(op: Operator, context: TfliteContext, position: int, lead: tuple[int, ...]) -> str:
    """Return an operand of a product with all leading axes folded into one."""
    index = op.inputs[position]
    shape, name = tuple(context.shape(index)), context.in_source(index)
    own = shape[:-2]
    if prod(own) == 1:  # the product broadcasts it
        attrs = ReshapeAttrs(shape=(1, *shape[-2:]) if own else shape)
        return context.part(op, f"operand{position}", "reshape", (name,), attrs) if own else name
    wide = (1,) * (len(lead) - len(own)) + own
    if wide != lead:
        if wide != own:
            attrs = ReshapeAttrs(shape=(*wide, *shape[-2:]))
            name = context.part(op, f"wide{position}", "reshape", (name,), attrs)
        repeats = (*(n // w for n, w in zip(lead, wide, strict=True)), 1, 1)
        name = context.part(op, f"tiled{position}", "tile", (name,), TileAttrs(repeats=repeats))
    attrs = ReshapeAttrs(shape=(prod(lead), *shape[-2:]))
    return context.part(op, f"operand{position}", "reshape", (name,), attrs)


@converter("MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D")
def pool(op: Operator, context: TfliteContext) -> None:
    """Pool with padding that never wins and does not count; L2 is the root of the mean square."""
    shape = context.shape(op.inputs[0])
    kernel = (op.needed("FilterHeight"), op.needed("FilterWidth"))
    stride = _stride(op)
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX if op.type == "MAX_POOL_2D" else PoolKind.AVG,
        kernel=kernel,
        stride=stride,
        pad=_padding(op, shape, kernel, stride),
    )
    activation = op.option("FusedActivationFunction", 0)
    ifm = context.feature(op.inputs[0])
    if op.type != "L2_POOL_2D":
        context.emit(op, "pool2d", (ifm,), attrs, activation=activation)
        return
    if context.is_quantized(op.inputs[0]):
        raise UnsupportedForm("it is quantized", "write it as Square, AveragePool and Sqrt")
    squared = context.part(op, "squared", "square", (ifm,))
    mean = context.part(op, "mean", "pool2d", (squared,), attrs)
    context.emit(op, "sqrt", (mean,), activation=activation)
