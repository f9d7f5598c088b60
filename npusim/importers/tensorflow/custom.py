"""Operators that a user's functions compute (``npusim.host.custom``) at the end of a graph."""

from collections.abc import Callable, Sequence
from typing import Any

from npusim.errors import ModelImportError
from npusim.host.custom import is_registered
from npusim.host.tail import HostNode, tail_of
from npusim.importers.tensorflow.context import TfNode, converter_of
from npusim.ir.graph import Graph


def custom_part(order: Sequence[TfNode]) -> list[TfNode]:
    """Return the nodes that functions compute, with all nodes behind them, in order."""
    made: set[str] = set()
    found = []
    for node in order:
        custom = converter_of(node.type) is None and is_registered(node.type)
        if custom or made.intersection(node.inputs):
            found.append(node)
            made.update(node.outputs)
    return found


def with_custom_part(
    behind: Sequence[TfNode],
    order: Sequence[TfNode],
    ends: Sequence[str],
    load: Callable[[list[str]], Graph],
) -> Graph:
    """Return the graph before the nodes, with the nodes as its host layers.

    Parameters
    ----------
    behind : sequence of TfNode
        As ``custom_part`` gives them.
    order : sequence of TfNode
        All nodes.
    ends : sequence of str
        Tensors that the whole graph gives.
    load : callable
        Tensors -> the graph that ends there.

    Raises
    ------
    ModelImportError
        When other operators come behind.
    """
    for node in behind:
        if not is_registered(node.type):
            raise ModelImportError(
                f"{node.type} comes behind an operator that a function computes",
                where=node.where,
                rule="such operators are the end of a network",
                remedy="register a function for it as well, or end the network in front of them",
            )
    made = {name for node in behind for name in node.outputs}
    wanted = {name for node in behind for name in node.inputs}
    constants = {
        node.outputs[0]: node.tensor.value(f"constant {node.name!r}", node.where)
        for node in order
        if node.type == "Const" and node.tensor is not None and node.outputs[0] in wanted
    }
    read = [name for node in behind for name in node.inputs if name not in {*made, *constants}]
    fronts = list(dict.fromkeys([name for name in ends if name not in made] + read))
    graph = load(fronts)
    names = dict(zip(fronts, graph.outputs, strict=True))
    nodes = [
        HostNode(
            name=node.name,
            op=node.type,
            inputs=tuple(names.get(name, name) for name in node.inputs),
            outputs=node.outputs,
            attrs=_attributes(node),
        )
        for node in behind
    ]
    results = [names.get(name, name) for name in ends]
    told = ", ".join(f"{node.name} ({node.type})" for node in behind)
    return graph.copy(
        tail=tail_of(nodes, graph.tensors, constants, results, name=graph.name),
        notes=(*graph.notes, f"run on the CPU in float, behind the NPU: {told}"),
    )


def _attributes(node: TfNode) -> dict[str, Any]:
    """Return numbers, texts and lists of them; types have no counterpart.

    A value that is 0, false or empty is not in the file: it becomes 0.
    """
    found: dict[str, Any] = {}
    for key, value in node.attrs.items():
        fields = {field.name for field, _ in value.ListFields()}
        if "list" in fields:
            found[key] = list(value.list.i) or list(value.list.f)
        elif not fields:
            found[key] = 0
        elif kind := fields & {"i", "f", "s", "b"}:
            number = getattr(value, kind.pop())
            found[key] = int(number) if isinstance(number, bool) else number
    return {key: value for key, value in found.items() if value != []}
