"""Pools and convolutions over three spatial axes, dilated max pools, Col2Im: in pieces."""

from collections.abc import Sequence

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.importers.onnx.window import check_auto_pad, split_pad
from npusim.ir.attrs import (
    AxisAttrs,
    Conv2dAttrs,
    Deconv2dAttrs,
    EltwiseAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    SliceAttrs,
)
from npusim.ir.tensor import Shape

VOLUME = 5


def windows(
    node: OnnxNode, shape: Shape, kernel: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
    """Return strides, dilations and (before, after) pads of every spatial axis."""
    rank = len(shape) - 2
    strides = node.integers("strides") or (1,) * rank
    dilations = node.integers("dilations") or (1,) * rank
    mode = node.text("auto_pad", "NOTSET")
    pads = node.integers("pads") or (0,) * (2 * rank)
    wrong = len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank
    if wrong or min((*strides, *dilations)) < 1:
        raise ModelImportError(
            f"strides {strides}, dilations {dilations}, pads {pads}",
            where=node.where,
            rule=f"positive numbers, one per spatial axis of {shape}; two pads each",
        )
    if min(pads) < 0:
        raise UnsupportedForm(f"negative pads {list(pads)}", "put a Slice before the node")
    if mode == "NOTSET":
        return strides, dilations, [(pads[i], pads[i + rank]) for i in range(rank)]
    if mode == "VALID":
        return strides, dilations, [(0, 0)] * rank
    check_auto_pad(node, mode)
    found = []
    for size, k, s, d in zip(shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        before, after = split_pad(total, mode)
        found.append((before, after))
    return strides, dilations, found


def pool_volume(node: OnnxNode, context: Context, kind: PoolKind) -> None:
    """Pool over height and width, then over depth: maxima and means are separable."""
    shape = context.shape(node.inputs[0])
    kernel = node.integers("kernel_shape") or ()
    if len(kernel) != 3:
        raise ModelImportError(f"kernel_shape {kernel}", where=node.where, rule="three numbers")
    strides, dilations, pads = windows(node, shape, kernel)
    if max(dilations) > 1:
        raise UnsupportedForm(f"dilations {dilations}", "pool with dilation 1")
    ceil_mode = bool(node.integer("ceil_mode", 0)) and node.text("auto_pad", "NOTSET") == "NOTSET"

    def attrs(first: int, second: int | None) -> Pool2dAttrs:
        axes = (first, second)
        return Pool2dAttrs(
            kind=kind,
            kernel=_pair(kernel, axes, 1),
            stride=_pair(strides, axes, 1),
            pad=(*pads[first], *(pads[second] if second is not None else (0, 0))),
            ceil_mode=ceil_mode,
            count_include_pad=bool(node.integer("count_include_pad", 0)),
        )

    n, c, d, h, w = shape
    chain = Chain(node, context, node.inputs[0])
    if kernel[1:] != (1, 1) or strides[1:] != (1, 1):
        chain.reshape((n, c * d, h, w), "planes").then("pool2d", attrs(1, 2), part="flat")
        h, w = chain.shape[2:]
    if kernel[0] != 1 or strides[0] != 1:
        chain.reshape((n, c, d, h * w), "columns").then("pool2d", attrs(0, None), part="deep")
        d = chain.shape[2]
    chain.reshape((n, c, d, h, w), "volume").end()


def _pair(values: Sequence[int], axes: tuple[int, int | None], missing: int) -> tuple[int, int]:
    first, second = axes
    return values[first], missing if second is None else values[second]


def pool_dilated(node: OnnxNode, context: Context, kernel: tuple[int, int]) -> None:
    """Take the maximum of shifted copies, rows first."""
    shape = context.shape(node.inputs[0])
    flat = len(shape) == 3
    sizes = kernel[1:] if flat else kernel
    strides, dilations, pads = windows(node, shape, sizes)
    if any(pads[i] != (0, 0) for i in range(len(pads))) or node.integer("ceil_mode", 0):
        raise UnsupportedForm(f"dilations {dilations} with padding", "pool with dilation 1")
    chain = Chain(node, context, node.inputs[0])
    for i, (k, s, d) in enumerate(zip(sizes, strides, dilations, strict=True)):
        axis, size = i + 2, chain.shape[i + 2]
        count = (size - (k - 1) * d - 1) // s + 1
        if count < 1:
            raise ModelImportError(
                f"a window of {k} with dilation {d} in {size}", where=node.where, rule="it fits"
            )
        whole = chain.tensor()
        result: Chain | None = None
        for tap in range(k):
            part = Chain(node, context, whole)
            _cut(part, axis, tap * d, count, s, f"axis_{axis}_{tap}")
            if result is None:
                result = part
            else:
                result.then("max", EltwiseAttrs(), part.tensor(), part=f"axis_{axis}_upto_{tap}")
        chain = result or chain
    chain.end()


def _cut(chain: Chain, axis: int, first: int, count: int, step: int, part: str) -> Chain:
    """Append every ``step``-th of ``count`` entries along an axis, unless they are all."""
    shape = chain.shape
    if (first, count, step) == (0, shape[axis], 1):
        return chain
    begin, end, steps = [0] * len(shape), list(shape), [1] * len(shape)
    begin[axis], end[axis], steps[axis] = first, first + (count - 1) * step + 1, step
    attrs = SliceAttrs(begin=tuple(begin), end=tuple(end), step=tuple(steps))
    return chain.then("slice", attrs, part=part)


def conv_volume(node: OnnxNode, context: Context, weights: Array) -> None:
    """Put the planes of a window side by side as channels: one convolution over height and width.

    The planes of the result are the samples of that convolution.
    """
    shape = context.shape(node.inputs[0])
    strides, dilations, pads = windows(node, shape, weights.shape[2:])
    group = node.integer("group", 1)
    n, c, d, _, _ = shape
    out_c, group_c, deep = (int(k) for k in weights.shape[:3])
    if c != group_c * group:
        raise ModelImportError(f"input {shape}, weights {weights.shape}", where=node.where)
    chain = Chain(node, context, node.inputs[0])
    if pads[0] != (0, 0):
        front, back = pads[0]
        attrs = PadAttrs(front=(0, 0, front, 0, 0), back=(0, 0, back, 0, 0))
        chain.then("pad", attrs, part="deeper")
    d = chain.shape[2]
    count = (d - (deep - 1) * dilations[0] - 1) // strides[0] + 1
    if count < 1:
        raise ModelImportError(
            f"weights {weights.shape} in input {shape}", where=node.where, rule="they fit"
        )
    chain.transpose((0, 2, 1, 3, 4), "planes_first")
    whole = chain.tensor()
    parts = [
        _cut(Chain(node, context, whole), 1, tap * dilations[0], count, strides[0], f"plane_{tap}")
        for tap in range(deep)
    ]
    joined = parts[0]
    height, width = shape[3:]
    per_group = [part.reshape((n * count, group, group_c, height, width), f"part_{i}").tensor()
                 for i, part in enumerate(parts)]  # fmt: skip
    joined = Chain(node, context, per_group[0])
    if deep > 1:
        joined.then("concat", AxisAttrs(axis=2), *per_group[1:], part="joined")
    joined.reshape((n * count, group * deep * group_c, height, width), "channels")
    flat = weights.transpose(0, 2, 1, 3, 4).reshape(out_c, deep * group_c, *weights.shape[3:])
    bias = context.fixed(node, 2, "the bias")
    names = [
        context.constant(f"{node.inputs[1]}/planes", flat),
        context.constant(
            f"{node.first}/bias", np.zeros(out_c, np.float32) if bias is None else bias
        ),
    ]
    attrs_2d = Conv2dAttrs(
        stride=(strides[1], strides[2]),
        pad=(*pads[1], *pads[2]),
        dilation=(dilations[1], dilations[2]),
        group=group,
    )
    joined.then("conv2d", attrs_2d, *names, part="flat")
    joined.reshape((n, count, *joined.shape[1:]), "volume").transpose((0, 2, 1, 3, 4)).end()


@converter("Col2Im")
def col2im(node: OnnxNode, context: Context) -> None:
    """Add up overlapping blocks: a transposed convolution with ones, one per channel."""
    image = context.fixed_ints(node, 1, "the size of the image") or ()
    block = context.fixed_ints(node, 2, "the size of a block") or ()
    n, rows, columns = context.shape(node.inputs[0])
    if len(image) != 2 or len(block) != 2:
        raise UnsupportedForm(f"image {image} of blocks {block}", "fold height and width only")
    taps = block[0] * block[1]
    channels = rows // taps
    strides, dilations, pads = windows(node, (n, channels, *image), block)
    counts = [
        (size + sum(pad) - (k - 1) * d - 1) // s + 1
        for size, pad, k, d, s in zip(image, pads, block, dilations, strides, strict=True)
    ]
    if counts[0] * counts[1] != columns or rows % taps:
        raise ModelImportError(
            f"{columns} blocks of {block} for an image {image}",
            where=node.where,
            rule=f"{counts[0]} x {counts[1]} blocks fit",
        )
    extra = [
        size + sum(pad) - ((count - 1) * s + (k - 1) * d + 1)
        for size, pad, count, k, d, s in zip(
            image, pads, counts, block, dilations, strides, strict=True
        )
    ]
    check_made((channels, taps, *block), "the windows", node.where)
    ones = np.zeros((channels, taps, *block), np.float32)
    for tap in range(taps):
        ones[:, tap, tap // block[1], tap % block[1]] = 1
    attrs = Deconv2dAttrs(
        stride=(strides[0], strides[1]),
        pad=(*pads[0], *pads[1]),
        output_pad=(extra[0], extra[1]),
        dilation=(dilations[0], dilations[1]),
        group=channels,
    )
    names = [
        context.constant(f"{node.first}/ones", ones),
        context.constant(f"{node.first}/zeros", np.zeros(channels, np.float32)),
    ]
    chain = Chain(node, context, node.inputs[0])
    chain.reshape((n, rows, counts[0], counts[1]), "blocks").then("deconv2d", attrs, *names).end()
