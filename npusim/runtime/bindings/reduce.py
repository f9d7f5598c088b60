"""Reductions, argmax and argmin."""

from dataclasses import replace
from math import prod
from typing import cast

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import ArgAttrs, PoolKind, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.shader import dequantize, requantize, to_f16
from npusim.kernels.engines.shader_reduce import REDUCTIONS, mean_of_halves, reduce, sum_in_halves
from npusim.passes.requant import average_weight
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.fc import own_channel_sums
from npusim.runtime.bindings.pool import Window, average_on_nn
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of


def _specs(node: Node, graph: Graph) -> tuple[TensorSpec, TensorSpec]:
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    return ifm, ofm


@binding(*REDUCTIONS, engine=Engine.SHADER)
def bind_on_shader(node: Node, graph: Graph) -> Step:
    """Bind a float32 reduction; sums and means of float16 have an arithmetic of their own."""
    ifm, ofm = _specs(node, graph)
    axes = tuple(sorted(cast(ReduceAttrs, node.attrs).axes))
    halves = ifm.dtype is ofm.dtype is DType.F16
    sum_of_halves = halves and node.op == "reduce_sum" and len(ifm.shape) - 1 not in axes
    mean_of_one = halves and node.op == "reduce_mean" and len(axes) == 1

    def step(codes: Array) -> tuple[Array, ...]:
        value = dequantize(codes, scaling_of(ifm))
        if sum_of_halves:
            result: Array = sum_in_halves(value, axes)
        elif mean_of_one:
            result = to_f16(mean_of_halves(value, axes[0]))
        else:
            result = requantize(reduce(node.op, value, axes), ofm.dtype.numpy, scaling_of(ofm))
        return (result.reshape(ofm.shape),)

    return step


@binding("reduce_mean", engine=Engine.TP)
def bind_mean_on_tp(node: Node, graph: Graph) -> Step:
    """Bind a small mean over height and width: a fully connected layer with one constant weight.

    Source: measured, docs/arithmetic/tp.md rule 5.4.
    """
    ifm, _ = _specs(node, graph)
    _require_spatial(node, ifm)
    channels, *window = ifm.shape[1:]
    weight = average_weight(ifm.dtype, prod(window)).value
    return own_channel_sums(
        node,
        graph,
        np.full((channels, 1, *window), weight, np.float32),
        np.zeros(channels, np.float32),
    )


@binding("reduce_mean", engine=Engine.NN)
def bind_mean_on_nn(node: Node, graph: Graph) -> Step:
    """Bind a small mean over height and width: a convolution with one constant weight.

    Source: measured, docs/arithmetic/nn.md rule 3.1.
    """
    ifm, ofm = _specs(node, graph)
    _require_spatial(node, ifm)
    pixel = replace(ofm, shape=(*ifm.shape[:2], 1, 1))
    window = Window(PoolKind.AVG, (ifm.shape[2], ifm.shape[3]), (1, 1), (0, 0, 0, 0), True)
    average = average_on_nn(node, window, ifm, pixel)
    return lambda codes: (average(codes)[0].reshape(ofm.shape),)


def _require_spatial(node: Node, ifm: TensorSpec) -> None:
    axes = cast(ReduceAttrs, node.attrs).axes
    if len(ifm.shape) != 4 or sorted(axes) != [2, 3]:
        raise GraphError(
            f"mean over axes {axes} of {ifm.shape}",
            where=f"layer {node.name!r} (reduce_mean)",
            rule="NN and TP average height and width of a feature map; other means run on SH",
        )


@binding("argmax", "argmin", engine=Engine.SHADER)
def bind_arg_extreme(node: Node, graph: Graph) -> Step:
    """Bind the index of the first extreme, in the output's integer type."""
    attrs, ofm = cast(ArgAttrs, node.attrs), graph.spec(node.outputs[0])
    find = np.argmax if node.op == "argmax" else np.argmin

    def step(codes: Array) -> tuple[Array, ...]:
        index = find(codes, axis=attrs.axis)
        return (index.astype(ofm.dtype.numpy).reshape(ofm.shape),)

    return step
