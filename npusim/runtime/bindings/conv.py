"""Convolution on the NN engine."""

from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.ir.graph import Engine, Graph, Node
from npusim.ops.requant import requant_of
from npusim.runtime.binding import Step, binding
from npusim.runtime.convolution import Convolution, ConvolutionStep, constant, plain_phase


@binding("conv2d", engine=Engine.NN)
def bind_conv2d(node: Node, graph: Graph) -> Step:
    """Pack the weights of a convolution; the fused relu is a clamp of the store."""
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    weights = constant(node, graph, 1)
    requant = requant_of(node, graph)
    assert requant is not None  # every convolution of the NN engine has one
    phase = plain_phase(
        weights.shape[2:],
        attrs.stride,
        attrs.dilation,
        (attrs.pad[0], attrs.pad[2]),
        (ofm.shape[2], ofm.shape[3]),
    )
    return ConvolutionStep(
        Convolution(
            where=f"layer {node.name!r}",
            ifm=ifm,
            ofm=ofm,
            weights=weights,
            weights_quant=graph.spec(node.inputs[1]).quant,
            bias=constant(node, graph, 2),
            requant=requant,
            phases=(phase,),
            stride=attrs.stride,
            groups=attrs.group,
            relu=attrs.activation is not Activation.NONE,
        )
    )
