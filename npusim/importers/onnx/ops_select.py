"""Comparisons, truth values and Where."""

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.ir.attrs import TileAttrs
from npusim.ir.dtypes import DType
from npusim.ops import ops_named_in

COMPARISONS = ops_named_in("onnx", lambda d: d.truth and not d.of_truth)
LOGICAL = ops_named_in("onnx", lambda d: d.truth and d.of_truth)
ABSORBING = 2.0**100
"""Numbers this large swallow a float32 summand of every network: 2**76 loses all its bits."""


@converter(*COMPARISONS)
def comparison(node: OnnxNode, context: Context) -> None:
    """Two real tensors; of truth values only equality."""
    names = [real_operand(node, context, i) for i in range(2)]
    context.emit_truth(node, COMPARISONS[node.op_type], names)


def real_operand(node: OnnxNode, context: Context, position: int) -> str:
    """Return an operand of real numbers; known integers become real."""
    name = node.inputs[position]
    value = context.known(name)
    if value is not None and value.dtype.kind in "iu":
        return context.constant(f"{name}/float", value.astype(np.float32))
    dtype = context.dtype(name)
    if not dtype.is_float:
        raise UnsupportedForm(
            f"input {name!r} is {dtype.value}",
            "compare real numbers: cast to float before this node",
        )
    return name


@converter(*LOGICAL)
def logical(node: OnnxNode, context: Context) -> None:
    """Truth values, broadcast."""
    context.emit_truth(node, LOGICAL[node.op_type], node.inputs)


@converter("Xor")
def xor(node: OnnxNode, context: Context) -> None:
    """One of the two, and not both."""
    one = context.emit_truth(node, "logical_or", node.inputs, part="one")
    both = context.emit_truth(node, "logical_and", node.inputs, part="both")
    other = context.emit_truth(node, "logical_not", (both,), part="not_both")
    context.emit_truth(node, "logical_and", (one, other))


@converter("Where")
def where(node: OnnxNode, context: Context) -> None:
    """Choose on the shader; add where a known condition puts in infinity or the like."""
    condition, *operands = node.inputs[:3]
    known = context.known(condition)
    if known is not None:
        if known.all() or not known.any():
            _whole(node, context, operands[0 if known.all() else 1])
            return
        for position, truth in ((1, known), (0, ~known)):
            fill = context.known(operands[position])
            if fill is not None and _absorbs(np.broadcast_to(fill, _common(fill, truth)), truth):
                mask = np.where(truth, np.zeros(1, np.float32), fill)
                chain = Chain(node, context, operands[1 - position])
                chain.binary("add", mask, "masked").end()
                return
    for name in operands:
        if context.known(name) is None and not context.dtype(name).is_float:
            raise UnsupportedForm(
                f"input {name!r} is {context.dtype(name).value}",
                "choose between real numbers: cast to float before this node",
            )
    reals = [
        name
        if (value := context.known(name)) is None or value.dtype.kind == "f"
        else context.constant(f"{name}/float", value.astype(np.float32))
        for name in operands
    ]
    context.emit(node, "select", (condition, *reals), dtype=DType.F32)


def _common(fill: Array, truth: Array) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(fill.shape, truth.shape))


def _absorbs(fill: Array, truth: Array) -> bool:
    """Tell whether adding the fill where the condition fails gives the fill itself."""
    used = fill[~np.broadcast_to(truth, fill.shape)]
    return fill.dtype.kind == "f" and bool((np.abs(used) >= ABSORBING).all())


def _whole(node: OnnxNode, context: Context, name: str) -> None:
    """Give one operand alone, broadcast to the result's shape."""
    shape = tuple(np.broadcast_shapes(*(context.shape(operand) for operand in node.inputs[:3])))
    value = context.known(name)
    if value is not None:
        context.values[node.outputs[0]] = np.broadcast_to(value, shape)
        return
    chain = Chain(node, context, name)
    chain.reshape((1,) * (len(shape) - len(chain.shape)) + chain.shape, "ranked")
    repeats = tuple(b // a for a, b in zip(chain.shape, shape, strict=True))
    if any(n != 1 for n in repeats):
        chain.then("tile", TileAttrs(repeats=repeats))
    chain.end()
