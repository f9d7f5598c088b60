"""Operators whose values follow from shapes."""

import numpy as np

from npusim.importers.common.builder import check_elements
from npusim.importers.tensorflow.context import TfContext, TfNode, converter


@converter("Const")
def const(node: TfNode, context: TfContext) -> None:
    """Known values of the file."""
    if node.tensor is None:
        raise ValueError("it has no value")
    context.values.store(node.outputs[0], node.tensor.value("the constant", node.where))


def _kind(node: TfNode) -> type:
    return np.int64 if node.type_number("out_type", 3) == 9 else np.int32


@converter("Shape", "ShapeN")
def shape_of(node: TfNode, context: TfContext) -> None:
    """Known: shapes are concrete."""
    for output, source in zip(node.outputs, node.inputs, strict=True):
        context.values[output] = np.array(context.shape(source), _kind(node))


@converter("Size")
def size_of(node: TfNode, context: TfContext) -> None:
    """Known: shapes are concrete."""
    count = check_elements(context.shape(node.inputs[0]), "its input", node.where)
    context.values[node.outputs[0]] = np.array(count, _kind(node))


@converter("Rank")
def rank_of(node: TfNode, context: TfContext) -> None:
    """Known: shapes are concrete."""
    context.values[node.outputs[0]] = np.array(context.rank(node.inputs[0]), np.int32)


@converter("ZerosLike", "OnesLike")
def like(node: TfNode, context: TfContext) -> None:
    """Give a constant of the input's shape."""
    make = np.zeros if node.type == "ZerosLike" else np.ones
    context.values[node.outputs[0]] = make(context.shape(node.inputs[0]), np.float32)
