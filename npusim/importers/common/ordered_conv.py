"""Convolutions, products, pooling and interpolation in the source's axis order."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, Stored, UnsupportedForm, check_elements
from npusim.importers.common.ordered import OrderedContext, SourceNode
from npusim.importers.common.ordered_moves import pick
from npusim.importers.common.orders import NHWC, Order, plain
from npusim.ir.attrs import (
    Conv2dAttrs,
    Coordinates,
    Deconv2dAttrs,
    FcAttrs,
    MatmulAttrs,
    Pool2dAttrs,
    PoolKind,
    ResizeAttrs,
    ResizeMode,
)
from npusim.ops import op_def

Pads = tuple[int, int, int, int]
MAX_SIZE = 1 << 16
"""Largest side of a resized map; the position of every row and column is computed here."""


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return SAME padding before and after: the odd element goes behind."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def padding(
    rule: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> Pads:
    """Return top, bottom, left, right of the rule SAME or VALID."""
    if rule == "VALID":
        return (0, 0, 0, 0)
    top, bottom = same_pads(sizes[0], kernel[0], stride[0], dilation[0])
    left, right = same_pads(sizes[1], kernel[1], stride[1], dilation[1])
    return (top, bottom, left, right)


def weights_and_bias(
    context: OrderedContext,
    node: SourceNode,
    weights: Array,
    bias: Array | None,
    stored: Stored | None = None,
) -> tuple[str, str]:
    """Add weights with the outputs first, and a bias or zeros."""
    target = node.outputs[0]
    count = int(weights.shape[0])
    if bias is not None and bias.shape != (count,):
        raise ModelImportError(
            f"a bias of shape {bias.shape}", where=node.where, rule=f"{count} values"
        )
    ours = context.builder.add_constant(
        context.unused(f"{target}/weights"), np.ascontiguousarray(weights, np.float32)
    )
    if stored is not None:
        context.builder.stored[ours] = stored
    value = np.zeros(count, np.float32) if bias is None else np.asarray(bias, np.float32)
    return ours, context.builder.add_constant(context.unused(f"{target}/bias"), value)


def conv2d(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    weights: Array,
    bias: Array | None = None,
    *,
    stride: Sequence[int] = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    dilation: Sequence[int] = (1, 1),
    group: int = 1,
    order: Order = NHWC,
    stored: Stored | None = None,
    part: str = "",
    output: str = "",
) -> str:
    """Convolve a feature map.

    Parameters
    ----------
    weights : array (O, C / group, kh, kw)
    order : tuple of int
        Which axes of the source are N, C, H, W.
    """
    channels = context.shape(source)[order[1]]
    if weights.ndim != 4 or 0 in weights.shape or weights.shape[1] * group != channels:
        raise ModelImportError(
            f"weights {weights.shape} (outputs, channels, height, width) in {group} groups do not "
            f"fit {channels} channels",
            where=node.where,
            rule="channels = groups * channels of a filter",
        )
    attrs = Conv2dAttrs(
        stride=_pair(node, "strides", stride),
        pad=pads,
        dilation=_pair(node, "dilations", dilation),
        group=group,
    )
    operands = (
        context.at(context.real(node, source), order),
        *weights_and_bias(context, node, weights, bias, stored),
    )
    return context.emit(node, "conv2d", operands, attrs, order=order, part=part, output=output)


def depthwise(weights: Array) -> Array:
    """Return depthwise weights (kh, kw, C, multiplier) as (C * multiplier, 1, kh, kw)."""
    height, width, channels, multiplier = weights.shape
    return weights.reshape(height, width, 1, channels * multiplier).transpose(3, 2, 0, 1)


def _pair(node: SourceNode, what: str, values: Sequence[int]) -> tuple[int, int]:
    first, second = (int(n) for n in values)
    if min(first, second) < 1:
        raise ModelImportError(f"{what} {first}, {second}", where=node.where, rule="at least 1")
    return first, second


def deconv2d(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    weights: Array,
    bias: Array | None = None,
    *,
    stride: Sequence[int],
    size: Sequence[int],
    crop: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    group: int = 1,
    order: Order = NHWC,
    part: str = "",
    output: str = "",
) -> str:
    """Transposed convolution to a height and width.

    Parameters
    ----------
    weights : array (O, C / group, kh, kw)
    crop : sequence of int
        What is cut off the full result in front of rows and of columns.
    """
    shape = context.shape(source)
    channels, sizes = shape[order[1]], [shape[axis] for axis in order[2:]]
    if weights.ndim != 4 or 0 in weights.shape or weights.shape[1] * group != channels:
        raise ModelImportError(
            f"weights {weights.shape} do not fit {channels} channels",
            where=node.where,
            rule="outputs, channels / groups, height, width",
        )
    steps, spread = _pair(node, "strides", stride), _pair(node, "dilations", dilation)
    pads, extra = [], []
    for axis in range(2):
        reach = (sizes[axis] - 1) * steps[axis] + (weights.shape[2 + axis] - 1) * spread[axis] + 1
        behind = reach - crop[axis] - size[axis]
        pads += [int(crop[axis]), max(behind, 0)]
        extra.append(max(-behind, 0))
    if min(size) < 1:
        raise ModelImportError(f"an output of {list(size)}", where=node.where, rule="positive")
    attrs = Deconv2dAttrs(
        stride=steps,
        pad=(pads[0], pads[1], pads[2], pads[3]),
        output_pad=(extra[0], extra[1]),
        dilation=spread,
        group=group,
    )
    operands = (
        context.at(context.real(node, source), order),
        *weights_and_bias(context, node, weights, bias),
    )
    return context.emit(node, "deconv2d", operands, attrs, order=order, part=part, output=output)


def pool2d(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    kind: PoolKind,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
    *,
    order: Order = NHWC,
    part: str = "",
    output: str = "",
) -> str:
    """Pool a feature map; padding never wins and does not count."""
    attrs = Pool2dAttrs(
        kind=kind,
        kernel=_pair(node, "the window", kernel),
        stride=_pair(node, "strides", stride),
        pad=pads,
    )
    operands = (context.at(context.real(node, source), order),)
    return context.emit(node, "pool2d", operands, attrs, order=order, part=part, output=output)


def dense(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    weights: Array,
    bias: Array | None = None,
    *,
    stored: Stored | None = None,
    part: str = "",
    output: str = "",
) -> str:
    """Multiply the last axis with known weights (O, K)."""
    shape = context.shape(source)
    if not shape or weights.ndim != 2 or weights.shape[1] != shape[-1]:
        raise ModelImportError(
            f"weights {weights.shape[::-1]} do not fit the input {shape}",
            where=node.where,
            rule="as many rows as the last axis has elements",
        )
    out_c = int(weights.shape[0])
    rows = (prod(shape[:-1]), shape[-1])
    flat = context.reshape(node, source, rows, part="rows") if len(shape) != 2 else source
    operands = (
        context.at(context.real(node, flat), (0, 1)),
        *weights_and_bias(context, node, weights, bias, stored),
    )
    if len(shape) == 2:
        return context.emit(node, "fc", operands, FcAttrs(), order=(0, 1), part=part, output=output)
    product = context.emit(node, "fc", operands, FcAttrs(), order=(0, 1), part="product")
    return context.reshape(node, product, (*shape[:-1], out_c), part=part, output=output)


def add_bias(
    context: OrderedContext, node: SourceNode, source: str, bias: Array, axis: int
) -> bool:
    """Put a bias along an axis into the layer that made a tensor, when nothing else reads it.

    Returns
    -------
    bool
        Whether it was done; then the layer gives the node's output under the node's name and
        stands for both nodes. The tensor without bias is gone: its name never has another value.
    """
    held = context.held.get(source)
    if held is None:
        return False
    names = [name for name, place in context.held.items() if place.tensor == held.tensor]
    if not _read_once(context, names):
        return False
    nodes, constants = context.builder.nodes, context.builder.constants
    makers = (i for i in reversed(range(len(nodes))) if held.tensor in nodes[i].outputs)
    index = next(makers, None)
    if index is None or not op_def(nodes[index].op).weighted or held.order[1] != axis:
        return False
    layer = nodes[index]
    own = constants.get(layer.inputs[2])
    if own is None or own.shape != bias.shape or own.any():
        return False
    constants[layer.inputs[2]] = bias.astype(np.float32)
    target = context.target(node.outputs[0], held.order)
    nodes[index] = replace(layer, outputs=(target,), origin=(*layer.origin, node.name))
    tensors = context.builder.tensors
    tensors[target] = replace(tensors.pop(held.tensor), name=target)
    for name in (*names, node.outputs[0]):
        context.hold(name, target, held.order)
    return True


def _read_once(context: OrderedContext, names: Sequence[str]) -> bool:
    """Tell whether a tensor of the graph with these names has one reader."""
    reads = sum(context.readers.get(name, 2) for name in names)
    return reads - (len(names) - 1) == 1 and context.ends.isdisjoint(names)


def linear(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    axis: int,
    matrix: Array,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Replace an axis by sums of its elements: matrix (new, old)."""
    rank = context.rank(source)
    order = [*(i for i in range(rank) if i != axis), axis]
    turned = context.unused(f"{node.outputs[0]}/{part}last")
    context.alias(turned, source, order)
    product = dense(context, node, turned, matrix, part=f"{part}sums")
    back = [order.index(i) for i in range(rank)]
    target = output or (context.unused(f"{node.outputs[0]}/{part}") if part else node.outputs[0])
    context.alias(target, product, back)
    return target


def matmul(
    context: OrderedContext,
    node: SourceNode,
    first: str,
    second: str,
    *,
    turn_first: bool = False,
    turn_second: bool = False,
    part: str = "",
    output: str = "",
) -> str:
    """Multiply matrices in the last two axes; leading axes broadcast."""
    ranks = context.rank(first), context.rank(second)
    if min(ranks) < 2:
        raise ModelImportError(
            f"operands {context.shape(first)} and {context.shape(second)}",
            where=node.where,
            rule="at least two axes",
        )
    weights = context.known(second)
    if weights is not None and weights.ndim == 2:
        data = first
        if turn_first:
            data = _swapped(context, node, first)
        ours = weights if turn_second else weights.T
        stored = context.stored.get(second)
        return dense(context, node, data, ours, stored=stored, part=part, output=output)
    known = context.known(first)
    if known is not None and known.ndim == 2 and ranks[1] == 2:  # A B = (B' A')'
        data = second if turn_second else _swapped(context, node, second)
        ours = known.T if turn_first else known
        product = dense(context, node, data, ours, part="turned_product")
        target = output or (
            context.unused(f"{node.outputs[0]}/{part}") if part else node.outputs[0]
        )
        context.alias(target, product, (1, 0))
        return target
    attrs = MatmulAttrs(transpose_a=turn_first, transpose_b=turn_second)
    pair = (context.real(node, first), context.real(node, second))
    operands = [context.at(name, plain(context.rank(name))) for name in pair]
    return context.emit(
        node, "matmul", operands, attrs, order=plain(max(ranks)), part=part, output=output
    )


def _swapped(context: OrderedContext, node: SourceNode, source: str) -> str:
    rank = context.rank(source)
    order = [*range(rank - 2), rank - 1, rank - 2]
    name = context.unused(f"{node.outputs[0]}/swapped")
    context.alias(name, source, order)
    return name


def positions(size: int, out: int, rule: Coordinates) -> Array:
    """Return where every output element lies in the input, in float32 as TensorFlow computes it.

    Source: measured, TensorFlow 2.21: ``out * (float32(in) / out)``, not exact.
    """
    where = np.arange(out, dtype=np.float32)
    if rule is Coordinates.ALIGN_CORNERS and out > 1:
        return where * (np.float32(size - 1) / np.float32(out - 1))
    scale = np.float32(size) / np.float32(out)
    if rule is Coordinates.HALF_PIXEL:
        return (where + np.float32(0.5)) * scale - np.float32(0.5)
    return where * scale


def nearest(size: int, out: int, rule: Coordinates) -> Array:
    """Return the input index of every output element as TensorFlow computes it."""
    place = positions(size, out, rule)
    if rule is Coordinates.ALIGN_CORNERS and out > 1:
        found = np.floor(place + np.float32(0.5))
    elif rule is Coordinates.HALF_PIXEL:
        scale = np.float32(size) / np.float32(out)
        found = np.floor((np.arange(out, dtype=np.float32) + np.float32(0.5)) * scale)
    else:
        found = np.floor(place)
    return np.clip(found.astype(np.int64), 0, size - 1)


def _exact_nearest(size: int, out: int, rule: Coordinates) -> Array:
    """Return the same in exact numbers."""
    place = np.arange(out, dtype=np.int64)
    if rule is Coordinates.ALIGN_CORNERS and out > 1:
        return (2 * place * (size - 1) + out - 1) // (2 * (out - 1))
    if rule is Coordinates.HALF_PIXEL:
        return (2 * place + 1) * size // (2 * out)
    return place * size // out


def resize(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    size: Sequence[int],
    mode: ResizeMode,
    rule: Coordinates,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Resize N, H, W, C as TensorFlow does it."""
    shape = context.shape(source)
    height, width = resized(node, shape, size)
    if (height, width) == shape[1:3]:
        if part:
            return source
        context.alias(output or node.outputs[0], source)
        return output or node.outputs[0]
    if mode is ResizeMode.NEAREST:
        wanted = [nearest(n, out, rule) for n, out in zip(shape[1:3], (height, width), strict=True)]
        exact = [
            _exact_nearest(n, out, rule) for n, out in zip(shape[1:3], (height, width), strict=True)
        ]
        if not all(np.array_equal(a, b) for a, b in zip(wanted, exact, strict=True)):
            rows = pick(context, node, source, 1, wanted[0].tolist(), part="rows")
            return pick(context, node, rows, 2, wanted[1].tolist(), part=part, output=output)
    attrs = ResizeAttrs(size=(height, width), mode=mode, coordinates=rule)
    operands = (context.at(context.real(node, source), NHWC),)
    return context.emit(node, "resize", operands, attrs, order=NHWC, part=part, output=output)


def resized(node: SourceNode, shape: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """Return height and width after checking them."""
    if len(shape) != 4 or len(size) != 2 or not all(1 <= n <= MAX_SIZE for n in size):
        raise ModelImportError(
            f"resize of {tuple(shape)} to {tuple(size)}",
            where=node.where,
            rule=f"four axes, a height and a width of 1 to {MAX_SIZE}",
        )
    height, width = (int(n) for n in size)
    check_elements((shape[0], height, width, shape[3]), "its result", node.where)
    return height, width


def einsum(
    context: OrderedContext, node: SourceNode, equation: str, first: str, second: str
) -> str:
    """Sum products of two tensors by letters of axes: a matrix product between permutations."""
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or "." in equation or any(len(set(t)) != len(t) for t in (*terms, result)):
        raise UnsupportedForm(f"equation {equation!r}", "use matrix products and transposes")
    a, b = terms
    sizes = dict(zip(a, context.shape(first), strict=True))
    sizes |= dict(zip(b, context.shape(second), strict=True))
    if set(result) - set(a + b):
        raise ModelImportError(f"equation {equation!r}", where=node.where, rule="known letters")
    batch = [c for c in a if c in b and c in result]
    inner = [c for c in a if c in b and c not in result]
    rows = [c for c in a if c not in b]
    columns = [c for c in b if c not in a]
    if set(rows + columns) - set(result):
        raise UnsupportedForm(f"equation {equation!r}", "sum the other axes with ReduceSum")

    def matrix(name: str, letters: str, groups: Sequence[Sequence[str]], word: str) -> str:
        turned = context.unused(f"{node.outputs[0]}/{word}_turned")
        context.alias(turned, name, [letters.index(c) for group in groups for c in group])
        shape = [prod(sizes[c] for c in group) for group in groups]
        return context.reshape(node, turned, shape if batch else shape[1:], part=word)

    product = matmul(
        context,
        node,
        matrix(first, a, (batch, rows, inner), "first"),
        matrix(second, b, (batch, inner, columns), "second"),
        part="product",
    )
    have = [*batch, *rows, *columns]
    full = context.reshape(node, product, [sizes[c] for c in have], part="full")
    target = node.outputs[0]
    context.alias(target, full, [have.index(c) for c in result])
    return target
