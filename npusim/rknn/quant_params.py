"""``RKNN.export_rknn_quant_params``: quantization parameters of a stored model as YAML."""

from pathlib import Path

from npusim.ir.atomic import atomic_write
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def
from npusim.quantization.hybrid.yaml_lines import quoted


def write_quant_params(graph: Graph, path: Path, *, only_io: bool = True) -> None:
    """Write the parameters of inputs and outputs, of every layer as well on request.

    Source: layout of user guide 1.7.5, export_rknn_quant_params.
    """
    lines = ["%YAML 1.2", "---", f"model_name: {quoted(graph.name)}", "quant_params:"]
    for i, name in enumerate(graph.inputs):
        lines += _entry(f"input_{i}", graph.spec(name))
    for name in graph.outputs:
        lines += _entry(name, graph.spec(name))
    for node in () if only_io else graph.nodes:
        op = f"VSI_NN_OP_{op_def(node.op).toolkit}"
        for key, name in _tensors(graph, node):
            lines += _entry(f"{node.layer_id}:{key}", graph.spec(name), op)
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def _tensors(graph: Graph, node: Node) -> list[tuple[str, str]]:
    outputs = [(f"out{i}", name) for i, name in enumerate(node.outputs)]
    constants = [(f"in{i}", n) for i, n in enumerate(node.inputs) if graph.is_constant(n)]
    return outputs + constants


def _entry(key: str, spec: TensorSpec, op: str = "") -> list[str]:
    kind, numbers = "none", dict[str, object]()
    match spec.quant:
        case Affine(scale=scale, zero_point=zero_point):
            kind, numbers = "asymmetric_affine", {"scale": scale, "zero_point": zero_point}
        case DynamicFixedPoint(fl=fl):
            kind, numbers = "dynamic_fixed_point", {"fl": fl}
        case AffinePerChannel(scales=scales, zero_points=zeros):
            kind = "asymmetric_affine"
            numbers = {"scale": list(scales), "zero_point": list(zeros)}
    types = {DType.F16: "fp16", DType.F32: "fp32"}
    fields: dict[str, object] = {"op": op} if op else {}
    fields |= {"qtype": kind, "dtype": types.get(spec.dtype, spec.dtype.value), **numbers}
    return [f"    {quoted(key)}:", *(f"        {name}: {value}" for name, value in fields.items())]
