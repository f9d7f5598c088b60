"""Which tensors of a network must have the same number of channels, and which cannot change.

A width multiplier scales the results of convolutions and fully connected layers. What reads them
follows: sums want equal operands, a depthwise convolution keeps its input's channels, a concat adds
them up. What the network takes and gives stays as it is. Channels are axis 1.
"""

from math import lcm
from typing import Any

from npusim.ir.attrs import BlockAttrs, GroupAttrs, SliceAttrs
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import Shape
from npusim.ops import op_def

STEP = 8
"""Scaled channels are multiples of this, as in the MobileNet papers."""


class Channels:
    """The classes of equal channel counts of a graph.

    Attributes
    ----------
    kept : set of str
        Classes (``of``) that hold an input or output, or what no rule can follow.
    ends : set of str
        Those of them whose axis 1 is known to be channels: not behind a transpose, for example.
    steps : dict
        Class -> what its number of channels is a multiple of, beside ``STEP``.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parent: dict[str, str] = {}
        self.steps: dict[str, int] = {}
        self._made_of: dict[str, list[str]] = {}
        self._steps: list[tuple[str, int]] = []
        strange = [name for node in graph.nodes for name in self._relate(node)]
        for name, step in self._steps:
            root = self.of(name)
            self.steps[root] = lcm(self.steps.get(root, 1), step)
        ends = self._closed([*graph.inputs, *graph.outputs])
        self.kept = ends | self._closed(strange)
        self.ends = ends - {self.of(name) for name in strange}

    def of(self, name: str) -> str:
        """Return the class of a tensor."""
        root = name
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(name, name)) != root:
            self._parent[name], name = root, parent
        return root

    def rounded(self, name: str, channels: int, width: float) -> int:
        """Return scaled channels: the nearest multiple, not a tenth below what was asked for."""
        if width == 1:
            return channels
        step, wanted = lcm(STEP, self.steps.get(self.of(name), 1)), channels * width
        nearest = max(step, int(wanted + step / 2) // step * step)
        if nearest < 0.9 * wanted:
            nearest += step
        return min(nearest, channels) if width < 1 else max(nearest, channels)

    def _shape(self, name: str) -> Shape:
        return self._graph.spec(name).shape

    def _join(self, first: str, second: str) -> None:
        self._parent[self.of(second)] = self.of(first)

    def _relate(self, node: Node) -> list[str]:
        """Note what a layer asks of its tensors; return those that no rule can follow."""
        operands = self._graph.activations(node)
        out = node.outputs[0]
        if not operands:
            return list(node.outputs)
        ifm, ofm = self._shape(operands[0]), self._shape(out)
        if op_def(node.op).weighted and node.inputs[1] in self._graph.constants:
            return self._relate_weighted(node, operands[0])
        definition = op_def(node.op)
        if definition.elementwise or definition.keeps_channels:
            if isinstance(node.attrs, GroupAttrs):
                self._steps.append((out, node.attrs.group))
            return self._relate_alike(operands, out)
        axis = getattr(node.attrs, "axis", None)
        if node.op in ("concat", "split") and isinstance(axis, int):
            if axis % len(ifm) != 1:
                for name in (*operands, *node.outputs[1:]):
                    self._join(out, name)
            else:
                for name in node.outputs:
                    self._made_of.setdefault(name, []).extend(operands)
                if node.op == "split":
                    self._steps.append((operands[0], len(node.outputs)))
            return []
        if isinstance(node.attrs, SliceAttrs):
            if ifm[1:2] == ofm[1:2]:
                self._join(out, operands[0])
            else:
                self._made_of[out] = [operands[0]]
            return []
        if isinstance(node.attrs, BlockAttrs):
            if node.op == "depth2space":
                self._steps.append((operands[0], node.attrs.block**2))
            self._made_of[out] = [operands[0]]
            return []
        if node.op == "reshape" and ifm[:1] == ofm[:1] and len(ofm) > 1:
            if ifm[:2] == ofm[:2]:
                self._join(out, operands[0])
                return []
            if len(ofm) == 2:
                self._made_of[out] = [operands[0]]
                return []
        return [*operands, *node.outputs]

    def _relate_weighted(self, node: Node, ifm: str) -> list[str]:
        out, channels = node.outputs[0], self._shape(ifm)[1]
        group = int(getattr(node.attrs, "group", 1))
        if node.op == "fc" and len(self._shape(ifm)) > 2:
            return [ifm, out]
        if group > 1 and group == channels:
            if self._shape(out)[1] == channels:
                self._join(out, ifm)
            else:
                self._made_of[out] = [ifm]
        elif group > 1:
            self._steps += [(ifm, group), (out, group)]
        return []

    def _relate_alike(self, operands: tuple[str, ...], out: str) -> list[str]:
        ofm, strange = self._shape(out), []
        for name in operands:
            shape = self._shape(name)
            if len(shape) < 2 or len(ofm) < 2:
                strange += [name, out]
            elif shape[1] == ofm[1]:
                self._join(out, name)
            elif shape[1] != 1 and ofm[1] != 1:
                strange += [name, out]
        return strange

    def _closed(self, kept: list[str]) -> set[str]:
        """Return the classes of names, and of all that those are made of."""
        made_of: dict[str, list[str]] = {}
        for name, parts in self._made_of.items():
            made_of.setdefault(self.of(name), []).extend(parts)
        found: set[str] = set()
        waiting = [self.of(name) for name in kept]
        while waiting:
            root = waiting.pop()
            if root not in found:
                found.add(root)
                waiting += [self.of(part) for part in made_of.get(root, [])]
        return found

    def is_made(self, name: str) -> bool:
        """Tell whether a tensor's channels follow from other tensors' (concat, split, ..)."""
        return name in self._made_of


def group_of(attrs: Any, old: int, new: int) -> int:
    """Return the groups of a convolution whose input has other channels: depthwise stays so."""
    group = int(getattr(attrs, "group", 1))
    return new if group > 1 and group == old else group
