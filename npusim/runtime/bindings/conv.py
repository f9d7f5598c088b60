"""Convolution on the NN engine and, per channel or with large kernels, on the shader."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.kernels.engines.shader import saturate
from npusim.kernels.engines.shader_depthwise import depthwise_i16
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.nn_layer import nn_layer
from npusim.runtime.convolution.phases import Convolution, constant, plain_phase, store_of


@binding("conv2d", engine=Engine.NN)
@binding("conv2d", engine=Engine.SHADER)
def bind_conv2d(node: Node, graph: Graph) -> Step:
    """Pack the weights of a convolution; the fused relu is a clamp of the store."""
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    weights = constant(node, graph, 1)
    requant, scales = store_of(node, graph)
    depthwise = 1 < attrs.group == ifm.shape[1]
    if node.engine is Engine.SHADER and ifm.dtype is ofm.dtype is DType.I16 and depthwise:
        return _depthwise_i16(node, graph, attrs, scales)
    phase = plain_phase(
        weights.shape[2:],
        attrs.stride,
        attrs.dilation,
        (attrs.pad[0], attrs.pad[2]),
        (ofm.shape[2], ofm.shape[3]),
    )
    return nn_layer(
        Convolution(
            where=f"layer {node.name!r}",
            ifm=ifm,
            ofm=ofm,
            weights=weights,
            weights_quant=graph.spec(node.inputs[1]).quant,
            bias=constant(node, graph, 2),
            requant=requant,
            scales=scales,
            phases=(phase,),
            stride=attrs.stride,
            groups=attrs.group,
            relu=attrs.activation is not Activation.NONE,
        )
    )


def _depthwise_i16(
    node: Node, graph: Graph, attrs: Conv2dAttrs, scales: NDArray[np.float64] | None
) -> Step:
    """Return the step of the shader's i16 depthwise convolution."""
    assert scales is not None  # integers have them
    weights, bias = constant(node, graph, 1), constant(node, graph, 2)
    (_, _, *size), factors = graph.spec(node.outputs[0]).shape, scales[:, None, None]

    def step(ifm: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        sums = depthwise_i16(
            ifm,
            weights,
            bias,
            (size[0], size[1]),
            stride=attrs.stride,
            dilation=attrs.dilation,
            pad=(attrs.pad[0], attrs.pad[2]),
        )
        if attrs.activation is not Activation.NONE:
            sums = np.maximum(sums, np.float32(0))
        return (saturate(sums * factors.astype(np.float32), np.int16),)

    return step
