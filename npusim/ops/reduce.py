"""Reductions, argmax and softmax."""

from collections.abc import Sequence

from npusim.ir.attrs import ArgAttrs, AxisAttrs, ReduceAttrs
from npusim.ir.tensor import Shape
from npusim.ops.registry import register


def reduced(attrs: ReduceAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Reduced axes become 1 or vanish."""
    (ifm,) = ins
    if attrs.keepdims:
        return (tuple(1 if i in attrs.axes else n for i, n in enumerate(ifm)),)
    return (tuple(n for i, n in enumerate(ifm) if i not in attrs.axes),)


REDUCE_OPS = ("reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
for _name in REDUCE_OPS:
    register(_name, ReduceAttrs, f"{_name.removeprefix('reduce_')} over axes")(reduced)


def arg_extreme(attrs: ArgAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Make the axis 1, or drop it."""
    return reduced(ReduceAttrs(axes=(attrs.axis,), keepdims=attrs.keepdims), ins)


register("argmax", ArgAttrs, "index of the first maximum")(arg_extreme)
register("argmin", ArgAttrs, "index of the first minimum")(arg_extreme)


def along_axis(attrs: AxisAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept."""
    return (ins[0],)


register("softmax", AxisAttrs, "exp(x) over its sum along an axis")(along_axis)
register("log_softmax", AxisAttrs, "logarithm of softmax")(along_axis)
