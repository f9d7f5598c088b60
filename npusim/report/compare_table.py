"""A comparison as a terminal table and a verdict in words."""

from npusim import words as speech
from npusim.analysis.compare import ComparedLayer, Comparison
from npusim.report.parts_text import figure, output_rows, parts_line
from npusim.report.table import Column, Kind, Sheet, legend_of, names, numbers, words


def comparison_table(
    comparison: Comparison, *, title: str = "", most: int | None = None, everything: bool = False
) -> Sheet:
    """Return one row per compared layer, those that lower the cosine most first.

    Wrong layers that lower it no further than a layer before them are counted below.

    Columns: layer id, operator, engine, type, cosine, signal-to-noise ratio in dB, largest
    difference in quantization steps, largest absolute difference, share of saturated elements,
    source nodes. Of an output with parts the distances are those of the worst part.

    Parameters
    ----------
    comparison : Comparison
    title : str
    most : int, optional
        Show only this many layers.
    everything : bool
        All layers in the order of execution.
    """
    losses = comparison.losses
    order = list(zip(comparison.layers, losses, strict=True))
    heirs = [row for row, loss in order if not loss and row.is_wrong(comparison.threshold)]
    if everything:
        heirs = []
    else:
        order.sort(key=lambda pair: -pair[1])
    rows = [row for row, loss in order if loss or everything or row not in heirs]
    if most is not None and len(rows) > most:
        rows = rows[:most]
        title = f"{title} (the {most} layers that lower the cosine most)"
    columns = [*names("layer"), *words("op", priority=2), *words("engine", priority=4)]
    columns += [*words("type"), *numbers("cosine", "SQNR dB"), *numbers("max steps", priority=1)]
    columns += [*numbers("max abs", priority=3), *numbers("saturated", priority=5)]
    columns += [Column("source nodes", Kind.NAME, 6)]
    used = {"steps", "saturated", *(row.engine for row in rows)}
    table = Sheet(columns, title, legend_of(used))
    for row in rows:
        far = row.worst
        table.add(
            row.layer,
            row.op,
            row.engine,
            row.dtype,
            f"{far.cosine:.6f}",
            f"{far.sqnr_db:.1f}",
            "-" if far.max_steps != far.max_steps else f"{far.max_steps:.1f}",
            f"{far.max_abs:.4g}",
            f"{(row.saturated_low + row.saturated_high):.1%}",
            " + ".join(row.origin),
            style="red" if row.is_wrong(comparison.threshold) else "",
        )
    if heirs:
        table.notes.append(
            f"{len(heirs)} more wrong layers are no worse than one before them: "
            f"{speech.say('all_layers')}"
        )
    return table


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
