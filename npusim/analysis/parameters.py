"""Compare the stored numbers of two quantized models: parameters and codes, tensor by tensor.

A conformance test for whoever has an old model file of the toolkit and its source: what of the
file does npusim reproduce exactly, and which rule gives the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from npusim.analysis.parameter_match import Pair, counterparts
from npusim.analysis.parameter_reasons import Model, Side, equal_formats, reason_of, spread_of
from npusim.analysis.recording import Recording
from npusim.errors import ConfigError
from npusim.ir.codes import dequantize
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Quant
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def
from npusim.quantization.input_text import fit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A tensor's number format as plain values; None where the kind has no such parameter."""

    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    fl: int | None = None

    @property
    def text(self) -> str:
        """Return a short form."""
        if self.fl is not None:
            return f"{self.dtype} fl {self.fl}"
        if self.scale is not None:
            return f"{self.dtype} {self.scale:.7g} @ {self.zero_point}"
        return self.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTensor:
    """A tensor against its counterpart.

    Attributes
    ----------
    layer, counterpart : str
        Layer ids; for inputs of the model, their names.
    matched : str
        How the layers were matched: id, name or position.
    role : str
        input, result, weights, bias or constant.
    first, second : Format
    equal : bool
        Same type, scale within 2e-5, same zero point or fraction bits, and for constants same
        codes.
    elements, different_codes, largest_code_difference : int or None
        Of constants whose element types agree.
    reason : str
        Which rule differs; empty where they are equal.
    """

    layer: str
    counterpart: str
    matched: str
    role: str
    first: Format
    second: Format
    equal: bool
    elements: int | None = None
    different_codes: int | None = None
    largest_code_difference: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterComparison:
    """All tensors of one quantized model that have a counterpart in another.

    Attributes
    ----------
    tensors : tuple of ComparedTensor
        Inputs, then layers in execution order of ``first``.
    only_first, only_second : tuple of str
        Ids of layers without a counterpart.
    preparation : tuple of str
        Differences in mean, std, channel order and fit of inputs.
    spread : str
        What differences of measured ranges look like as a whole.
    """

    first: str
    second: str
    tensors: tuple[ComparedTensor, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    preparation: tuple[str, ...]
    spread: str

    @property
    def equal(self) -> bool:
        """Tell whether everything that was compared is equal."""
        return bool(self.tensors) and not self.preparation and all(t.equal for t in self.tensors)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return role -> (equal, compared)."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.tensors:
            equal, count = found.get(row.role, (0, 0))
            found[row.role] = (equal + row.equal, count + 1)
        return found

    def reasons(self) -> dict[str, int]:
        """Return what differs and in how many tensors, most frequent first."""
        found: dict[str, int] = {}
        for row in self.tensors:
            if not row.equal:
                kind = row.reason.partition(":")[0]
                found[kind] = found.get(kind, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "equal": self.equal,
            "counts": {
                role: {"equal": equal, "compared": count}
                for role, (equal, count) in self.counts().items()
            },
            "reasons": [{"reason": kind, "tensors": n} for kind, n in self.reasons().items()],
            "spread": self.spread,
            "preparation": list(self.preparation),
            "tensors": [asdict(row) for row in self.tensors],
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
        }


def compare_parameters(first: Graph, second: Graph) -> ParameterComparison:
    """Compare scales, zero points, fraction bits and stored codes of two quantized models.

    Parameters
    ----------
    first, second : Graph
        Quantized or float16 graphs at any stage, from ``load_model`` (a file of the vendor's
        toolkit or npusim's) or ``quantize``. Layers are matched by id, by the source node in their
        names, or by position and weights.

    Raises
    ------
    ConfigError
        When a graph is float32, or no layer has a counterpart.
    """
    for graph in (first, second):
        if not is_in_a_format(graph):
            raise ConfigError(
                "the model is float32 and has no quantization parameters",
                where=graph.source.path or graph.name,
                rule="parameters are those of quantized or float16 models",
                remedy="quantize it first",
            )
    found = counterparts(first, second)
    if not found.pairs and first.nodes:
        raise ConfigError(
            f"no layer of {first.name!r} has a counterpart in {second.name!r}",
            rule="layers are matched by name, by weights and by position",
            remedy="compare models that were built from one network",
        )
    models = Model(first), Model(second)
    rows = [*_inputs(*models), *_layers(found.pairs, *models)]
    known = [{getattr(pair, side).name for pair in found.pairs} for side in ("first", "second")]
    return ParameterComparison(
        first=_label(first),
        second=_label(second),
        tensors=tuple(rows),
        only_first=tuple(n.layer_id for n in first.nodes if n.name not in known[0]),
        only_second=tuple(n.layer_id for n in second.nodes if n.name not in known[1]),
        preparation=tuple(_preparation(first, second)),
        spread=spread_of(
            [
                (row.first.scale, row.second.scale)
                for row in rows
                if row.role in ("input", "result") and row.reason.startswith("measured")
            ]
        ),
    )


def as_seen_by(recording: Recording, first: Graph, second: Graph) -> Recording:
    """Return a recording of ``second`` with the tensor names and origins of ``first``.

    ``compare`` then lines both runs up by what ``compare_parameters`` matched.
    """
    names = {other: name for name, other in counterparts(first, second).tensors.items()}
    origins = {out: node.origin for node in first.nodes for out in node.outputs}
    rows = [
        replace(row, tensor=names[row.tensor], origin=origins.get(names[row.tensor], ()))
        for row in recording.layers
        if row.tensor in names
    ]
    return replace(recording, layers=tuple(rows))


def is_in_a_format(graph: Graph) -> bool:
    """Tell whether a graph's feature maps are in one of the chip's formats."""
    return graph.is_quantized or any(spec.dtype.value == "f16" for spec in graph.tensors.values())


def _label(graph: Graph) -> str:
    source = graph.source
    return f"{graph.name} ({' '.join(word for word in (source.framework, source.detail) if word)})"


def _format(spec: TensorSpec) -> Format:
    quant: Quant = spec.quant
    match quant:
        case Affine(scale=scale, zero_point=zero_point):
            return Format(dtype=spec.dtype.value, scale=scale, zero_point=zero_point)
        case DynamicFixedPoint(fl=fl):
            return Format(dtype=spec.dtype.value, fl=fl)
        case _:
            return Format(dtype=spec.dtype.value)


def _row(first: Side, second: Side, role: str, matched: str) -> ComparedTensor:
    formats = equal_formats(first.spec, second.spec)
    one, other = first.value, second.value
    counted: dict[str, Any] = {}
    equal = formats
    if one is not None and other is not None and one.size == other.size:
        if one.dtype == other.dtype:
            codes = [value.reshape(-1).astype(np.float64) for value in (one, other)]
            far = np.abs(codes[0] - codes[1])
            counted = {"elements": one.size, "different_codes": int(np.count_nonzero(far))}
            if one.dtype.kind != "f":
                counted["largest_code_difference"] = int(far.max(initial=0))
        same = counted.get("different_codes") == 0
        equal = formats and (same or (one.dtype != other.dtype and _same_reals(first, second)))
    elif (one is None) != (other is None) or (one is not None and other is not None):
        equal = False
    return ComparedTensor(
        layer=first.label,
        counterpart=second.label,
        matched=matched,
        role=role,
        first=_format(first.spec),
        second=_format(second.spec),
        equal=equal,
        reason="" if equal else reason_of(first, second, role),
        **counted,
    )


def _same_reals(first: Side, second: Side) -> bool:
    if any(isinstance(side.spec.quant, AffinePerChannel) for side in (first, second)):
        return False
    assert first.value is not None
    assert second.value is not None
    one = dequantize(first.value, first.spec.quant).reshape(-1)
    return np.array_equal(one, dequantize(second.value, second.spec.quant).reshape(-1))


def _inputs(first: Model, second: Model) -> Iterator[ComparedTensor]:
    for one, other in zip(first.graph.inputs, second.graph.inputs, strict=False):
        yield _row(Side(first, one, one), Side(second, other, other), "input", "position")


def _layers(pairs: Sequence[Pair], first: Model, second: Model) -> Iterator[ComparedTensor]:
    used: set[str] = set()
    for pair in pairs:
        node, other = pair.first, pair.second
        tensors = list(_constants(first.graph, node, second.graph, other, used))
        used.update(two for _, two, _ in tensors)
        if not pair.inner:
            results = zip(node.outputs, other.outputs, strict=False)
            tensors += [(one, two, "result") for one, two in results]
        for one, two, role in tensors:
            sides = Side(first, one, node.layer_id), Side(second, two, other.layer_id)
            yield _row(*sides, role, pair.how)


def _constants(
    first: Graph, node: Node, second: Graph, other: Node, used: set[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield pairs of constants with their role: by place in weighted layers, else in order."""
    if op_def(node.op).weighted and op_def(other.op).weighted:
        roles = ("", "weights", "bias")
        for place, (one, two) in enumerate(zip(node.inputs, other.inputs, strict=False)):
            if place and first.is_constant(one) and second.is_constant(two):
                yield one, two, roles[min(place, 2)]
        return
    if node.op != other.op:
        return
    ours = [name for name in node.inputs if first.is_constant(name)]
    theirs = [name for name in other.inputs if second.is_constant(name) and name not in used]
    for one, two in zip(ours, theirs, strict=False):
        yield one, two, "constant"


def _preparation(first: Graph, second: Graph) -> Iterator[str]:
    for one, other in zip(first.inputs, second.inputs, strict=False):
        channels = (first.spec(one).shape[1:2] or (1,))[0]
        ours = _prepared(first, one, channels)
        theirs = _prepared(second, other, channels)
        for word, value in ours.items():
            if value != theirs[word]:
                yield f"input {one!r}: {word} {_listed(value)} against {_listed(theirs[word])}"
        fits = [fit_of(graph.preprocess.get(n)) for graph, n in ((first, one), (second, other))]
        if fits[0] != fits[1]:
            yield f"input {one!r}: fit {fits[0]} against {fits[1]}"


def _listed(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def _prepared(graph: Graph, name: str, channels: int) -> dict[str, tuple[float, ...]]:
    how = graph.preprocess.get(name)
    found: dict[str, tuple[float, ...]] = {}
    for word, usual in (("mean", 0.0), ("std", 1.0)):
        numbers = tuple(float(n) for n in getattr(how, word, ())) or (usual,)
        found[word] = numbers * channels if len(numbers) == 1 else numbers
    order = tuple(getattr(how, "reorder", ())) or tuple(range(channels))
    return found | {"reorder": order}
