"""Layers without weights that work on one map."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, plus, times
from npusim.importers.common.made import check_made
from npusim.importers.darknet.activations import activate, activation_of
from npusim.importers.darknet.context import DarknetContext, converter
from npusim.importers.darknet.net import DarknetLayer
from npusim.importers.darknet.ops_conv import image_shape, positive, strides_of
from npusim.ir.attrs import (
    AxisAttrs,
    BlockAttrs,
    Conv2dAttrs,
    Coordinates,
    EltwiseAttrs,
    GlobalPoolAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    TransposeAttrs,
)


@converter("maxpool", "local_avgpool")
def pool(layer: DarknetLayer, context: DarknetContext) -> None:
    """Pad by ``size - 1`` in total unless told; the smaller half stands in front."""
    section = layer.section
    if section.flag("antialiasing"):
        raise UnsupportedForm("antialiasing=1", "train it without antialiasing")
    if section.flag("maxpool_depth"):
        _across_channels(layer, context)
        return
    shape = image_shape(layer, context, layer.inputs[0])
    strides = strides_of(layer, 1)
    size = positive(layer, "size", positive(layer, "stride", 1))
    padding = section.whole("padding", size - 1)
    before = padding // 2
    if padding < 0 or padding - before >= size:
        raise ModelImportError(
            f"padding is {padding}", where=layer.where, rule="no window lies beside the map"
        )
    if min(shape[2:]) + padding < size:
        raise ModelImportError(
            f"input {shape} is smaller than the window", where=layer.where, rule=f"size {size}"
        )
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX if layer.type == "maxpool" else PoolKind.AVG,
        kernel=(size, size),
        stride=strides,
        pad=(before, padding - before, before, padding - before),
    )
    context.emit(layer, "pool2d", layer.inputs, attrs)


def _across_channels(layer: DarknetLayer, context: DarknetContext) -> None:
    """Take the largest of every ``out_channels``-th channel."""
    n, channels, height, width = image_shape(layer, context, layer.inputs[0])
    filters = positive(layer, "out_channels", 1)
    if channels % filters:
        raise UnsupportedForm(
            f"out_channels {filters} of {channels} channels", "use a divisor of the channels"
        )
    grouped = (n, channels // filters, filters, height * width)
    out = context.reshape(layer, layer.inputs[0], grouped, part="grouped")
    out = context.emit(layer, "reduce_max", (out,), ReduceAttrs(axes=(1,)), part="largest")
    context.reshape(layer, out, (n, filters, height, width))


@converter("avgpool")
def avgpool(layer: DarknetLayer, context: DarknetContext) -> None:
    """Average of the whole map."""
    image_shape(layer, context, layer.inputs[0])
    context.emit(layer, "global_pool", layer.inputs, GlobalPoolAttrs(kind=PoolKind.AVG))


@converter("upsample")
def upsample(layer: DarknetLayer, context: DarknetContext) -> None:
    """Repeat every cell, or with a negative stride add cells up; then multiply by ``scale``."""
    height, width = image_shape(layer, context, layer.inputs[0])[2:]
    stride, scale = layer.section.whole("stride", 2), layer.section.real("scale", 1.0)
    if stride == 0 or (stride < 0 and (height % -stride or width % -stride)):
        raise UnsupportedForm(f"stride {stride} of {height}x{width}", "use a divisor of the sizes")
    if stride < 0:
        size = (-stride, -stride)
        attrs = Pool2dAttrs(kind=PoolKind.AVG, kernel=size, stride=size)
        steps = [Step("mean", "pool2d", attrs), *times(scale * stride * stride)]
    else:
        target = ResizeAttrs(
            size=(height * stride, width * stride),
            mode=ResizeMode.NEAREST,
            coordinates=Coordinates.ASYMMETRIC,
        )
        steps = ([Step("repeated", "resize", target)] if stride > 1 else []) + times(scale)
    context.chain(layer, layer.inputs[0], steps)


@converter("reorg", "reorg3d")
def reorg(layer: DarknetLayer, context: DarknetContext) -> None:
    """Cells to channels. ``reorg`` takes its map for one with fewer channels, a known quirk."""
    section, stride = layer.section, positive(layer, "stride", 1)
    for key in ("flatten", "extra"):
        if section.flag(key):
            raise UnsupportedForm(f"{key}={section.text(key)}", f"leave {key} out")
    n, channels, height, width = image_shape(layer, context, layer.inputs[0])
    source, square = layer.inputs[0], stride * stride
    if stride == 1:
        context.alias(layer.outputs[0], source)
    elif section.flag("reverse"):
        _refuse_odd(layer, channels % square == 0, "channels are a multiple of stride * stride")
        context.emit(layer, "depth2space", (source,), BlockAttrs(block=stride))
    elif layer.type == "reorg3d":
        fits = height % stride == 0 and width % stride == 0
        _refuse_odd(layer, fits, "height and width are multiples of stride")
        context.emit(layer, "space2depth", (source,), BlockAttrs(block=stride))
    else:
        fits = channels % square == 0 and height % stride == 0 and width % stride == 0
        _refuse_odd(layer, fits, "sizes are multiples of stride, channels of its square")
        few = channels // square
        perm: tuple[int, ...] = (2, 4, 0, 1, 3)
        split: tuple[int, ...] = (few, height, stride, width, stride)
        if n > 1:
            split, perm = (n, *split), (0, 3, 5, 1, 2, 4)
        out = context.reshape(layer, source, split, part="cells")
        out = context.emit(layer, "transpose", (out,), TransposeAttrs(perm=perm), part="turned")
        context.reshape(layer, out, (n, channels * square, height // stride, width // stride))


def _refuse_odd(layer: DarknetLayer, fits: bool, rule: str) -> None:
    if not fits:
        raise ModelImportError(
            "the sizes do not fit the stride",
            where=layer.where,
            rule=f"{rule} (Darknet reads outside the map here)",
        )


@converter("softmax")
def softmax(layer: DarknetLayer, context: DarknetContext) -> None:
    """Over all numbers of a group, not per cell."""
    section = layer.section
    if section.text("tree"):
        raise UnsupportedForm("it has a tree of classes", "end the network before it")
    shape = context.shape(layer.inputs[0])
    groups, count = positive(layer, "groups", 1), prod(shape[1:])
    if count % groups:
        raise ModelImportError(
            f"{groups} groups of {count} numbers", where=layer.where, rule="groups of equal size"
        )
    temperature = section.real("temperature", 1.0)
    if temperature <= 0:
        raise ModelImportError(f"temperature is {temperature}", where=layer.where, rule="positive")
    flat = (shape[0], count)
    rows = (shape[0], groups, count // groups) if groups > 1 else flat
    out = context.reshape(layer, layer.inputs[0], rows, part="groups")
    if temperature != 1:
        by = context.constant(f"{layer.name}/temperature", 1 / temperature)
        out = context.emit(layer, "mul", (out, by), EltwiseAttrs(), part="scaled")
    attrs = AxisAttrs(axis=len(rows) - 1)
    out = context.emit(layer, "softmax", (out,), attrs, part="shares" if groups > 1 else "")
    if groups > 1:
        context.reshape(layer, out, flat)


@converter("activation")
def activation(layer: DarknetLayer, context: DarknetContext) -> None:
    """Apply an activation by itself."""
    activate(layer, context, layer.inputs[0], activation_of(layer, context, "linear"))


@converter("dropout", "cost", "empty")
def nothing(layer: DarknetLayer, context: DarknetContext) -> None:
    """Give the input on."""
    context.alias(layer.outputs[0], layer.inputs[0])


@converter("crop")
def crop(layer: DarknetLayer, context: DarknetContext) -> None:
    """Take the middle of the map, from 0..1 to -1..1 unless ``noadjust``."""
    shape = image_shape(layer, context, layer.inputs[0])
    size = (positive(layer, "crop_height", 1), positive(layer, "crop_width", 1))
    if any(s > n for s, n in zip(size, shape[2:], strict=True)):
        raise ModelImportError(
            f"crop to {size} of {shape}", where=layer.where, rule="a part of the map"
        )
    begin = [(n - s) // 2 for s, n in zip(size, shape[2:], strict=True)]
    end = [b + s for b, s in zip(begin, size, strict=True)]
    part = SliceAttrs(begin=(0, 0, *begin), end=(*shape[:2], *end), step=(1, 1, 1, 1))
    adjust = [] if layer.section.flag("noadjust") else [*times(2.0), *plus(-1.0)]
    context.chain(layer, layer.inputs[0], [Step("middle", "slice", part), *adjust])


@converter("l2norm")
def l2norm(layer: DarknetLayer, context: DarknetContext) -> None:
    """Divide every pixel by its length over the channels."""
    context.emit(layer, "l2norm", layer.inputs, AxisAttrs(axis=1))


@converter("normalization")
def normalization(layer: DarknetLayer, context: DarknetContext) -> None:
    """Local response normalisation with Darknet's running sums.

    The sums begin one channel short and stay so: a matrix of the channels, applied as a 1x1
    convolution to the squares. Source: both programs, measured.
    """
    section, channels = layer.section, image_shape(layer, context, layer.inputs[0])[1]
    size, alpha = positive(layer, "size", 5), section.real("alpha", 0.0001)
    beta, kappa = section.real("beta", 0.75), section.real("kappa", 1.0)
    check_made((channels, channels), "the sums", layer.where)
    matrix = np.zeros((channels, channels), np.float32)
    matrix[0, : size // 2] = 1
    for row in range(1, channels):
        matrix[row] = matrix[row - 1]
        before, after = row - (size - 1) // 2 - 1, row + size // 2
        if before >= 0:
            matrix[row, before] -= 1
        if after < channels:
            matrix[row, after] += 1
    squares = context.emit(layer, "square", layer.inputs, part="squares")
    operands = (
        squares,
        context.constant(f"{layer.name}/sums_by", (alpha * matrix)[:, :, None, None]),
        context.constant(f"{layer.name}/kappa", np.full(channels, kappa, np.float32)),
    )
    norms = context.emit(layer, "conv2d", operands, Conv2dAttrs(), part="norms")
    steps = [
        Step("power", "pow", EltwiseAttrs(), -beta),
        Step("product", "mul", EltwiseAttrs(), layer.inputs[0]),
    ]
    context.chain(layer, norms, steps)
