"""Convolutions, products, pooling, patches and space-to-batch dilation."""

from collections.abc import Sequence
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.layers import leaky
from npusim.importers.common.ordered_conv import (
    Pads,
    add_bias,
    conv2d,
    deconv2d,
    depthwise,
    einsum,
    matmul,
    padding,
    pool2d,
)
from npusim.importers.common.ordered_math import batch_norm
from npusim.importers.common.ordered_moves import batch_to_space, pick, space_to_batch
from npusim.importers.common.orders import NHWC, Order
from npusim.importers.tensorflow.context import TfContext, TfNode, converter, needs
from npusim.ir.attrs import AlphaAttrs, PoolKind
from npusim.ops import is_function, ops_named_in

_FUNCTIONS = ops_named_in("tensorflow", is_function)


def _pads(
    node: TfNode,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    order: Order,
) -> Pads:
    """Return top, bottom, left, right by the node's padding rule."""
    rule = node.text("padding", "VALID")
    if rule == "EXPLICIT":
        numbers = node.integers("explicit_paddings")
        if len(numbers) != 8 or any(numbers[2 * order[k] + i] for k in (0, 1) for i in (0, 1)):
            raise ModelImportError(
                f"explicit paddings {numbers}", where=node.where, rule="a pair per axis"
            )
        top, bottom = numbers[2 * order[2] : 2 * order[2] + 2]
        left, right = numbers[2 * order[3] : 2 * order[3] + 2]
        return (top, bottom, left, right)
    if rule not in ("SAME", "VALID"):
        raise ModelImportError(
            f"padding {rule!r}", where=node.where, rule="SAME, VALID or EXPLICIT"
        )
    return padding(rule, sizes, kernel, stride, dilation)


def _positive(node: TfNode, *groups: Sequence[int]) -> None:
    if any(n < 1 for group in groups for n in group):
        raise ModelImportError(
            f"strides, dilations or window {groups}", where=node.where, rule="at least 1"
        )


@converter("Conv2D")
def conv_2d(node: TfNode, context: TfContext) -> None:
    """Weights (kh, kw, C / group, O)."""
    needs(node, 2)
    _convolution(node, context, node.outputs[0])


def _convolution(
    node: TfNode, context: TfContext, output: str, bias: Array | None = None, part: str = ""
) -> str:
    source = node.inputs[0]
    order = context.map_order(node, source)
    weights = context.fixed(node, 1, "the weights")
    shape = context.shape(source)
    channels = shape[order[1]]
    if weights.ndim != 4 or not weights.shape[2] or channels % weights.shape[2]:
        raise ModelImportError(
            f"weights {weights.shape} do not fit the input {shape}",
            where=node.where,
            rule="height, width, channels (or a divisor of them), outputs",
        )
    stride, dilation = (context.spatial(node, word, order) for word in ("strides", "dilations"))
    _positive(node, stride, dilation)
    sizes = [shape[axis] for axis in order[2:]]
    stored = context.stored.get(node.inputs[1])
    return conv2d(
        context,
        node,
        source,
        weights.transpose(3, 2, 0, 1),
        bias,
        stride=stride,
        dilation=dilation,
        pads=_pads(node, sizes, weights.shape[:2], stride, dilation, order),
        group=channels // weights.shape[2],
        order=order,
        stored=stored,
        part=part,
        output=output,
    )


@converter("DepthwiseConv2dNative")
def depthwise_conv(node: TfNode, context: TfContext) -> None:
    """Weights (kh, kw, C, multiplier)."""
    needs(node, 2)
    source = node.inputs[0]
    order = context.map_order(node, source)
    weights = context.fixed(node, 1, "the weights")
    shape = context.shape(source)
    channels = shape[order[1]]
    if weights.ndim != 4 or weights.shape[2] != channels or not weights.shape[3]:
        raise ModelImportError(
            f"weights {weights.shape} do not fit the input {shape}",
            where=node.where,
            rule="height, width, channels, multiplier",
        )
    stride, dilation = (context.spatial(node, word, order) for word in ("strides", "dilations"))
    _positive(node, stride, dilation)
    sizes = [shape[axis] for axis in order[2:]]
    conv2d(
        context,
        node,
        source,
        depthwise(weights),
        stride=stride,
        dilation=dilation,
        pads=_pads(node, sizes, weights.shape[:2], stride, dilation, order),
        group=channels,
        order=order,
        stored=context.stored.get(node.inputs[1]),
    )


@converter("Conv2DBackpropInput")
def transposed_conv(node: TfNode, context: TfContext) -> None:
    """Output shape, weights (kh, kw, O, C), data."""
    needs(node, 3)
    target = context.ints(node, 0, "the output shape")
    weights = context.fixed(node, 1, "the weights")
    source = node.inputs[2]
    order = context.map_order(node, source)
    shape = context.shape(source)
    if weights.ndim != 4 or len(target) not in (2, 4) or weights.shape[3] != shape[order[1]]:
        raise ModelImportError(
            f"weights {weights.shape} and output {target} do not fit the input {shape}",
            where=node.where,
            rule="weights height, width, outputs, channels",
        )
    stride, dilation = (context.spatial(node, word, order) for word in ("strides", "dilations"))
    _positive(node, stride, dilation)
    size = target if len(target) == 2 else [target[axis] for axis in order[2:]]
    kernel = weights.shape[:2]
    pads = _pads(node, size, kernel, stride, dilation, order)
    back = [
        (n + a + b - (k - 1) * d - 1) // s + 1
        for n, a, b, k, d, s in zip(
            size, pads[::2], pads[1::2], kernel, dilation, stride, strict=True
        )
    ]
    if back != [shape[axis] for axis in order[2:]]:
        raise ModelImportError(
            f"output {list(size)} does not come from the input {shape}",
            where=node.where,
            rule=f"the convolution of the output has {back} rows and columns",
        )
    deconv2d(
        context,
        node,
        source,
        weights.transpose(2, 3, 0, 1),
        stride=stride,
        dilation=dilation,
        size=size,
        crop=pads[::2],
        order=order,
    )


@converter("_FusedConv2D")
def fused_conv(node: TfNode, context: TfContext) -> None:
    """Convolve, with what an optimised graph joined to it."""
    words = node.texts("fused_ops")
    rest, bias, norm = list(words), None, []
    if rest[:1] == ["BiasAdd"]:
        bias = context.fixed(node, 2, "the bias")
        rest.pop(0)
    elif rest[:1] == ["FusedBatchNorm"]:
        norm = [context.fixed(node, 2 + i, "the statistics") for i in range(4)]
        rest.pop(0)
    if len(rest) > 1 or not words:
        raise UnsupportedForm(f"fused {list(words)}", "freeze the graph without remapping")
    out = _convolution(node, context, "", bias, part="convolution" if norm or rest else "")
    if norm:
        epsilon = node.real("epsilon", 1e-4)
        axis = context.map_order(node, out)[1]
        part = "normed" if rest else ""
        out = batch_norm(context, node, out, norm, epsilon, axis=axis, part=part)
    if rest:
        _activation(node, context, out, rest[0])


@converter("_FusedMatMul")
def fused_matmul(node: TfNode, context: TfContext) -> None:
    """Multiply, with what an optimised graph joined to it."""
    words = list(node.texts("fused_ops"))
    if words[:1] != ["BiasAdd"] or len(words) > 2:
        raise UnsupportedForm(f"fused {words}", "freeze the graph without remapping")
    out = _product(node, context, "product")
    part = "biased" if words[1:] else ""
    out = context.binary(node, "add", out, node.inputs[2], part=part)
    if words[1:]:
        _activation(node, context, out, words[1])


def _activation(node: TfNode, context: TfContext, source: str, word: str) -> None:
    if word == "LeakyRelu":
        context.chain(node, source, [leaky(node.real("leakyrelu_alpha", 0.2))])
    elif word == "Elu":
        context.unary(node, "elu", source, AlphaAttrs(alpha=1.0))
    elif word in _FUNCTIONS:
        context.unary(node, _FUNCTIONS[word], source)
    else:
        raise UnsupportedForm(f"fused {word}", "freeze the graph without remapping")


@converter("BiasAdd", "BiasAddV1")
def bias_add(node: TfNode, context: TfContext) -> None:
    """Add one number per channel; behind a convolution it is the layer's own."""
    needs(node, 2)
    source, second = node.inputs
    bias = context.known(second)
    rank = context.rank(source)
    first = node.text("data_format", "NHWC").startswith("NC") and rank > 2
    axis = 1 if first else rank - 1
    shape = context.shape(second)
    if shape != context.shape(source)[axis : axis + 1]:
        raise ModelImportError(
            f"bias {shape} for {context.shape(source)}", where=node.where, rule="one per channel"
        )
    if bias is not None and add_bias(context, node, source, bias, axis):
        return
    if first:
        wide = (shape[0], *(1,) * (rank - 2))
        second = context.reshape(node, second, wide, part="wide")
    context.binary(node, "add", source, second)


@converter("MatMul")
def matmul_(node: TfNode, context: TfContext) -> None:
    """Two axes each; known weights make a fully connected layer."""
    needs(node, 2)
    for name in node.inputs:
        if context.rank(name) != 2:
            raise ModelImportError(
                f"operand {context.shape(name)}", where=node.where, rule="two axes"
            )
    _product(node, context, "")


def _product(node: TfNode, context: TfContext, part: str) -> str:
    first, second = node.inputs[:2]
    turned = node.flag("transpose_a"), node.flag("transpose_b")
    inner = (
        context.shape(first)[0 if turned[0] else 1],
        context.shape(second)[1 if turned[1] else 0],
    )
    if inner[0] != inner[1]:
        raise ModelImportError(
            f"operands {context.shape(first)} and {context.shape(second)}",
            where=node.where,
            rule="as many columns as rows",
        )
    return matmul(
        context, node, first, second, turn_first=turned[0], turn_second=turned[1], part=part
    )


@converter("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_matmul(node: TfNode, context: TfContext) -> None:
    """Matrices in the last two axes."""
    needs(node, 2)
    first, second = node.inputs
    matmul(
        context,
        node,
        first,
        second,
        turn_first=node.flag("adj_x"),
        turn_second=node.flag("adj_y"),
    )


@converter("Einsum")
def einsum_(node: TfNode, context: TfContext) -> None:
    """Two operands, as a matrix product between permutations."""
    needs(node, 2)
    einsum(context, node, node.text("equation"), node.inputs[0], node.inputs[1])


@converter("MaxPool", "MaxPoolV2", "AvgPool")
def pool(node: TfNode, context: TfContext) -> None:
    """Window and stride by axis; padding never wins and does not count."""
    source = node.inputs[0]
    order = context.map_order(node, source)
    if node.type == "MaxPoolV2":
        lists = [context.ints(node, 1, "the window"), context.ints(node, 2, "the strides")]
        kernel, stride = (tuple(numbers[axis] for axis in order[2:]) for numbers in lists)
    else:
        kernel, stride = (
            context.spatial(node, "ksize", order),
            context.spatial(node, "strides", order),
        )
    _positive(node, kernel, stride)
    sizes = [context.shape(source)[axis] for axis in order[2:]]
    pads = _pads(node, sizes, kernel, stride, (1, 1), order)
    kind = PoolKind.AVG if node.type == "AvgPool" else PoolKind.MAX
    pool2d(context, node, source, kind, kernel, stride, pads, order=order)


@converter("ExtractImagePatches")
def patches(node: TfNode, context: TfContext) -> None:
    """Every window as channels, rows first: a convolution with ones."""
    source = node.inputs[0]
    height, width, channels = context.shape(source)[1:]
    kernel, stride, rates = (
        context.spatial(node, word, NHWC) for word in ("ksizes", "strides", "rates")
    )
    _positive(node, kernel, stride, rates)
    count = prod(kernel)
    if count * count * channels > 1 << 24:
        raise UnsupportedForm(f"windows of {kernel} in {channels} channels", "use smaller windows")
    pads = padding(node.text("padding", "VALID"), (height, width), kernel, stride, rates)
    ones = np.tile(np.eye(count, dtype=np.float32), (channels, 1)).reshape(-1, 1, *kernel)
    windows = conv2d(
        context, node, source, ones, stride=stride, pads=pads, dilation=rates, group=channels,
        part="windows",
    )  # fmt: skip
    # the convolution has a channel's window side by side, TensorFlow a pixel's channels
    taken = [c * count + k for k in range(count) for c in range(channels)]
    pick(context, node, windows, 3, taken)


@converter("SpaceToBatchND", "SpaceToBatch")
def to_batch(node: TfNode, context: TfContext) -> None:
    """Pad, then put every block position's pixels into an image of its own."""
    block, pads = _blocks(node, context)
    space_to_batch(context, node, node.inputs[0], block, pads)


@converter("BatchToSpaceND", "BatchToSpace")
def from_batch(node: TfNode, context: TfContext) -> None:
    """Undo SpaceToBatchND and cut; around a convolution both are its dilation."""
    block, crops = _blocks(node, context)
    if not _dilated(node, context, block, crops):
        batch_to_space(context, node, node.inputs[0], block, crops)


def _blocks(node: TfNode, context: TfContext) -> tuple[list[int], list[list[int]]]:
    if node.type.endswith("ND"):
        block = list(context.ints(node, 1, "the block"))
        pads = context.fixed(node, 2, "the padding").reshape(-1, 2)
    else:
        block = [node.integer("block_size", 2)] * 2
        pads = context.fixed(node, 1, "the padding").reshape(-1, 2)
    rank = context.rank(node.inputs[0])
    if len(block) != len(pads) or len(block) >= rank or min(block) < 1 or pads.min(initial=0) < 0:
        raise ModelImportError(
            f"blocks {block} with {pads.tolist()} of {context.shape(node.inputs[0])}",
            where=node.where,
            rule="positive blocks, a pair each",
        )
    return block, [[int(a), int(b)] for a, b in pads]


def _dilated(node: TfNode, context: TfContext, block: list[int], crops: list[list[int]]) -> bool:
    """Write SpaceToBatchND, convolution, BatchToSpaceND as one dilated convolution."""
    conv = context.made_by.get(node.inputs[0])
    if conv is None or conv.type not in ("Conv2D", "DepthwiseConv2dNative"):
        return False
    before = context.made_by.get(conv.inputs[0])
    if before is None or before.type != "SpaceToBatchND" or len(block) != 2:
        return False
    plain = (
        all(set(conv.integers(word) or (1,)) == {1} for word in ("strides", "dilations"))
        and conv.text("padding") == "VALID"
    )
    own, pads = _blocks(before, context)
    if not plain or own != block or conv.text("data_format", "NHWC") != "NHWC":
        return False
    around = [
        [p - c for p, c in zip(pad, crop, strict=True)]
        for pad, crop in zip(pads, crops, strict=True)
    ]
    if min(n for pair in around for n in pair) < 0:
        return False
    weights = context.fixed(conv, 1, "the weights")
    channels = context.shape(before.inputs[0])[3]
    is_deep = conv.type != "Conv2D"
    conv2d(
        context,
        node,
        before.inputs[0],
        depthwise(weights) if is_deep else weights.transpose(3, 2, 0, 1),
        pads=(around[0][0], around[0][1], around[1][0], around[1][1]),
        dilation=block,
        group=channels if is_deep else channels // weights.shape[2],
        stored=context.stored.get(conv.inputs[1]),
    )
    return True
