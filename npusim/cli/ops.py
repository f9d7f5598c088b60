"""``npusim ops``."""

from typing import Annotated

import typer

from npusim.cli import common
from npusim.cli.uses import NO_FILE
from npusim.ops import op_def, op_names
from npusim.passes.engine_rules import RULES
from npusim.report.table import Sheet, prose, words
from npusim.runtime.binding import has_binding
from npusim.runtime.bindings import load_bindings

NAME = "ops"


def command(
    only: Annotated[
        str | None, typer.Argument(metavar="[OP]", help="One operator."), NO_FILE
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """List every operator with the engines that run it, when, and what it means."""
    load_bindings()
    names = [op_def(only).name] if only else list(op_names())
    rows = [
        {
            "op": name,
            "summary": op_def(name).summary,
            "engines": [
                {"engine": rule.engine.value, "form": rule.form.value, "when": rule.reason}
                for rule in RULES.get(name, ())
                if has_binding(name, rule.engine)
            ],
        }
        for name in names
    ]
    if as_json:
        common.print_json(rows)
        return
    columns = [*words("op"), *prose("meaning"), *words("engine"), *prose("when (first match wins)")]
    table = Sheet(columns, "operators", legend=("NN", "TP", "SH"))
    for row in rows:
        engines: list[dict[str, str]] = row["engines"]  # type: ignore[assignment]
        table.add_section()
        first = (str(row["op"]), str(row["summary"]))
        for entry in engines:
            table.add(*first, entry["engine"], entry["when"])
            first = ("", "")
    common.console().print(table)
