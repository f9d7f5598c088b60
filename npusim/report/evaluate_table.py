"""An evaluation as terminal tables and a verdict in words."""

from typing import Any

from npusim.evaluation.evaluate import Evaluation
from npusim.report.table import Sheet, names, numbers, words

PARTS = 4  # outputs, or parts of them, written out; the worst ones


def accuracy_table(evaluation: Evaluation, *, title: str = "") -> Sheet:
    """Return one row per network.

    Columns: run, samples; for classification the share of right first classes, of right classes
    among the first five, and of samples classified as float does; the set's figures; mean of
    every number of the task.
    """
    runs = evaluation.accuracies
    means = list(runs[0].means) if runs else []
    classes = any(run.top1 is not None for run in runs)
    figures = list(runs[0].scores) if runs else []
    shares = ("top-1", "top-5", "agrees with float") if classes else ()
    headings = ("samples", *shares, *figures, *(f"mean {name}" for name in means))
    table = Sheet([*names("run"), *numbers(*headings)], title)
    for run in runs:
        values = (run.top1, run.top5, run.agreement) if classes else ()
        table.add(
            run.name,
            run.samples,
            *("-" if share is None else f"{share:.2%}" for share in values),
            *(f"{run.scores[name]:.4f}" for name in figures),
            *(f"{run.means[name]:.6g}" for name in means),
        )
    return table


def worst_table(evaluation: Evaluation, *, count: int = 10) -> Sheet:
    """Return the samples on which quantization costs most.

    Columns: sample, label; for each run its first class and the right class's score, or the
    numbers of the task.
    """
    columns = [*names("sample"), *words("label"), *numbers(*evaluation.runs)]
    table = Sheet(columns, "samples that lose most against float")
    for record in evaluation.worst(count):
        table.add(
            record["image"],
            record["label"],
            *(_cell(record["runs"][name]) for name in evaluation.runs),
        )
    return table


def evaluation_verdict(evaluation: Evaluation) -> str:
    """Return a paragraph: how much was measured, what quantization costs, what failed."""
    measured, failed = len(evaluation.measured), evaluation.failed
    words = [f"{measured} of {evaluation.total} samples measured."]
    runs = evaluation.accuracies
    words += [
        f"{run.name} against {runs[0].name}: {own[0]} {100 * (own[1] - first[1]):+.2f} points."
        for run in runs[1:]
        if (own := run.headline) is not None and (first := runs[0].headline) is not None
    ]
    words += [
        f"{name}: mean cosine with float "
        + ", ".join(f"{part} {value:.4f}" for part, value in list(parts.items())[:PARTS])
        + "."
        for name, parts in evaluation.parts.items()
    ]
    if evaluation.at_chance:
        words.append(f"{evaluation.at_chance}.")
    if failed:
        record = failed[0]
        words.append(f"{len(failed)} could not be run; the first is {record['image']}:")
        words.append(record["error"].splitlines()[0] + ".")
    return " ".join(words)


def _cell(found: dict[str, Any]) -> str:
    if "top" in found:
        return f"{found['top'][0]}: {found['score']:.4f}" + ("" if found["rank"] == 0 else " !")
    numbers = (value for value in found.values() if isinstance(value, int | float))
    return " ".join(f"{value:.6g}" for value in numbers)
