"""Operators whose results are known before a run."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.made import check_made
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.symbol import MxNode


@converter("shape_array", "size_array")
def shape_array(node: MxNode, context: MxContext) -> None:
    """Give the shape or the number of elements, which are known."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    found = list(shape) if node.type == "shape_array" else [prod(shape)]
    context.values[node.outputs[0]] = np.array(found, np.int64)


_FILLS = {"_zeros": 0.0, "_zeros_without_dtype": 0.0, "_ones": 1.0}


@converter(*_FILLS, "_full")
def filled(node: MxNode, context: MxContext) -> None:
    """Give one number in a shape."""
    shape = node.attributes.wholes("shape")
    check_made(shape, "its result", node.where)
    if 0 in shape or not shape:
        raise UnsupportedForm(f"its shape {shape} is unknown", "write the whole shape")
    value = _FILLS.get(node.type, node.attributes.real("value", 0.0))
    context.values[node.outputs[0]] = np.full(shape, value, np.float32)


@converter("zeros_like", "ones_like")
def filled_like(node: MxNode, context: MxContext) -> None:
    """Give one number in the shape of the input."""
    needs(node, 1)
    value, shape = np.float32(node.type == "ones_like"), context.shape(node.inputs[0])
    context.values[node.outputs[0]] = np.broadcast_to(value, shape)


@converter("_arange", "_contrib_arange_like", "_eye")
def counted(node: MxNode, context: MxContext) -> None:
    """Give rising numbers, or a matrix with ones on a diagonal."""
    if node.type == "_eye":
        rows = node.attributes.whole("N")
        columns = node.attributes.whole("M", 0) or rows
        check_made((rows, columns), "its result", node.where)
        context.values[node.outputs[0]] = np.eye(
            rows, columns, node.attributes.whole("k", 0), np.float32
        )
        return
    start, step = node.attributes.real("start", 0.0), node.attributes.real("step", 1.0)
    repeats = node.attributes.whole("repeat", 1)
    shape: tuple[int, ...] = ()
    if node.type == "_arange":
        if not node.attributes.has("stop"):
            start, stop = 0.0, start
        else:
            stop = node.attributes.real("stop", 0.0)
        count = max(0, int(np.ceil((stop - start) / step))) if step else 0
    else:
        shape = context.shape(node.inputs[0])
        if node.attributes.has("axis"):
            shape = (shape[context.axis(node, node.attributes.whole("axis"), len(shape))],)
        count = -(-prod(shape) // max(repeats, 1))
    if count < 1 or repeats < 1:
        raise ModelImportError("it gives no numbers", where=node.where, rule="at least one")
    check_made((count, repeats), "its result", node.where)
    row = np.repeat(start + step * np.arange(count), repeats).astype(np.float32)
    row = row[: prod(shape)].reshape(shape) if shape else row
    context.values[node.outputs[0]] = row
