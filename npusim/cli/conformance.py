"""``npusim conformance``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from npusim.cli import common
from npusim.conformance import conform

NAME = "conformance"


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Golden npz or folders.")],
    as_json: common.JsonOption = False,
) -> None:
    """Replay golden vectors through the kernels that inference uses; exit 1 on a difference."""
    results, passed = conform(paths)
    if as_json:
        common.print_json(
            [
                {
                    "file": r.file,
                    "op": r.op,
                    "dtype": r.dtype,
                    "cases": r.cases,
                    "elements": r.elements,
                    "mismatches": r.mismatches,
                    "max_diff": r.max_diff,
                    "granted": r.granted,
                    "errors": list(r.errors),
                }
                for r in results
            ]
        )
    else:
        table = Table(box=SIMPLE_HEAD, title="golden vectors")
        for heading in ("file", "op", "type"):
            table.add_column(heading)
        for heading in ("cases", "elements", "mismatches", "max diff", "granted", "errors"):
            table.add_column(heading, justify="right")
        for r in results:
            counts = (r.cases, r.elements, r.mismatches, r.max_diff, r.granted, len(r.errors))
            style = "" if r.ok else "red"
            table.add_row(r.file, r.op, r.dtype, *map(str, counts), style=style)
        shown = common.console()
        shown.print(table)
        for r in results:
            for message in r.errors[:3]:
                shown.print(message)
    if not passed:
        raise typer.Exit(common.MISMATCH)
