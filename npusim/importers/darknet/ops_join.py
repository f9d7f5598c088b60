"""Layers that read several layers."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.darknet.activations import activate, activation_of
from npusim.importers.darknet.context import DarknetContext, converter
from npusim.importers.darknet.net import CHOOSE_FORK, DarknetLayer
from npusim.importers.darknet.ops_conv import image_shape, positive
from npusim.ir.attrs import Deconv2dAttrs, EltwiseAttrs, PadAttrs, SliceAttrs

_RELU_FLOOR, _SUM_FLOOR = 1e-3, 1e-4
"""Of weighted shortcuts: the least weight of relu, and what is added to the sum of weights."""


@converter("route")
def route(layer: DarknetLayer, context: DarknetContext) -> None:
    """Channels of several layers side by side, of each one group in the fork."""
    groups, group = 1, 0
    if context.fork:
        groups, group = positive(layer, "groups", 1), layer.section.whole("group_id")
    shapes = [context.shape(name) for name in layer.inputs]
    if len({shape[2:] for shape in shapes}) > 1:
        raise ModelImportError(
            f"inputs {shapes} differ in size", where=layer.where, rule="maps of one size"
        )
    parts = []
    for index, (name, shape) in enumerate(zip(layer.inputs, shapes, strict=True)):
        if groups == 1:
            parts.append(name)
            continue
        if shape[1] % groups or not 0 <= group < groups:
            raise ModelImportError(
                f"group {group} of {groups} of {shape[1]} channels",
                where=layer.where,
                rule="channels are a multiple of groups",
            )
        size = shape[1] // groups
        begin = (0, group * size, *(0,) * (len(shape) - 2))
        end = (shape[0], (group + 1) * size, *shape[2:])
        attrs = SliceAttrs(begin=begin, end=end, step=(1,) * len(shape))
        part = "" if len(shapes) == 1 else f"group_{index}"
        parts.append(context.emit(layer, "slice", (name,), attrs, part=part))
    if len(parts) > 1:
        context.joined(layer, parts)
    elif groups == 1:
        context.alias(layer.outputs[0], parts[0])


@converter("shortcut")
def shortcut(layer: DarknetLayer, context: DarknetContext) -> None:
    """Add others to the layer before, weighted in the fork; then an activation."""
    word = activation_of(layer, context, "linear")
    last = "" if word == "linear" else "linear"
    kind = layer.section.text("weights_type", "none") if context.fork else "none"
    out = _sum(layer, context, last) if kind == "none" else _weighted(layer, context, kind, last)
    if last:
        activate(layer, context, out, word)


def _sum(layer: DarknetLayer, context: DarknetContext, last: str) -> str:
    section = layer.section
    factors = (1.0, 1.0)
    if not context.fork:
        factors = (section.real("alpha", 1.0), section.real("beta", 1.0))
        if len(layer.inputs) > 2:
            raise ModelImportError(
                f"from has {len(layer.inputs) - 1} layers",
                where=layer.where,
                rule="one in the original program",
                remedy=f"the fork adds them all: {CHOOSE_FORK}",
            )
    out = _times(layer, context, layer.inputs[0], factors[0], "first")
    shape = image_shape(layer, context, layer.inputs[0])
    for index, name in enumerate(layer.inputs[1:], start=1):
        other = _times(layer, context, name, factors[1], f"second_{index}")
        other = _fitted(layer, context, other, shape, index)
        part = last if index == len(layer.inputs) - 1 else f"sum_{index}"
        out = context.binary(layer, "add", out, other, part=part)
    return out


def _times(
    layer: DarknetLayer, context: DarknetContext, name: str, factor: float, part: str
) -> str:
    if factor == 1:
        return name
    by = context.constant(f"{layer.name}/{part}_by", factor)
    return context.emit(layer, "mul", (name, by), EltwiseAttrs(), part=part)


def _fitted(
    layer: DarknetLayer, context: DarknetContext, name: str, shape: tuple[int, ...], index: int
) -> str:
    """Return a map in another's size: cells left out or spread, channels cut or filled with 0."""
    own = image_shape(layer, context, name)
    if own == shape:
        return name
    steps = [max(a // b, 1) for a, b in zip(own[2:], shape[2:], strict=True)]
    spread = [max(b // a, 1) for a, b in zip(own[2:], shape[2:], strict=True)]
    fits = all(
        a // s * t == b and a % s == 0
        for a, b, s, t in zip(own[2:], shape[2:], steps, spread, strict=True)
    )
    if not fits or len({*steps}) > 1 or len({*spread}) > 1:
        raise UnsupportedForm(
            f"from {own} is added to {shape}", "use maps of one size, or multiples of it"
        )
    channels = min(own[1], shape[1])
    if steps[0] > 1 or channels < own[1]:
        attrs = SliceAttrs(
            begin=(0, 0, 0, 0),
            end=(own[0], channels, *own[2:]),
            step=(1, 1, *steps),
        )
        name = context.emit(layer, "slice", (name,), attrs, part=f"cut_{index}")
    if spread[0] > 1:
        ones = context.constant(f"{layer.name}/ones", np.ones((channels, 1, 1, 1), np.float32))
        zeros = context.constant(f"{layer.name}/zeros", np.zeros(channels, np.float32))
        by = (spread[0], spread[1])
        apart = Deconv2dAttrs(stride=by, output_pad=(by[0] - 1, by[1] - 1), group=channels)
        name = context.emit(layer, "deconv2d", (name, ones, zeros), apart, part=f"spread_{index}")
    if channels < shape[1]:
        filled = PadAttrs(front=(0, 0, 0, 0), back=(0, shape[1] - channels, 0, 0))
        name = context.emit(layer, "pad", (name,), filled, part=f"filled_{index}")
    return name


def _weighted(layer: DarknetLayer, context: DarknetContext, kind: str, last: str) -> str:
    """Weights per layer or channel, the first for the layer before, made to a mean."""
    shape = image_shape(layer, context, layer.inputs[0])
    normal = layer.section.text("weights_normalization", "none")
    if normal not in ("relu", "softmax"):
        raise ModelImportError(
            f"weights_type is {kind}, weights_normalization {normal}",
            where=layer.where,
            rule="weights need weights_normalization relu or softmax",
        )
    if kind not in ("per_feature", "per_layer", "per_channel"):
        raise ModelImportError(
            f"weights_type is {kind}", where=layer.where, rule="per_feature or per_channel"
        )
    if any(context.shape(name) != shape for name in layer.inputs):
        raise UnsupportedForm("its inputs differ in shape", "use maps of one shape")
    channels = shape[1] if kind == "per_channel" else 1
    weights = context.take(layer, (len(layer.inputs), channels), "weights", 1.0)
    shares = _shares(weights, normal)
    out = ""
    for index, name in enumerate(layer.inputs):
        by = context.constant(f"{layer.name}/share_{index}", shares[index].reshape(-1, 1, 1))
        term = context.emit(layer, "mul", (name, by), EltwiseAttrs(), part=f"term_{index}")
        part = last if index == len(layer.inputs) - 1 else f"sum_{index}"
        out = context.binary(layer, "add", out, term, part=part) if out else term
    return out


def _shares(weights: Array, normal: str) -> Array:
    if normal == "softmax":
        parts = np.exp(weights - weights.max(0))
    else:
        parts = np.where(weights > 0, weights, np.float32(_RELU_FLOOR))
    return np.asarray(parts / (parts.sum(0) + np.float32(_SUM_FLOOR)), np.float32)


@converter("sam", "scale_channels")
def scaled(layer: DarknetLayer, context: DarknetContext) -> None:
    """Product of the layer before and another: cell by cell, per channel, or per place."""
    if len(layer.inputs) != 2:
        raise ModelImportError("from has several layers", where=layer.where, rule="one layer")
    previous, other = layer.inputs
    small, large = context.shape(previous), context.shape(other)
    wanted = large
    if layer.type == "scale_channels":
        by_place = layer.section.flag("scale_wh")
        wanted = (large[0], 1, *large[2:]) if by_place else (*large[:2], 1, 1)
        if prod(small) != prod(wanted):
            raise ModelImportError(
                f"factors {small} for {large}", where=layer.where, rule=f"{wanted}"
            )
        previous = context.reshape(layer, previous, wanted, part="factors")
    elif small != large:
        raise ModelImportError(f"inputs {small} and {large}", where=layer.where, rule="one shape")
    word = activation_of(layer, context, "linear")
    last = "" if word == "linear" else "linear"
    out = context.binary(layer, "mul", other, previous, part=last)
    if last:
        activate(layer, context, out, word)
