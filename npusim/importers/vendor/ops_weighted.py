"""Convolutions, transposed convolutions and fully connected layers of vendor files."""

from math import prod

import numpy as np

from npusim.errors import ContainerError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.vendor.context import VendorContext, converter
from npusim.importers.vendor.network import VendorLayer
from npusim.ir.attrs import Activation, Conv2dAttrs, Deconv2dAttrs, FcAttrs


def pair(
    layer: VendorLayer, key: str, default: tuple[int, ...] | None = None, *, least: int = 1
) -> tuple[int, int]:
    """Return (height, width) of a parameter that the file gives as (width, height)."""
    values = layer.wholes(key, default)
    if len(values) != 2 or min(values) < least:
        raise ContainerError(
            f"{key} is {list(values)}",
            where=layer.where,
            rule=f"width and height, {least} or more",
        )
    return values[1], values[0]


def padding(layer: VendorLayer) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right); the file has left, right, top, bottom."""
    values = layer.wholes("pad", (0, 0, 0, 0))
    if len(values) != 4 or min(values) < 0:
        raise ContainerError(
            f"pad is {list(values)}", where=layer.where, rule="left, right, top, bottom"
        )
    left, right, top, bottom = values
    return top, bottom, left, right


def _activation(layer: VendorLayer) -> Activation:
    """Return the relu that layers of release 0.9.8 hold themselves."""
    return Activation.RELU if layer.flags.get("has_relu") else Activation.NONE


CONVOLUTIONS = ("CONV2D", "CONV_RELU", "CONV_RELU_POOL", "GROUPED_CONV2D")
MATRICES = ("FCL", "FCL2", "FCL_RELU")
WITH_RELU = (*CONVOLUTIONS, *MATRICES)
"""Layers that may hold a relu themselves."""


@converter(*CONVOLUTIONS)
def convolution(layer: VendorLayer, context: VendorContext) -> None:
    """Weights are (O, C, rows, columns); depthwise ones (1, C, rows, columns)."""
    if layer.type == "CONV_RELU_POOL":
        raise UnsupportedForm("it pools as well, in a way that no file was seen to state")
    context.need(layer, (2, 3))
    data, weights = layer.inputs[:2]
    value = context.value(weights)
    if value is None or value.ndim != 4:
        raise ContainerError("the weights are no constant of four axes", where=layer.where)
    group, multiplier = layer.whole("group", 1), layer.whole("multiplier", 0)
    channels = context.shape(data)[1]
    if multiplier > 1 and value.shape[0] != multiplier:
        raise UnsupportedForm(
            f"it has {multiplier} results a channel in weights of shape {value.shape}",
            "no file was seen with more than one",
        )
    if multiplier:
        # (results a channel, C, rows, columns): results of a channel follow one another
        value = np.ascontiguousarray(value.swapaxes(0, 1)).reshape(-1, 1, *value.shape[2:])
        group = channels
        name = f"{weights}/by_channel"
        weights = context.constant(name, value, context.quant(layer.inputs[1]))
    attrs = Conv2dAttrs(
        stride=pair(layer, "stride", (1, 1)),
        pad=padding(layer),
        dilation=pair(layer, "dilation", (1, 1)),
        group=max(group, 1),
        activation=_activation(layer),
    )
    bias = context.bias(layer, weights, value.shape[0])
    context.emit(layer, "conv2d", (data, weights, bias), attrs)


@converter("DECONVOLUTION")
def deconvolution(layer: VendorLayer, context: VendorContext) -> None:
    """Weights are taken as (O, C, rows, columns), like those of a convolution."""
    context.need(layer, (2, 3))
    data, weights = layer.inputs[:2]
    value = context.value(weights)
    if value is None or value.ndim != 4:
        raise ContainerError("the weights are no constant of four axes", where=layer.where)
    attrs = Deconv2dAttrs(
        stride=pair(layer, "stride", (1, 1)),
        pad=padding(layer),
        output_pad=pair(layer, "output_padding", (0, 0), least=0),
        group=max(layer.whole("group", 1), 1),
    )
    bias = context.bias(layer, weights, value.shape[0])
    context.emit(layer, "deconv2d", (data, weights, bias), attrs)


@converter(*MATRICES)
def fully_connected(layer: VendorLayer, context: VendorContext) -> None:
    """Weights are (O, K); a map in front is flattened in the order N, C, H, W."""
    context.need(layer, (2, 3))
    data, weights = layer.inputs[:2]
    value = context.value(weights)
    if value is None or value.ndim < 2:
        raise ContainerError("the weights are no constant of two axes", where=layer.where)
    count = prod(value.shape[1:])
    weights = context.reshaped(layer, weights, (value.shape[0], count), "")
    shape = context.shape(data)
    if prod(shape) % count:
        raise ContainerError(
            f"{shape} numbers for rows of {count}", where=layer.where, rule="whole rows"
        )
    if shape[-1] != count:
        data = context.reshaped(layer, data, (prod(shape) // count, count), "rows")
    bias = context.bias(layer, weights, value.shape[0])
    context.emit(layer, "fc", (data, weights, bias), FcAttrs(activation=_activation(layer)))
