"""Root causes, worst first: evidence, what to do, what to paste, what it costs, what they spoil."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npusim.analysis.analyze import BAD, INHERITED, NAMED, AnalysedLayer, Analysis
from npusim.analysis.findings import Cause
from npusim.analysis.parts import outputs_agree
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.quantization.hybrid.cfg import LAYERS_KEY
from npusim.report.page.contents import Contents, Remedy, Trial
from npusim.report.page.numbers import decibel, short

ACCUMULATED = "accumulated"
TITLES = {
    Cause.ACCUMULATOR_WRAP.value: "Sums leave the accumulator and wrap",
    Cause.NEGATIVE_SUMS.value: "Negative sums are lost",
    Cause.VANISHED_CONSTANT.value: "A constant became zero",
    Cause.CLIPPED_RANGE.value: "Values are clipped",
    Cause.TABLE_KINK.value: "The table misses a kink of the function",
    Cause.UNEQUAL_CHANNELS.value: "Channels of very different size share one scale",
    Cause.MIXED_CONCAT.value: "A concat gives parts of different size one range",
    Cause.OUTLIER_RANGE.value: "A few large values stretch the range",
    Cause.FEW_STEPS.value: "The values use few steps",
    ACCUMULATED: "Small errors of many layers add up",
}
WIDER = "dynamic_fixed_point-i16"
EIGHT_BIT = (DType.U8.value, DType.I8.value)
OTHER_REMEDIES = {
    Cause.OUTLIER_RANGE.value: Remedy.MMSE,
    Cause.UNEQUAL_CHANNELS.value: Remedy.EQUALIZE,
}


@dataclass(frozen=True, slots=True)
class Root:
    """A root cause.

    Attributes
    ----------
    layer : str
        Where it lies.
    kind : str
        Value of a ``Cause``, or ``ACCUMULATED``.
    raised : tuple of str
        The layers to raise to a wider format for it.
    spoiled : tuple of str
        Layers that are wrong because of it, in execution order.
    """

    layer: str
    kind: str
    raised: tuple[str, ...]
    spoiled: tuple[str, ...] = ()


def roots_of(analysis: Analysis, graph: Graph) -> list[Root]:
    """Return the root causes of what is wrong, worst first; errors that add up come last.

    A layer whose own fault is another layer's number format (``Finding.at``) is counted to that
    layer, as are those that only inherit.
    """
    own = {row.layer: row for row in sorted(analysis.bad, key=_own_db, reverse=True)}
    before = _inputs(graph)
    rows = {row.layer: row for row in analysis.layers}
    blamed = _passed_on(own)
    own_roots = [layer for layer in reversed(own) if layer not in blamed]
    first: dict[str, tuple[str, ...]] = {}  # errors that add up: layer -> coarsest before it
    for row in analysis.layers:
        if row.verdict != INHERITED or row.layer in own or row.layer in blamed:
            continue
        near = list(_ancestors(row.layer, before, {*own, *first}))
        culprit = next((name for name in near if name in own or name in first), None)
        if culprit is not None:
            blamed[row.layer] = culprit
            continue
        coarse = sorted((rows[name] for name in near if name in rows), key=_own_db)
        movable = [r.layer for r in coarse if r.individual is not None]
        first[row.layer] = tuple(movable[:NAMED])
    spoiled: dict[str, list[str]] = {}
    for layer in (row.layer for row in analysis.layers if row.layer in blamed):
        root = _end(layer, blamed)
        if layer not in spoiled.setdefault(root, []):
            spoiled[root].append(layer)
    eight = {row.layer for row in analysis.layers if row.dtype in EIGHT_BIT}

    def root_at(layer: str, kind: str, raised: Sequence[str]) -> Root:
        chosen = tuple(name for name in raised if name in eight)
        return Root(layer, kind, chosen, tuple(spoiled.get(layer, ())))

    found = [
        root_at(
            layer,
            own[layer].verdict,
            (layer, *_elsewhere(own[layer]), *(n for n in spoiled.get(layer, ()) if n in own)),
        )
        for layer in own_roots
    ]
    return found + [root_at(layer, ACCUMULATED, raised) for layer, raised in first.items()]


def _passed_on(own: Mapping[str, AnalysedLayer]) -> dict[str, str]:
    """Return layer -> the layer at fault whose number format makes its error."""
    found: dict[str, str] = {}
    for layer, row in own.items():
        for at in _elsewhere(row):
            if at in own and _end(at, found) != layer:
                found[layer] = at
    return found


def _elsewhere(row: AnalysedLayer) -> tuple[str, ...]:
    """Return the other layer whose number format makes the error that the verdict names."""
    found = (f.at for f in row.findings if f.cause.value == row.verdict)
    return tuple(at for at in found if at and at != row.layer)[:1]


def _end(layer: str, blamed: Mapping[str, str]) -> str:
    while layer in blamed:
        layer = blamed[layer]
    return layer


def causes_of(contents: Contents) -> list[dict[str, Any]]:
    """Return the root causes of what is wrong, worst first, then where precision is given away."""
    analysis, graph = contents.analysis, contents.network
    if analysis is None or not isinstance(graph, Graph):
        return []
    rows = {row.layer: row for row in reversed(analysis.layers)}
    roots = roots_of(analysis, graph)
    found = [
        _card(contents, rows[r.layer] if r.kind == ACCUMULATED else _worst(analysis, r.layer), r)
        for r in roots
    ]
    listed = {name for r in roots for name in (r.layer, *r.spoiled)}
    return found + [
        _card(contents, rows[root.layer], root)
        for root in _notes(analysis)
        if root.layer not in listed
    ]


def _notes(analysis: Analysis) -> list[Root]:
    """Return where precision is given away, the coarsest first; operands of one concat as one."""
    notes = {row.layer: row for row in reversed(analysis.layers) if row.severity == "note"}
    together: dict[str, list[str]] = {}
    for row in sorted(notes.values(), key=_own_db):
        together.setdefault(next(iter(_elsewhere(row)), row.layer), []).append(row.layer)
    return [
        Root(layers[0], notes[layers[0]].verdict, tuple(layers), tuple(layers[1:]))
        for layers in together.values()
    ]


def _worst(analysis: Analysis, layer: str) -> AnalysedLayer:
    """Return the output of a layer at fault that is furthest off."""
    return min((row for row in analysis.bad if row.layer == layer), key=_own_db)


def _inputs(graph: Graph) -> dict[str, tuple[str, ...]]:
    made = {tensor: node.layer_id for node in graph.nodes for tensor in node.outputs}
    return {
        node.layer_id: tuple(dict.fromkeys(made[t] for t in node.inputs if t in made))
        for node in graph.nodes
    }


def _ancestors(layer: str, before: Mapping[str, Sequence[str]], ends: set[str]) -> Iterator[str]:
    """Yield the layers before one, nearest first, not beyond ``ends``."""
    waiting, seen = list(before.get(layer, ())), {layer}
    for name in waiting:
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name not in ends:
            waiting.extend(before.get(name, ()))


def _card(contents: Contents, row: AnalysedLayer, root: Root) -> dict[str, Any]:
    trials = contents.trials.get(root.layer, ())
    best = max((t for t in trials if t.helps), key=_worth, default=None)
    shown = best or max(trials, key=_worth, default=None)
    harmless = root.kind == ACCUMULATED and bool(agreement(contents))
    return {
        "layer": row.layer,
        "severity": "bad" if row.severity == BAD and not harmless else "warn",
        "kind": root.kind,
        "title": TITLES.get(root.kind, root.kind),
        "evidence": list(_evidence(row, trials)),
        "advice": _advice(contents, row, trials),
        "paste": list(_pastes(contents, row, root, trials)),
        "cost_us": short(shown.cost_us) if shown else None,
        "gain_db": decibel(shown.gain_db) if shown else None,
        "inherited": list(root.spoiled),
    }


def _worth(trial: Trial) -> tuple[float, float, float]:
    """Order remedies: by what the outputs gain, then by what the layer gains, then by cost."""
    return round(trial.gain_db), trial.own_gain_db, -trial.cost_us


def _evidence(row: AnalysedLayer, trials: Sequence[Trial]) -> Iterator[str]:
    yield row.reason
    alone, whole = row.worst_alone, row.worst
    if alone is not None and whole is not None:
        yield (
            f"alone, fed with float values, it has {alone.sqnr_db:.1f} dB (cosine "
            f"{alone.cosine:.6f}); in the whole network {whole.sqnr_db:.1f} dB (cosine "
            f"{whole.cosine:.6f})"
        )
    yield (
        f"range of the stored type {row.range_low:.5g} .. {row.range_high:.5g}, values of this "
        f"sample {row.seen_low:.5g} .. {row.seen_high:.5g}"
    )
    if clipped := row.clipped_low + row.clipped_high:
        yield f"{clipped} of {row.elements} values are clipped"
    for other in row.findings:
        if other.reason != row.reason:
            yield other.reason
    for trial in trials:
        yield (
            f"tried: {trial.remedy.value} ({', '.join(trial.layers)}) changes the worst output by "
            f"{trial.gain_db:+.1f} dB and this result by {trial.own_gain_db:+.1f} dB in the whole "
            f"network, for {trial.cost_us:+.0f} us a run"
            + ("" if trial.helps else ": not worth it on its own")
        )


def _pastes(
    contents: Contents, row: AnalysedLayer, root: Root, trials: Sequence[Trial]
) -> Iterator[dict[str, str]]:
    """Yield what to paste: remedies that helped, best first; untried ones where advised."""
    remedies = [(t.remedy, t.layers) for t in sorted(trials, key=_worth, reverse=True) if t.helps]
    if not trials and root.raised and WIDER in row.suggestion:
        remedies.append((Remedy.WIDER, root.raised))
    if root.kind in OTHER_REMEDIES:
        remedies.append((OTHER_REMEDIES[root.kind], ()))
    for remedy, layers in remedies:
        if contents.repair is not None:
            text = contents.repair(remedy, layers)
            yield {"what": f"command: {remedy.value}", "text": text}
        if remedy is Remedy.WIDER:
            lines = "".join(f"  {_quoted(name)}: {WIDER}\n" for name in layers)
            yield {"what": "hybrid cfg", "text": f"{LAYERS_KEY}:\n{lines}"}


def _quoted(name: str) -> str:
    """Return a name as YAML takes any text: in single quotes."""
    return "'" + name.replace("'", "''") + "'"


def _own_db(row: AnalysedLayer) -> float:
    return row.worst_alone.sqnr_db if row.worst_alone else float("inf")


def sentence(contents: Contents, causes: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the verdict in one sentence, and its severity."""
    analysis, estimate = contents.analysis, contents.estimate
    took = ""
    if estimate is not None:
        took = f"{estimate.total_time_us / 1e3:.2f} ms a run on {estimate.machine}"
    if analysis is None:
        return _without_analysis(contents, took)
    worst = worst_output(analysis, contents.network)
    quality = f"worst output {worst.worst.sqnr_db:.1f} dB" if worst and worst.worst else ""
    said = ", ".join(part for part in (quality, took) if part)
    bad = [cause for cause in causes if cause["severity"] == "bad"]
    if bad:
        first = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        what = first["title"][0].lower() + first["title"][1:]
        return f"{first['layer']}: {what}{more} ({said}).", "bad"
    added = [cause["layer"] for cause in causes if cause["kind"] == ACCUMULATED]
    if added:
        return f"The outputs agree with float; at {added[0]} small errors add up ({said}).", "warn"
    if analysis.first_wrong is not None:
        return f"Wrong from {analysis.first_wrong} on ({said}).", "bad"
    if causes:
        plural = "s give" if len(causes) > 1 else " gives"
        return f"No layer is wrong; {len(causes)} layer{plural} precision away ({said}).", "warn"
    return f"Every layer agrees with float ({said}).", "ok"


def _without_analysis(contents: Contents, took: str) -> tuple[str, str]:
    comparison = contents.comparison
    if comparison is not None:
        if comparison.first_wrong is not None:
            return f"Wrong from {comparison.first_wrong} on, against {comparison.reference}.", "bad"
        return f"All layers agree with {comparison.reference}.", "ok"
    if contents.evaluation is not None:
        return "Accuracy on a labelled set, float beside quantized.", "ok"
    return f"{took}; accuracy was not measured." if took else "Nothing was measured.", "ok"


def agreement(contents: Contents) -> str:
    """Return that nothing needs doing where every output agrees with float; else nothing."""
    analysis = contents.analysis
    if analysis is None:
        return ""
    rows = {row.tensor: row for row in analysis.layers}
    outputs = [rows.get(name) for name in contents.network.outputs]
    return outputs_agree(outputs, analysis.threshold)


def _advice(contents: Contents, row: AnalysedLayer, trials: Sequence[Trial]) -> str:
    """Return what to do: nothing, where the outputs are right and no tried remedy helps them."""
    fine = agreement(contents)
    gain = max((trial.gain_db for trial in trials if trial.helps), default=None)
    if not fine or not trials or (gain is not None and row.suggestion != fine):
        return row.suggestion
    return fine if gain is None else f"{fine}; what helped when tried brings {gain:+.1f} dB"


def worst_output(analysis: Analysis, network: Any) -> AnalysedLayer | None:
    """Return the output of the network that is furthest from float, by its worst part."""
    rows = [row for row in analysis.layers if row.tensor in network.outputs and row.worst]
    return min(rows, key=lambda row: row.worst.sqnr_db if row.worst else 0.0, default=None)
