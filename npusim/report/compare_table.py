"""A comparison as a terminal table and a verdict in words."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from npusim.analysis.compare import ComparedLayer, Comparison
from npusim.report.names import Fitted, Name
from npusim.report.parts_text import figure, output_rows, parts_line


def comparison_table(comparison: Comparison, *, title: str = "", most: int | None = None) -> Fitted:
    """Return one row per compared layer.

    Columns: layer id, operator, engine, type, cosine, signal-to-noise ratio in dB, largest
    difference in quantization steps, largest absolute difference, share of saturated elements,
    source nodes. Of an output with parts the distances are those of the worst part.

    Parameters
    ----------
    comparison : Comparison
    title : str
    most : int, optional
        Show only this many layers with the lowest cosine, still in execution order.
    """
    rows = list(comparison.layers)
    if most is not None and len(rows) > most:
        limit = sorted(row.worst.cosine for row in rows)[most - 1]
        rows = [row for row in rows if row.worst.cosine <= limit][:most]
        title = f"{title} (the {most} layers furthest apart)"
    table = Table(box=SIMPLE_HEAD, title=title)
    table.add_column("layer")
    for heading in ("op", "engine", "type"):
        table.add_column(heading)
    for heading in ("cosine", "SQNR dB", "max steps", "max abs", "saturated"):
        table.add_column(heading, justify="right")
    table.add_column("source nodes")
    for row in rows:
        far = row.worst
        style = "red" if row.is_wrong(comparison.threshold) else ""
        table.add_row(
            Name(row.layer),
            row.op,
            row.engine,
            row.dtype,
            f"{far.cosine:.6f}",
            f"{far.sqnr_db:.1f}",
            "-" if far.max_steps != far.max_steps else f"{far.max_steps:.1f}",
            f"{far.max_abs:.4g}",
            f"{(row.saturated_low + row.saturated_high):.1%}",
            Name(" + ".join(row.origin)),
            style=style,
        )
    return Fitted(table)


def verdict(comparison: Comparison) -> str:
    """Return one readable paragraph: is it right, where does it go wrong first, what to do."""
    if not comparison.layers:
        return "No layer has a counterpart in the other run: nothing was compared."
    last = comparison.layers[-1]
    words = [
        f"{len(comparison.layers)} layers compared; the last has cosine "
        f"{figure(last.difference, last.parts)}."
    ]
    words += [parts_line(row) for row in output_rows(comparison.layers)]
    if comparison.unmatched:
        other = comparison.reference or "the other run"
        words.append(f"{len(comparison.unmatched)} layers have no counterpart in {other}.")
    if comparison.first_wrong is None:
        words.append(f"No layer is below {comparison.threshold:g}.")
    else:
        words.append(f"The first layer below {comparison.threshold:g} is {comparison.first_wrong}.")
    costly = comparison.costliest
    if costly is not None:
        words.append(f"The largest loss happens in {_described(costly)}.")
    words += [f"Note: {note}." for note in comparison.notes]
    if comparison.hint:
        words.append(comparison.hint[0].upper() + comparison.hint[1:] + ".")
    return " ".join(words)


def _described(row: ComparedLayer) -> str:
    cosine = figure(row.difference, row.parts)
    return f"{row.layer} ({row.op}, {row.dtype} on {row.engine}, cosine {cosine})"
