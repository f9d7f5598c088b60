"""Fold batch normalisation, scale and bias steps into the layer before them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Activation, Conv2dAttrs, NormAttrs
from npusim.ir.graph import Graph, Node
from npusim.ops import op_def
from npusim.passes.draft import Draft
from npusim.passes.rewrite import (
    add_constant,
    channel_vector,
    is_real,
    merged_origin,
    same_numbers,
    with_output_of,
)
from npusim.passes.split_deconv import dual_results

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChannelAffine:
    """x -> x * factor + offset, one value per channel."""

    factor: Vector
    offset: Vector


def channel_affine(graph: Graph, node: Node, data: str) -> ChannelAffine | None:
    """Return what a node does to ``data`` when that is one factor and offset per channel."""
    if not is_real(graph, data, *node.outputs):
        return None
    channels = graph.spec(data).shape[1] if len(graph.spec(data).shape) > 1 else 0
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op == "batch_norm" and node.inputs[0] == data:
        if not all(graph.is_constant(name) for name in node.inputs[1:]):
            return None
        assert isinstance(node.attrs, NormAttrs)
        gamma, beta, mean, var = (graph.constants[n].astype(np.float32) for n in node.inputs[1:])
        deviation = np.sqrt(var + np.float32(node.attrs.epsilon))
        factor = (gamma / deviation).astype(np.float64)  # float32 as in the toolkit's files
        return ChannelAffine(factor, beta - mean * factor)
    if not op_def(node.op).elementwise or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    other = channel_vector(graph, right if left == data else left, data)
    if other is None or graph.spec(node.outputs[0]).shape != graph.spec(data).shape:
        return None
    if getattr(node.attrs, "activation", Activation.NONE) is not Activation.NONE:
        return None
    match node.op:
        case "add":
            return ChannelAffine(ones, other)
        case "mul":
            return ChannelAffine(other, zeros)
        case "sub":
            return ChannelAffine(ones, -other) if left == data else ChannelAffine(-ones, other)
        case "div" if left == data and not np.any(other == 0):
            return ChannelAffine(1 / other, zeros)
    return None


def fold_affine(graph: Graph) -> Graph:
    """Fold channel-wise factors and offsets behind conv, deconv and fc into weights and bias.

    The factor of a batch normalisation is float32, everything else float64; results are stored as
    float32. The layer keeps its own name and number. Source: 48 folded convolutions in a real file,
    whose ids are theirs and whose scales come out to the last bit (docs/quantization.md).
    """
    draft, dual = Draft(graph), dual_results(graph)
    for node in graph.nodes:
        if op_def(node.op).weighted and not dual.intersection(node.outputs):
            while _fold_next(draft, draft.named[node.name]):
                pass
    return draft.done()


def _fold_next(draft: Draft, node: Node) -> bool:
    """Fold what alone reads a layer's result into it; tell whether something was."""
    graph = draft.graph
    weights, bias = (graph.constants.get(n) for n in node.inputs[1:3])
    activation = getattr(node.attrs, "activation", Activation.NONE)
    if weights is None or bias is None or activation is not Activation.NONE:
        return False
    if not is_real(graph, *node.inputs, *node.outputs):
        return False
    out = node.outputs[0]
    last = draft.only_user(out)
    affine = channel_affine(graph, last, out) if last is not None else None
    if last is None or affine is None:
        return False
    factor, offset = affine.factor, affine.offset
    if factor.size != weights.shape[0]:
        return False
    per_channel = np.any(factor != factor[0]) or np.any(offset != offset[0])
    if per_channel and node.op == "fc" and len(graph.spec(out).shape) != 2:
        return False  # its channels are the last axis, the affine's are axis 1
    column = factor.reshape(-1, *(1,) * (weights.ndim - 1))
    new_weights = add_constant(graph, f"{last.name}.weights", weights.astype(np.float64) * column)
    new_bias = add_constant(graph, f"{last.name}.bias", bias.astype(np.float64) * factor + offset)
    merged = with_output_of(node, last, inputs=(node.inputs[0], new_weights, new_bias))
    draft.replace((node, last), replace(merged, name=node.name, uid=node.uid))
    return True


def affine_to_conv(graph: Graph) -> Graph:
    """Turn a batch normalisation that nothing could absorb into a depthwise 1x1 convolution.

    Channel-wise factors and offsets right behind it join in. Source: the vendor's layer lists run
    an unfoldable BatchNorm as a convolution ("scale").
    """
    draft, dual = Draft(graph), dual_results(graph)
    for name in [node.name for node in graph.nodes if node.op == "batch_norm"]:
        node = draft.named.get(name)
        if node is None or node.op != "batch_norm":  # joined the one before it
            continue
        data = node.inputs[0]
        affine = channel_affine(draft.graph, node, data)
        if data in dual or affine is None or len(graph.spec(data).shape) != 4:
            continue
        chain = [node]
        while (last := draft.only_user(chain[-1].outputs[0])) is not None:
            step = channel_affine(draft.graph, last, chain[-1].outputs[0])
            if step is None:
                break
            affine = ChannelAffine(
                affine.factor * step.factor, affine.offset * step.factor + step.offset
            )
            chain.append(last)
        channels = affine.factor.size
        weights = add_constant(
            draft.graph, f"{chain[-1].name}.weights", affine.factor.reshape(channels, 1, 1, 1)
        )
        bias = add_constant(draft.graph, f"{chain[-1].name}.bias", affine.offset)
        conv = replace(
            chain[-1],
            op="conv2d",
            inputs=(data, weights, bias),
            attrs=Conv2dAttrs(group=channels),
            origin=merged_origin(*chain),
        )
        draft.replace(chain, conv)
    return draft.done()


def fold_pad(graph: Graph) -> Graph:
    """Fold a constant zero pad of height and width into the convolution that alone reads it."""
    draft = Draft(graph)
    for node in [node for node in graph.nodes if node.op == "pad"]:
        user = draft.only_user(node.outputs[0])
        attrs: Any = node.attrs
        if user is None or user.op != "conv2d" or len(attrs.front) != 4:
            continue
        if user.inputs[0] != node.outputs[0] or not same_numbers(
            graph, node.inputs[0], node.outputs[0]
        ):
            continue
        if attrs.mode.value != "constant" or attrs.value != 0.0:
            continue
        if attrs.front[:2] != (0, 0) or attrs.back[:2] != (0, 0):
            continue
        assert isinstance(user.attrs, Conv2dAttrs)
        top, bottom, left, right = user.attrs.pad
        extra = (attrs.front[2], attrs.back[2], attrs.front[3], attrs.back[3])
        if min(extra) < 0:
            continue
        pad = (top + extra[0], bottom + extra[1], left + extra[2], right + extra[3])
        fused = replace(
            user,
            inputs=(node.inputs[0], *user.inputs[1:]),
            attrs=replace(user.attrs, pad=pad),
            origin=merged_origin(node, user),
        )
        draft.replace((node, user), fused)
    return draft.done()
