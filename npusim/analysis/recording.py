"""What the layers of one run gave: from npusim, the float source or a dump; and how two line up."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.parts import CONVERSIONS, OutputParts, output_parts
from npusim.errors import InputError
from npusim.faces import Face, Faced
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import AffinePerChannel, Float, Quant, scale_of
from npusim.ir.tensor import TensorSpec
from npusim.quantization.changed import changed_on_purpose
from npusim.quantization.masks import hidden_tensors
from npusim.reference.float_engine import float_engine
from npusim.runtime.program import Program, preprocess

Array = NDArray[Any]
Key = tuple[str, int]  # (source node, its output)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOutput:
    """One output of one layer.

    Attributes
    ----------
    layer : str
        ``<name>_<uid>``; in a dump without names, the file's name.
    origin : tuple of str
        Source nodes that the (fused) layer stands for, in execution order.
    tensor : str
        The tensor's name; empty when a dump does not say.
    output : int
        Position among the layer's outputs.
    stored : ndarray
        Stored values, in the source model's axis order (N, C, H, W for feature maps).
    hides : int
        1 where it makes no difference how far down masked values lie, -1 for up; 0 elsewhere.
    reads : tuple of str
        Activations that the layer reads; empty where nobody knows.
    """

    layer: str
    op: str = ""
    engine: str = ""
    dtype: DType = DType.F32
    origin: tuple[str, ...] = ()
    tensor: str = ""
    output: int = 0
    stored: Array = field(repr=False)
    quant: Quant = field(default_factory=Float)
    hides: int = 0
    reads: tuple[str, ...] = ()

    @property
    def real(self) -> NDArray[np.float32]:
        """Return the real values as float32; those of a float layer are not copied."""
        return (
            self.stored if self.stored.dtype == np.float32 else dequantize(self.stored, self.quant)
        )

    @property
    def spec(self) -> TensorSpec:
        """Return the stored type."""
        return TensorSpec(
            name=self.tensor, shape=self.stored.shape, dtype=self.dtype, quant=self.quant
        )

    @property
    def step(self) -> float | None:
        """Return the quantization step; None for floats and per-channel parameters."""
        return None if isinstance(self.quant, Float | AffinePerChannel) else scale_of(self.quant)

    @property
    def key(self) -> Key | None:
        """Return what the output is aligned by: the last source node and the output's position."""
        return (self.origin[-1], self.output) if self.origin else None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Recording(Faced):
    """All layer outputs of one run, in execution order.

    Attributes
    ----------
    label : str
        Says which run this is, in tables and reports.
    notes : tuple of str
        What had to be assumed, for example a dump's axis order.
    fed : mapping
        Input name -> digest of the real values that it was fed; empty where nobody knows.
    parts : OutputParts
        Which values of the outputs are of one unit.
    outputs : frozenset of str
        The graph's outputs; empty where nobody knows.
    changed : str
        "equalized", "bias-corrected": its inner values differ from the source's on purpose.
    """

    label: str
    layers: tuple[LayerOutput, ...]
    notes: tuple[str, ...] = ()
    fed: Mapping[str, str] = field(default_factory=dict)
    parts: OutputParts = field(default_factory=OutputParts)
    outputs: frozenset[str] = frozenset()
    changed: str = ""

    def _face(self) -> Face:
        return Face(
            self.label,
            {"layers": len(self.layers), "notes": "; ".join(self.notes) or "none"},
            (
                {
                    "layer": row.layer,
                    "op": row.op,
                    "engine": row.engine,
                    "format": row.dtype.value,
                    "tensor": row.tensor,
                    "shape": "x".join(map(str, row.stored.shape)),
                    "origin": row.origin,
                }
                for row in self.layers
            ),
        )


def digests(feeds: Mapping[str, Array]) -> dict[str, str]:
    """Return ``Recording.fed`` of real values after reorder, mean and std."""
    return {
        name: hashlib.sha256(
            repr(np.shape(value)).encode() + np.asarray(value, np.float32).tobytes()
        ).hexdigest()
        for name, value in feeds.items()
    }


def same_inputs(one: Recording, other: Recording) -> bool | None:
    """Tell whether two runs were fed the same real values; None when nobody knows."""
    common = one.fed.keys() & other.fed.keys()
    return all(one.fed[name] == other.fed[name] for name in common) if common else None


@dataclass(frozen=True, slots=True)
class Pair:
    """An output and its counterpart in the other recording."""

    actual: LayerOutput
    reference: LayerOutput


def layer_output(
    graph: Graph, node: Node, tensor: str, stored: Array, *, hides: int = 0
) -> LayerOutput:
    """Return the record of one layer output of a graph."""
    spec = graph.spec(tensor)
    return LayerOutput(
        layer=node.layer_id,
        op=node.op,
        engine=node.engine.value if node.engine else "",
        dtype=spec.dtype,
        origin=node.origin,
        tensor=tensor,
        output=node.outputs.index(tensor),
        stored=stored,
        quant=spec.quant,
        hides=hides,
        reads=tuple(name for name in node.inputs if not graph.is_constant(name)),
    )


def single_sample(program: Program) -> Program:
    """Return the program for one sample a run."""
    if program.graph.batch == 1:
        return program
    return Program(program.graph.copy(batch=1), driver_faults=program.driver_faults)


def record_program(
    program: Program, feeds: Mapping[str, Array], *, preprocessed: bool = False, label: str = ""
) -> Recording:
    """Run one sample and keep every layer output.

    Parameters
    ----------
    program : Program
    feeds : mapping
        As for ``Program.run``, for one sample.
    preprocessed : bool
        Feeds are already reordered and normalised.
    label : str
        Default: the program's element types.
    """
    program = single_sample(program)
    rows: list[LayerOutput] = []
    sides = hidden_tensors(program.graph)
    program.run(
        feeds,
        preprocessed=preprocessed,
        observe=lambda node, tensor, value: rows.append(
            layer_output(program.graph, node, tensor, np.array(value), hides=sides.get(tensor, 0))
        ),
    )
    how = {} if preprocessed else program.graph.preprocess
    fed = digests({name: preprocess(np.asarray(v), how.get(name)) for name, v in feeds.items()})
    return Recording(
        label=label or element_types(program.graph),
        layers=tuple(rows),
        fed=fed,
        **_whole(program.graph),
    )


def _whole(graph: Graph) -> dict[str, Any]:
    """Return what a recording says of the graph as a whole."""
    return {
        "parts": output_parts(graph),
        "outputs": frozenset(graph.outputs),
        "changed": changed_on_purpose(graph.notes),
    }


def only_outputs(actual: Recording, reference: Recording) -> str:
    """Return why two runs are compared at their outputs only; empty when they are everywhere."""
    if actual.changed == reference.changed:
        return ""
    return (
        f"{actual.label or 'this run'} is {actual.changed or 'unchanged'} and "
        f"{reference.label or 'the other'} {reference.changed or 'unchanged'}: inside, their "
        "values differ on purpose, so only outputs are compared"
    )


def record_values(
    graph: Graph, values: Mapping[str, Array], *, label: str, feeds: Mapping[str, Array]
) -> Recording:
    """Return a recording of a float graph from values by tensor name; missing ones are left out."""
    sides = hidden_tensors(graph)
    return Recording(
        label=label,
        fed=digests(feeds),
        **_whole(graph),
        layers=tuple(
            layer_output(graph, node, tensor, values[tensor], hides=sides.get(tensor, 0))
            for node in graph.nodes
            for tensor in node.outputs
            if tensor in values
        ),
    )


def record_float(
    graph: Graph, feeds: Mapping[str, Array], *, engine: str = "auto", label: str = ""
) -> Recording:
    """Run the float graph and keep every layer output.

    Parameters
    ----------
    graph : Graph
        As an importer made it.
    feeds : mapping
        Preprocessed float32 arrays.
    engine : {"auto", "onnxruntime", "npusim"}
        See ``npusim.reference.float_engine``.
    label : str
        Default: the engine that ran.

    Raises
    ------
    InputError
        When an input is missing or has another shape.
    """
    for name in graph.inputs:
        shape = np.shape(feeds[name]) if name in feeds else None
        if shape != graph.spec(name).shape:
            raise InputError(
                f"array of shape {shape}" if name in feeds else "no data",
                where=f"input {name!r}",
                rule=f"shape {graph.spec(name).shape}",
            )
    values: dict[str, Array] = {}
    runner = float_engine(graph, engine)
    runner.run(feeds, observe=lambda name, value: values.update({name: np.array(value, order="C")}))
    return record_values(graph, values, label=label or f"float ({runner.name})", feeds=feeds)


def element_types(graph: Graph) -> str:
    """Return the element types of a graph's layers, most frequent first: ``u8`` or ``u8 + i16``."""
    counts: dict[str, int] = {}
    for node in graph.nodes:
        name = graph.spec(node.outputs[0]).dtype.value
        counts[name] = counts.get(name, 0) + 1
    return " + ".join(sorted(counts, key=lambda name: -counts[name])) or "empty"


def align(actual: Recording, reference: Recording) -> tuple[list[Pair], list[LayerOutput]]:
    """Return pairs in execution order of ``actual``, and its outputs without a counterpart.

    A tensor of the same name is the counterpart; else the output of the layer that stands for the
    same last source node. Of several layers for one source node only the last gives what the node
    gives, and none does where a later layer goes on with it; conversions between element types
    stand for none.

    Raises
    ------
    InputError
        When a tensor has another shape in the other run.
    """
    named = {row.tensor: row for row in reference.layers if row.tensor}
    keyed = {row.key: row for row in reference.layers if row.key and row.op not in CONVERSIONS}
    last: dict[Key, LayerOutput] = {}
    for row in actual.layers:
        for name in row.origin[:-1]:
            last.pop((name, row.output), None)
        if row.key and row.op not in CONVERSIONS:
            last[row.key] = row
    pairs: list[Pair] = []
    alone: list[LayerOutput] = []
    for row in actual.layers:
        other = named.get(row.tensor)
        if other is None or not _related(row, other):
            other = keyed.get(row.key) if row.key and last.get(row.key) is row else None
            if other is not None and other.stored.shape != row.stored.shape:
                other = None  # the same node, at another step of its conversion
        if other is None:
            alone.append(row)
            continue
        if other.stored.shape != row.stored.shape:
            raise InputError(
                f"{reference.label or 'the reference'} has shape {other.stored.shape}, "
                f"{actual.label or 'the layer'} has {row.stored.shape}",
                where=f"tensor {row.tensor!r} of layer {row.layer!r}",
                rule="both runs see the same input shapes",
            )
        pairs.append(Pair(row, other))
    return pairs, alone


def _related(one: LayerOutput, other: LayerOutput) -> bool:
    """Tell whether outputs of one tensor name come from the same source node."""
    return not one.origin or not other.origin or bool({*one.origin} & {*other.origin})


def values_by_tensor(graph: Graph, reference: Recording) -> dict[str, NDArray[np.float32]]:
    """Return the reference's real value of every tensor of ``graph`` that has one.

    Conversions between element types, which a source does not have, keep the value of what they
    convert.
    """
    blank = [
        layer_output(graph, node, tensor, np.broadcast_to(np.uint8(0), graph.spec(tensor).shape))
        for node in graph.nodes
        for tensor in node.outputs
    ]
    pairs, _ = align(Recording(label=graph.name, layers=tuple(blank)), reference)
    found = {pair.actual.tensor: pair.reference.real for pair in pairs}
    for node in graph.nodes:
        if node.op in CONVERSIONS and node.inputs[0] in found:
            found.setdefault(node.outputs[0], found[node.inputs[0]])
    return found


def layers_named(rows: Sequence[LayerOutput]) -> tuple[str, ...]:
    """Return the layer ids of outputs, each once, in order."""
    return tuple(dict.fromkeys(row.layer for row in rows))
