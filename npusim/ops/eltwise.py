"""Element-wise operators of two tensors, with broadcasting."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import EltwiseAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register
from npusim.ops.traits import Traits, hides_high, hides_low


def binary(attrs: EltwiseAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shapes broadcast as in numpy."""
    try:
        return (tuple(np.broadcast_shapes(*ins)),)
    except ValueError:
        raise GraphError(f"shapes {ins[0]} and {ins[1]} do not broadcast") from None


_PAIRWISE = Traits(elementwise=True)
_KEEPS_SIGN = replace(_PAIRWISE, keeps_sign=True)

BINARY: dict[str, Traits] = {
    "add": replace(
        _KEEPS_SIGN,
        accumulates=True,
        real_operand=True,
        tensorflow="AddV2",
        onnx="Add",
        mxnet="broadcast_add",
        tflite="ADD",
        layer_class="TensorAdd",
        kernel="tensor.add",
    ),
    "sub": replace(
        _PAIRWISE,
        accumulates=True,
        real_operand=True,
        tensorflow="Sub",
        onnx="Sub",
        mxnet="broadcast_sub",
        tflite="SUB",
        toolkit="SUBTRACT",
        layer_class="TensorSub",
        kernel="tensor.sub",
    ),
    "mul": replace(
        _KEEPS_SIGN,
        tensorflow="Mul",
        onnx="Mul",
        mxnet="broadcast_mul",
        tflite="MUL",
        toolkit="MULTIPLY",
        layer_class="TensorMultiply",
        kernel="tensor.multiply",
    ),
    "div": replace(
        _KEEPS_SIGN,
        tensorflow="RealDiv",
        onnx="Div",
        mxnet="broadcast_div",
        tflite="DIV",
        toolkit="DIVIDE",
        layer_class="TensorDiv",
        kernel="tensor.div",
    ),
    "max": replace(
        _KEEPS_SIGN,
        hides=hides_low,
        tensorflow="Maximum",
        onnx="Max",
        mxnet="broadcast_maximum",
        tflite="MAXIMUM",
        toolkit="MAXIMUM",
    ),
    "min": replace(
        _KEEPS_SIGN,
        hides=hides_high,
        tensorflow="Minimum",
        onnx="Min",
        mxnet="broadcast_minimum",
        tflite="MINIMUM",
        toolkit="MINIMUM",
    ),
    "pow": replace(
        _PAIRWISE,
        real_operand=True,
        tensorflow="Pow",
        onnx="Pow",
        mxnet="broadcast_power",
        tflite="POW",
    ),
}
for _name, _traits in BINARY.items():
    register(_name, EltwiseAttrs, f"element-wise {_name}", _traits, inputs=2)(binary)
