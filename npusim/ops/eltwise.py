"""Element-wise operators of two tensors, with broadcasting."""

from collections.abc import Sequence

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import EltwiseAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register
from npusim.ops.traits import Traits


def binary(attrs: EltwiseAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shapes broadcast as in numpy."""
    try:
        return (tuple(np.broadcast_shapes(*ins)),)
    except ValueError:
        raise GraphError(f"shapes {ins[0]} and {ins[1]} do not broadcast") from None


def _binary(name: str, traits: Traits) -> None:
    register(name, EltwiseAttrs, f"element-wise {name}", traits, inputs=2)(binary)


_binary(
    "add",
    Traits(
        elementwise=True,
        accumulates=True,
        keeps_sign=True,
        real_operand=True,
        onnx="Add",
        tflite="ADD",
        layer_class="TensorAdd",
        kernel="tensor.add",
    ),
)
_binary(
    "sub",
    Traits(
        elementwise=True,
        accumulates=True,
        real_operand=True,
        onnx="Sub",
        tflite="SUB",
        toolkit="SUBTRACT",
        layer_class="TensorSub",
        kernel="tensor.sub",
    ),
)
_binary(
    "mul",
    Traits(
        elementwise=True,
        keeps_sign=True,
        onnx="Mul",
        tflite="MUL",
        toolkit="MULTIPLY",
        layer_class="TensorMultiply",
        kernel="tensor.multiply",
    ),
)
_binary(
    "div",
    Traits(
        elementwise=True,
        keeps_sign=True,
        onnx="Div",
        tflite="DIV",
        toolkit="DIVIDE",
        layer_class="TensorDiv",
        kernel="tensor.div",
    ),
)
_binary(
    "max",
    Traits(elementwise=True, keeps_sign=True, onnx="Max", tflite="MAXIMUM", toolkit="MAXIMUM"),
)
_binary(
    "min",
    Traits(elementwise=True, keeps_sign=True, onnx="Min", tflite="MINIMUM", toolkit="MINIMUM"),
)
_binary("pow", Traits(elementwise=True, real_operand=True, onnx="Pow", tflite="POW"))
