"""One function per operator: what ONNX nodes of opset 12 it becomes."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, cast

import numpy as np
from onnx import defs, helper

from npusim.exporters.onnx_resize import write_resize
from npusim.exporters.onnx_writer import OPSET, Writer
from npusim.ir.attrs import (
    Activation,
    AlphaAttrs,
    ArgAttrs,
    Attrs,
    AxisAttrs,
    BlockAttrs,
    ClipAttrs,
    Conv2dAttrs,
    Deconv2dAttrs,
    EltwiseAttrs,
    GroupAttrs,
    HardSigmoidAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ops import op_def, ops_where

Write = Callable[[Writer, Node], None]
OPS: dict[str, Write] = {}


def writes(*ops: str) -> Callable[[Write], Write]:
    """Register the decorated function for operators."""

    def add(write: Write) -> Write:
        OPS.update(dict.fromkeys(ops, write))
        return write

    return add


def _exists(op_type: str) -> bool:
    """Tell whether an ONNX operator is in the opset written."""
    try:
        return defs.has(op_type) and defs.get_schema(op_type, OPSET) is not None
    except defs.SchemaError:
        return False


def _attrs(node: Node) -> Any:
    return node.attrs


def _finish(w: Writer, node: Node, op: str, inputs: Iterable[str], **attrs: Any) -> None:
    """Add the layer's main node and the activation fused behind it."""
    activation = getattr(node.attrs, "activation", Activation.NONE)
    out = node.outputs[0]
    if activation is Activation.NONE:
        w.add(op, inputs, out, **attrs)
        return
    before = w.add(op, inputs, w.temporary(node, "linear"), **attrs)
    if activation is Activation.RELU:
        w.add("Relu", [before], out)
    else:
        _limits(w, node, before, 0.0, 6.0)


def _limits(w: Writer, node: Node, x: str, low: float, high: float) -> None:
    dtype = w.graph.spec(node.outputs[0]).dtype.numpy
    ends = []
    for purpose, value in (("low", low), ("high", high)):
        finite = bool(np.isfinite(value))
        ends.append(w.constant(node, purpose, np.array(value, dtype)) if finite else "")
    w.add("Clip", [x, *ends] if ends[1] else [x, *ends[:1]], node.outputs[0])


# ---- products ----------------------------------------------------------------------------------
def _pads(pad: tuple[int, int, int, int]) -> list[int]:
    top, bottom, left, right = pad
    return [top, left, bottom, right]


@writes("conv2d")
def _conv2d(w: Writer, node: Node) -> None:
    attrs = cast(Conv2dAttrs, node.attrs)
    _finish(
        w, node, "Conv", node.inputs,
        kernel_shape=list(w.graph.spec(node.inputs[1]).shape[2:]),
        strides=list(attrs.stride), pads=_pads(attrs.pad),
        dilations=list(attrs.dilation), group=attrs.group,
    )  # fmt: skip


@writes("deconv2d")
def _deconv2d(w: Writer, node: Node) -> None:
    attrs = cast(Deconv2dAttrs, node.attrs)
    data, weights, bias = node.inputs
    out_c, group_c, *kernel = w.graph.spec(weights).shape
    group, group_out = attrs.group, out_c // attrs.group
    split = (group, group_out, group_c, *kernel)
    theirs = (group * group_c, group_out, *kernel)
    value = w.graph.constants.get(weights)
    if value is not None:
        swapped = w.constant(node, "weights", value.reshape(split).swapaxes(1, 2).reshape(theirs))
    else:
        parts = w.add(
            "Reshape", [weights, w.numbers(node, "split", split)], w.temporary(node, "parts")
        )
        moved = w.add("Transpose", [parts], w.temporary(node, "moved"), perm=[0, 2, 1, 3, 4])
        swapped = w.add(
            "Reshape", [moved, w.numbers(node, "joined", theirs)], w.temporary(node, "weights")
        )
    _finish(
        w, node, "ConvTranspose", [data, swapped, bias],
        kernel_shape=kernel, strides=list(attrs.stride), pads=_pads(attrs.pad),
        output_padding=list(attrs.output_pad), dilations=list(attrs.dilation), group=group,
    )  # fmt: skip


@writes("fc")
def _fc(w: Writer, node: Node) -> None:
    data, weights, bias = node.inputs
    if len(w.graph.spec(data).shape) == 2:
        _finish(w, node, "Gemm", node.inputs, transB=1)
        return
    value = w.graph.constants.get(weights)
    if value is not None:
        turned = w.constant(node, "weights", np.asarray(value.T, order="C"))
    else:
        turned = w.add("Transpose", [weights], w.temporary(node, "weights"), perm=[1, 0])
    product = w.add("MatMul", [data, turned], w.temporary(node, "product"))
    _finish(w, node, "Add", [product, bias])


@writes("matmul")
def _matmul(w: Writer, node: Node) -> None:
    attrs = cast(MatmulAttrs, node.attrs)
    inputs = list(node.inputs)
    for i, turn in enumerate((attrs.transpose_a, attrs.transpose_b)):
        if turn:
            rank = len(w.graph.spec(inputs[i]).shape)
            perm = [*range(rank - 2), rank - 1, rank - 2]
            inputs[i] = w.add("Transpose", [inputs[i]], w.temporary(node, f"t{i}"), perm=perm)
    w.add("MatMul", inputs, node.outputs[0])


# ---- pooling -----------------------------------------------------------------------------------
@writes("pool2d")
def _pool2d(w: Writer, node: Node) -> None:
    attrs = cast(Pool2dAttrs, node.attrs)
    average = attrs.kind is PoolKind.AVG
    w.add(
        "AveragePool" if average else "MaxPool",
        node.inputs,
        node.outputs[0],
        kernel_shape=list(attrs.kernel),
        strides=list(attrs.stride),
        pads=_pads(attrs.pad),
        ceil_mode=int(attrs.ceil_mode),
        count_include_pad=int(attrs.count_include_pad) if average else None,
    )


@writes("global_pool")
def _global_pool(w: Writer, node: Node) -> None:
    average = _attrs(node).kind is PoolKind.AVG
    op = "GlobalAveragePool" if average else "GlobalMaxPool"
    w.add(op, node.inputs, node.outputs[0])


# ---- element by element ------------------------------------------------------------------------
@writes(*ops_where(lambda d: d.attrs is Attrs and _exists(d.onnx)))
def _unary(w: Writer, node: Node) -> None:
    w.add(op_def(node.op).onnx, node.inputs, node.outputs[0])


@writes(*ops_where(lambda d: d.attrs is EltwiseAttrs))
def _binary(w: Writer, node: Node) -> None:
    _finish(w, node, op_def(node.op).onnx, node.inputs)


@writes(*ops_where(lambda d: d.truth or d.of_truth))
def _truth(w: Writer, node: Node) -> None:
    w.add(op_def(node.op).onnx, node.inputs, node.outputs[0])


@writes("relu6", "relu1", "clip")
def _clip(w: Writer, node: Node) -> None:
    limits = {"relu6": (0.0, 6.0), "relu1": (-1.0, 1.0)}
    if isinstance(node.attrs, ClipAttrs):
        limits["clip"] = (node.attrs.minimum, node.attrs.maximum)
    _limits(w, node, node.inputs[0], *limits[node.op])


@writes("leaky_relu", "elu")
def _alpha(w: Writer, node: Node) -> None:
    attrs = cast(AlphaAttrs, node.attrs)
    op = "LeakyRelu" if node.op == "leaky_relu" else "Elu"
    w.add(op, node.inputs, node.outputs[0], alpha=attrs.alpha)


@writes("hard_sigmoid")
def _hard_sigmoid(w: Writer, node: Node) -> None:
    attrs = cast(HardSigmoidAttrs, node.attrs)
    w.add("HardSigmoid", node.inputs, node.outputs[0], alpha=attrs.alpha, beta=attrs.beta)


@writes("square")
def _square(w: Writer, node: Node) -> None:
    (x,) = node.inputs
    w.add("Mul", [x, x], node.outputs[0])


@writes("rsqrt")
def _rsqrt(w: Writer, node: Node) -> None:
    root = w.add("Sqrt", node.inputs, w.temporary(node, "root"))
    w.add("Reciprocal", [root], node.outputs[0])


@writes("swish")
def _swish(w: Writer, node: Node) -> None:
    (x,) = node.inputs
    gate = w.add("Sigmoid", [x], w.temporary(node, "gate"))
    w.add("Mul", [x, gate], node.outputs[0])


@writes("mish")
def _mish(w: Writer, node: Node) -> None:
    (x,) = node.inputs
    soft = w.add("Softplus", [x], w.temporary(node, "softplus"))
    gate = w.add("Tanh", [soft], w.temporary(node, "gate"))
    w.add("Mul", [x, gate], node.outputs[0])


@writes("hard_swish")
def _hard_swish(w: Writer, node: Node) -> None:
    (x,) = node.inputs
    shifted = w.add("Add", [x, w.scalar(node, "three", 3)], w.temporary(node, "shifted"))
    low, high = w.scalar(node, "low", 0), w.scalar(node, "high", 6)
    clipped = w.add("Clip", [shifted, low, high], w.temporary(node, "clipped"))
    gate = w.add("Div", [clipped, high], w.temporary(node, "gate"))
    w.add("Mul", [x, gate], node.outputs[0])


@writes("gelu")
def _gelu(w: Writer, node: Node) -> None:
    (x,) = node.inputs
    root = w.scalar(node, "root", float(np.sqrt(0.5)))
    scaled = w.add("Mul", [x, root], w.temporary(node, "scaled"))
    error = w.add("Erf", [scaled], w.temporary(node, "erf"))
    gate = w.add("Add", [error, w.scalar(node, "one", 1)], w.temporary(node, "gate"))
    twice = w.add("Mul", [x, gate], w.temporary(node, "twice"))
    w.add("Div", [twice, w.scalar(node, "two", 2)], node.outputs[0])


@writes("convert")
def _convert(w: Writer, node: Node) -> None:
    dtype = w.graph.spec(node.outputs[0]).dtype.numpy
    w.add("Cast", node.inputs, node.outputs[0], to=helper.np_dtype_to_tensor_dtype(dtype))


# ---- movement ----------------------------------------------------------------------------------
@writes("reshape")
def _reshape(w: Writer, node: Node) -> None:
    shape = cast(ReshapeAttrs, node.attrs).shape
    w.add("Reshape", [node.inputs[0], w.numbers(node, "shape", shape)], node.outputs[0])


@writes("transpose")
def _transpose(w: Writer, node: Node) -> None:
    perm = cast(TransposeAttrs, node.attrs).perm
    if perm:
        w.add("Transpose", node.inputs, node.outputs[0], perm=list(perm))
    else:  # what moves along axes moves nothing without them, and ONNX Runtime refuses most of it
        w.add("Identity", node.inputs, node.outputs[0])


@writes("concat")
def _concat(w: Writer, node: Node) -> None:
    w.add("Concat", node.inputs, node.outputs[0], axis=cast(AxisAttrs, node.attrs).axis)


@writes("gather")
def _gather(w: Writer, node: Node) -> None:
    w.add("Gather", node.inputs, node.outputs[0], axis=cast(AxisAttrs, node.attrs).axis)


@writes("split")
def _split(w: Writer, node: Node) -> None:
    attrs = cast(SplitAttrs, node.attrs)
    w.add("Split", node.inputs, node.outputs, axis=attrs.axis, split=list(attrs.sizes))


@writes("slice")
def _slice(w: Writer, node: Node) -> None:
    attrs = cast(SliceAttrs, node.attrs)
    if not attrs.begin:
        w.add("Identity", node.inputs, node.outputs[0])
        return
    # an end of -1 with a negative step means "through index 0", which ONNX writes as a far minus
    ends = [
        np.iinfo(np.int32).min if step < 0 and end < 0 else end
        for end, step in zip(attrs.end, attrs.step, strict=True)
    ]
    lists = {"begin": attrs.begin, "end": ends, "axes": range(len(ends)), "step": attrs.step}
    numbers = [w.numbers(node, purpose, values) for purpose, values in lists.items()]
    w.add("Slice", [node.inputs[0], *numbers], node.outputs[0])


@writes("pad")
def _pad(w: Writer, node: Node) -> None:
    attrs = cast(PadAttrs, node.attrs)
    if not attrs.front:
        w.add("Identity", node.inputs, node.outputs[0])
        return
    amounts = w.numbers(node, "amounts", (*attrs.front, *attrs.back))
    dtype = w.graph.spec(node.inputs[0]).dtype.numpy
    value = w.constant(node, "value", np.array(attrs.value, dtype))
    w.add("Pad", [node.inputs[0], amounts, value], node.outputs[0], mode=attrs.mode.value)


@writes("tile")
def _tile(w: Writer, node: Node) -> None:
    repeats = w.numbers(node, "repeats", cast(TileAttrs, node.attrs).repeats)
    w.add("Tile", [node.inputs[0], repeats], node.outputs[0])


@writes("depth2space")
def _depth2space(w: Writer, node: Node) -> None:
    attrs = cast(BlockAttrs, node.attrs)
    mode = attrs.mode.upper()
    w.add("DepthToSpace", node.inputs, node.outputs[0], blocksize=attrs.block, mode=mode)


@writes("space2depth")
def _space2depth(w: Writer, node: Node) -> None:
    block = cast(BlockAttrs, node.attrs).block
    w.add("SpaceToDepth", node.inputs, node.outputs[0], blocksize=block)


@writes("channel_shuffle")
def _channel_shuffle(w: Writer, node: Node) -> None:
    n, c, *rest = shape = w.graph.spec(node.inputs[0]).shape
    group = cast(GroupAttrs, node.attrs).group
    split = w.numbers(node, "split", (n, group, c // group, *rest))
    parts = w.add("Reshape", [node.inputs[0], split], w.temporary(node, "parts"))
    perm = [0, 2, 1, *range(3, 3 + len(rest))]
    moved = w.add("Transpose", [parts], w.temporary(node, "moved"), perm=perm)
    w.add("Reshape", [moved, w.numbers(node, "joined", shape)], node.outputs[0])


writes("resize")(write_resize)


# ---- along axes --------------------------------------------------------------------------------
@writes(*ops_where(lambda d: d.attrs is ReduceAttrs))
def _reduce(w: Writer, node: Node) -> None:
    attrs = cast(ReduceAttrs, node.attrs)
    if not attrs.axes:  # ONNX would reduce over all
        w.add("Identity", node.inputs, node.outputs[0])
        return
    w.add(
        op_def(node.op).onnx,
        node.inputs,
        node.outputs[0],
        axes=list(attrs.axes),
        keepdims=int(attrs.keepdims),
    )


@writes("argmax", "argmin")
def _arg(w: Writer, node: Node) -> None:
    attrs = cast(ArgAttrs, node.attrs)
    op = "ArgMax" if node.op == "argmax" else "ArgMin"
    settings = {"axis": attrs.axis, "keepdims": int(attrs.keepdims)}
    dtype = w.graph.spec(node.outputs[0]).dtype
    if dtype is DType.I64:
        w.add(op, node.inputs, node.outputs[0], **settings)
        return
    found = w.add(op, node.inputs, w.temporary(node, "index"), **settings)
    w.add("Cast", [found], node.outputs[0], to=helper.np_dtype_to_tensor_dtype(dtype.numpy))


@writes("softmax", "log_softmax")
def _softmax(w: Writer, node: Node) -> None:
    op = "Softmax" if node.op == "softmax" else "LogSoftmax"
    axis, rank = cast(AxisAttrs, node.attrs).axis, len(w.graph.spec(node.inputs[0]).shape)
    if axis == rank - 1:
        w.add(op, node.inputs, node.outputs[0], axis=axis)
        return
    # before opset 13 softmax runs over the given and all later axes
    perm = [*(i for i in range(rank) if i != axis), axis]
    moved = w.add("Transpose", node.inputs, w.temporary(node, "moved"), perm=perm)
    done = w.add(op, [moved], w.temporary(node, "done"), axis=rank - 1)
    back = [perm.index(i) for i in range(rank)]
    w.add("Transpose", [done], node.outputs[0], perm=back)


# ---- normalisation -----------------------------------------------------------------------------
@writes("batch_norm")
def _batch_norm(w: Writer, node: Node) -> None:
    epsilon = cast(NormAttrs, node.attrs).epsilon
    w.add("BatchNormalization", node.inputs, node.outputs[0], epsilon=epsilon)


@writes("instance_norm")
def _instance_norm(w: Writer, node: Node) -> None:
    epsilon = cast(NormAttrs, node.attrs).epsilon
    w.add("InstanceNormalization", node.inputs, node.outputs[0], epsilon=epsilon)


@writes("layer_norm")
def _layer_norm(w: Writer, node: Node) -> None:
    attrs = cast(NormAttrs, node.attrs)
    x, gamma, beta = node.inputs
    rank = len(w.graph.spec(x).shape)
    axes = list(range(attrs.axis % rank, rank))
    mean = w.add("ReduceMean", [x], w.temporary(node, "mean"), axes=axes)
    centred = w.add("Sub", [x, mean], w.temporary(node, "centred"))
    squares = w.add("Mul", [centred, centred], w.temporary(node, "squares"))
    variance = w.add("ReduceMean", [squares], w.temporary(node, "variance"), axes=axes)
    epsilon = w.scalar(node, "epsilon", attrs.epsilon)
    safe = w.add("Add", [variance, epsilon], w.temporary(node, "safe"))
    root = w.add("Sqrt", [safe], w.temporary(node, "root"))
    normal = w.add("Div", [centred, root], w.temporary(node, "normal"))
    scaled = w.add("Mul", [normal, gamma], w.temporary(node, "scaled"))
    w.add("Add", [scaled, beta], node.outputs[0])


@writes("l2norm")
def _l2norm(w: Writer, node: Node) -> None:
    axis = cast(AxisAttrs, node.attrs).axis
    w.add("LpNormalization", node.inputs, node.outputs[0], axis=axis, p=2)


@writes("lrn")
def _lrn(w: Writer, node: Node) -> None:
    attrs = cast(LrnAttrs, node.attrs)
    settings = {"size": attrs.size, "alpha": attrs.alpha, "beta": attrs.beta, "bias": attrs.bias}
    shape = w.graph.spec(node.inputs[0]).shape
    if len(shape) == 4:
        w.add("LRN", node.inputs, node.outputs[0], **settings)
        return
    # ONNX Runtime takes maps only
    sizes = w.numbers(node, "map", (*shape[:2], prod(shape[2:]), 1))
    drawn = w.add("Reshape", [node.inputs[0], sizes], w.temporary(node, "as_map"))
    done = w.add("LRN", [drawn], w.temporary(node, "done"), **settings)
    w.add("Reshape", [done, w.numbers(node, "shape", shape)], node.outputs[0])
