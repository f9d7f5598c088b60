"""Softmax and log-softmax on the shader; the result may have another type (u8 to float16)."""

from typing import cast

from npusim.ir.attrs import AxisAttrs
from npusim.ir.graph import Engine, Graph, Node
from npusim.kernels.engines.shader import requantize
from npusim.kernels.engines.shader_reduce import softmax
from npusim.runtime.binding import Step, binding
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of


@binding("softmax", "log_softmax", engine=Engine.SHADER)
def bind_softmax(node: Node, graph: Graph) -> Step:
    """Bind softmax along an axis."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    axis, logarithm = cast(AxisAttrs, node.attrs).axis, node.op == "log_softmax"

    def step(codes: Array) -> tuple[Array, ...]:
        real = softmax(codes, scaling_of(ifm), axis, logarithm=logarithm)
        return (requantize(real, ofm.dtype.numpy, scaling_of(ofm)),)

    return step
