"""Find the layers that cost accuracy, and why: the whole network and each layer alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.causes import find_causes
from npusim.analysis.compare import WRONG_BELOW, first_layer_hint
from npusim.analysis.findings import Cause, Finding
from npusim.analysis.hidden import masked_at_ends
from npusim.analysis.individual import LayerRun, run_individually
from npusim.analysis.layer_view import LayerView
from npusim.analysis.metrics import Difference, difference
from npusim.analysis.parts import (
    OutputParts,
    PartDifference,
    outputs_agree,
    part_differences,
    worst_difference,
    worst_part,
)
from npusim.analysis.recording import (
    LayerOutput,
    Recording,
    layer_output,
    only_outputs,
    record_program,
    single_sample,
    values_by_tensor,
)
from npusim.analysis.source import record_every_layer
from npusim.errors import ConfigError, InputError
from npusim.faces import Face, Faced
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import SMALLEST_NORMAL_F16, representable
from npusim.ir.quant import Float
from npusim.runtime.program import Program

Array = NDArray[Any]
OK, INHERITED, NO_REFERENCE = "ok", "inherited", "no_reference"
FINE, NOTE, BAD = "ok", "note", "bad"
NAMED = 3  # layers named in a reason
RAISE = "raise the layers with the lowest SQNR alone to dynamic_fixed_point-i16"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysedLayer:
    """One layer output of the quantized network.

    Attributes
    ----------
    entire : Difference or None
        Against float in the run from end to end; None without a float counterpart.
    individual : Difference or None
        Against float when the layer alone is quantized and reads float results.
    at_low, at_high : int
        Elements at the ends of the integer type, entire run.
    clipped_low, clipped_high : int
        Those of them whose float value lies beyond the end by more than half a step.
    range_low, range_high : float
        What the stored type holds: the range used.
    seen_low, seen_high : float
        The float values of this sample: the range seen.
    verdict : str
        ``"ok"``, ``"inherited"`` (the error comes from layers before), ``"no_reference"``, or the
        value of a ``Cause``.
    severity : str
        ``"ok"``, ``"note"`` (precision is given away), ``"bad"`` (the result is wrong).
    findings : tuple of Finding
        Everything that was found; the verdict is the first of the worst.
    parts, individual_parts : tuple of PartDifference
        The parts of an output that holds values of several units, entire run and layer alone.
    """

    layer: str
    op: str
    engine: str
    dtype: str
    origin: tuple[str, ...]
    tensor: str
    elements: int
    entire: Difference | None
    individual: Difference | None
    at_low: int
    at_high: int
    clipped_low: int
    clipped_high: int
    range_low: float
    range_high: float
    seen_low: float
    seen_high: float
    verdict: str
    severity: str
    reason: str
    suggestion: str
    findings: tuple[Finding, ...] = ()
    parts: tuple[PartDifference, ...] = ()
    individual_parts: tuple[PartDifference, ...] = ()

    @property
    def worst(self) -> Difference | None:
        """Return the distances that count of the entire run: of the worst part, if there are."""
        return worst_difference(self.entire, self.parts)

    @property
    def worst_alone(self) -> Difference | None:
        """Return the distances that count of the layer alone."""
        return worst_difference(self.individual, self.individual_parts)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Analysis(Faced):
    """The layers of a quantized network in execution order, with verdicts.

    Attributes
    ----------
    first_wrong : str or None
        First layer whose cosine in the entire run is below ``threshold``.
    hint : str
        What to look at when the very first layer is wrong.
    entire, individual : Recording
        The layer outputs themselves; not part of ``to_dict``.
    source : Recording
        The float results of all source layers.
    values : mapping
        Float result of every tensor of the quantized network that has one, its inputs included.
    notes : tuple of str
        What had to be assumed, and what is not compared.
    """

    label: str
    sample: str
    layers: tuple[AnalysedLayer, ...]
    threshold: float
    first_wrong: str | None
    hint: str
    entire: Recording = field(repr=False)
    individual: Recording = field(repr=False)
    source: Recording = field(repr=False)
    values: Mapping[str, Array] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def bad(self) -> tuple[AnalysedLayer, ...]:
        """Return the layers that are themselves wrong, not those that inherit an error."""
        return tuple(r for r in self.layers if r.severity == BAD and r.verdict != INHERITED)

    @property
    def by_blame(self) -> tuple[AnalysedLayer, ...]:
        """Return the layers by blame: wrong themselves, coarse, right, and last those that inherit.

        Of equals, the one with the lowest SQNR alone comes first.
        """
        ranks = {BAD: 0, NOTE: 1, FINE: 2}

        def rank(row: AnalysedLayer) -> tuple[int, float]:
            return 3 if row.verdict == INHERITED else ranks[row.severity], _own_db(row)

        return tuple(sorted(self.layers, key=rank))

    @property
    def to_raise(self) -> tuple[str, ...]:
        """Return the layers that a wider format would help most, in the order of blame.

        Those that are wrong themselves; where errors only add up, the coarsest before the end.
        """
        own = [row.layer for row in self.by_blame if row in self.bad]
        if not own and self.first_wrong is not None:
            names = [row.layer for row in self.layers]
            before = self.layers[: names.index(self.first_wrong) + 1]
            coarse = sorted(before, key=_own_db)
            own = [row.layer for row in coarse if np.isfinite(_own_db(row))][:NAMED]
        return tuple(dict.fromkeys(own))

    def _face(self) -> Face:
        own = ", ".join(f"{row.layer} ({row.verdict})" for row in self.by_blame if row in self.bad)
        return Face(
            self.label,
            {
                "layers": len(self.layers),
                "wrong themselves": len(self.bad),
                "first wrong": self.first_wrong or "none",
                "sample": self.sample or "-",
                "to blame": own or "none",
                "hint": self.hint or "-",
            },
            (asdict(row) for row in self.by_blame),
            shown=(
                *("layer", "op", "dtype", "individual_sqnr_db", "entire_sqnr_db"),
                *("verdict", "reason", "suggestion"),
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [asdict(row) for row in self.layers]
        for row, layer in zip(rows, self.layers, strict=True):
            row["findings"] = [
                {**asdict(finding), "cause": finding.cause.value} for finding in layer.findings
            ]
        return {
            "label": self.label,
            "reference": self.source.label,
            "sample": self.sample,
            "threshold": self.threshold,
            "first_wrong": self.first_wrong,
            "hint": self.hint,
            "notes": list(self.notes),
            "layers": rows,
        }


def analyze(
    graph: Graph,
    program: Program,
    feeds: Mapping[str, Array],
    *,
    sample: str = "",
    threshold: float = WRONG_BELOW,
    reference: Recording | None = None,
    progress: Callable[[int, int, str], None] | Literal[True] | None = None,
) -> Analysis:
    """Compare a quantized network with its float source: end to end, and each layer alone.

    Parameters
    ----------
    graph : Graph
        The float source, as an importer made it.
    program : Program
        Compiled from it.
    feeds : mapping
        One sample after reorder, mean and std: float32 by input name.
    sample : str
        Names the sample in reports.
    threshold : float
        Cosine of the entire run below which a layer counts as wrong.
    reference : Recording, optional
        Float results of the same sample; by default those of ``record_every_layer``.
    progress : callable or True, optional
        Called with (layers done, layers, layer).

    Raises
    ------
    ConfigError
        When ``graph`` is no float source.
    InputError
        When the feeds do not fit, or a float result is NaN; it names the layer.
    """
    assert progress is not True  # a bar by now (npusim.api.arguments.checked)
    require_float_source(graph)
    program = single_sample(program)
    known = reference or record_every_layer(graph, feeds)
    entire = record_program(program, feeds, preprocessed=True)
    values: dict[str, Array] = {
        **{name: np.asarray(value) for name, value in feeds.items()},
        **values_by_tensor(program.graph, known),
    }
    values = masked_at_ends(graph, program.graph, values)
    apart = only_outputs(entire, known)
    if apart:
        ends = {*program.graph.inputs, *program.graph.outputs}
        values = {name: value for name, value in values.items() if name in ends}
    _refuse_nan(program.graph, values)
    stored = {row.tensor: row for row in entire.layers}
    users = program.graph.consumers()
    rows: list[AnalysedLayer] = []
    alone: list[LayerOutput] = []
    for done, run in enumerate(run_individually(program, values)):
        for tensor, value in zip(run.node.outputs, run.outputs, strict=True):
            output = layer_output(program.graph, run.node, tensor, np.array(value))
            alone.append(output)
            rows.append(
                _row(
                    program.graph,
                    run,
                    output,
                    stored[tensor],
                    values,
                    users,
                    graph.constants,
                    threshold,
                    entire.parts,
                    apart,
                )
            )
        if progress:
            progress(done + 1, len(program.graph.nodes), run.node.name)
    wrong = next(
        (r.layer for r in rows if r.worst and _is_wrong(DType(r.dtype), r.worst, threshold)), None
    )
    first = next((r.layer for r in rows if r.entire), None)
    return Analysis(
        label=entire.label,
        sample=sample,
        layers=tuple(_inherited(program.graph, rows, threshold)),
        threshold=threshold,
        first_wrong=wrong,
        hint=first_layer_hint(entire, known, clipped=_clipped(rows, first))
        if wrong is not None and wrong == first and not apart
        else "",
        notes=(*known.notes, *((apart,) if apart else ())),
        entire=entire,
        individual=Recording(label=f"{entire.label}, layer by layer", layers=tuple(alone)),
        source=known,
        values=values,
    )


def _clipped(rows: Sequence[AnalysedLayer], layer: str | None) -> bool:
    """Tell whether what a layer is fed, or gives, leaves the calibrated range."""
    return any(row.layer == layer and row.verdict == Cause.CLIPPED_RANGE.value for row in rows)


def require_float_source(graph: Graph) -> None:
    """Raise a ConfigError when a graph is quantized or float16.

    Source: docs/rknn-compat.md section 11: accuracy analysis needs a float source model.
    """
    for name, spec in graph.tensors.items():
        if not isinstance(spec.quant, Float) or spec.dtype is DType.F16:
            raise ConfigError(
                f"tensor {name!r} of the source model is {spec.dtype.value}: the model is quantized"
                " already and there are no float results to compare with",
                where=graph.source.path or graph.name,
                rule="accuracy analysis needs a float source model",
                remedy="give the float model the quantized one was made from",
            )


def _refuse_nan(graph: Graph, values: Mapping[str, Array]) -> None:
    for node in graph.nodes:
        for tensor in node.outputs:
            if tensor in values and np.isnan(values[tensor]).any():
                raise InputError(
                    f"the float result of tensor {tensor!r} holds NaN",
                    where=f"layer {node.layer_id!r}",
                    rule="accuracy is measured against numbers",
                    remedy="look for NaN in the source model's weights and in this sample",
                )


def _row(
    graph: Graph,
    run: LayerRun,
    output: LayerOutput,
    entire: LayerOutput,
    values: Mapping[str, Array],
    users: Mapping[str, Sequence[Node]],
    originals: Mapping[str, Array],
    threshold: float,
    outputs: OutputParts,
    apart: str,
) -> AnalysedLayer:
    spec = graph.spec(output.tensor)
    low, high = representable(spec)
    codes = spec.dtype in (DType.U8, DType.I8, DType.I16)
    at_low, at_high = (
        (entire.stored == spec.dtype.min, entire.stored == spec.dtype.max)
        if codes
        else (np.zeros(1, np.bool_), np.zeros(1, np.bool_))
    )
    known = values.get(output.tensor)
    reference = None if known is None else known.astype(np.float64)
    common: dict[str, Any] = {
        "layer": output.layer,
        "op": output.op,
        "engine": output.engine,
        "dtype": output.dtype.value,
        "origin": output.origin,
        "tensor": output.tensor,
        "elements": int(output.stored.size),
        "at_low": int(np.count_nonzero(at_low)),
        "at_high": int(np.count_nonzero(at_high)),
        "range_low": low,
        "range_high": high,
    }
    if reference is None:
        return AnalysedLayer(
            **common,
            entire=None,
            individual=None,
            clipped_low=0,
            clipped_high=0,
            seen_low=float("nan"),
            seen_high=float("nan"),
            verdict=NO_REFERENCE,
            severity=FINE,
            reason=apart or "part of what became of one source layer; the last part is compared",
            suggestion="",
        )
    step = output.step
    half = (step or 0.0) / 2
    whole = difference(entire.real, reference, step=step)
    own = difference(output.real, reference, step=step)
    split = outputs.of(output.tensor, reference)
    parts = part_differences(split, entire.real, reference, step=step)
    counts = worst_part(parts)
    view = LayerView(
        graph=graph,
        node=run.node,
        tensor=output.tensor,
        reference=reference,
        real=output.real.astype(np.float64),
        stored=output.stored,
        feeds=run.feeds,
        inputs=run.inputs,
        values=values,
        users=users,
        originals=originals,
        parts=split,
    )
    findings = () if apart else find_causes(view)
    chosen = next((f for f in findings if f.severe), findings[0] if findings else None)
    wrong = _is_wrong(spec.dtype, counts.difference if counts else whole, threshold)
    if chosen is None:
        verdict, severity = (INHERITED, BAD) if wrong else (OK, FINE)
    else:
        verdict = chosen.cause.value
        severity = BAD if chosen.severe else NOTE
        if wrong and not chosen.severe:
            verdict, severity = INHERITED, BAD
    own_fault = chosen is not None and verdict == chosen.cause.value
    return AnalysedLayer(
        **common,
        entire=whole,
        individual=None if apart else own,
        clipped_low=int(np.count_nonzero(at_low & (reference < low - half))) if codes else 0,
        clipped_high=int(np.count_nonzero(at_high & (reference > high + half))) if codes else 0,
        seen_low=float(reference.min(initial=np.inf)),
        seen_high=float(reference.max(initial=-np.inf)),
        verdict=verdict,
        severity=severity,
        reason=chosen.reason if chosen and own_fault else "",
        suggestion=chosen.suggestion if chosen and own_fault else "",
        findings=findings,
        parts=parts,
        individual_parts=()
        if apart
        else part_differences(split, output.real, reference, step=step),
    )


def _is_wrong(dtype: DType, whole: Difference, threshold: float) -> bool:
    """Tell whether the cosine is too low and the type could have done better."""
    no_better = dtype is DType.F16 and whole.max_abs <= SMALLEST_NORMAL_F16
    return not (whole.cosine >= threshold or no_better)


def _inherited(graph: Graph, rows: Sequence[AnalysedLayer], least: float) -> list[AnalysedLayer]:
    """Return the rows with a reason for those whose error comes from layers before them."""
    producer = graph.producers()
    by_tensor = {row.tensor: row for row in rows}
    agreed = outputs_agree([by_tensor.get(name) for name in graph.outputs], least)
    result = []
    for row in rows:
        if row.verdict != INHERITED:
            result.append(row)
            continue
        before = _before(row.tensor, producer, by_tensor)
        culprits = [other.layer for other in before if _is_culprit(other)]
        if before and all(other.entire is None for other in before):
            reason, advice = "the layers before it are not compared", "compare the original model"
        elif culprits:
            reason = f"the error comes from {', '.join(culprits[:NAMED])}"
            advice = f"look at {culprits[0]} first"
        else:
            reason = "each layer before it is right on its own; their errors add up"
            coarse = sorted(before, key=lambda other: _own_db(other))[:NAMED]
            names = ", ".join(f"{other.layer} ({_own_db(other):.1f} dB)" for other in coarse)
            advice = agreed or (RAISE + (f": {names}" if names else ""))
        result.append(replace(row, reason=reason, suggestion=advice))
    return result


def _is_culprit(row: AnalysedLayer) -> bool:
    return row.severity == BAD and row.verdict != INHERITED


def _own_db(row: AnalysedLayer) -> float:
    return row.worst_alone.sqnr_db if row.worst_alone else np.inf


def _before(
    tensor: str, producer: Mapping[str, Node], rows: Mapping[str, AnalysedLayer]
) -> list[AnalysedLayer]:
    """Return the layers before a tensor, nearest first, not beyond those that are wrong."""
    waiting, seen, found = [tensor], {tensor}, []
    while waiting:
        for name in producer[waiting.pop(0)].inputs:
            if name in seen or name not in producer:
                continue
            seen.add(name)
            found.append(rows[name])
            if not _is_culprit(rows[name]):
                waiting.append(name)
    return found
