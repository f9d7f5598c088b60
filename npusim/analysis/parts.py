"""The parts of an output: values of different units that must not share one figure.

A detector's output holds boxes (0..320) beside class scores (0..1): over all of it dead scores cost
the fourth digit of a cosine. Parts are measured apart and the worst of them counts. They are the
operands of the concat that made the output, found through movement; or, without a concat, groups of
neighbouring channels whose values reach differently far.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.metrics import Difference, difference
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Float
from npusim.ops import op_def
from npusim.reference.evaluate import Evaluator

Array = NDArray[Any]
Labels = NDArray[np.int32]
CONVERSIONS = ("identity", "convert")
PADS = "pad"  # a fill value belongs to no operand
EXACT_LABELS = 2**24  # labels move as float32
GROUP_RATIO = 16.0  # neighbouring channel groups reach differently far by this factor
MOST_GROUPS = 4
GROUP_ELEMENTS = 16  # values per channel that make its reach more than a chance


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Which part every element of a tensor belongs to.

    Attributes
    ----------
    names : tuple of str
        The operand that a part came from, or its channels; at least two.
    labels : ndarray of int32
        Index of the part, in the tensor's shape.
    ways : tuple of tuple of str
        Per part the layers that store it, from the one that computes it to the tensor; by name.
    """

    names: tuple[str, ...]
    labels: Labels
    ways: tuple[tuple[str, ...], ...] = ()

    def split(self, value: Array) -> dict[str, Array]:
        """Return part -> its elements, in one row, of a value in the tensor's shape."""
        return {name: self.only(name, value) for name in self.names}

    def only(self, name: str, value: Array) -> Array:
        """Return the elements of one part, in one row."""
        found: Array = value[self.labels == self.names.index(name)]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDifference:
    """Distances of one part."""

    name: str
    elements: int
    difference: Difference


@dataclass(frozen=True, slots=True)
class OutputParts:
    """The parts of a graph's outputs, and of what is only moved on its way there.

    Attributes
    ----------
    joined : mapping
        Tensor -> parts, of tensors that a concat made.
    others : frozenset of str
        Outputs without a concat, whose channels are grouped by the float values.
    """

    joined: Mapping[str, Parts] = field(default_factory=dict)
    others: frozenset[str] = frozenset()

    def of(self, tensor: str, reference: Array) -> Parts | None:
        """Return the parts of a tensor; None where it is one.

        Parameters
        ----------
        tensor : str
        reference : ndarray
            Its float value.
        """
        found = self.joined.get(tensor)
        if found is not None:
            return found if found.labels.shape == reference.shape else None
        return channel_groups(reference) if tensor in self.others else None


def part_differences(
    parts: Parts | None, actual: Array, reference: Array, *, step: float | None = None
) -> tuple[PartDifference, ...]:
    """Return the distances of every part; nothing where there are no parts."""
    if parts is None:
        return ()
    left, right = parts.split(actual), parts.split(reference)
    return tuple(
        PartDifference(
            name=name,
            elements=int(left[name].size),
            difference=difference(left[name], right[name], step=step),
        )
        for name in parts.names
    )


def worst_part(parts: Sequence[PartDifference]) -> PartDifference | None:
    """Return the part with the lowest cosine."""
    return min(parts, key=lambda part: part.difference.cosine, default=None)


def output_parts(graph: Graph) -> OutputParts:
    """Return the parts of a graph's outputs, at any stage of the graph.

    Operands of a concat are parts of their own, with two exceptions: maps of several scales that
    are joined place after place hold the same quantities, and so do operands that are alike
    made of several parts themselves; their counterparts are joined.
    """
    joined: dict[str, Parts] = {}
    others: set[str] = set()
    tracer = _Tracer(graph)
    for output in graph.outputs:
        trace = tracer.trace(output)
        if len(trace.names) > 1:
            for name in (output, *tracer.moved_from(output)):
                found = tracer.trace(name)
                joined[name] = Parts(found.names, found.labels, found.ways)
        elif not _one_unit(graph, output, tracer.source(output)):
            others.add(output)
    return OutputParts(joined, frozenset(others))


def source_op(graph: Graph, tensor: str) -> str:
    """Return the operator that made a tensor's values, behind movement; empty for inputs."""
    return _Tracer(graph).source(tensor)


def channel_groups(reference: Array) -> Parts | None:
    """Return groups of neighbouring channels that reach differently far, by their float values.

    Channels are axis 1 of a map, else the shorter of the last two axes.
    """
    if reference.ndim < 2 or not np.isfinite(reference).all():
        return None
    axis = 1 if reference.ndim != 3 else int(np.argmin(reference.shape[1:])) + 1
    rows = np.moveaxis(np.abs(reference), axis, 0).reshape(reference.shape[axis], -1)
    if rows.shape[0] < 2 or rows.shape[1] < GROUP_ELEMENTS:
        return None
    reach = rows.max(axis=1).astype(np.float64)
    ordered = np.sort(reach[reach > 0])
    if ordered.size < 2:
        return None
    ratios = ordered[1:] / ordered[:-1]
    widest = int(np.argmax(ratios))
    if ratios[widest] < GROUP_RATIO:
        return None
    far = reach >= ordered[widest + 1]
    edges = [0, *(np.flatnonzero(np.diff(far)) + 1).tolist(), reach.size]
    if len(edges) - 1 > MOST_GROUPS:
        return None  # scattered: single channels that happen to be quiet
    names = tuple(
        f"channels {begin}..{end - 1}" if end - begin > 1 else f"channel {begin}"
        for begin, end in pairwise(edges)
    )
    index = np.repeat(np.arange(len(names), dtype=np.int32), np.diff(edges))
    shape = [1] * reference.ndim
    shape[axis] = -1
    return Parts(names, np.broadcast_to(index.reshape(shape), reference.shape))


@dataclass(frozen=True, slots=True, eq=False)
class _Trace:
    """A tensor by the operands it was joined from.

    Attributes
    ----------
    kinds : tuple of str
        Operators that made the parts.
    places : ndarray or None
        Which pixel of its map an element belongs to; None where nobody knows.
    """

    names: tuple[str, ...]
    ways: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]
    labels: Labels
    places: NDArray[np.int64] | None


class _Tracer:
    """Follows tensors back through movement."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = graph.producers()
        self._known: dict[str, _Trace] = {}

    def trace(self, tensor: str) -> _Trace:
        """Return the parts of a tensor."""
        if tensor not in self._known:
            self._known[tensor] = self._trace(tensor)
        return self._known[tensor]

    def moved_from(self, tensor: str) -> list[str]:
        """Return the tensors that are only moved on the way to this one, its last concat's too."""
        found = []
        while (node := self._mover(tensor)) is not None:
            tensor = node.inputs[0]
            found.append(tensor)
        return found

    def source(self, tensor: str) -> str:
        """Return the operator behind the movement; empty for inputs of the graph."""
        node = self.producers.get((tensor, *self.moved_from(tensor))[-1])
        return node.op if node is not None else ""

    def _mover(self, tensor: str) -> Node | None:
        """Return the node that only moves what it reads from one tensor."""
        node = self.producers.get(tensor)
        if node is None:
            return None
        moves = op_def(node.op).moves and node.op not in ("concat", PADS)
        whole = node.op in CONVERSIONS or moves
        small = self.graph.spec(node.inputs[0]).elements < EXACT_LABELS
        read = [name for name in node.inputs if not self.graph.is_constant(name)]
        return node if whole and small and read == [node.inputs[0]] else None  # known places

    def _trace(self, tensor: str) -> _Trace:
        node = self._mover(tensor)
        if node is not None:
            before = self.trace(node.inputs[0])
            return replace(
                before,
                ways=tuple((*way, node.name) for way in before.ways),
                labels=self._moved(node, tensor, before.labels).astype(np.int32),
                places=None
                if before.places is None
                else self._moved(node, tensor, before.places).astype(np.int64),
            )
        node = self.producers.get(tensor)
        if node is not None and node.op == "concat":
            return self._concat(node)
        shape = self.graph.spec(tensor).shape
        return _Trace(
            names=(tensor,),
            ways=((node.name,) if node is not None else (),),
            kinds=(node.op if node is not None else "",),
            labels=np.zeros(shape, np.int32),
            places=self._places(tensor),
        )

    def _concat(self, node: Node) -> _Trace:
        attrs: Any = node.attrs
        axis = attrs.axis
        operands = [self.trace(name) for name in node.inputs]
        first = operands[0]
        alike = all(operand.kinds == first.kinds for operand in operands)
        if alike and (len(first.names) > 1 or any(_varies(o.places, axis) for o in operands)):
            more = f" and {len(operands) - 1} more" if len(operands) > 1 else ""
            names, kinds = tuple(name + more for name in first.names), first.kinds
            labels = [operand.labels for operand in operands]
            joined = zip(*(operand.ways for operand in operands), strict=True)
            ways = [tuple(dict.fromkeys(layer for way in part for layer in way)) for part in joined]
        else:
            names = _unique([name for operand in operands for name in operand.names])
            kinds = tuple(kind for operand in operands for kind in operand.kinds)
            ways = [way for operand in operands for way in operand.ways]
            counts = np.cumsum([0, *(len(operand.names) for operand in operands)])
            labels = [o.labels + np.int32(n) for o, n in zip(operands, counts[:-1], strict=True)]
        stored = tuple((*way, node.name) for way in ways)
        return _Trace(names, stored, kinds, np.concatenate(labels, axis), None)

    def _places(self, tensor: str) -> NDArray[np.int64] | None:
        """Return which pixel every element of a tensor belongs to, where it comes from a map."""
        node, shape = self.producers.get(tensor), self.graph.spec(tensor).shape
        if node is not None:
            moved = self._mover(tensor)
            read = [name for name in node.inputs if not self.graph.is_constant(name)]
            if moved is not None or (op_def(node.op).elementwise and len(read) == 1):
                before = self._places(read[0])
                if moved is not None and before is not None:
                    return self._moved(moved, tensor, before).astype(np.int64)
                return before if before is not None and before.shape == shape else None
        if len(shape) != 4:
            return None
        pixels = np.arange(shape[2] * shape[3], dtype=np.int64).reshape(1, 1, *shape[2:])
        return np.broadcast_to(pixels, shape)

    def _moved(self, node: Node, tensor: str, value: Array) -> Array:
        """Return an array of the input's shape after a node's movement."""
        if node.op in CONVERSIONS:
            return value
        graph, name = self.graph, node.inputs[0]
        constants = {n: graph.constants[n] for n in node.inputs[1:] if n in graph.constants}
        real = (name, *node.outputs)
        small = Graph(
            name=node.name,
            nodes=(replace(node, engine=None, form=None, reason="", requant=None),),
            inputs=(name,),
            outputs=(tensor,),
            tensors={
                n: replace(graph.spec(n), dtype=DType.F32, quant=Float()) if n in real else spec
                for n in dict.fromkeys((*node.inputs, *node.outputs))
                if (spec := graph.spec(n))
            },
            constants=constants,
        )
        return Evaluator(small).run({name: np.array(value, np.float32, order="C")})[tensor]


def _one_unit(graph: Graph, tensor: str, op: str) -> bool:
    """Tell whether a tensor holds indices, or results of a function between two bounds."""
    spec = graph.spec(tensor)
    bounded = bool(op) and all(np.isfinite(op_def(op).bounds))
    return bounded or (not spec.dtype.is_float and isinstance(spec.quant, Float))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    twice = len(set(names)) < len(names)
    return tuple(f"{name} ({i})" if twice else name for i, name in enumerate(names))


def _varies(places: NDArray[np.int64] | None, axis: int) -> bool:
    return places is not None and bool(np.diff(places, axis=axis).any())


def worst_difference(
    whole: Difference | None, parts: Sequence[PartDifference]
) -> Difference | None:
    """Return the distances that count: of the worst part, or of the whole where it has none."""
    part = worst_part(parts)
    return whole if part is None else part.difference


class Measured(Protocol):
    """A layer's result that was compared."""

    @property
    def worst(self) -> Difference | None:
        """Distances that count: of its worst part, if there are."""


def outputs_agree(outputs: Sequence[Measured | None], threshold: float) -> str:
    """Return that nothing needs doing where all outputs agree with float, worst part by part.

    Empty where the cosine of one is below ``threshold``, or one is not compared.
    """
    found = [output.worst if output is not None else None for output in outputs]
    cosines = [-1.0 if worst is None else worst.cosine for worst in found]
    if not cosines or not all(cosine >= threshold for cosine in cosines):
        return ""
    return (
        f"nothing: the outputs agree with float in this sample (cosine {min(cosines):.6f}); "
        "a labelled set decides"
    )
