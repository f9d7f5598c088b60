"""Product of two activations on the shader."""

from typing import cast

from npusim.ir.attrs import MatmulAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.kernels.reduce import matmul, matmul_in_steps
from npusim.kernels.shader import dequantize, requantize
from npusim.runtime.binding import Step, binding
from npusim.runtime.codes import ENGINE_TYPES, Array, require_types, scaling_of


@binding("matmul", engine=Engine.SHADER)
def bind_matmul(node: Node, graph: Graph) -> Step:
    """Bind a matrix product: exact sum, one rounding; i16 in float32 steps.

    The measured kernel for a transposed second operand misreads groups of eight in i16 and float16;
    here it gives the product (``passes.warn_unmodelled`` says so).
    """
    a, b = (graph.spec(name) for name in node.inputs)
    ofm = graph.spec(node.outputs[0])
    require_types(node, (a, b, ofm), ENGINE_TYPES)
    attrs = cast(MatmulAttrs, node.attrs)
    product = matmul_in_steps if a.dtype is b.dtype is DType.I16 else matmul
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
        return (requantize(product(left, right), ofm.dtype.numpy, scaling_of(ofm)),)

    return step
