"""A graph as text: one line per node, for golden files of passes and bug reports."""

from dataclasses import fields
from enum import Enum

from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, Quant


def quant_text(quant: Quant) -> str:
    """Return a short form of quantization parameters."""
    match quant:
        case Affine(scale=scale, zero_point=zero_point):
            return f"{scale:.9g}@{zero_point}"
        case DynamicFixedPoint(fl=fl):
            return f"fl{fl}"
        case AffinePerChannel(scales=scales, axis=axis):
            return f"{len(scales)} scales on axis {axis}"
        case Float():
            return ""


def tensor_text(graph: Graph, name: str) -> str:
    """Return ``name:dtype[shape]{quant}``."""
    spec = graph.spec(name)
    quant = quant_text(spec.quant)
    mark = "#" if graph.is_constant(name) else ""
    shape = "x".join(str(n) for n in spec.shape) or "scalar"
    return f"{mark}{name}:{spec.dtype.value}[{shape}]" + (f"{{{quant}}}" if quant else "")


def node_text(graph: Graph, node: Node) -> str:
    """Return one line for a node."""
    engine = f"@{node.engine.value}" if node.engine else ""
    ins = ", ".join(tensor_text(graph, n) for n in node.inputs)
    outs = ", ".join(tensor_text(graph, n) for n in node.outputs)
    attrs = " ".join(
        f"{field.name}={_value_text(getattr(node.attrs, field.name))}"
        for field in fields(node.attrs)
    )
    return f"{node.layer_id} = {node.op}{engine}({attrs}) {ins} -> {outs}"


def _value_text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def placement(node: Node) -> dict[str, object]:
    """Return where a node runs, in what form and how it stores its sums, as plain values.

    ``multiplier``, ``shift`` and ``rounding`` are empty where nothing accumulates and before the
    graph is lowered.
    """
    store = node.requant
    return {
        "engine": node.engine.value if node.engine else "",
        "form": node.form.value if node.form else "",
        "multiplier": store.multiplier if store else "",
        "shift": store.shift if store else "",
        "rounding": store.rounding.name.lower() if store else "",
    }


def graph_text(graph: Graph) -> str:
    """Return the whole graph, one line per node, in execution order."""
    head = [f"graph {graph.name} target {graph.target} batch {graph.batch}"]
    head += [f"input {tensor_text(graph, n)}" for n in graph.inputs]
    tail = [f"output {tensor_text(graph, n)}" for n in graph.outputs]
    return "\n".join(head + [node_text(graph, n) for n in graph.nodes] + tail) + "\n"
