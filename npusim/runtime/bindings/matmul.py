"""Product of two activations on the shader."""

from typing import cast

from npusim.ir.attrs import MatmulAttrs
from npusim.ir.graph import Engine, Graph, Node
from npusim.kernels.reduce import matmul
from npusim.kernels.shader import dequantize, requantize
from npusim.runtime.binding import Step, binding
from npusim.runtime.codes import ENGINE_TYPES, Array, require_types, scaling_of


@binding("matmul", engine=Engine.SHADER)
def bind_matmul(node: Node, graph: Graph) -> Step:
    """Bind a matrix product: exact sum, one rounding.

    The measured i16 kernel with a transposed second operand wraps partial sums in an unknown way;
    here it gives the exact product.
    """
    a, b = (graph.spec(name) for name in node.inputs)
    ofm = graph.spec(node.outputs[0])
    require_types(node, (a, b, ofm), ENGINE_TYPES)
    attrs = cast(MatmulAttrs, node.attrs)
    constants = [graph.constants.get(name) for name in node.inputs]

    def step(*activations: Array) -> tuple[Array, ...]:
        feed = iter(activations)
        codes: list[Array] = [next(feed) if value is None else value for value in constants]
        left, right = (
            dequantize(value, scaling_of(spec)) for value, spec in zip(codes, (a, b), strict=True)
        )
        if attrs.transpose_a:
            left = left.swapaxes(-1, -2)
        if attrs.transpose_b:
            right = right.swapaxes(-1, -2)
        return (requantize(matmul(left, right), ofm.dtype.numpy, scaling_of(ofm)),)

    return step
