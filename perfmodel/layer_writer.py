"""A model as a layer list: what its price needs, and nothing of its weights.

``npusim.perfmodel.layer_list`` reads it back.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

from npusim.ir.attrs import Activation, Conv2dAttrs, Deconv2dAttrs, FcAttrs
from npusim.ir.graph import Graph, Node
from npusim.perfmodel.layer_forms import settings_of

_WEIGHTED = {Conv2dAttrs: "conv", Deconv2dAttrs: "deconv", FcAttrs: "fc"}


def layer_list_of(graph: Graph, zero_fractions: Mapping[str, float]) -> dict[str, Any]:
    """Return the layer list of a float graph after ``optimize``.

    Results are called as their layers; known operands are written with their least value, which
    decides whether sums and products of them have a sign. ``ranges`` is ``usual``. Outputs that are
    constants are left out: nothing computes them.

    Parameters
    ----------
    graph : Graph
    zero_fractions : mapping
        Weight tensor -> share of zeros when quantized; where none is known none is written.
    """
    names = {name: name for name in graph.inputs}
    taken = set(graph.inputs)
    layers = []
    for node in graph.nodes:
        layer = _free(node.name, taken)
        several = len(node.outputs) > 1
        for index, name in enumerate(node.outputs):
            names[name] = f"{layer}.{index}" if several else layer
        taken |= {layer, *(names[name] for name in node.outputs)}
        layers.append({"name": layer} | _entry(node, graph, names, zero_fractions))
    return {
        "name": graph.name,
        "ranges": "usual",
        "input": {name: list(graph.spec(name).shape) for name in graph.inputs},
        "outputs": [names[name] for name in graph.outputs if name not in graph.constants],
        "layers": layers,
    }


def _free(name: str, taken: set[str]) -> str:
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free


def _entry(
    node: Node, graph: Graph, names: Mapping[str, str], zero_fractions: Mapping[str, float]
) -> dict[str, Any]:
    shapes = [list(graph.spec(name).shape) for name in node.outputs]
    entry: dict[str, Any] = {"op": node.op, "out": shapes[0] if len(shapes) == 1 else shapes}
    settings = settings_of(node.attrs)
    inputs = node.inputs
    if (short := _WEIGHTED.get(type(node.attrs))) is not None:
        weights = inputs[1]
        entry["op"] = short
        if weights in zero_fractions:
            entry["zero_fraction"] = zero_fractions[weights]
        if short != "fc":
            entry["kernel"] = list(graph.spec(weights).shape[2:])
        if settings.pop("activation", Activation.NONE.value) != Activation.NONE.value:
            entry["act"] = node.attrs.activation.value  # type: ignore[attr-defined]
        inputs = inputs[:1]
    operands = [_operand(name, graph, names) for name in inputs]
    return {"op": entry.pop("op"), "inputs": operands} | entry | settings


def _operand(name: str, graph: Graph, names: Mapping[str, str]) -> Any:
    if name not in graph.constants:
        return names[name]
    spec, value = graph.spec(name), graph.constants[name]
    least = float(value.min()) if prod(spec.shape) else 0.0
    return {"constant": list(spec.shape) or [1], "type": spec.dtype.value, "value": least}
