"""Reductions, argmax and softmax."""

from math import prod

from npusim.importers.onnx.context import (
    Context,
    OnnxNode,
    UnsupportedForm,
    checked_axis,
    converter,
)
from npusim.ir.attrs import ArgAttrs, AxisAttrs, ReduceAttrs, ReshapeAttrs
from npusim.ir.dtypes import DType
from npusim.ops import ops_named_in

REDUCTIONS = {
    **{
        theirs: (ours, "", "")
        for theirs, ours in ops_named_in("onnx", lambda d: d.attrs is ReduceAttrs).items()
    },
    "ReduceL1": ("reduce_sum", "abs", ""),
    "ReduceL2": ("reduce_sum", "square", "sqrt"),
    "ReduceSumSquare": ("reduce_sum", "square", ""),
    "ReduceLogSum": ("reduce_sum", "", "log"),
}
"""ONNX operator -> reduction, function before it, function after it."""


def axes_of(node: OnnxNode, context: Context, rank: int) -> tuple[int, ...]:
    """Return the axes of a reduction from attribute or input, in order; all by default."""
    axes = node.integers("axes")
    if axes is None and node.input(1):
        axes = context.fixed_ints(node, 1, "axes")
    if not axes:
        return () if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({checked_axis(node, axis, rank) for axis in axes}))


@converter(*REDUCTIONS)
def reduce(node: OnnxNode, context: Context) -> None:
    """Axes as attribute or input, all of them by default."""
    op, before, after = REDUCTIONS[node.op_type]
    out = node.inputs[0]
    axes = axes_of(node, context, len(context.shape(out)))
    steps = [name for name in (before, op if axes else "", after) if name]
    if not steps:
        context.alias(node.outputs[0], out)
    for step in steps:
        part = "" if step == steps[-1] else step
        if step == op:
            attrs = ReduceAttrs(axes=axes, keepdims=bool(node.integer("keepdims", 1)))
            out = context.emit(node, op, (out,), attrs, part=part)
        else:
            out = context.emit(node, step, (out,), part=part)


@converter("ArgMax", "ArgMin")
def arg_extreme(node: OnnxNode, context: Context) -> None:
    """Index of the first extreme, as int64."""
    if node.integer("select_last_index", 0):
        raise UnsupportedForm("select_last_index is set", "the first extreme wins on the chip")
    axis = checked_axis(node, node.integer("axis", 0), len(context.shape(node.inputs[0])))
    attrs = ArgAttrs(axis=axis, keepdims=bool(node.integer("keepdims", 1)))
    context.emit(node, node.op_type.lower(), node.inputs[:1], attrs, dtype=DType.I64)


@converter("Softmax", "LogSoftmax")
def softmax(node: OnnxNode, context: Context) -> None:
    """Along one axis; before opset 13 over all axes from ``axis`` on, as one."""
    op = "softmax" if node.op_type == "Softmax" else "log_softmax"
    x = node.inputs[0]
    shape = context.shape(x)
    if node.version >= 13:
        axis = checked_axis(node, node.integer("axis", -1), len(shape))
    else:
        default = node.integer("axis", 1)
        # a one-dimensional tensor with the default axis 1 is one row per element
        axis = default if default == len(shape) else checked_axis(node, default, len(shape))
        long = [i for i in range(axis, len(shape)) if shape[i] != 1]
        if len(long) > 1 or axis == len(shape):
            flat = ReshapeAttrs(shape=(prod(shape[:axis]), prod(shape[axis:])))
            out = context.emit(node, "reshape", (x,), flat, part="flat")
            out = context.emit(node, op, (out,), AxisAttrs(axis=1), part="rows")
            context.emit(node, "reshape", (out,), ReshapeAttrs(shape=shape))
            return
        axis = long[0] if long else axis
    context.emit(node, op, (x,), AxisAttrs(axis=axis))
