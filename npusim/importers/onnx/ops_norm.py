"""Normalisations."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.made import check_made
from npusim.importers.onnx.context import (
    Context,
    OnnxNode,
    UnsupportedForm,
    checked_axis,
    converter,
)
from npusim.ir.attrs import AxisAttrs, LrnAttrs, NormAttrs, ReshapeAttrs


@converter("BatchNormalization")
def batch_norm(node: OnnxNode, context: Context) -> None:
    """Use running statistics, which are constants."""
    if node.integer("training_mode", 0):
        raise UnsupportedForm("training_mode is set", "export the model in inference mode")
    if node.version < 9 and not node.integer("spatial", 1):
        raise UnsupportedForm("spatial is 0", "use one value per channel")
    for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1):
        context.fixed(node, index, what)
    attrs = NormAttrs(epsilon=node.real("epsilon", 1e-5))
    context.emit(node, "batch_norm", node.inputs[:5], attrs)


@converter("InstanceNormalization")
def instance_norm(node: OnnxNode, context: Context) -> None:
    """Each channel of each sample; scale and bias per channel."""
    _check_per_channel(node, context, context.shape(node.inputs[0])[1])
    attrs = NormAttrs(epsilon=node.real("epsilon", 1e-5))
    context.emit(node, "instance_norm", node.inputs[:3], attrs)


def _check_per_channel(node: OnnxNode, context: Context, channels: int) -> None:
    for index, what in ((1, "the scale"), (2, "the bias")):
        value = context.fixed(node, index, what)
        if value is None or value.shape != (channels,):
            raise ModelImportError(
                f"{what} is {None if value is None else value.shape}",
                where=node.where,
                rule=f"({channels},), one value per channel",
            )


@converter("GroupNormalization")
def group_norm(node: OnnxNode, context: Context) -> None:
    """Treat groups of channels as the channels of an instance_norm, then scale and bias."""
    x = node.inputs[0]
    shape = context.shape(x)
    groups = node.integer("num_groups")
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise ModelImportError(f"{groups} groups of input {shape} do not fit", where=node.where)
    _check_per_channel(node, context, groups if node.version < 21 else shape[1])
    grouped = ReshapeAttrs(shape=(shape[0], groups, shape[1] // groups, *shape[2:]))
    out = context.emit(node, "reshape", (x,), grouped, part="grouped")
    ones = context.constant(f"{node.outputs[0]}/ones", np.ones(groups, np.float32))
    zeros = context.constant(f"{node.outputs[0]}/zeros", np.zeros(groups, np.float32))
    attrs = NormAttrs(epsilon=node.real("epsilon", 1e-5))
    out = context.emit(node, "instance_norm", (out, ones, zeros), attrs, part="normed")
    out = context.emit(node, "reshape", (out,), ReshapeAttrs(shape=shape), part="flat")
    parameters = []
    for index in (1, 2):
        value = context.values[node.inputs[index]]
        per_channel = np.repeat(value, shape[1] // value.size)
        name = f"{node.inputs[index]}/per_channel"
        parameters.append(context.constant(name, per_channel.reshape(-1, *(1,) * (len(shape) - 2))))
    out = context.emit_binary(node, "mul", out, parameters[0], "scaled")
    context.emit_binary(node, "add", out, parameters[1])


@converter("LayerNormalization")
def layer_norm(node: OnnxNode, context: Context) -> None:
    """Over ``axis`` and all after it."""
    shape = context.shape(node.inputs[0])
    axis = checked_axis(node, node.integer("axis", -1), len(shape))
    scale = context.fixed(node, 1, "the scale")
    bias = context.fixed(node, 2, "the bias")
    names = []
    for index, value, what, fill in ((1, scale, "scale", 1.0), (2, bias, "bias", 0.0)):
        if value is None:
            check_made(shape[axis:], f"the {what}", node.where)
            filled = np.full(shape[axis:], fill, np.float32)
            names.append(context.constant(f"{node.outputs[0]}/{what}", filled))
        elif value.shape == shape[axis:]:
            names.append(node.inputs[index])
        else:
            try:
                wide = np.broadcast_to(value, shape[axis:])
            except ValueError:
                raise ModelImportError(
                    f"the {what} is {value.shape}", where=node.where, rule=f"{shape[axis:]}"
                ) from None
            names.append(context.constant(f"{node.inputs[index]}/wide", wide))
    attrs = NormAttrs(epsilon=node.real("epsilon", 1e-5), axis=axis)
    context.emit(node, "layer_norm", (node.inputs[0], *names), attrs)


@converter("LpNormalization")
def lp_norm(node: OnnxNode, context: Context) -> None:
    """Division by the Euclidean length along an axis."""
    if node.integer("p", 2) != 2:
        raise UnsupportedForm("p is not 2", "use p = 2, or Abs, ReduceSum and Div")
    axis = checked_axis(node, node.integer("axis", -1), len(context.shape(node.inputs[0])))
    context.emit(node, "l2norm", node.inputs[:1], AxisAttrs(axis=axis))


@converter("LRN")
def lrn(node: OnnxNode, context: Context) -> None:
    """Local response normalisation across channels."""
    attrs = LrnAttrs(
        size=node.integer("size"),
        alpha=node.real("alpha", 1e-4),
        beta=node.real("beta", 0.75),
        bias=node.real("bias", 1.0),
    )
    context.emit(node, "lrn", node.inputs[:1], attrs)
