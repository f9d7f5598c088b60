"""Normalisations: shader, and local response normalisation on TP."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import AxisAttrs, LrnAttrs, NormAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.lrn import local_response, local_response_on_shader
from npusim.kernels.engines.shader import dequantize, requantize
from npusim.kernels.engines.shader_reduce import batch_normalize, l2_normalize, normalize
from npusim.runtime.binding import Step, binding
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of

F32 = NDArray[np.float32]


def _specs(node: Node, graph: Graph) -> tuple[TensorSpec, TensorSpec]:
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    return ifm, ofm


def _parameters(node: Node, graph: Graph, shape: tuple[int, ...]) -> list[F32]:
    """Return the constant parameters as real numbers in a shape that broadcasts."""
    values = []
    for name in node.inputs[1:]:
        real = dequantize(graph.constants[name], scaling_of(graph.spec(name)))
        values.append(real.astype(np.float32).reshape(shape))
    return values


@binding("batch_norm", engine=Engine.SHADER)
def bind_batch_norm(node: Node, graph: Graph) -> Step:
    """Bind a batch normalisation that could not be folded."""
    ifm, ofm = _specs(node, graph)
    epsilon = cast(NormAttrs, node.attrs).epsilon
    column = (1, -1, *(1,) * (len(ifm.shape) - 2))
    gamma, beta, mean, variance = _parameters(node, graph, column)

    def step(codes: Array) -> tuple[Array, ...]:
        value = dequantize(codes, scaling_of(ifm))
        result = batch_normalize(value, mean, variance, epsilon, gamma, beta)
        return (requantize(result, ofm.dtype.numpy, scaling_of(ofm)),)

    return step


@binding("instance_norm", engine=Engine.SHADER)
def bind_instance_norm(node: Node, graph: Graph) -> Step:
    """Bind instance normalisation; i16 results are cut toward zero, others rounded."""
    ifm, ofm = _specs(node, graph)
    epsilon = cast(NormAttrs, node.attrs).epsilon
    axes = tuple(range(2, len(ifm.shape)))
    gamma, beta = _parameters(node, graph, (1, -1, *(1,) * len(axes)))
    scale, zero_point = scaling_of(ofm)

    def step(codes: Array) -> tuple[Array, ...]:
        value = dequantize(codes, scaling_of(ifm))
        result = normalize(value, axes, epsilon, gamma, beta, slope_first=False)
        if ofm.dtype is DType.I16:
            steps = np.trunc(result / np.float32(scale)) + np.float32(zero_point)
            return (np.clip(steps, -32768, 32767).astype(np.int16),)
        return (requantize(result, ofm.dtype.numpy, scaling_of(ofm)),)

    return step


@binding("layer_norm", engine=Engine.SHADER)
def bind_layer_norm(node: Node, graph: Graph) -> Step:
    """Bind layer normalisation over the axes from ``axis`` on.

    The measured i8 kernel takes negative sums of codes for unsigned numbers and stores 0 for such
    rows: kept, because the chip's results show it (docs/arithmetic/shader.md rule 7.7).
    """
    ifm, ofm = _specs(node, graph)
    attrs = cast(NormAttrs, node.attrs)
    rank = len(ifm.shape)
    axes = tuple(range(attrs.axis % rank, rank))
    gamma, beta = _parameters(node, graph, tuple(ifm.shape[axis] for axis in axes))

    def step(codes: Array) -> tuple[Array, ...]:
        value = dequantize(codes, scaling_of(ifm))
        result = normalize(value, axes, attrs.epsilon, gamma, beta, slope_first=True)
        stored = requantize(result, ofm.dtype.numpy, scaling_of(ofm))
        if ifm.dtype is DType.I8:
            negative = codes.sum(axis=axes, dtype=np.int64, keepdims=True) < 0
            stored = np.where(negative, np.zeros(1, stored.dtype), stored)
        return (stored,)

    return step


@binding("l2norm", engine=Engine.SHADER)
def bind_l2norm(node: Node, graph: Graph) -> Step:
    """Bind x / sqrt(sum of squares) along an axis."""
    ifm, ofm = _specs(node, graph)
    axis = cast(AxisAttrs, node.attrs).axis

    def step(codes: Array) -> tuple[Array, ...]:
        value = l2_normalize(dequantize(codes, scaling_of(ifm)), axis)
        return (requantize(value, ofm.dtype.numpy, scaling_of(ofm)),)

    return step


@binding("lrn", engine=Engine.TP)
def bind_lrn(node: Node, graph: Graph) -> Step:
    """Bind local response normalisation across channels."""
    ifm, ofm = _specs(node, graph)
    attrs = cast(LrnAttrs, node.attrs)

    def step(codes: Array) -> tuple[Array, ...]:
        stored = local_response(
            codes,
            scaling_of(ifm),
            attrs.size,
            attrs.alpha / attrs.size,
            attrs.beta,
            attrs.bias,
            ofm.dtype.numpy,
            scaling_of(ofm),
        )
        return (stored,)

    return step


@binding("lrn", engine=Engine.SHADER)
def bind_lrn_on_shader(node: Node, graph: Graph) -> Step:
    """Bind local response normalisation over more than five channels."""
    ifm, ofm = _specs(node, graph)
    attrs = cast(LrnAttrs, node.attrs)
    parameters = attrs.size, attrs.alpha / attrs.size, attrs.beta, attrs.bias

    def step(codes: Array) -> tuple[Array, ...]:
        value = local_response_on_shader(codes, scaling_of(ifm), *parameters)
        return (requantize(value, ofm.dtype.numpy, scaling_of(ofm)),)

    return step
