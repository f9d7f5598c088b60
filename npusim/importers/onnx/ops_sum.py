"""CumSum, ReduceLogSumExp, Trilu, Mod and the LpPools: sums and products of the chip."""

import numpy as np

from npusim.importers.common.made import check_made
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import (
    Context,
    OnnxNode,
    UnsupportedForm,
    checked_axis,
    converter,
)
from npusim.importers.onnx.ops_reduce import axes_of
from npusim.importers.onnx.window import pair, spatial_rank, window
from npusim.ir.attrs import Pool2dAttrs, PoolKind, ReduceAttrs


@converter("CumSum")
def cumulative_sum(node: OnnxNode, context: Context) -> None:
    """Multiply with a triangle of ones along the axis."""
    shape = context.shape(node.inputs[0])
    given = context.fixed_ints(node, 1, "the axis") or (0,)
    axis = checked_axis(node, given[0], len(shape))
    size = shape[axis]
    check_made((size, size), "the triangle", node.where)
    triangle = np.tril(np.ones((size, size), np.float32), -node.integer("exclusive", 0))
    if node.integer("reverse", 0):
        triangle = triangle.T
    order = (*(i for i in range(len(shape)) if i != axis), axis)
    back = tuple(order.index(i) for i in range(len(shape)))
    chain = Chain(node, context, node.inputs[0]).transpose(order, "axis_last")
    chain.product(triangle, "sums").transpose(back, "axis_back").end()


@converter("ReduceLogSumExp")
def log_sum_exp(node: OnnxNode, context: Context) -> None:
    """Take the largest element out first, so that nothing overflows."""
    x = node.inputs[0]
    axes = axes_of(node, context, len(context.shape(x)))
    keeps = bool(node.integer("keepdims", 1))
    if not axes:
        context.alias(node.outputs[0], x)
        return
    largest = context.emit(node, "reduce_max", (x,), ReduceAttrs(axes=axes), part="largest")
    chain = Chain(node, context, x).binary("sub", largest, "below").then("exp")
    chain.then("reduce_sum", ReduceAttrs(axes=axes), part="sum").then("log")
    chain.binary("add", largest, "above")
    shape = tuple(n for i, n in enumerate(chain.shape) if keeps or i not in axes)
    chain.reshape(shape, "dropped").end()


@converter("Trilu")
def triangle(node: OnnxNode, context: Context) -> None:
    """Multiply with a mask of ones and zeros."""
    shape = context.shape(node.inputs[0])
    offset = (context.fixed_ints(node, 1, "the diagonal") or (0,))[0]
    check_made(shape[-2:], "the mask", node.where)
    ones = np.ones(shape[-2:], np.float32)
    mask = np.triu(ones, offset) if node.integer("upper", 1) else np.tril(ones, offset)
    Chain(node, context, node.inputs[0]).binary("mul", mask, "masked").end()


@converter("Mod")
def modulo(node: OnnxNode, context: Context) -> None:
    """Real numbers: x - y * trunc(x / y), with the sign of x."""
    if not node.integer("fmod", 0):
        raise UnsupportedForm("it is of whole numbers", "use fmod=1 of real numbers")
    x, y = node.inputs[:2]
    quotient = context.emit_binary(node, "div", x, y, "quotient")
    sign = context.emit(node, "sign", (quotient,), part="sign")
    chain = Chain(node, context, quotient).then("abs").then("floor").binary("mul", sign, "whole")
    chain.binary("mul", y, "taken").binary("sub", x, "rest", front=True).end()


@converter("LpPool", "GlobalLpPool")
def lp_pool(node: OnnxNode, context: Context) -> None:
    """Sum absolute values or squares, as an average times the window, and take the root."""
    power = node.integer("p", 2)
    if power not in (1, 2):
        raise UnsupportedForm(f"p is {power}", "use p = 1 or 2")
    shape = context.shape(node.inputs[0])
    chain = Chain(node, context, node.inputs[0]).then("abs" if power == 1 else "square")
    if node.op_type == "GlobalLpPool":
        axes = tuple(range(2, len(shape)))
        chain.then("reduce_sum", ReduceAttrs(axes=axes), part="sum")
    else:
        rank = spatial_rank(node, shape)
        kernel = pair(node, "kernel_shape", rank, 0)
        win = window(node, shape, kernel)
        if win.dilation != (1, 1):
            raise UnsupportedForm(f"dilations {win.dilation}", "pool with dilation 1")
        attrs = Pool2dAttrs(
            kind=PoolKind.AVG,
            kernel=kernel,
            stride=win.stride,
            pad=win.pad,
            ceil_mode=bool(node.integer("ceil_mode", 0)),
            count_include_pad=True,
        )
        if rank == 1:
            chain.reshape((*shape[:2], 1, shape[2]), "to_2d")
        chain.then("pool2d", attrs, part="average")
        if rank == 1:
            chain.reshape((*chain.shape[:2], chain.shape[3]), "to_1d")
        chain.binary("mul", float(kernel[0] * kernel[1]), "sum")
    if power == 2:
        chain.then("sqrt", part="root")
    chain.end()
