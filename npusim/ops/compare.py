"""Comparisons, functions of truth values, and the choice by one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Attrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register
from npusim.ops.traits import Traits
from npusim.ops.unary import same


def broadcast(attrs: Attrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shapes broadcast as in numpy."""
    try:
        return (tuple(np.broadcast_shapes(*ins)),)
    except ValueError:
        raise GraphError(f"shapes {', '.join(map(str, ins))} do not broadcast") from None


_TRUTH = Traits(elementwise=True, truth=True, keeps_sign=True)
_LOGICAL = replace(_TRUTH, of_truth=True)

COMPARISONS: dict[str, tuple[str, Traits]] = {
    "equal": ("a == b", replace(_TRUTH, onnx="Equal", tflite="EQUAL")),
    "greater": ("a > b", replace(_TRUTH, onnx="Greater", tflite="GREATER")),
    "greater_equal": ("a >= b", replace(_TRUTH, onnx="GreaterOrEqual", tflite="GREATER_EQUAL")),
    "less": ("a < b", replace(_TRUTH, onnx="Less", tflite="LESS")),
    "less_equal": ("a <= b", replace(_TRUTH, onnx="LessOrEqual", tflite="LESS_EQUAL")),
}
for _name, (_summary, _traits) in COMPARISONS.items():
    register(_name, Attrs, f"{_summary}, a truth value", _traits, inputs=2)(broadcast)

register(
    "logical_and",
    Attrs,
    "both truth values are true",
    replace(_LOGICAL, onnx="And"),
    inputs=2,
)(broadcast)
register(
    "logical_or",
    Attrs,
    "one of two truth values is true",
    replace(_LOGICAL, onnx="Or"),
    inputs=2,
)(broadcast)
register(
    "logical_not",
    Attrs,
    "the other truth value",
    replace(_LOGICAL, onnx="Not"),
)(same)
register(
    "select",
    Attrs,
    "the second input where the first, a truth value, is true, else the third",
    Traits(elementwise=True, of_truth=True, joins=True, onnx="Where"),
    inputs=3,
)(broadcast)
