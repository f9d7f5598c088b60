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
from npusim.importers.keras.activations import activate, is_linear
from npusim.importers.keras.context import KerasContext, KerasNode, converter, one_input
from npusim.importers.keras.maps import FeatureMap


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


class _Window(FeatureMap):
    """The input of a convolution and its kernel, stride and dilation, down and across.

    ``stored`` are the kernel's sizes in the file.
    """

    def __init__(self, node: KerasNode, context: KerasContext) -> None:
        super().__init__(node, context)
        self.kernel, self.stride, self.dilation = (
            self.across(node.pair(word)) for word in ("kernel_size", "strides", "dilation_rate")
        )
        if min(*self.kernel, *self.stride, *self.dilation) < 1:
            raise ModelImportError(
                f"kernel {self.kernel}, strides {self.stride}, dilation {self.dilation}",
                where=node.where,
                rule="1 up",
            )
        self.stored = self.kernel[self.one :]

    def settings(self) -> dict[str, Any]:
        """Return what a convolution with this kernel is called with."""
        return {
            "stride": self.stride,
            "dilation": self.dilation,
            "pads": _pads(self.node, self.sizes, self.kernel, self.stride, self.dilation),
            "order": self.order,
        }

    def part(self) -> str:
        """Return the name of a result that something follows."""
        return "linear" if self.one else _part(self.node)

    def finish(self, made: str) -> None:
        """Give the result the axes of the input, then activate."""
        _activated(self.node, self.context, self.back(made, part="steps"))


@converter("Conv2D", "Conv1D")
def convolution(node: KerasNode, context: KerasContext) -> None:
    """Kernel (kh, kw, C / groups, O), bias and activation; one axis is a row."""
    image = _Window(node, context)
    channels, group = image.channels, node.whole("groups", 1)
    filters = node.whole("filters")
    if group < 1 or channels % group or filters < 1:
        raise ModelImportError(
            f"{filters} filters in {group} groups for {channels} channels",
            where=node.where,
            rule="positive, and a divisor of the channels",
        )
    shapes: dict[str, Sequence[int]] = {"kernel": (*image.stored, channels // group, filters)}
    if node.flag("use_bias", True):
        shapes["bias"] = (filters,)
    weights, *bias = context.learned(node, shapes)
    weights = weights.reshape(*image.kernel, channels // group, filters)
    made = conv2d(
        context,
        node,
        image.source,
        weights.transpose(3, 2, 0, 1),
        *bias,
        group=group,
        part=image.part(),
        **image.settings(),
    )
    image.finish(made)


def _part(node: KerasNode) -> str:
    """Return the name of a result that an activation follows."""
    return "" if is_linear(node.config.get("activation")) else "linear"


def _activated(node: KerasNode, context: KerasContext, made: str) -> None:
    if made != node.outputs[0]:
        activate(node, context, made, node.config.get("activation"))


@converter("DepthwiseConv2D", "DepthwiseConv1D")
def depthwise_convolution(node: KerasNode, context: KerasContext) -> None:
    """Kernel (kh, kw, C, multiplier), bias and activation."""
    image = _Window(node, context)
    channels, multiplier = image.channels, node.whole("depth_multiplier", 1)
    shapes: dict[str, Sequence[int]] = {"kernel": (*image.stored, channels, multiplier)}
    if node.flag("use_bias", True):
        shapes["bias"] = (channels * multiplier,)
    weights, *bias = context.learned(node, shapes)
    made = conv2d(
        context,
        node,
        image.source,
        depthwise(weights.reshape(*image.kernel, channels, multiplier)),
        *bias,
        group=channels,
        part=image.part(),
        **image.settings(),
    )
    image.finish(made)


@converter("SeparableConv2D", "SeparableConv1D")
def separable_convolution(node: KerasNode, context: KerasContext) -> None:
    """Convolve each channel, then the channels of a pixel, with bias and activation."""
    image = _Window(node, context)
    channels, multiplier = image.channels, node.whole("depth_multiplier", 1)
    filters, deep = node.whole("filters"), channels * multiplier
    shapes: dict[str, Sequence[int]] = {
        "depthwise_kernel": (*image.stored, channels, multiplier),
        "pointwise_kernel": (*(1,) * len(image.stored), deep, filters),
    }
    if node.flag("use_bias", True):
        shapes["bias"] = (filters,)
    first, second, *bias = context.learned(node, shapes)
    inner = conv2d(
        context,
        node,
        image.source,
        depthwise(first.reshape(*image.kernel, channels, multiplier)),
        group=channels,
        part="depthwise",
        **image.settings(),
    )
    made = conv2d(
        context,
        node,
        inner,
        second.reshape(1, 1, deep, filters).transpose(3, 2, 0, 1),
        *bias,
        order=image.order,
        part=image.part(),
    )
    image.finish(made)


@converter("Conv2DTranspose", "Conv1DTranspose")
def transposed_convolution(node: KerasNode, context: KerasContext) -> None:
    """Kernel (kh, kw, O, C), bias and activation; ``output_padding`` makes the result larger."""
    image = _Window(node, context)
    channels, filters, group = image.channels, node.whole("filters"), node.whole("groups", 1)
    if group != 1:
        raise UnsupportedForm(f"{group} groups", "split the channels in front")
    shapes: dict[str, Sequence[int]] = {"kernel": (*image.stored, filters, channels)}
    if node.flag("use_bias", True):
        shapes["bias"] = (filters,)
    weights, *bias = context.learned(node, shapes)
    extra = None if node.config.get("output_padding") is None else node.pair("output_padding")
    same = node.text("padding", "valid").lower() == "same"
    size, crop = [], []
    for axis in range(2):
        given = None if extra is None or (image.one and axis == 0) else extra[axis]
        out, front = _extent(
            image.sizes[axis],
            image.kernel[axis],
            image.stride[axis],
            image.dilation[axis],
            same,
            given,
        )
        size.append(out)
        crop.append(front)
    made = deconv2d(
        context,
        node,
        image.source,
        weights.reshape(*image.kernel, filters, channels).transpose(2, 3, 0, 1),
        *bias,
        stride=image.stride,
        dilation=image.dilation,
        size=size,
        crop=crop,
        order=image.order,
        part=image.part(),
    )
    image.finish(made)


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
    made = dense(context, node, source, weights.T, *bias, part=_part(node))
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
