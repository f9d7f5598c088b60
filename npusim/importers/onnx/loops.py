"""Loop and Scan with a known number of turns: the nodes of every turn, in place of the node."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.unroll import ON_DATA, Budget
from npusim.importers.onnx.context import Context, OnnxNode
from npusim.importers.onnx.cut import names_read
from npusim.importers.onnx.tensor import tensor_value

_FIRST_SCAN = 9
"""Before this opset a Scan has batches and lengths."""
_AXES_ARE_INPUTS = 13
_ADVICE = (
    "export with a fixed number of steps: trace the model with fixed sizes (torch.onnx.export with "
    "int() around sizes)"
)


@dataclass(frozen=True, slots=True)
class Turns:
    """Writes loops out.

    Attributes
    ----------
    visit : callable
        Converts nodes; raises UnsupportedForm for what has no counterpart.
    """

    context: Context
    budget: Budget
    visit: Callable[[Sequence[NodeProto]], None]
    path: Path

    def loop(self, node: OnnxNode) -> None:
        """Write a Loop out: up to its trip count, as long as its condition is true."""
        body = node.graph("body")
        most, goes_on = self._count(node), self._truth(node.input(1))
        variables = list(node.inputs[2:])
        if len(body.input) != 2 + len(variables) or len(body.output) < 1 + len(variables):
            raise ModelImportError(
                f"its body takes {len(body.input)} and gives {len(body.output)} tensors",
                where=node.where,
                rule=f"2 and 1 more than the {len(variables)} variables, and what it collects",
            )
        prefix, inner = self._begun(node, body)
        scans = [list[str]() for _ in body.output[1 + len(variables) :]]
        turn = 0
        while goes_on and (most is None or turn < most):
            number = self._value(f"{prefix}{turn}/number", np.array(turn, np.int64))
            asked = self._value(f"{prefix}{turn}/condition", np.array(True))
            found = self._turn(body, inner, [number, asked, *variables], prefix, turn)
            goes_on = self._truth(found[0])
            variables, turn = found[1 : 1 + len(variables)], turn + 1
            for collected, name in zip(scans, found[1 + len(variables) :], strict=True):
                collected.append(name)
        self._end(node, variables, scans, [0] * len(scans))

    def scan(self, node: OnnxNode) -> None:
        """Write a Scan out: a turn for every index of what it goes over."""
        if node.version < _FIRST_SCAN:
            raise UnsupportedForm(f"Scan of opset {node.version}", "export with opset 9 or newer")
        body, count = node.graph("body"), int(node.integer("num_scan_inputs", 0))
        states = len(node.inputs) - count
        if not 0 < count <= len(node.inputs) or len(body.input) != len(node.inputs):
            raise ModelImportError(
                f"it goes over {count} of {len(node.inputs)} inputs, its body takes "
                f"{len(body.input)}",
                where=node.where,
                rule="at least one, and as many",
            )
        outputs = len(body.output) - states
        axes, turned = (
            self._listed(node, f"scan_input_{w}", count) for w in ("axes", "directions")
        )
        ends = self._listed(node, "scan_output_axes", outputs)
        behind = self._listed(node, "scan_output_directions", outputs)
        over = node.inputs[states:]
        sizes = {self.context.shape(name)[axis] for name, axis in zip(over, axes, strict=True)}
        if len(sizes) != 1:
            raise ModelImportError(f"sizes {sorted(sizes)}", where=node.where, rule="the same")
        (turns,) = sizes
        prefix, inner = self._begun(node, body)
        variables, scans = list(node.inputs[:states]), [list[str]() for _ in range(outputs)]
        for turn in range(turns):
            items = []
            for i, (name, axis, back) in enumerate(zip(over, axes, turned, strict=True)):
                place = turns - 1 - turn if back else turn
                index = self._value(f"{prefix}{turn}/index{i}", np.array(place, np.int64))
                items.append(self.context.unused(f"{prefix}{turn}/item{i}"))
                self.visit(
                    [helper.make_node("Gather", [name, index], items[-1:], items[-1], axis=axis)]
                )
            found = self._turn(body, inner, [*variables, *items], prefix, turn)
            variables = found[:states]
            for collected, name in zip(scans, found[states:], strict=True):
                collected.append(name)
        for collected, back in zip(scans, behind, strict=True):
            if back:
                collected.reverse()
        self._end(node, variables, scans, ends)

    # ---- what they share
    def _count(self, node: OnnxNode) -> int | None:
        name = node.input(0)
        if not name:
            return None
        value = self.context.known(name)
        if value is None or value.size != 1:
            raise UnsupportedForm(ON_DATA, _ADVICE)
        return int(value.reshape(-1)[0])

    def _truth(self, name: str) -> bool:
        if not name:
            return True
        value = self.context.known(name)
        if value is None or value.size != 1:
            raise UnsupportedForm(ON_DATA, _ADVICE)
        return bool(value.reshape(-1)[0])

    def _listed(self, node: OnnxNode, word: str, count: int) -> list[int]:
        found = list(node.integers(word) or (0,) * count)
        if len(found) != count:
            raise ModelImportError(f"{word} {found}", where=node.where, rule=f"{count} numbers")
        return found

    def _value(self, base: str, value: Array) -> str:
        name = self.context.unused(base)
        self.context.values[name] = value
        return name

    def _begun(self, node: OnnxNode, body: GraphProto) -> tuple[str, dict[str, str]]:
        """Return what names of turns begin with, and the names of the body's constants."""
        prefix = f"{node.name}/turn"
        inner = {}
        for proto in body.initializer:
            inner[proto.name] = self.context.unused(f"{node.name}/{proto.name}")
            value = tensor_value(proto, proto.name, self.path)
            self.context.values.store(inner[proto.name], value)
        return prefix, inner

    def _turn(
        self,
        body: GraphProto,
        inner: Mapping[str, str],
        arguments: Sequence[str],
        prefix: str,
        turn: int,
    ) -> list[str]:
        """Convert the nodes of a turn and return the body's results."""
        self.budget.turn(turn, len(body.node), self.context.builder)
        names = dict(inner)
        names |= {value.name: name for value, name in zip(body.input, arguments, strict=True)}
        nodes = _renamed(body.node, names, f"{prefix}{turn}", self.context)
        results = [names.get(output.name, output.name) for output in body.output]
        self.context.used.update(name for proto in nodes for name in names_read(proto))
        self.context.used.update(results)
        self.visit(nodes)
        return results

    def _end(
        self,
        node: OnnxNode,
        variables: Sequence[str],
        scans: Sequence[Sequence[str]],
        axes: Sequence[int],
    ) -> None:
        """Give the last values of the variables, and what was collected joined."""
        outputs = [*node.outputs, *[""] * (len(variables) + len(scans) - len(node.outputs))]
        for output, name in zip(outputs, variables, strict=False):
            if output:
                self.context.alias(output, name)
        for output, parts, axis in zip(outputs[len(variables) :], scans, axes, strict=True):
            if not output or output not in self.context.used:
                continue
            if not parts:
                raise UnsupportedForm(f"its result {output!r} is empty", "remove it")
            self.visit(self._joined(node, output, parts, axis))

    def _joined(
        self, node: OnnxNode, output: str, parts: Sequence[str], axis: int
    ) -> list[NodeProto]:
        rank = len(self.context.shape(parts[0])) + 1
        place = axis + rank if axis < 0 else axis
        wide = [self.context.unused(f"{output}/part{i}") for i in range(len(parts))]
        inputs: list[str] = []
        attributes: dict[str, Any] = {"axes": [place]}
        if node.version >= _AXES_ARE_INPUTS:
            inputs = [self._value(f"{output}/axes", np.array([place], np.int64))]
            attributes = {}
        nodes = [
            helper.make_node("Unsqueeze", [name, *inputs], [made], made, **attributes)
            for name, made in zip(parts, wide, strict=True)
        ]
        return [*nodes, helper.make_node("Concat", wide, [output], output, axis=place)]


def _renamed(
    protos: Sequence[NodeProto], names: dict[str, str], prefix: str, context: Context
) -> list[NodeProto]:
    """Return copies of nodes with new names for what they make, also in their sub-graphs."""
    found = []
    for proto in protos:
        made = NodeProto()
        made.CopyFrom(proto)
        made.name = f"{prefix}/{proto.name or next(iter(proto.output), '')}"
        made.input[:] = [names.get(name, name) for name in proto.input]
        for attribute in made.attribute:
            if attribute.HasField("g"):
                _rename_graph(attribute.g, names, prefix, context)
        for name in proto.output:
            if name:
                names[name] = context.unused(f"{prefix}/{name}")
        made.output[:] = [names.get(name, name) for name in proto.output]
        found.append(made)
    return found


def _rename_graph(
    graph: GraphProto, outside: Mapping[str, str], prefix: str, context: Context
) -> None:
    names = dict(outside)
    for own in (*graph.input, *graph.initializer):
        names[own.name] = context.unused(f"{prefix}/{own.name}")
        own.name = names[own.name]
    nodes = _renamed(graph.node, names, prefix, context)
    del graph.node[:]
    graph.node.extend(nodes)
    for output in graph.output:
        output.name = names.get(output.name, output.name)
