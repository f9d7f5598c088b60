"""An accuracy analysis as a terminal table, csv, json and a verdict in words."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from npusim import words
from npusim.analysis.analyze import BAD, FINE, INHERITED, AnalysedLayer, Analysis
from npusim.analysis.metrics import Difference
from npusim.analysis.parts import worst_part
from npusim.ir.atomic import atomic_set
from npusim.plain import cell
from npusim.report.parts_text import figure, output_rows, parts_line
from npusim.report.table import Column, Kind, Sheet, legend_of, names, numbers

CSV_NAME, JSON_NAME = "analysis.csv", "analysis.json"
DISTANCES = ("cosine", "euclidean", "euclidean_norm", "sqnr_db", "max_steps", "max_abs", "rms")
COLUMNS = (
    "layer", "op", "engine", "dtype", "origin", "tensor", "elements",
    *(f"entire_{name}" for name in DISTANCES),
    *(f"individual_{name}" for name in DISTANCES),
    "at_low", "at_high", "clipped_low", "clipped_high",
    "range_low", "range_high", "seen_low", "seen_high",
    "verdict", "severity", "reason", "suggestion",
    "worst_part", "entire_part_cosine", "individual_part_cosine",
)  # fmt: skip
STYLES = {BAD: "red", FINE: "", "note": "yellow"}


def analysis_row(layer: AnalysedLayer) -> dict[str, Any]:
    """Return one layer as a flat row with the columns ``COLUMNS``; unknown numbers are None."""
    row: dict[str, Any] = {name: getattr(layer, name, None) for name in COLUMNS}
    row["origin"] = " ".join(layer.origin)
    for kind in ("entire", "individual"):
        found: Difference | None = getattr(layer, kind)
        for name in DISTANCES:
            row[f"{kind}_{name}"] = None if found is None else getattr(found, name)
    if (part := worst_part(layer.parts)) is not None:
        row["worst_part"] = part.name
        row["entire_part_cosine"] = part.difference.cosine
    if (part := worst_part(layer.individual_parts)) is not None:
        row["individual_part_cosine"] = part.difference.cosine
    return {key: _plain(value) for key, value in row.items()}


def write_analysis(analysis: Analysis, folder: str | Path) -> tuple[Path, Path]:
    """Write ``analysis.csv`` and ``analysis.json``; return their paths.

    Numbers that do not exist (steps of a float layer) are empty in csv and null in json; an
    infinite SQNR is ``inf`` in csv and null in json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    rows = (analysis_row(layer) for layer in analysis.layers)
    writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    content = _finite(analysis.to_dict())
    with atomic_set(folder / JSON_NAME) as files:
        with files.write(folder / CSV_NAME) as file:
            file.write(text.getvalue().encode())
        with files.write(folder / JSON_NAME) as file:
            file.write(json.dumps(content, indent=1, allow_nan=False).encode())
    return folder / CSV_NAME, folder / JSON_NAME


def analysis_table(
    analysis: Analysis, *, title: str = "", brief: bool = False, everything: bool = False
) -> Sheet:
    """Return one row per layer output, the entire run and the layer alone side by side.

    The layers to blame come first; those that only inherit an error are counted below.

    Columns: layer id, operator, engine and type; cosine, SQNR in dB and largest error in steps of
    the entire run; the same for the layer alone; elements clipped at the low and the high end;
    range of the stored type and of the float values of this sample; verdict.

    Parameters
    ----------
    analysis : Analysis
    title : str
    brief : bool
        Only layers with a verdict other than ok.
    everything : bool
        All layers, those that inherit too, in the order of execution.
    """
    rows = analysis.layers if everything else analysis.by_blame
    heirs = [row for row in rows if row.verdict == INHERITED]
    folded = bool(analysis.bad and heirs and not everything)
    rows = tuple(
        row
        for row in rows
        if not (brief and row.severity == FINE) and not (folded and row.verdict == INHERITED)
    )
    columns = [*names("layer"), Column("op", Kind.WORD, 2), Column("eng", Kind.WORD, 4)]
    columns += [Column("type", Kind.WORD), *numbers("alone\nSQNR dB")]
    columns += [*numbers("alone\nsteps", priority=2), *numbers("alone\ncosine", priority=3)]
    columns += [*numbers("entire\nSQNR dB"), *numbers("entire\nsteps", priority=4)]
    columns += [*numbers("entire\ncosine", priority=1), *numbers("clipped\nlow/high", priority=5)]
    columns += [*numbers("range used", "range seen", priority=6), Column("verdict", Kind.WORD)]
    used = {"alone", "entire", "steps", "clipped", *(row.engine for row in rows)}
    table = Sheet(columns, title, legend_of(used))
    for row in rows:
        whole, own = _distances(row.worst), _distances(row.worst_alone)
        table.add(
            row.layer,
            row.op,
            row.engine,
            row.dtype,
            *(own[1], own[2], own[0]),
            *(whole[1], whole[2], whole[0]),
            f"{row.clipped_low}/{row.clipped_high}",
            f"{row.range_low:.4g} .. {row.range_high:.4g}",
            f"{row.seen_low:.4g} .. {row.seen_high:.4g}",
            row.verdict,
            style=STYLES[row.severity],
        )
    if folded:
        table.notes.append(
            f"{len(heirs)} more layers only inherit an error: {words.say('all_layers')}"
        )
    return table


def analysis_verdict(analysis: Analysis, *, most: int = 5) -> str:
    """Return lines in words: where it goes wrong first, which layers cause it, what to do.

    Parameters
    ----------
    analysis : Analysis
    most : int
        Causes written out; the rest is counted.
    """
    compared = [row for row in analysis.layers if row.entire is not None]
    if not compared:
        return "No layer of the network has a counterpart in the source: nothing was analysed."
    last = compared[-1]
    assert last.entire is not None
    lines = [
        f"{len(compared)} layer outputs; the last has cosine {figure(last.entire, last.parts)}."
    ]
    lines += [parts_line(row) for row in output_rows(compared)]
    if analysis.first_wrong is None:
        lines.append(f"No layer is below {analysis.threshold:g}.")
    else:
        lines.append(f"The first layer below {analysis.threshold:g} is {analysis.first_wrong}.")
    lines.append(f"The reference is {analysis.source.label}.")
    lines += [f"Note: {note}." for note in analysis.notes]
    if analysis.hint:
        lines.append(analysis.hint[0].upper() + analysis.hint[1:] + ".")
    causes = [row for row in analysis.layers if row.reason and row.severity == BAD]
    own = [row for row in causes if row.verdict != "inherited"] or causes[:1]
    notes = [row for row in analysis.layers if row.severity == "note"]
    lines += [
        f"{row.layer} ({row.verdict}): {row.reason}. Next: {row.suggestion}."
        for row in (own or sorted(notes, key=_own_sqnr))[:most]
    ]
    hidden = len(own or notes) - most
    if hidden > 0:
        lines.append(f"{hidden} more layers have a finding; {JSON_NAME} has all of them.")
    return "\n".join(lines)


def _own_sqnr(row: AnalysedLayer) -> float:
    return row.worst_alone.sqnr_db if row.worst_alone else math.inf


def _distances(found: Difference | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "-", "-"
    steps = "-" if math.isnan(found.max_steps) else f"{found.max_steps:.1f}"
    return f"{found.cosine:.6f}", f"{found.sqnr_db:.1f}", steps


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
