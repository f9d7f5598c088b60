"""Convolution on the NN engine and, per channel or with large kernels, on the shader."""

from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.ir.graph import Engine, Graph, Node
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.nn_layer import nn_layer
from npusim.runtime.convolution import Convolution, constant, plain_phase, store_of


@binding("conv2d", engine=Engine.NN)
@binding("conv2d", engine=Engine.SHADER)
def bind_conv2d(node: Node, graph: Graph) -> Step:
    """Pack the weights of a convolution; the fused relu is a clamp of the store."""
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    weights = constant(node, graph, 1)
    requant, scales = store_of(node, graph)
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
