"""Change of element type or quantization: TP copies and shader copies."""

import numpy as np

from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, Float
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines import shader, tp
from npusim.runtime.binding import Step, binding
from npusim.runtime.calls import SAME, step_of
from npusim.runtime.tables import (
    ENGINE_TYPES,
    Array,
    Function,
    require_types,
    scaling_of,
    table_function,
)


def tp_copy(ifm: TensorSpec, ofm: TensorSpec) -> Function:
    """Return the TP engine's conversion of codes; equal quantization keeps them.

    float16 to float16 still clears subnormals.
    """
    if ifm.dtype is not DType.F16 and (ifm.dtype, ifm.quant) == (ofm.dtype, ofm.quant):
        return SAME
    return table_function(
        ("tp copy", ifm.quant, ofm.dtype, ofm.quant),
        lambda codes: tp.convert(codes, scaling_of(ifm), ofm.dtype.numpy, scaling_of(ofm)),
        ifm.dtype.numpy,
        ofm.dtype.numpy,
    )


def shader_copy(ifm: TensorSpec, ofm: TensorSpec) -> Function:
    """Return the shader's conversion of codes of any types; equal quantization keeps them.

    Subnormal float16 values are 0 on either side. Plain integers (indices, truth values) count as
    real numbers. i8 with a zero point is stored through u8, which decides its ties.
    """
    if (ifm.dtype, ifm.quant) == (ofm.dtype, ofm.quant):
        return SAME

    def function(codes: Array) -> Array:
        if _is_plain_integer(ifm) and _is_plain_integer(ofm):
            return codes.astype(ofm.dtype.numpy)
        real: Array = shader.dequantize(codes, scaling_of(ifm))
        if ofm.dtype is DType.F32:
            return real
        if ofm.dtype is DType.BOOL:
            truth: Array = real != 0
            return truth
        if ofm.dtype is DType.I8 and isinstance(ofm.quant, Affine):
            scale, zero_point = scaling_of(ofm)
            shifted: Array = shader.requantize(real, np.uint8, (scale, zero_point + 128))
            signed: Array = (shifted ^ np.uint8(0x80)).view(np.int8)
            return signed
        return shader.requantize(real, ofm.dtype.numpy, scaling_of(ofm))

    if ifm.dtype in ENGINE_TYPES and ofm.dtype in ENGINE_TYPES:
        return table_function(
            ("shader copy", ifm.quant, ofm.dtype, ofm.quant),
            function,
            ifm.dtype.numpy,
            ofm.dtype.numpy,
        )
    return function


def _is_plain_integer(spec: TensorSpec) -> bool:
    return not spec.dtype.is_float and isinstance(spec.quant, Float)


@binding("convert", engine=Engine.TP)
def bind_tp_convert(node: Node, graph: Graph) -> Step:
    """Bind a TP copy between u8, i8, i16 and f16."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    return step_of(tp_copy(ifm, ofm))


@binding("convert", engine=Engine.SHADER)
def bind_shader_convert(node: Node, graph: Graph) -> Step:
    """Bind a shader copy between any two types."""
    return step_of(shader_copy(graph.spec(node.inputs[0]), graph.spec(node.outputs[0])))
