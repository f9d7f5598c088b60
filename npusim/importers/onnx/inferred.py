"""Shapes of a node's results as the onnx package infers them."""

from collections.abc import Mapping

from onnx import TensorProto, TypeProto, defs, helper, shape_inference

from npusim.importers.onnx.context import OnnxNode
from npusim.ir.tensor import MAX_AXES

_AXES = ("axis", "axes", "batch_dims")


def inferred(
    node: OnnxNode, types: dict[str, TypeProto], known: dict[str, TensorProto]
) -> Mapping[str, TypeProto]:
    """Return the types of a node's outputs.

    Parameters
    ----------
    types, known : dict
        Of the inputs: types, and values where there are any.

    Raises
    ------
    ValueError
        For axes that no tensor has: the library reads beyond the shape and may end the process.
    Exception
        Of several types of the onnx package, for a node that is not valid.
    """
    for word in _AXES:
        attribute = node.attrs.get(word)
        numbers = () if attribute is None else (attribute.i, *attribute.ints)
        lowest = 0 if word == "batch_dims" else -MAX_AXES
        if not all(lowest <= n <= MAX_AXES for n in numbers):
            raise ValueError(f"{word} {list(numbers)} is no axis of any tensor")
    schema = defs.get_schema(node.op_type, node.version, node.domain)
    found: Mapping[str, TypeProto] = shape_inference.infer_node_outputs(
        schema, node.proto, types, known, opset_imports=[helper.make_opsetid("", node.version)]
    )
    return found
