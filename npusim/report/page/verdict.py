"""Root causes, worst first: evidence, what to do, what to paste, what it costs, what they spoil."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from npusim.analysis.analyze import BAD, INHERITED, NAMED, AnalysedLayer, Analysis
from npusim.analysis.findings import Cause
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.quantization.hybrid.cfg import LAYERS_KEY
from npusim.report.page.contents import Contents, Trial
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
REPAIRED = "repaired.npusim"


def raised_by(analysis: Analysis, graph: Graph, *, most: int) -> dict[str, tuple[str, ...]]:
    """Return the layers that would be raised to a wider format for each of the worst causes.

    Parameters
    ----------
    analysis : Analysis
    graph : Graph
        As it ran.
    most : int
        How many causes.

    Returns
    -------
    dict
        Layer id of the cause -> layer ids.
    """
    eight = {row.layer for row in analysis.layers if row.dtype in EIGHT_BIT}
    found = {}
    for layer, _, raised, _ in _roots(analysis, graph):
        if len(found) < most and (chosen := tuple(name for name in raised if name in eight)):
            found[layer] = chosen
    return found


def causes_of(contents: Contents) -> list[dict[str, Any]]:
    """Return the root causes of what is wrong, worst first, then where precision is given away."""
    analysis, graph = contents.analysis, contents.network
    if analysis is None or not isinstance(graph, Graph):
        return []
    rows = {row.layer: row for row in reversed(analysis.layers)}
    found = []
    for layer, kind, raised, inherited in _roots(analysis, graph):
        trial = contents.trials.get(layer)
        row = rows[layer] if kind == ACCUMULATED else _worst(analysis, layer)
        found.append(_card(contents, row, kind, raised, inherited, trial))
    notes = {row.layer: row for row in reversed(analysis.layers) if row.severity == "note"}
    listed = {cause["layer"] for cause in found}
    for row in sorted(notes.values(), key=_own_db):
        if row.layer not in listed:
            found.append(_card(contents, row, row.verdict, (row.layer,), (), None))
    return found


def _worst(analysis: Analysis, layer: str) -> AnalysedLayer:
    """Return the output of a layer at fault that is furthest off."""
    return min((row for row in analysis.bad if row.layer == layer), key=_own_db)


def _roots(
    analysis: Analysis, graph: Graph
) -> Iterator[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Yield layer, kind, layers to raise and inheriting layers of every root cause, worst first."""
    own = {row.layer: row for row in sorted(analysis.bad, key=_own_db, reverse=True)}
    before = _inputs(graph)
    rows = {row.layer: row for row in analysis.layers}
    blamed: dict[str, str] = {}
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
        movable = [r.layer for r in coarse if r.individual is not None and r.dtype in EIGHT_BIT]
        first[row.layer] = tuple(movable[:NAMED])
    spoiled: dict[str, list[str]] = {}
    for layer, culprit in blamed.items():
        spoiled.setdefault(culprit, []).append(layer)
    for layer in reversed(own):
        yield layer, own[layer].verdict, (layer,), tuple(spoiled.get(layer, ()))
    for layer, coarse_layers in first.items():
        yield layer, ACCUMULATED, coarse_layers, tuple(spoiled.get(layer, ()))


def _inputs(graph: Graph) -> dict[str, tuple[str, ...]]:
    made = {tensor: node.layer_id for node in graph.nodes for tensor in node.outputs}
    return {
        node.layer_id: tuple(dict.fromkeys(made[t] for t in node.inputs if t in made))
        for node in graph.nodes
    }


def _ancestors(
    layer: str, before: Mapping[str, Sequence[str]], ends: set[str]
) -> Iterator[str]:
    """Yield the layers before one, nearest first, not beyond ``ends``."""
    waiting, seen = list(before.get(layer, ())), {layer}
    for name in waiting:
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name not in ends:
            waiting.extend(before.get(name, ()))


def _card(
    contents: Contents,
    row: AnalysedLayer,
    kind: str,
    raised: Sequence[str],
    inherited: Sequence[str],
    trial: Trial | None,
) -> dict[str, Any]:
    raised = trial.layers if trial else tuple(raised) if row.dtype in EIGHT_BIT else ()
    wanted = trial.helps if trial else WIDER in row.suggestion
    return {
        "layer": row.layer,
        "severity": "bad" if row.severity == BAD else "warn",
        "kind": kind,
        "title": TITLES.get(kind, kind),
        "evidence": list(_evidence(row, kind, raised, trial)),
        "advice": row.suggestion,
        "paste": list(_pastes(contents, row, kind, raised if wanted else ())),
        "cost_us": short(trial.cost_us) if trial else None,
        "gain_db": decibel(trial.gain_db) if trial else None,
        "inherited": list(inherited),
    }


def _evidence(
    row: AnalysedLayer, kind: str, raised: Sequence[str], trial: Trial | None
) -> Iterator[str]:
    yield row.reason
    if row.individual is not None and row.entire is not None:
        yield (
            f"alone, fed with float values, it has {row.individual.sqnr_db:.1f} dB (cosine "
            f"{row.individual.cosine:.6f}); in the whole network {row.entire.sqnr_db:.1f} dB "
            f"(cosine {row.entire.cosine:.6f})"
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
    if trial is not None:
        yield (
            f"tried: {', '.join(raised)} in {WIDER} changes this result by "
            f"{trial.own_gain_db:+.1f} dB in the whole network and the worst output by "
            f"{trial.gain_db:+.1f} dB, for {trial.cost_us:.0f} us more a run"
            + ("" if trial.helps else ": not worth it on its own")
        )


def _pastes(
    contents: Contents, row: AnalysedLayer, kind: str, raised: Sequence[str]
) -> Iterator[dict[str, str]]:
    if raised:
        lines = "".join(f"  {_quoted(name)}: {WIDER}\n" for name in raised)
        yield {"what": "hybrid cfg", "text": f"{LAYERS_KEY}:\n{lines}"}
    if not contents.paste:
        return
    if raised:
        layers = [word for name in raised for word in ("--layer", f"{name}=i16")]
        yield {"what": "command", "text": _command(contents, layers)}
    if kind == Cause.MIXED_CONCAT.value and row.op == "concat":
        yield {"what": "command", "text": _command(contents, ["--no-join", row.layer])}
    if kind == Cause.OUTLIER_RANGE.value:
        yield {"what": "command", "text": _command(contents, ["--algorithm", "mmse"])}
    if kind == Cause.UNEQUAL_CHANNELS.value:
        yield {"what": "command", "text": _command(contents, ["--equalize", "restrict"])}


def _command(contents: Contents, options: Sequence[str]) -> str:
    return shlex.join([*contents.paste, *options, "-o", REPAIRED])


def _quoted(name: str) -> str:
    """Return a name as YAML takes any text: in single quotes."""
    return "'" + name.replace("'", "''") + "'"


def _own_db(row: AnalysedLayer) -> float:
    return row.individual.sqnr_db if row.individual else float("inf")


def sentence(contents: Contents, causes: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the verdict in one sentence, and its severity."""
    analysis, estimate = contents.analysis, contents.estimate
    took = ""
    if estimate is not None:
        took = f"{estimate.total_time_us / 1e3:.2f} ms a run on {estimate.machine}"
    if analysis is None:
        return _without_analysis(contents, took)
    worst = worst_output(analysis, contents.network)
    quality = f"worst output {worst.entire.sqnr_db:.1f} dB" if worst and worst.entire else ""
    said = ", ".join(part for part in (quality, took) if part)
    bad = [cause for cause in causes if cause["severity"] == "bad"]
    if bad:
        first = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        what = first["title"][0].lower() + first["title"][1:]
        return f"{first['layer']}: {what}{more} ({said}).", "bad"
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


def worst_output(analysis: Analysis, network: Any) -> AnalysedLayer | None:
    """Return the output of the network that is furthest from float."""
    rows = [row for row in analysis.layers if row.tensor in network.outputs and row.entire]
    return min(rows, key=lambda row: row.entire.sqnr_db if row.entire else 0.0, default=None)
