"""Forms of old opsets that the evaluator of the onnx package does not know, put in newer ones."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import NodeProto, defs, helper

from npusim.importers.common.builder import Array
from npusim.importers.onnx.context import OnnxNode

NEWEST_OLD = 13
"""The evaluator is right for the operators of this opset and newer."""

_FLATTENED = ("Softmax", "LogSoftmax", "Hardmax")


@dataclass(frozen=True, slots=True)
class Renewed:
    """A node of opset 13 with its inputs, and the shape that its result gets."""

    node: OnnxNode
    feeds: dict[str, Array]
    shape: tuple[int, ...] | None = None


def same_form(op_type: str, version: int) -> bool:
    """Tell whether an operator has the same inputs, attributes and defaults in opset 13.

    Newer definitions of that kind add element types, or say more exactly what was meant.
    """
    try:
        own, new = (_form(op_type, v) for v in (version, NEWEST_OLD))
    except defs.SchemaError:
        return False
    return own == new


def _form(op_type: str, version: int) -> tuple[object, ...]:
    schema = defs.get_schema(op_type, version, "")
    attributes = {
        name: attribute.default_value.SerializeToString()
        for name, attribute in schema.attributes.items()
    }
    return attributes, schema.min_input, schema.max_input, schema.min_output, schema.max_output


def renewed(node: OnnxNode, feeds: dict[str, Array]) -> Renewed | None:
    """Return the node in the form of opset 13; None when there is no rule for it."""
    if node.op_type in _FLATTENED:
        return _flattened(node, feeds)
    first = node.inputs[0]
    kind = feeds[first].dtype
    if node.op_type == "Clip":
        limit = float(np.finfo(np.float32).max)
        ends = (node.real("min", -limit), node.real("max", limit))
        more = [np.array(end, np.float32).astype(kind) for end in ends]
        return _with(node, feeds, more, {})
    if node.op_type == "Pad":
        pads = node.integers("pads") or node.integers("paddings") or ()
        value = np.array(node.real("value", 0.0), np.float32).astype(kind)
        mode = {"mode": node.text("mode", "constant")}
        return _with(node, feeds, [np.array(pads, np.int64), value], mode)
    if node.op_type == "TopK" and "k" in node.attrs:
        axis = {"axis": node.integer("axis", -1)}
        return _with(node, feeds, [np.array([node.integer("k")], np.int64)], axis)
    return None


def _with(
    node: OnnxNode, feeds: dict[str, Array], more: list[Array], attributes: dict[str, Any]
) -> Renewed:
    """Return the node with attributes that have become inputs."""
    names = [f"{node.first}/old_{position}" for position in range(len(more))]
    inputs = [node.inputs[0], *names]
    proto = helper.make_node(node.op_type, inputs, node.outputs, **attributes)
    known = {node.inputs[0]: feeds[node.inputs[0]], **dict(zip(names, more, strict=True))}
    return Renewed(_new(node, proto), known)


def _new(node: OnnxNode, proto: NodeProto) -> OnnxNode:
    return replace(
        node,
        version=NEWEST_OLD,
        inputs=tuple(map(str, proto.input)),
        attrs={a.name: a for a in proto.attribute},
        proto=proto,
    )


def _flattened(node: OnnxNode, feeds: dict[str, Array]) -> Renewed:
    """Return a softmax over all axes from ``axis`` on as one over rows."""
    (name,) = feeds
    value = feeds[name]
    axis = node.integer("axis", 1)
    lead = int(np.prod(value.shape[: axis if axis >= 0 else axis + value.ndim], dtype=np.int64))
    proto = helper.make_node(node.op_type, [name], node.outputs, axis=1)
    return Renewed(_new(node, proto), {name: value.reshape(lead, -1)}, value.shape)
