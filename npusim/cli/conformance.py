"""``npusim conformance``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from npusim.cli import common
from npusim.cli.uses import NO_FILE, READ
from npusim.conformance import ImporterResult, Result, conform
from npusim.conformance.forms import FLOAT, FORMS
from npusim.perfmodel.agreement import GroupError
from npusim.report.table import Sheet, names, numbers, prose, words

NAME = "conformance"


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Golden npz, tables (csv), models (jsonl), folders."
        ),
        READ,
    ],
    run: Annotated[
        str,
        typer.Option("--run", metavar="|".join(FORMS), help="What recorded models are run in."),
        NO_FILE,
    ] = FLOAT,
    as_json: common.JsonOption = False,
) -> None:
    """Check golden vectors, tables and recorded models; exit 1 on a difference.

    Vectors run through the kernels that inference uses. Tables of the vendor's estimator and of
    published times are predicted; errors beyond the documented targets count as a difference.
    Recorded models of other frameworks are imported and evaluated in float, or compiled and run as
    the chip does with --run f16 (u8, i8, i16: calibrated on the recorded inputs, judged by cosine);
    deviations on purpose are listed with their reason.
    """
    found = conform(paths, run)
    if as_json:
        rows = [*map(_plain, found.golden), *(e.to_dict() for e in found.tables)]
        common.print_json([*rows, *map(_models_plain, found.models)])
    else:
        shown = common.console()
        if found.golden:
            shown.print(_golden_table(found.golden))
        for result in found.golden:
            for message in result.errors[:3]:
                shown.print(message)
        if found.tables:
            shown.print(_error_table(found.tables))
        if found.models:
            shown.print(_models_table(found.models))
        for models in found.models:
            for label, reason in models.deviations:
                shown.print(f"{models.framework}: {label}: {reason}", style="dim")
            for line in models.failures:
                shown.print(f"{models.framework}: {line}", style="red")
    if not found.ok:
        raise typer.Exit(common.MISMATCH)


def _plain(result: Result) -> dict[str, Any]:
    return {
        "file": result.file,
        "op": result.op,
        "dtype": result.dtype,
        "cases": result.cases,
        "elements": result.elements,
        "mismatches": result.mismatches,
        "max_diff": result.max_diff,
        "granted": result.granted,
        "errors": list(result.errors),
    }


def _models_plain(result: ImporterResult) -> dict[str, Any]:
    return {
        "file": result.file,
        "framework": result.framework,
        "run": result.form,
        "cases": result.cases,
        "agreed": result.agreed,
        "refused": result.refused,
        "deviations": [{"label": label, "reason": why} for label, why in result.deviations],
        "failures": list(result.failures),
        "note": result.note,
    }


def _models_table(results: Sequence[ImporterResult]) -> Sheet:
    columns = [*names("file"), *words("framework")]
    columns += [*numbers("cases", "agree", "refused rightly", "deviate", "fail"), *prose("")]
    table = Sheet(columns, f"recorded models of other frameworks, {results[0].form}")
    for r in results:
        counts = (r.cases, r.agreed, r.refused, len(r.deviations), len(r.failures))
        style = "" if r.ok else "red"
        table.add(r.file, r.framework, *map(str, counts), r.note, style=style)
    return table


def _golden_table(results: Sequence[Result]) -> Sheet:
    columns = [*names("file"), *words("op", "type"), *numbers("cases", "elements", "mismatches")]
    table = Sheet([*columns, *numbers("max diff", "granted", "errors")], "golden vectors")
    for r in results:
        counts = (r.cases, r.elements, r.mismatches, r.max_diff, r.granted, len(r.errors))
        style = "" if r.ok else "red"
        table.add(r.file, r.op, r.dtype, *map(str, counts), style=style)
    return table


def _error_table(errors: Sequence[GroupError]) -> Sheet:
    columns = [*names("table", "group"), *numbers("rows", "median", "p95", "mean", "worst", "bias")]
    table = Sheet([*columns, *words("target")], "performance model: predicted against tables")
    for e in errors:
        table.add(
            e.table,
            e.group,
            str(e.rows),
            f"{e.median_error:.2%}",
            f"{e.p95_error:.2%}",
            f"{e.mean_error:.2%}",
            f"{e.worst_error:.2%}",
            f"{e.bias:+.2%}",
            "-" if e.limits is None else "met" if e.ok else "missed",
            style="" if e.ok else "red",
        )
    return table
