"""The nodes and constants of an ONNX graph in the making."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh_among

Array = NDArray[Any]
OPSET = 12


class Writer:
    """ONNX nodes and constants of a graph in the making."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self._extra: dict[str, Array] = {}
        self._used: set[str] = set()
        self._taken = set(graph.tensors)
        self._names: set[str] = set()
        self._origin: list[str] = []

    def begin(self, node: Node) -> None:
        """Start a layer: its ONNX nodes are named after the source nodes it stands for."""
        self._origin = list(node.origin) or [node.name]

    def add(
        self, op: str, inputs: Iterable[str], outputs: str | Iterable[str], **attrs: Any
    ) -> str:
        """Add a node; return the name of its first output."""
        outs = [outputs] if isinstance(outputs, str) else list(outputs)
        ins = list(inputs)
        self._used.update(ins)
        stem = self._origin.pop(0) if len(self._origin) > 1 else self._origin[0]
        name = fresh_among(self._names, stem)
        self._names.add(name)
        given = {key: value for key, value in attrs.items() if value is not None}
        self.nodes.append(helper.make_node(op, ins, outs, name=name, **given))
        return outs[0]

    def temporary(self, node: Node, purpose: str) -> str:
        """Return a new tensor name."""
        name = fresh_among(self._taken, f"{node.outputs[0]}.{purpose}")
        self._taken.add(name)
        return name

    def constant(self, node: Node, purpose: str, value: Any) -> str:
        """Add a constant and return its name."""
        name = self.temporary(node, purpose)
        self._extra[name] = np.asarray(value)
        return name

    def numbers(self, node: Node, purpose: str, values: Iterable[int]) -> str:
        """Add a list of integers as a constant."""
        return self.constant(node, purpose, np.array(list(values), np.int64))

    def scalar(self, node: Node, purpose: str, value: float) -> str:
        """Add a float32 scalar as a constant."""
        return self.constant(node, purpose, np.float32(value))

    def is_given(self, name: str) -> bool:
        """Tell whether a tensor is a constant or an input of the graph."""
        return self.graph.is_constant(name) or name in self.graph.inputs

    def passed_on(self, name: str) -> str:
        """Return an output of its own for a constant or graph input."""
        out = fresh_among(self._taken, f"{name}.out")
        self._taken.add(out)
        self._origin = [out]
        return self.add("Identity", [name], out)

    def initializers(self) -> dict[str, Array]:
        """Return the constants that nodes use."""
        everything = {**self.graph.constants, **self._extra}
        return {name: value for name, value in everything.items() if name in self._used}
