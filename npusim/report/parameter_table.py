"""Two models' parameters side by side, and what follows from them in words."""

from collections.abc import Sequence

from npusim.analysis.parameters import ComparedTensor, ParameterComparison
from npusim.report.table import Sheet, names, numbers, prose, words

PLURALS = {
    "input": "inputs",
    "result": "feature maps",
    "weights": "weights",
    "bias": "biases",
    "constant": "other constants",
}


def parameter_table(comparison: ParameterComparison, *, everything: bool = False) -> Sheet:
    """Return a row per tensor that differs, or per compared tensor.

    Columns: layer and counterpart, what the tensor is, both formats, different codes, reason.
    """
    title = f"{comparison.first} (first) against {comparison.second} (second)"
    columns = [*names("layer", "second's layer"), *words("tensor", "first", "second")]
    columns += [*numbers("other codes"), *prose("rule that differs")]
    table = Sheet(columns, title)
    for row in comparison.tensors:
        if row.equal and not everything:
            continue
        other = "" if row.counterpart == row.layer else row.counterpart
        table.add(
            row.layer,
            other,
            row.role,
            row.first.text,
            row.second.text,
            _codes(row),
            row.reason or "-",
            style="" if row.equal else "yellow",
        )
    return table


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


def _some(layers: Sequence[str], most: int = 12) -> str:
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(layers[:most]) + more
