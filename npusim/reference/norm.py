"""Reference normalisations."""

import numpy as np

from npusim.ir.attrs import AxisAttrs, LrnAttrs, NormAttrs
from npusim.ir.graph import Graph, Node
from npusim.reference.table import (
    Array,
    Step,
    Workers,
    attributes,
    contiguous,
    last_axes,
    reference,
)


def _normalised(rows: Array, epsilon: np.float32) -> Array:
    """Return rows (.., K) with mean 0 and variance 1 along the last axis."""
    length = np.float32(rows.shape[-1])
    centred = rows - rows.sum(-1, keepdims=True) / length
    variance = np.square(centred).sum(-1, keepdims=True) / length
    return np.asarray(centred / np.sqrt(variance + epsilon))


@reference("batch_norm")
def prepare_batch_norm(node: Node, graph: Graph, workers: Workers) -> Step:
    """One scale and shift per channel (axis 1)."""
    attrs = attributes(node, NormAttrs)
    epsilon = np.float32(attrs.epsilon)

    def step(ifm: Array, gamma: Array, beta: Array, mean: Array, var: Array) -> tuple[Array, ...]:
        along = (-1, *(1,) * (ifm.ndim - 2))
        factor = (gamma / np.sqrt(var + epsilon)).reshape(along)
        ofm = ifm - mean.reshape(along)
        ofm *= factor
        ofm += beta.reshape(along)
        return (ofm,)

    return step


@reference("instance_norm")
def prepare_instance_norm(node: Node, graph: Graph, workers: Workers) -> Step:
    """Each channel of each sample by its own mean and variance."""
    attrs = attributes(node, NormAttrs)
    epsilon = np.float32(attrs.epsilon)

    def step(ifm: Array, gamma: Array, beta: Array) -> tuple[Array, ...]:
        planes = last_axes(ifm, tuple(range(2, ifm.ndim)))
        ofm = _normalised(planes, epsilon) * gamma[:, None] + beta[:, None]
        return (ofm.reshape(ifm.shape),)

    return step


@reference("layer_norm")
def prepare_layer_norm(node: Node, graph: Graph, workers: Workers) -> Step:
    """Over ``axis`` and all axes after it."""
    attrs = attributes(node, NormAttrs)
    epsilon = np.float32(attrs.epsilon)
    rank = len(graph.spec(node.inputs[0]).shape)
    axes = tuple(range(attrs.axis % rank, rank))

    def step(ifm: Array, gamma: Array, beta: Array) -> tuple[Array, ...]:
        return (_normalised(last_axes(ifm, axes), epsilon).reshape(ifm.shape) * gamma + beta,)

    return step


@reference("l2norm")
def prepare_l2norm(node: Node, graph: Graph, workers: Workers) -> Step:
    """Divide by the length along an axis; a zero vector stays zero."""
    attrs = attributes(node, AxisAttrs)
    axis = attrs.axis

    def step(x: Array) -> tuple[Array, ...]:
        last = np.asarray(np.moveaxis(x, axis, -1), order="C")
        length = np.sqrt(np.square(last).sum(-1, keepdims=True))
        ofm = np.where(length == 0, np.float32(0), last / length)
        return (np.moveaxis(ofm, -1, axis),)

    return step


@reference("lrn")
def prepare_lrn(node: Node, graph: Graph, workers: Workers) -> Step:
    """Window of ``size`` channels, (size - 1) // 2 of them before."""
    attrs = attributes(node, LrnAttrs)
    share, beta, bias = (np.float32(v) for v in (attrs.alpha / attrs.size, attrs.beta, attrs.bias))
    before = (attrs.size - 1) // 2

    def step(ifm: Array) -> tuple[Array, ...]:
        channels = ifm.shape[1]
        squares = np.zeros((ifm.shape[0], channels + attrs.size - 1, *ifm.shape[2:]), np.float32)
        np.square(ifm, out=squares[:, before : before + channels])
        total = squares[:, :channels].copy()
        for offset in range(1, attrs.size):
            total += squares[:, offset : offset + channels]
        return (ifm / np.power(contiguous(total * share + bias), beta),)

    return step
