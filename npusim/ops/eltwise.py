"""Element-wise operators of two tensors, with broadcasting."""

from collections.abc import Sequence

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import EltwiseAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register


def binary(attrs: EltwiseAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shapes broadcast as in numpy."""
    try:
        return (tuple(np.broadcast_shapes(*ins)),)
    except ValueError:
        raise GraphError(f"shapes {ins[0]} and {ins[1]} do not broadcast") from None


BINARY_OPS = ("add", "sub", "mul", "div", "max", "min", "pow")
for _name in BINARY_OPS:
    register(_name, EltwiseAttrs, f"element-wise {_name}", inputs=2)(binary)
