"""Normalisations."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.caffe.blobs import Wanted
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, plus, times
from npusim.ir.attrs import (
    AxisAttrs,
    EltwiseAttrs,
    LrnAttrs,
    NormAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    TransposeAttrs,
)

_SMALL = 1e-6
"""Up to here an epsilon beside a root acts as its square inside it."""


@converter("BatchNorm")
def batch_norm(layer: CaffeLayer, context: CaffeContext) -> None:
    """Use stored statistics, divided by a factor; factor 0 means zeros.

    NVIDIA's branch keeps scale and bias in the same layer (``scale_bias``).
    """
    needs(layer, 1)
    record = layer.parameters("batch_norm_param")
    shape = context.shape(layer.inputs[0])
    if len(shape) < 2:
        raise ModelImportError(f"input {shape}", where=layer.where, rule="channels are axis 1")
    channels = shape[1:2]
    default = 1.0 if context.structure_only else 0.0
    wanted = [
        Wanted("mean", channels),
        Wanted("variance", channels, value=default),
        Wanted("factor", (1,), value=default),
    ]
    affine = record.flag("scale_bias") or record.has("scale_filler") or record.has("bias_filler")
    if affine:
        wanted += [
            Wanted("scale", channels, record.record("scale_filler"), value=1.0),
            Wanted("bias", channels, record.record("bias_filler")),
        ]
    mean, variance, factor, *rest = context.blobs.of(layer, wanted)
    gamma, beta = rest or (np.ones(channels, np.float32), np.zeros(channels, np.float32))
    epsilon = record.real("eps", 1e-5)
    if not record.flag("use_global_stats", True):
        out = own_statistics(layer, context, epsilon, part="" if not rest else "normed")
        if rest:
            wide = (-1, *(1,) * (len(shape) - 2))
            steps = [*times(gamma.reshape(wide)), *plus(beta.reshape(wide))]
            context.chain(layer, out, steps)
        return
    by = np.float32(0.0 if factor[0] == 0 else 1.0 / factor[0])
    parameters = (gamma, beta, mean * by, variance * by)
    context.batch_norm(layer, layer.inputs[0], parameters, epsilon)


def own_statistics(
    layer: CaffeLayer, context: CaffeContext, epsilon: float, *, part: str = ""
) -> str:
    """Normalise channels over the whole batch."""
    x = layer.inputs[0]
    n, channels, *rest = context.shape(x)
    # the channel of all samples is a row of one sample
    flat = context.reshape(layer, x, (n, channels, prod(rest), 1), part="flat")
    rows = flat
    if n > 1:
        turned = TransposeAttrs(perm=(3, 1, 0, 2))
        rows = context.emit(layer, "transpose", (flat,), turned, part="rows")
    ones = context.constant(f"{layer.name}/ones", np.ones(channels, np.float32))
    zeros = context.constant(f"{layer.name}/zeros", np.zeros(channels, np.float32))
    attrs = NormAttrs(epsilon=epsilon)
    out = context.emit(layer, "instance_norm", (rows, ones, zeros), attrs, part="statistics")
    if n > 1:
        turned = TransposeAttrs(perm=(2, 1, 3, 0))
        out = context.emit(layer, "transpose", (out,), turned, part="turned")
    return context.reshape(layer, out, (n, channels, *rest), part=part)


@converter("BN")
def bn(layer: CaffeLayer, context: CaffeContext) -> None:
    """Layers of SegNet (scale and shift) and PSPNet (slope, bias, mean and variance)."""
    needs(layer, 1)
    record = layer.parameters("bn_param")
    shape = context.shape(layer.inputs[0])
    channels = shape[1:2]
    stored = context.blobs.stored(layer)
    wanted = [Wanted("slope", channels, value=1.0), Wanted("bias", channels)]
    if stored is None or len(stored) == 4:
        wanted += [Wanted("mean", channels), Wanted("variance", channels, value=1.0)]
    gamma, beta, *rest = context.blobs.of(layer, wanted)
    if rest:
        parameters = (gamma, beta, *rest)
        context.batch_norm(layer, layer.inputs[0], parameters, record.real("eps", 1e-5))
        return
    wide = (-1, *(1,) * (len(shape) - 2))
    steps = [*times(gamma.reshape(wide)), *plus(beta.reshape(wide))]
    context.chain(layer, layer.inputs[0], steps)


@converter("MVN")
def mvn(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute (x - mean) / (sqrt(variance) + eps) for every channel or sample."""
    needs(layer, 1)
    record = layer.parameters("mvn_param")
    source, epsilon = layer.inputs[0], record.real("eps", 1e-9)
    shape = context.shape(source)
    if len(shape) < 2:
        raise UnsupportedForm(f"input {shape} has {len(shape)} axes", "reshape it in front")
    rows = shape[0] if record.flag("across_channels") else prod(shape[:2])
    rows_shape = (shape[0], rows // shape[0], prod(shape) // rows, 1)
    flat = context.reshape(layer, source, rows_shape, part="rows")
    if record.flag("normalize_variance", True) and epsilon <= _SMALL:
        channels = rows_shape[1]
        ones = context.constant(f"{layer.name}/ones", np.ones(channels, np.float32))
        zeros = context.constant(f"{layer.name}/zeros", np.zeros(channels, np.float32))
        attrs = NormAttrs(epsilon=max(epsilon * epsilon, 1e-30))
        same = rows_shape == shape
        operands = (flat, ones, zeros)
        out = context.emit(layer, "instance_norm", operands, attrs, part="" if same else "normed")
        if not same:
            context.reshape(layer, out, shape)
        return
    over = ReduceAttrs(axes=(2, 3))
    mean = context.emit(layer, "reduce_mean", (flat,), over, part="mean")
    centred = context.binary(layer, "sub", flat, mean, part="centred")
    out = centred
    if record.flag("normalize_variance", True):
        squares = context.emit(layer, "square", (centred,), part="squares")
        variance = context.emit(layer, "reduce_mean", (squares,), over, part="variance")
        root = context.emit(layer, "sqrt", (variance,), part="root")
        small = context.constant(f"{layer.name}/eps", epsilon)
        length = context.emit(layer, "add", (root, small), EltwiseAttrs(), part="length")
        out = context.binary(layer, "div", centred, length, part="normed")
    context.reshape(layer, out, shape)


@converter("LRN")
def lrn(layer: CaffeLayer, context: CaffeContext) -> None:
    """Across channels, or over windows of a channel (where ``k`` has no effect)."""
    needs(layer, 1)
    record = layer.parameters("lrn_param")
    size, alpha = record.whole("local_size", 5), record.real("alpha", 1.0)
    beta = record.real("beta", 0.75)
    if size < 1 or size % 2 == 0:
        raise ModelImportError(f"local_size is {size}", where=layer.where, rule="odd")
    source = layer.inputs[0]
    if record.text("norm_region", "ACROSS_CHANNELS") == "ACROSS_CHANNELS":
        attrs = LrnAttrs(size=size, alpha=alpha, beta=beta, bias=record.real("k", 1.0))
        context.emit(layer, "lrn", (source,), attrs)
        return
    squares = context.emit(layer, "square", (source,), part="squares")
    before = (size - 1) // 2
    window = Pool2dAttrs(
        kind=PoolKind.AVG, kernel=(size, size), pad=(before,) * 4, count_include_pad=True
    )
    mean = context.emit(layer, "pool2d", (squares,), window, part="mean")
    steps = [
        *times(alpha),
        *plus(1.0),
        Step("power", "pow", EltwiseAttrs(), -beta),
        Step("product", "mul", EltwiseAttrs(), source),
    ]
    context.chain(layer, mean, steps)


@converter("Normalize")
def normalize(layer: CaffeLayer, context: CaffeContext) -> None:
    """Divide by the length of a sample or of a pixel, and multiply by a learned scale.

    The chip's operator knows no epsilon; Caffe's default of 1e-10 matters below lengths of 1e-3.
    """
    needs(layer, 1)
    record = layer.parameters("norm_param")
    source = layer.inputs[0]
    shape = context.shape(source)
    if len(shape) < 2:
        raise UnsupportedForm(f"input {shape} has {len(shape)} axes", "reshape it in front")
    shared = record.flag("channel_shared", True)
    size = () if shared else shape[1:2]
    (factor,) = context.blobs.of(
        layer, [Wanted("scale", size, record.record("scale_filler"), value=1.0)]
    )
    epsilon = record.real("eps", 1e-10)
    across = record.flag("across_spatial", True)
    flat = (shape[0], prod(shape[1:]))
    x = context.reshape(layer, source, flat, part="row") if across else source
    if epsilon <= _SMALL * _SMALL * 100:
        out = context.emit(layer, "l2norm", (x,), AxisAttrs(axis=1), part="unit")
    else:
        squares = context.emit(layer, "square", (x,), part="squares")
        total = context.emit(layer, "reduce_sum", (squares,), ReduceAttrs(axes=(1,)), part="total")
        small = context.constant(f"{layer.name}/eps", epsilon)
        length = context.emit(layer, "add", (total, small), EltwiseAttrs(), part="safe")
        by = context.emit(layer, "rsqrt", (length,), part="by")
        out = context.binary(layer, "mul", x, by, part="unit")
    if across:
        out = context.reshape(layer, out, shape, part="map")
    wide = factor if shared else factor.reshape(-1, *(1,) * (len(shape) - 2))
    context.chain(layer, out, [Step("scaled", "mul", EltwiseAttrs(), wide)])


@converter("Softmax")
def softmax(layer: CaffeLayer, context: CaffeContext) -> None:
    """Along an axis."""
    needs(layer, 1)
    rank = len(context.shape(layer.inputs[0]))
    axis = context.axis(layer, layer.parameters("softmax_param").whole("axis", 1), rank)
    context.emit(layer, "softmax", layer.inputs, AxisAttrs(axis=axis))
