"""Product of two activations on the shader."""

from typing import cast

import numpy as np

from npusim.ir.attrs import MatmulAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.kernels.engines.shader import dequantize, requantize
from npusim.kernels.engines.shader_reduce import matmul, matmul_in_steps
from npusim.ops.conv import counts_last_product_again
from npusim.runtime.binding import Step, binding
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of


@binding("matmul", engine=Engine.SHADER, operands=True)
def bind_matmul(node: Node, graph: Graph) -> Step:
    """Bind a matrix product: exact sum, one rounding; i16 and float16 in float32 steps.

    The measured kernels for a transposed second operand count the last product five times when
    there are 4, 12, 20, .. products and a multiple of four columns: kept, because the chip's
    results show it. In i16 they misread groups of eight; here that gives the product.
    ``passes.warn_unmodelled`` names both.
    """
    a, b = (graph.spec(name) for name in node.inputs)
    ofm = graph.spec(node.outputs[0])
    require_types(node, (a, b, ofm), ENGINE_TYPES)
    attrs = cast(MatmulAttrs, node.attrs)
    in_steps = a.dtype is b.dtype and a.dtype in (DType.I16, DType.F16)
    product = matmul_in_steps if in_steps else matmul
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
        if counts_last_product_again(attrs, right.shape) and a.dtype is not DType.I16:
            left = np.concatenate([left, *[left[..., -1:]] * 4], axis=-1)
            right = np.concatenate([right, *[right[..., -1:, :]] * 4], axis=-2)
        return (requantize(product(left, right), ofm.dtype.numpy, scaling_of(ofm)),)

    return step
