"""Operators that ONNX defines by others: their definitions, as nodes to put in their place."""

from typing import Any

from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, defs, helper

from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.onnx.context import Context, OnnxNode
from npusim.importers.onnx.cut import names_read

STANDARD = ""


def is_function(op_type: str, version: int) -> bool:
    """Tell whether ONNX defines an operator of the standard domain by others."""
    schema = _schema(op_type, version)
    if schema is None:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _schema(op_type: str, version: int) -> Any:  # its methods are not all declared
    try:
        return defs.get_schema(op_type, version, STANDARD)
    except defs.SchemaError:
        return None


def body_of(node: OnnxNode, context: Context) -> tuple[list[NodeProto], int]:
    """Return the nodes that a node's definition says, and the opset they are of.

    Inner tensors get names that nothing else has; attributes and their defaults are filled in.
    """
    schema = _schema(node.op_type, node.version)
    assert schema is not None
    if node.op_type == "Celu" and (alpha := node.real("alpha", 1.0)) <= 0:
        raise UnsupportedForm(
            f"alpha {alpha:g}, for which ONNX's text and its definition by other operators differ",
            "use a positive alpha",
        )
    function, version = _definition(schema, node, context)
    renames = dict(zip(function.output, node.outputs, strict=False))
    padded = [*node.inputs, *[""] * (len(function.input) - len(node.inputs))]
    renames |= dict(zip(function.input, padded, strict=False))
    own = {
        name: attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type
    }
    own |= {attribute.name: attribute for attribute in function.attribute_proto}
    own |= dict(node.attrs)
    protos = [_filled(proto, own, renames, node, context) for proto in function.node]
    for proto in protos:
        context.used.update(names_read(proto))
    imported = [o.version for o in function.opset_import if o.domain in ("", "ai.onnx")]
    return protos, imported[0] if imported else version


def _definition(schema: Any, node: OnnxNode, context: Context) -> tuple[FunctionProto, int]:
    """Return the newest definition that the node's opset allows."""
    if schema.has_context_dependent_function:
        version = _newest(schema.context_dependent_function_opset_versions, node.version)
        types = [_type(name, context).SerializeToString() for name in node.inputs]
        data = schema.get_context_dependent_function_with_opset_version(
            version, node.proto.SerializeToString(), types
        )
    else:
        version = _newest(schema.function_opset_versions, node.version)
        data = schema.get_function_with_opset_version(version)
    return FunctionProto.FromString(data), version


def _newest(versions: list[int], limit: int) -> int:
    return max([v for v in versions if v <= limit] or [min(versions)])


def _type(name: str, context: Context) -> TypeProto:
    if not name:
        return TypeProto()
    value = context.known(name)
    dtype = context.dtype(name).numpy if value is None else value.dtype
    return helper.make_tensor_type_proto(
        helper.np_dtype_to_tensor_dtype(dtype), context.shape(name)
    )


def _filled(
    proto: NodeProto,
    attributes: dict[str, AttributeProto],
    renames: dict[str, str],
    node: OnnxNode,
    context: Context,
) -> NodeProto:
    """Return a node of the definition with real names and numbers."""
    made = NodeProto()
    made.CopyFrom(proto)
    for names in (made.input, made.output):
        for position, name in enumerate(names):
            names[position] = _renamed(name, renames, node, context)
    kept = []
    for attribute in made.attribute:
        if not attribute.ref_attr_name:
            kept.append(attribute)
        elif attribute.ref_attr_name in attributes:
            value = AttributeProto()
            value.CopyFrom(attributes[attribute.ref_attr_name])
            value.name = attribute.name
            kept.append(value)
    del made.attribute[:]
    made.attribute.extend(kept)
    for attribute in made.attribute:
        if attribute.HasField("g"):  # a branch reads the tensors round it and makes its own
            branch, inside = attribute.g, dict(renames)
            inner = [_filled(p, attributes, inside, node, context) for p in branch.node]
            del branch.node[:]
            branch.node.extend(inner)
            for named in (*branch.initializer, *branch.output):
                named.name = _renamed(named.name, inside, node, context)
    while made.input and not made.input[-1]:
        del made.input[-1]
    return made


def _renamed(name: str, renames: dict[str, str], node: OnnxNode, context: Context) -> str:
    """Return the name that a tensor of the definition has in the model."""
    if name and name not in renames:
        renames[name] = context.unused(f"{node.first}/{name}")
        context.names.add(renames[name])
    return renames.get(name, "")
