"""Element-wise operators of two and more tensors."""

import numpy as np

from npusim.importers.onnx.context import Context, OnnxNode, converter
from npusim.ir.attrs import EltwiseAttrs
from npusim.ops import ops_named_in

CHAINED = {"Sum": "add", "Max": "max", "Min": "min", "Mean": "add"}
BINARY = ops_named_in("onnx", lambda d: d.attrs is EltwiseAttrs and d.onnx not in CHAINED)


@converter(*BINARY)
def binary(node: OnnxNode, context: Context) -> None:
    """Two operands; a constant one stays an input."""
    first, second = node.inputs[:2]
    exponent = context.known(second)
    if node.op_type == "Pow" and exponent is not None and exponent.dtype.kind in "iu":
        second = context.constant(f"{second}/float", exponent.astype(np.float32))
    context.emit_binary(node, BINARY[node.op_type], first, second)


@converter(*CHAINED)
def chained(node: OnnxNode, context: Context) -> None:
    """Any number of operands, from the left; all layers keep the node as origin."""
    op = CHAINED[node.op_type]
    mean = node.op_type == "Mean" and len(node.inputs) > 1
    if len(node.inputs) == 1:
        context.alias(node.outputs[0], node.inputs[0])
        return
    out = node.inputs[0]
    for index, operand in enumerate(node.inputs[1:], start=1):
        last = index == len(node.inputs) - 1 and not mean
        out = context.emit_binary(node, op, out, operand, "" if last else f"upto_{index}")
    if mean:
        count = context.scalar(node, "count", float(len(node.inputs)))
        context.emit_binary(node, "div", out, count)
