"""Two models' parameters side by side, and what follows from them in words."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from npusim.analysis.parameters import ComparedTensor, ParameterComparison
from npusim.report.names import Fitted, Name

PLURALS = {
    "input": "inputs",
    "result": "feature maps",
    "weights": "weights",
    "bias": "biases",
    "constant": "other constants",
}


def parameter_table(comparison: ParameterComparison, *, everything: bool = False) -> Fitted:
    """Return a row per tensor that differs, or per compared tensor.

    Columns: layer and counterpart, what the tensor is, both formats, different codes, reason.
    """
    title = f"{comparison.first} (first) against {comparison.second} (second)"
    table = Table(box=SIMPLE_HEAD, title=title)
    for heading in ("layer", "second's layer", "tensor", "first", "second"):
        table.add_column(heading)
    table.add_column("other codes", justify="right")
    table.add_column("rule that differs", overflow="fold", min_width=24)
    for row in comparison.tensors:
        if row.equal and not everything:
            continue
        other = "" if row.counterpart == row.layer else row.counterpart
        table.add_row(
            Name(row.layer),
            Name(other),
            row.role,
            row.first.text,
            row.second.text,
            _codes(row),
            row.reason or "-",
            style="" if row.equal else "yellow",
        )
    return Fitted(table)


def _codes(row: ComparedTensor) -> str:
    if row.different_codes is None:
        return "-"
    return f"{row.different_codes} of {row.elements}"


def parameter_verdict(comparison: ParameterComparison) -> list[str]:
    """Return what the comparison shows, a line each."""
    lines = []
    for role, (equal, count) in comparison.counts().items():
        what = "codes and parameters" if role in ("weights", "bias", "constant") else "parameters"
        lines.append(f"{PLURALS[role]}: {equal} of {count} equal in {what}")
    for reason, count in comparison.reasons().items():
        lines.append(f"differs ({count}): {reason}")
    if comparison.spread:
        lines.append(comparison.spread)
    lines += [f"preparation differs: {text}" for text in comparison.preparation]
    for word, layers in (
        ("first", comparison.only_first),
        ("second", comparison.only_second),
    ):
        if layers:
            lines.append(f"only in the {word}: {_some(layers)}")
    lines.append(
        "Both models store the same numbers." if comparison.equal else "The models differ."
    )
    return lines


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
