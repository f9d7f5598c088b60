"""Layers with weights."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.darknet.activations import activate, activation_of
from npusim.importers.darknet.context import DarknetContext, converter
from npusim.importers.darknet.net import DarknetLayer
from npusim.ir.attrs import Conv2dAttrs, EltwiseAttrs, FcAttrs, MatmulAttrs, TransposeAttrs


def image_shape(layer: DarknetLayer, context: DarknetContext, name: str) -> tuple[int, ...]:
    """Return the shape of an input that must be a map."""
    shape = context.shape(name)
    if len(shape) != 4:
        raise ModelImportError(
            f"its input {shape} is no map", where=layer.where, rule="channels, height and width"
        )
    return shape


def positive(layer: DarknetLayer, key: str, default: int) -> int:
    """Return a whole number above zero."""
    value = layer.section.whole(key, default)
    if value < 1:
        raise ModelImportError(f"{key} is {value}", where=layer.where, rule="positive")
    return value


def padding_of(layer: DarknetLayer, size: int) -> int:
    """Return the padding on each side: half the size with ``pad=1``, else ``padding``."""
    padding = layer.section.whole("padding", 0)
    padding = size // 2 if layer.section.flag("pad") else padding
    if padding < 0:
        raise ModelImportError(f"padding is {padding}", where=layer.where, rule="not negative")
    return padding


def strides_of(layer: DarknetLayer, default: int) -> tuple[int, int]:
    """Return the strides down and across."""
    stride = positive(layer, "stride", default)
    return positive(layer, "stride_y", stride), positive(layer, "stride_x", stride)


def _statistics(
    layer: DarknetLayer, context: DarknetContext, filters: int
) -> tuple[Array, Array, Array]:
    """Return scales, mean and variance in the order of the file."""
    return (
        context.take(layer, (filters,), "scales", 1.0),
        context.take(layer, (filters,), "means", 0.0),
        context.take(layer, (filters,), "variances", 1.0),
    )


@converter("convolutional")
def convolutional(layer: DarknetLayer, context: DarknetContext) -> None:
    """Biases, statistics and weights stand in this order in the file."""
    section = layer.section
    for key in ("binary", "xnor", "antialiasing"):
        if section.flag(key):
            raise UnsupportedForm(f"{key}=1", f"train it without {key}")
    if section.has("share_index"):
        raise UnsupportedForm("it shares the weights of another layer", "give it its own weights")
    shape = image_shape(layer, context, layer.inputs[0])
    filters, size = positive(layer, "filters", 1), positive(layer, "size", 1)
    groups = positive(layer, "groups", 1)
    if shape[1] % groups or filters % groups:
        raise ModelImportError(
            f"{shape[1]} channels, {filters} filters and {groups} groups do not fit",
            where=layer.where,
            rule="channels and filters are multiples of groups",
        )
    strides, padding = strides_of(layer, 1), padding_of(layer, size)
    dilation = positive(layer, "dilation", 1) if context.fork and size > 1 else 1
    if dilation > 1 and 2 * padding != size - 1:
        raise UnsupportedForm(
            f"dilation {dilation} with padding {padding} and size {size}",
            "Darknet gives scrambled values here; use pad=1 with an odd size",
        )
    biases = context.take(layer, (filters,), "biases", 0.0)
    statistics = None
    if section.flag("batch_normalize"):
        if section.flag("dontloadscales"):
            statistics = (np.ones(filters, np.float32), *np.zeros((2, filters), np.float32))
        else:
            statistics = _statistics(layer, context, filters)
    inner = shape[1] // groups * size * size
    if section.flag("flipped"):
        weights = context.take(layer, (inner, filters), "weights").T
    else:
        weights = context.take(layer, (filters, inner), "weights")
    kernel = np.asarray(weights, order="C").reshape(filters, shape[1] // groups, size, size)
    word = activation_of(layer, context, "logistic")
    zero = np.zeros(filters, np.float32)
    operands = (
        layer.inputs[0],
        context.constant(f"{layer.name}/weights", kernel),
        context.constant(f"{layer.name}/biases", zero if statistics else biases),
    )
    around = padding * dilation
    attrs = Conv2dAttrs(
        stride=strides, pad=(around,) * 4, dilation=(dilation, dilation), group=groups
    )
    last = "" if word == "linear" else "linear"
    out = context.emit(layer, "conv2d", operands, attrs, part="sums" if statistics else last)
    if statistics:
        scales, mean, variance = statistics
        out = context.normalised(layer, out, (scales, biases, mean, variance), part=last)
    if last:
        activate(layer, context, out, word)


@converter("connected")
def connected(layer: DarknetLayer, context: DarknetContext) -> None:
    """Biases, weights and statistics stand in this order in the file."""
    shape, filters = context.shape(layer.inputs[0]), positive(layer, "output", 1)
    inner = prod(shape[1:])
    biases = context.take(layer, (filters,), "biases", 0.0)
    if context.numbers.header.transposed:
        weights = context.take(layer, (inner, filters), "weights").T
    else:
        weights = context.take(layer, (filters, inner), "weights")
    statistics = None
    if layer.section.flag("batch_normalize"):
        statistics = _statistics(layer, context, filters)
    word = activation_of(layer, context, "logistic")
    rows = context.reshape(layer, layer.inputs[0], (shape[0], inner), part="row")
    zero = np.zeros(filters, np.float32)
    operands = (
        rows,
        context.constant(f"{layer.name}/weights", np.asarray(weights, order="C")),
        context.constant(f"{layer.name}/biases", zero if statistics else biases),
    )
    out = context.emit(layer, "fc", operands, FcAttrs(), part="sums")
    target = (shape[0], filters, 1, 1)
    last = "" if word == "linear" else "linear"
    if statistics:
        scales, mean, variance = statistics
        out = context.normalised(layer, out, (scales, biases, mean, variance), part="normed")
    out = context.reshape(layer, out, target, part=last)
    if last:
        activate(layer, context, out, word)


@converter("local")
def local(layer: DarknetLayer, context: DarknetContext) -> None:
    """Multiply windows by filters of their own at every place: a product of matrices per place."""
    shape = image_shape(layer, context, layer.inputs[0])
    filters, size = positive(layer, "filters", 1), positive(layer, "size", 1)
    stride, padded = positive(layer, "stride", 1), layer.section.flag("pad")
    places = [(n - (1 if padded else size)) // stride + 1 for n in shape[2:]]
    if min(places) < 1:
        raise ModelImportError(
            f"input {shape} is too small", where=layer.where, rule=f"size {size}"
        )
    count, inner = prod(places), shape[1] * size * size
    biases = context.take(layer, (filters, *places), "biases", 0.0)
    weights = context.take(layer, (count, filters, inner), "weights")
    before = 1 if padded else 0
    # Darknet reads zeros outside; the last window ends where the last place needs it
    after = [(p - 1) * stride + size - before - n for p, n in zip(places, shape[2:], strict=True)]
    pads = (before, max(0, after[0]), before, max(0, after[1]))
    attrs = Conv2dAttrs(stride=(stride, stride), pad=pads, group=shape[1])
    windows = context.windows(layer, layer.inputs[0], attrs, (size, size), part="windows")
    n = shape[0]
    out = context.reshape(layer, windows, (n, inner, count), part="flat")
    out = context.emit(layer, "transpose", (out,), TransposeAttrs(perm=(2, 0, 1)), part="by_place")
    by = context.constant(f"{layer.name}/weights", weights.transpose(0, 2, 1))
    out = context.emit(layer, "matmul", (out, by), MatmulAttrs(), part="products")
    out = context.emit(layer, "transpose", (out,), TransposeAttrs(perm=(1, 2, 0)), part="turned")
    out = context.reshape(layer, out, (n, filters, *places), part="sums")
    term = context.constant(f"{layer.name}/biases", biases)
    word = activation_of(layer, context, "logistic")
    last = "" if word == "linear" else "linear"
    out = context.emit(layer, "add", (out, term), EltwiseAttrs(), part=last)
    if last:
        activate(layer, context, out, word)


@converter("batchnorm")
def batchnorm(layer: DarknetLayer, context: DarknetContext) -> None:
    """Normalise; only the fork stores biases, in front of the statistics."""
    channels = context.shape(layer.inputs[0])[1]
    biases = np.zeros(channels, np.float32)
    if context.fork:
        biases = context.take(layer, (channels,), "biases", 0.0)
    scales, mean, variance = _statistics(layer, context, channels)
    context.normalised(layer, layer.inputs[0], (scales, biases, mean, variance), part="")
