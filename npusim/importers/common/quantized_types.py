"""int8 with a zero point or an odd scale, which the chip does as uint8."""

from dataclasses import replace

import numpy as np

from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.ir.quant import Affine
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def

SHIFT = 128


def through_u8(graph: Graph) -> Graph:
    """Return the graph with int8 feature maps as uint8: code + 128, the same real values.

    Weights of convolutions and fully connected layers stay int8. Inputs and outputs keep the
    model's type; a conversion (a shader copy) stands behind and before them.

    Source: measured, docs/arithmetic/nn.md rule 1.8: the driver converts int8 with a zero point to
    uint8 and back, once at the inputs and once at the outputs, not at every layer.
    """
    signed = {name for name, spec in graph.tensors.items() if _is_signed(spec)}
    weights = {n.inputs[1] for n in graph.nodes if op_def(n.op).weighted}
    moved = signed - weights
    if not moved:
        return graph
    result = graph.copy()
    names: dict[str, str] = {}
    for name in moved:
        spec = graph.spec(name)
        if name in graph.inputs or name in graph.outputs:
            names[name] = fresh(result, f"{name}/u8")
        result.tensors[names.get(name, name)] = replace(as_u8(spec), name=names.get(name, name))
        if name in graph.constants and name not in names:
            result.constants[name] = np.bitwise_xor(graph.constants[name].view(np.uint8), SHIFT)
    nodes = [_convert(name, names[name], name) for name in graph.inputs if name in names]
    nodes += [
        replace(
            node,
            inputs=tuple(names.get(n, n) for n in node.inputs),
            outputs=tuple(names.get(n, n) for n in node.outputs),
        )
        for node in graph.nodes
    ]
    for name in graph.outputs:
        if name in names and name not in graph.inputs and name not in graph.constants:
            nodes.append(_convert(names[name], name, name))
    return result.copy(nodes=tuple(nodes))


def as_u8(spec: TensorSpec) -> TensorSpec:
    """Return the spec of an int8 tensor's codes + 128."""
    assert isinstance(spec.quant, Affine)
    quant = Affine(scale=spec.quant.scale, zero_point=spec.quant.zero_point + SHIFT)
    return replace(spec, dtype=DType.U8, quant=quant)


def _is_signed(spec: TensorSpec) -> bool:
    return spec.dtype is DType.I8 and isinstance(spec.quant, Affine)


def _convert(source: str, target: str, origin: str) -> Node:
    return Node(
        name=f"convert_{target}",
        op="convert",
        inputs=(source,),
        outputs=(target,),
        origin=(origin,),
    )


def quantize_inputs(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph with real inputs replaced by the codes they are first converted to.

    Only inputs that nothing but conversions to one quantization reads; also their names.
    """
    users = graph.consumers()
    result = graph.copy()
    renamed: dict[str, str] = {}
    for name in graph.inputs:
        specs = [graph.spec(user.outputs[0]) for user in users[name]]
        kinds = {(spec.dtype, spec.quant) for spec in specs}
        if (
            graph.spec(name).dtype is not DType.F32
            or len(kinds) != 1
            or any(user.op != "convert" for user in users[name])
            or any(spec.name in graph.outputs for spec in specs)
            or not isinstance(specs[0].quant, Affine)
        ):
            continue
        result.tensors[name] = replace(graph.spec(name), dtype=specs[0].dtype, quant=specs[0].quant)
        renamed |= {spec.name: name for spec in specs}
    return _without(result, renamed), tuple(dict.fromkeys(renamed.values()))


def keep_output_codes(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph with real outputs replaced by the codes they come from; also their names.

    Only outputs that a conversion writes from codes nothing else reads.
    """
    users, producers = graph.consumers(), graph.producers()
    result = graph.copy()
    renamed: dict[str, str] = {}
    for name in graph.outputs:
        node = producers.get(name)
        if node is None or node.op != "convert" or not graph.spec(name).dtype.is_float:
            continue
        codes = node.inputs[0]
        fixed = codes in graph.inputs or codes in graph.outputs or codes in graph.constants
        if fixed or len(users[codes]) != 1 or users[name]:
            continue
        spec = graph.spec(codes)
        result.tensors[name] = replace(spec, name=name)
        renamed[codes] = name
    nodes = []
    for node in result.nodes:
        if node.op == "convert" and node.outputs[0] in renamed.values():
            continue
        nodes.append(replace(node, outputs=tuple(renamed.get(n, n) for n in node.outputs)))
    return result.copy(nodes=tuple(nodes)), tuple(renamed.values())


def _without(graph: Graph, renamed: dict[str, str]) -> Graph:
    """Return the graph without the nodes that write ``renamed``, whose readers read the other."""
    nodes = tuple(
        replace(node, inputs=tuple(renamed.get(n, n) for n in node.inputs))
        for node in graph.nodes
        if not any(out in renamed for out in node.outputs)
    )
    return graph.copy(nodes=nodes)
