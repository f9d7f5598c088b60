"""Convolutions, dense layers and embeddings."""

from collections.abc import Sequence
from typing import Any

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.ordered_conv import (
    conv2d,
    deconv2d,
    dense,
    depthwise,
    einsum,
    padding,
)
from npusim.importers.common.ordered_moves import gather
from npusim.importers.common.orders import NCHW, NHWC, Order
from npusim.importers.keras.activations import activate, is_linear
from npusim.importers.keras.context import (
    KerasContext,
    KerasNode,
    converter,
    needs_rank,
    one_input,
)


def _order(node: KerasNode) -> Order:
    return NHWC if node.text("data_format", "channels_last") != "channels_first" else NCHW


def _pads(
    node: KerasNode,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int, int, int]:
    rule = node.text("padding", "valid").upper()
    if rule == "CAUSAL":
        return (0, 0, (kernel[1] - 1) * dilation[1], 0)
    if rule not in ("SAME", "VALID"):
        raise node.wrong("padding", "same, valid or, along one axis, causal")
    return padding(rule, sizes, kernel, stride, dilation)


def _positive(node: KerasNode, *groups: Sequence[int]) -> None:
    if any(n < 1 for group in groups for n in group):
        raise ModelImportError(
            f"kernel, strides or dilation {groups}", where=node.where, rule="1 up"
        )


class _Row:
    """A tensor with one spatial axis as a map of one row."""

    def __init__(self, node: KerasNode, context: KerasContext, source: str) -> None:
        needs_rank(node, context, source, 3)
        self.node, self.context = node, context
        batch, steps, channels = context.shape(source)
        self.first = node.text("data_format", "channels_last") == "channels_first"
        wide = (batch, steps, 1, channels) if self.first else (batch, 1, steps, channels)
        self.source = context.reshape(node, source, wide, part="row")

    def back(self, made: str, *, part: str = "") -> str:
        """Give a map of one row its three axes again."""
        shape = self.context.shape(made)
        flat = (*shape[:2], *shape[3:]) if self.first else (shape[0], *shape[2:])
        return self.context.reshape(self.node, made, flat, part=part)


def _settings(node: KerasNode, one: bool) -> tuple[tuple[int, int], ...]:
    """Return kernel, stride and dilation, of one axis as of a row."""
    words = ("kernel_size", "strides", "dilation_rate")
    found = [node.pair(word) for word in words]
    if one:
        found = [(1, pair[1]) for pair in found]
    _positive(node, *found)
    return tuple(found)


@converter("Conv2D", "Conv1D")
def convolution(node: KerasNode, context: KerasContext) -> None:
    """Kernel (kh, kw, C / groups, O), bias and activation; one axis is a row."""
    one = node.type == "Conv1D"
    source = one_input(node)
    row = _Row(node, context, source) if one else None
    source = row.source if row else source
    if not one:
        needs_rank(node, context, source, 4)
    order = _order(node)
    kernel, stride, dilation = _settings(node, one)
    shape = context.shape(source)
    channels, group = shape[order[1]], node.whole("groups", 1)
    filters = node.whole("filters")
    if group < 1 or channels % group or filters < 1:
        raise ModelImportError(
            f"{filters} filters in {group} groups for {channels} channels",
            where=node.where,
            rule="positive, and a divisor of the channels",
        )
    stored = (kernel[1],) if one else kernel
    shapes: dict[str, Sequence[int]] = {"kernel": (*stored, channels // group, filters)}
    if node.flag("use_bias", True):
        shapes["bias"] = (filters,)
    weights, *bias = context.learned(node, shapes)
    weights = weights.reshape(*kernel, channels // group, filters)
    made = conv2d(
        context,
        node,
        source,
        weights.transpose(3, 2, 0, 1),
        *bias,
        stride=stride,
        dilation=dilation,
        pads=_pads(node, [shape[axis] for axis in order[2:]], kernel, stride, dilation),
        group=group,
        order=order,
        **_parts(node, row is not None),
    )
    _activated(node, context, row.back(made, part="steps") if row else made)


def _parts(node: KerasNode, more: bool) -> dict[str, Any]:
    """Return the name of a result that something follows."""
    follows = more or not is_linear(node.config.get("activation"))
    return {"part": "linear"} if follows else {}


def _activated(node: KerasNode, context: KerasContext, made: str) -> None:
    if made != node.outputs[0]:
        activate(node, context, made, node.config.get("activation"))


@converter("DepthwiseConv2D", "DepthwiseConv1D")
def depthwise_convolution(node: KerasNode, context: KerasContext) -> None:
    """Kernel (kh, kw, C, multiplier), bias and activation."""
    one = node.type == "DepthwiseConv1D"
    source = one_input(node)
    row = _Row(node, context, source) if one else None
    source = row.source if row else source
    if not one:
        needs_rank(node, context, source, 4)
    order = _order(node)
    kernel, stride, dilation = _settings(node, one)
    shape = context.shape(source)
    channels, multiplier = shape[order[1]], node.whole("depth_multiplier", 1)
    stored = (kernel[1],) if one else kernel
    shapes: dict[str, Sequence[int]] = {"kernel": (*stored, channels, multiplier)}
    if node.flag("use_bias", True):
        shapes["bias"] = (channels * multiplier,)
    weights, *bias = context.learned(node, shapes)
    made = conv2d(
        context,
        node,
        source,
        depthwise(weights.reshape(*kernel, channels, multiplier)),
        *bias,
        stride=stride,
        dilation=dilation,
        pads=_pads(node, [shape[axis] for axis in order[2:]], kernel, stride, dilation),
        group=channels,
        order=order,
        **_parts(node, row is not None),
    )
    _activated(node, context, row.back(made, part="steps") if row else made)


@converter("SeparableConv2D", "SeparableConv1D")
def separable_convolution(node: KerasNode, context: KerasContext) -> None:
    """Convolve each channel, then the channels of a pixel, with bias and activation."""
    one = node.type == "SeparableConv1D"
    source = one_input(node)
    row = _Row(node, context, source) if one else None
    source = row.source if row else source
    if not one:
        needs_rank(node, context, source, 4)
    order = _order(node)
    kernel, stride, dilation = _settings(node, one)
    shape = context.shape(source)
    channels, multiplier = shape[order[1]], node.whole("depth_multiplier", 1)
    filters, deep = node.whole("filters"), channels * multiplier
    stored = (kernel[1],) if one else kernel
    shapes: dict[str, Sequence[int]] = {
        "depthwise_kernel": (*stored, channels, multiplier),
        "pointwise_kernel": (*(1,) * len(stored), deep, filters),
    }
    if node.flag("use_bias", True):
        shapes["bias"] = (filters,)
    first, second, *bias = context.learned(node, shapes)
    inner = conv2d(
        context,
        node,
        source,
        depthwise(first.reshape(*kernel, channels, multiplier)),
        stride=stride,
        dilation=dilation,
        pads=_pads(node, [shape[axis] for axis in order[2:]], kernel, stride, dilation),
        group=channels,
        order=order,
        part="depthwise",
    )
    made = conv2d(
        context,
        node,
        inner,
        second.reshape(1, 1, deep, filters).transpose(3, 2, 0, 1),
        *bias,
        order=order,
        **_parts(node, row is not None),
    )
    _activated(node, context, row.back(made, part="steps") if row else made)


@converter("Conv2DTranspose", "Conv1DTranspose")
def transposed_convolution(node: KerasNode, context: KerasContext) -> None:
    """Kernel (kh, kw, O, C), bias and activation; ``output_padding`` makes the result larger."""
    one = node.type == "Conv1DTranspose"
    source = one_input(node)
    row = _Row(node, context, source) if one else None
    source = row.source if row else source
    if not one:
        needs_rank(node, context, source, 4)
    order = _order(node)
    kernel, stride, dilation = _settings(node, one)
    shape = context.shape(source)
    channels, filters, group = shape[order[1]], node.whole("filters"), node.whole("groups", 1)
    if group != 1:
        raise UnsupportedForm(f"{group} groups", "split the channels in front")
    stored = (kernel[1],) if one else kernel
    shapes: dict[str, Sequence[int]] = {"kernel": (*stored, filters, channels)}
    if node.flag("use_bias", True):
        shapes["bias"] = (filters,)
    weights, *bias = context.learned(node, shapes)
    extra = None if node.config.get("output_padding") is None else node.pair("output_padding")
    same = node.text("padding", "valid").lower() == "same"
    size, crop = [], []
    for axis in range(2):
        given = None if extra is None or (one and axis == 0) else extra[axis]
        out, front = _extent(
            shape[order[2 + axis]], kernel[axis], stride[axis], dilation[axis], same, given
        )
        size.append(out)
        crop.append(front)
    made = deconv2d(
        context,
        node,
        source,
        weights.reshape(*kernel, filters, channels).transpose(2, 3, 0, 1),
        *bias,
        stride=stride,
        dilation=dilation,
        size=size,
        crop=crop,
        order=order,
        **_parts(node, row is not None),
    )
    _activated(node, context, row.back(made, part="steps") if row else made)


def _extent(
    size: int, kernel: int, stride: int, dilation: int, same: bool, extra: int | None
) -> tuple[int, int]:
    """Return the length of a transposed convolution's result and what is cut in front."""
    reach = (kernel - 1) * dilation + 1
    if extra is None:
        out = size * stride if same else size * stride + max(reach - stride, 0)
    else:
        pad = reach // 2 if same else 0
        out = (size - 1) * stride + reach - 2 * pad + extra
    if not same:
        return out, 0
    back = max((-(-out // stride) - 1) * stride + reach - out, 0)
    return out, back // 2


@converter("Dense")
def dense_layer(node: KerasNode, context: KerasContext) -> None:
    """Kernel (K, O) on the last axis, bias and activation."""
    source = one_input(node)
    depth, units = context.shape(source)[-1], node.whole("units")
    shapes: dict[str, Sequence[int]] = {"kernel": (depth, units)}
    if node.flag("use_bias", True):
        shapes["bias"] = (units,)
    weights, *bias = context.learned(node, shapes)
    made = dense(context, node, source, weights.T, *bias, **_parts(node, False))
    _activated(node, context, made)


@converter("EinsumDense")
def einsum_dense(node: KerasNode, context: KerasContext) -> None:
    """Sum products with a kernel by letters of axes."""
    source = one_input(node)
    equation = node.text("equation", "")
    if "..." in equation:
        raise UnsupportedForm(f"equation {equation!r}", "name every axis")
    left, _, result = equation.replace(" ", "").partition("->")
    data, _, letters = left.partition(",")
    if len(data) != context.rank(source) or not letters:
        raise node.wrong("equation", f"letters for {context.shape(source)} and a kernel")
    sizes = dict(zip(data, context.shape(source), strict=True))
    wanted = node.config.get("output_shape")
    free = [c for c in result if c not in sizes]
    given = wanted if isinstance(wanted, list) else [wanted]
    named = dict(zip(result[len(result) - len(given) :], given, strict=False))
    sizes |= {c: int(named[c]) for c in free if named.get(c) is not None}
    shapes: dict[str, Sequence[int]] = {"kernel": [sizes.get(c, 0) for c in letters]}
    axes = node.config.get("bias_axes")
    if axes:
        at = min(result.index(c) for c in axes)
        shapes["bias"] = [sizes[c] if c in axes else 1 for c in result[at:]]
    kernel, *bias = context.learned(node, shapes)
    weights = context.constant(f"{node.name}/kernel", kernel)
    product = context.unused(f"{node.outputs[0]}/product")
    inner = KerasNode(
        name=node.name, type=node.type, inputs=node.inputs, outputs=(product,), source=node.source
    )
    made = einsum(context, inner, equation, source, weights)
    if bias:
        added = context.constant(f"{node.name}/bias", bias[0])
        made = context.binary(node, "add", made, added, part="biased")
    activate(node, context, made, node.config.get("activation"))


@converter("Embedding")
def embedding(node: KerasNode, context: KerasContext) -> None:
    """Rows of a table by whole numbers."""
    source = one_input(node)
    rows, columns = node.whole("input_dim"), node.whole("output_dim")
    (table,) = context.learned(node, {"embeddings": (rows, columns)})
    name = context.constant(f"{node.name}/embeddings", table)
    gather(context, node, name, source, 0)
