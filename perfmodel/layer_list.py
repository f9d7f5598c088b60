"""Networks without weights: a JSON list of layers, so that a design can be priced before training.

The file is an object with ``name``, ``input`` (N, C, H, W, or an object of names and shapes),
``outputs`` and ``layers``; docs/performance.md has the keys of a layer. ``ranges`` says how results
are quantized: ``one`` (the default) all alike, as in the vendor estimates that the model is
compared with; ``usual`` by operator, as models are that nobody has calibrated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError, NpusimError
from npusim.ir.attrs import NO_ATTRS, Attrs, ReshapeAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import LIMITS, Shape, TensorSpec, within_limits
from npusim.ops import op_def
from npusim.perfmodel.layer_forms import (
    Meaning,
    activation_op,
    fused_activation,
    meaning,
    takes_rows,
)
from npusim.perfmodel.network import UNKNOWN_ZERO_FRACTION, Network, from_graph
from npusim.plain import TEXT_RULE, broken_text
from npusim.reading.files import read_bytes
from npusim.reading.records import parse_json

MISFITS = (TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
INPUT = "data"
RANGES = ("one", "usual")
COMMON_KEYS = frozenset(("name", "op", "inputs", "out", "act", "zero_fraction"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerList:
    """A layer list as a float graph whose constants have types and shapes only.

    Attributes
    ----------
    graph : Graph
    zero_fractions : dict
        Weight tensor -> share of zeros where the list says one.
    usual_ranges : bool
        Results are to be quantized by operator; else all alike.
    """

    graph: Graph = field(repr=False)
    zero_fractions: Mapping[str, float]
    usual_ranges: bool = False

    def zeros(self, dtype: DType) -> dict[str, float]:
        """Return the share of zeros of every weight tensor in a number format."""
        weights = [n.inputs[1] for n in self.graph.nodes if op_def(n.op).weighted]
        return dict.fromkeys(weights, UNKNOWN_ZERO_FRACTION[dtype.bits]) | dict(self.zero_fractions)


def load_layer_list(path: str | Path, dtype: DType = DType.U8) -> Network:
    """Read a layer list and place it, all results in one quantization.

    Parameters
    ----------
    path : str or Path
    dtype : DType
        Type of feature maps and weights.

    Raises
    ------
    ModelImportError
        When the file cannot be read or a layer does not make sense; file and layer are named.
    """
    return _network(read_layer_list(path), dtype)


def read_layer_list(path: str | Path) -> LayerList:
    """Read a layer list as a graph; errors as in ``load_layer_list``."""
    text = read_bytes(path, ModelImportError, remedy="check the path")
    data = parse_json(text, str(path), ModelImportError, rule="a JSON layer list")
    return layer_graph(data, where=str(path))


def parse_layer_list(data: object, dtype: DType = DType.U8, where: str = "layer list") -> Network:
    """Build a network from the parsed content of a layer list, all results in one quantization."""
    return _network(layer_graph(data, where), dtype)


def _network(layers: LayerList, dtype: DType) -> Network:
    return from_graph(layers.graph, dtype, layers.zeros(dtype))


def layer_graph(data: object, where: str = "layer list") -> LayerList:
    """Return the graph of a layer list's parsed content; errors as in ``load_layer_list``."""
    if not isinstance(data, dict) or not {"name", "input", "outputs", "layers"} <= set(data):
        raise ModelImportError(
            "is no layer list", where=where, rule="an object with name, input, outputs and layers"
        )
    ranges = data.get("ranges", RANGES[0])
    if ranges not in RANGES:
        raise ModelImportError(f"ranges {ranges!r}", where=where, rule=f"one of {RANGES}")
    parts = _Parts()
    inputs = data["input"] if isinstance(data["input"], dict) else {INPUT: data["input"]}
    for name, shape in inputs.items():
        parts.tensor(name, _shape(shape, f"{where}, input"))
    for index, entry in enumerate(_list(data["layers"], f"{where}, layers")):
        spot = f"{where}, layer {index}"
        if not isinstance(entry, dict):
            raise ModelImportError(f"{entry!r} is no layer", where=spot, rule="an object")
        named = f"{spot} ({entry.get('name')})"
        try:
            _add_layers(entry, index, parts, named)
        except KeyError as error:
            raise ModelImportError(f"lacks {error}", where=named) from None
        except MISFITS as error:
            raise ModelImportError(
                f"cannot be understood: {error}",
                where=named,
                rule="docs/performance.md, layer lists, has the type of every key",
            ) from error
    shapes = parts.shapes
    if (broken := broken_text((str(data["name"]), *parts.tensors))) is not None:
        raise ModelImportError(f"the name {broken!r} is no text", where=where, rule=TEXT_RULE)
    outputs = _list(data["outputs"], f"{where}, outputs")
    unknown = [name for name in outputs if not isinstance(name, str) or name not in shapes]
    if unknown or not outputs:
        raise ModelImportError(
            f"outputs {unknown} are no layers" if unknown else "has no outputs",
            where=where,
            rule="names of layers",
        )
    graph = Graph(
        name=str(data["name"]),
        nodes=tuple(parts.nodes),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        tensors=parts.tensors,
        constants=parts.constants,
    )
    return LayerList(
        graph=graph, zero_fractions=parts.zero_fractions, usual_ranges=ranges == "usual"
    )


class _Parts:
    """The graph of a layer list under construction."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self.tensors: dict[str, TensorSpec] = {}
        self.constants: dict[str, NDArray[Any]] = {}
        self.nodes: list[Node] = []
        self.zero_fractions: dict[str, float] = {}

    def tensor(self, name: str, shape: Shape) -> None:
        """Add an activation."""
        self.shapes[name] = shape
        self.tensors[name] = TensorSpec(name=name, shape=shape)

    def constant(
        self, name: str, shape: Shape, dtype: DType = DType.F32, value: float = 0.0
    ) -> str:
        """Add a placeholder; return its name."""
        self.constants[name] = np.broadcast_to(dtype.numpy.type(value), shape)
        self.tensors[name] = TensorSpec(name=name, shape=shape, dtype=dtype)
        return name

    def weights(self, layer: str, shape: Shape) -> tuple[str, str]:
        """Add weights and bias of a layer; return their names."""
        return (
            self.constant(f"{layer}:weights", shape),
            self.constant(f"{layer}:bias", shape[:1]),
        )

    def node(
        self,
        name: str,
        uid: int,
        op: str,
        inputs: tuple[str, ...],
        attrs: Attrs,
        results: Mapping[str, Shape],
    ) -> None:
        """Add a layer and its results."""
        for result, shape in results.items():
            self.tensor(result, shape)
        self.nodes.append(
            Node(name=name, uid=uid, op=op, inputs=inputs, outputs=tuple(results), attrs=attrs)
        )


def _list(value: object, spot: str) -> list[Any]:
    if not isinstance(value, list):
        raise ModelImportError(f"{value!r} is no list", where=spot, rule="a list")
    return value


def _shape(value: object, spot: str) -> Shape:
    if isinstance(value, list) and value and all(type(n) is int and n > 0 for n in value):
        return _possible(tuple(value), spot)
    raise ModelImportError(f"{value!r} is no shape", where=spot, rule="positive whole numbers")


def _possible(shape: Shape, spot: str) -> Shape:
    if not within_limits(shape):
        raise ModelImportError(
            f"the absurd shape {str(list(shape))[:80]}",
            where=spot,
            rule=LIMITS,
        )
    return shape


def _zero_fraction(value: object, spot: str) -> float:
    if not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ModelImportError(f"zero_fraction {value!r}", where=spot, rule="from 0 to 1")
    return float(value)


def _stated(entry: Mapping[str, Any], spot: str) -> list[Shape]:
    """Return the shapes that a layer states for its results; none when it leaves them out."""
    if "out" not in entry:
        return []
    out = entry["out"]
    if isinstance(out, list) and out and all(isinstance(shape, list) for shape in out):
        return [_shape(shape, f"{spot}, out") for shape in out]
    return [_shape(out, f"{spot}, out")]


def _operands(entry: Mapping[str, Any], name: str, parts: _Parts, spot: str) -> tuple[str, ...]:
    """Return the tensors that a layer reads; ``{"constant": shape}`` adds a placeholder."""
    operands, missing = [], []
    for position, given in enumerate(_list(entry["inputs"], f"{spot}, inputs")):
        if isinstance(given, dict):
            shape = _shape(given["constant"], f"{spot}, inputs")
            dtype = DType(given.get("type", "f32"))
            value = float(given.get("value", 0.0))
            operands.append(parts.constant(f"{name}:{position}", shape, dtype, value))
        elif str(given) in parts.shapes:
            operands.append(str(given))
        else:
            missing.append(str(given))
    if missing or not operands:
        raise ModelImportError(
            f"inputs {missing} come from no layer before it" if missing else "has no inputs",
            where=spot,
        )
    return tuple(operands)


def _add_layers(entry: Mapping[str, Any], index: int, parts: _Parts, spot: str) -> None:
    name = str(entry["name"])
    if name in parts.shapes:
        raise ModelImportError("has a name that is taken", where=spot)
    inputs = _operands(entry, name, parts, spot)
    stated, ins = _stated(entry, spot), [parts.tensors[n].shape for n in inputs]
    means = meaning(entry, ins, stated[0] if stated else None, spot)
    if unknown := sorted(set(entry) - COMMON_KEYS - means.keys):
        known = ", ".join(sorted(COMMON_KEYS | means.keys))
        raise ModelImportError(f"unknown fields {unknown}", where=spot, rule=known)
    shapes = _checked(means, ins, stated, spot)
    out, several = shapes[0], len(shapes) > 1
    results = {f"{name}.{i}" if several else name: shape for i, shape in enumerate(shapes)}
    if means.op == "fc" and means.weights and not takes_rows(ins[0], out):
        flat, shape = f"{name}.flat", (ins[0][0], prod(ins[0][1:]))
        parts.node(flat, index, "reshape", inputs, ReshapeAttrs(shape=shape), {flat: shape})
        inputs = (flat,)
    word = entry.get("act")
    separate = word is not None and not (means.carries and fused_activation(word))
    if separate and several:
        raise ModelImportError("has act and several results", where=spot, rule="one result")
    written = {f"{name}.linear": out} if separate else results
    if means.weights:
        inputs = (*inputs, *parts.weights(name, means.weights))
    parts.node(
        f"{name}.linear" if separate else name, index, means.op, inputs, means.attrs, written
    )
    if "zero_fraction" in entry and op_def(means.op).weighted:
        parts.zero_fractions[inputs[1]] = _zero_fraction(entry["zero_fraction"], spot)
    if separate:
        op = activation_op(str(word), spot)
        attrs = meaning({"op": "act", "kind": op, "name": name}, [out], out, spot).attrs
        parts.node(name, index, op, tuple(written), attrs or NO_ATTRS, results)


def _checked(
    means: Meaning, ins: Sequence[Shape], stated: Sequence[Shape], spot: str
) -> tuple[Shape, ...]:
    """Return the shapes of the results by the operator's own rule; they are as stated."""
    shapes = list(ins)
    if means.weights:
        shapes += [means.weights, means.weights[:1]]
    out = stated[0] if stated else None
    if means.op == "fc" and means.weights and not takes_rows(ins[0], out):
        shapes[0] = (ins[0][0], prod(ins[0][1:]))
    low, high = op_def(means.op).inputs
    if not low <= len(shapes) <= high:
        raise ModelImportError(
            f"has {len(shapes)} operands", where=spot, rule=f"{means.op} has {low} to {high}"
        )
    try:
        expected = op_def(means.op).infer(means.attrs, shapes)
    except NpusimError as error:
        raise ModelImportError(error.what, where=spot, rule=error.rule) from error
    if stated and tuple(expected) != tuple(stated):
        said = [list(shape) for shape in stated]
        gives = [list(shape) for shape in expected]
        if len(said) == len(gives) == 1:
            said, gives = said[0], gives[0]  # type: ignore[assignment]
        raise ModelImportError(f"out is {said}, its inputs give {gives}", where=spot)
    _possible(means.weights, spot)
    return tuple(_possible(shape, spot) for shape in expected)
