"""Normalisations."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import plus, times
from npusim.importers.mxnet.context import MxContext, channels_first, converter, needs
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import AxisAttrs, EltwiseAttrs, LrnAttrs, NormAttrs, ReduceAttrs

_SMALL = 1e-10
"""Epsilon of l2norm up to which the chip's operator, which has none, stands for it."""


def _channels(node: MxNode, context: MxContext, axis: int = 1) -> int:
    shape = context.shape(node.inputs[0])
    return shape[context.axis(node, axis, len(shape))]


@converter("BatchNorm", "BatchNorm_v1", "CuDNNBatchNorm", "_contrib_SyncBatchNorm")
def batch_norm(node: MxNode, context: MxContext) -> None:
    """Use stored statistics; gamma counts as 1 unless ``fix_gamma`` is False."""
    _batch_norm(node, context, "")


@converter("_contrib_BatchNormWithReLU")
def batch_norm_relu(node: MxNode, context: MxContext) -> None:
    """Use stored statistics, then take what is above zero."""
    context.emit(node, "relu", (_batch_norm(node, context, "normed"),))


def _batch_norm(node: MxNode, context: MxContext, part: str) -> str:
    needs(node, 5)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis", 1), len(shape))
    if node.attributes.flag("output_mean_var"):
        raise UnsupportedForm("output_mean_var", "statistics are no results at inference")
    size = (shape[axis],)
    gamma, beta, mean, variance = (
        context.parameter(node, index, size, fill)
        for index, fill in ((1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0))
    )
    if node.attributes.flag("fix_gamma", True):
        gamma = np.ones(size, np.float32)
    epsilon = node.attributes.real("eps", 1e-3)
    if axis == 1:
        parameters = (gamma, beta, mean, variance)
        return context.batch_norm(node, node.inputs[0], parameters, epsilon, part=part)
    wide = tuple(-1 if a == axis else 1 for a in range(len(shape)))
    with np.errstate(invalid="ignore"):
        by = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
    steps = [*times(by.reshape(wide)), *plus((beta - mean * by).reshape(wide))]
    if part:
        return context.part(node, node.inputs[0], steps, part)
    return context.chain(node, node.inputs[0], steps)


@converter("InstanceNorm")
def instance_norm(node: MxNode, context: MxContext) -> None:
    """Normalise each channel of each sample."""
    needs(node, 3)
    size = (_channels(node, context),)
    shape = context.shape(node.inputs[0])
    if len(shape) < 3:
        raise ModelImportError(f"input {shape}", where=node.where, rule="at least three axes")
    names = [
        context.constant(f"{node.name}/{word}", context.parameter(node, index, size, fill))
        for index, word, fill in ((1, "gamma", 1.0), (2, "beta", 0.0))
    ]
    attrs = NormAttrs(epsilon=node.attributes.real("eps", 1e-3))
    context.emit(node, "instance_norm", (node.inputs[0], *names), attrs)


@converter("LayerNorm")
def layer_norm(node: MxNode, context: MxContext) -> None:
    """Normalise along one axis."""
    needs(node, 3)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis", -1), len(shape))
    size, last = (shape[axis],), len(shape) - 1
    names = [
        context.constant(f"{node.name}/{word}", context.parameter(node, index, size, fill))
        for index, word, fill in ((1, "gamma", 1.0), (2, "beta", 0.0))
    ]
    attrs = NormAttrs(epsilon=node.attributes.real("eps", 1e-5), axis=last)
    perm = [a for a in range(len(shape)) if a != axis] + [axis]
    if axis == last:
        context.emit(node, "layer_norm", (node.inputs[0], *names), attrs)
        return
    turned = context.transposed(node, node.inputs[0], perm, part="turned")
    out = context.emit(node, "layer_norm", (turned, *names), attrs, part="normed")
    context.transposed(node, out, [perm.index(a) for a in range(len(shape))])


@converter("GroupNorm")
def group_norm(node: MxNode, context: MxContext) -> None:
    """Treat groups of channels as the channels of an instance_norm, then scale and shift."""
    needs(node, 3)
    shape = context.shape(node.inputs[0])
    groups, channels = node.attributes.whole("num_groups", 1), _channels(node, context)
    if len(shape) < 3 or groups < 1 or channels % groups:
        raise ModelImportError(
            f"{groups} groups of input {shape}", where=node.where, rule="groups divide channels"
        )
    stored = context.values.get(node.inputs[1])
    # one number per group in 1.x, one per channel in 2.0
    size = (channels,) if stored is not None and stored.shape == (channels,) else (groups,)
    gamma, beta = (
        np.repeat(context.parameter(node, index, size, fill), channels // size[0])
        for index, fill in ((1, 1.0), (2, 0.0))
    )
    grouped = (shape[0], groups, channels // groups, prod(shape[2:]))
    x = context.reshape(node, node.inputs[0], grouped, part="grouped")
    operands = (
        x,
        context.constant(f"{node.name}/ones", np.ones(groups, np.float32)),
        context.constant(f"{node.name}/zeros", np.zeros(groups, np.float32)),
    )
    attrs = NormAttrs(epsilon=node.attributes.real("eps", 1e-5))
    x = context.emit(node, "instance_norm", operands, attrs, part="normed")
    x = context.reshape(node, x, shape, part="maps")
    wide = channels_first(shape, len(shape))
    context.chain(node, x, [*times(gamma.reshape(wide)), *plus(beta.reshape(wide))])


@converter("L2Normalization")
def l2_normalization(node: MxNode, context: MxContext) -> None:
    """Divide by the length of a sample, of a pixel, or of a channel.

    The chip's operator knows no epsilon; the default of 1e-10 matters below lengths of 1e-3.
    """
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    mode = node.attributes.text("mode", "instance")
    epsilon = node.attributes.real("eps", 1e-10)
    flat = {
        "instance": (shape[0], prod(shape[1:])),
        "channel": shape,
        "spatial": (*shape[:2], prod(shape[2:])),
    }.get(mode)
    if flat is None or len(shape) < (2 if mode == "instance" else 3):
        raise ModelImportError(
            f"mode {mode!r} of input {shape}", where=node.where, rule="instance, channel or spatial"
        )
    axis = 2 if mode == "spatial" else 1
    x = context.reshape(node, node.inputs[0], flat, part="rows")
    part = "" if flat == shape else "unit"
    if epsilon <= _SMALL:
        out = context.emit(node, "l2norm", (x,), AxisAttrs(axis=axis), part=part)
    else:
        squares = context.emit(node, "square", (x,), part="squares")
        over = ReduceAttrs(axes=(axis,))
        total = context.emit(node, "reduce_sum", (squares,), over, part="total")
        small = context.constant(f"{node.name}/eps", epsilon)
        total = context.emit(node, "add", (total, small), EltwiseAttrs(), part="safe")
        by = context.emit(node, "rsqrt", (total,), part="by")
        out = context.binary(node, "mul", x, by, part=part)
    if part:
        context.reshape(node, out, shape)


@converter("LRN")
def lrn(node: MxNode, context: MxContext) -> None:
    """Divide by a power of sums of squares over neighbouring channels."""
    needs(node, 1)
    size = node.attributes.whole("nsize")
    if size < 1 or size % 2 == 0:
        raise ModelImportError(f"nsize is {size}", where=node.where, rule="odd")
    attrs = LrnAttrs(
        size=size,
        alpha=node.attributes.real("alpha", 1e-4),
        beta=node.attributes.real("beta", 0.75),
        bias=node.attributes.real("knorm", 2.0),
    )
    context.emit(node, "lrn", node.inputs, attrs)
