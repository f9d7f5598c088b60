"""``npusim explain``."""

from typing import Annotated

import typer
from rich.markdown import Markdown

from npusim import explain
from npusim.cli import common
from npusim.cli.uses import NO_FILE
from npusim.report.table import Sheet, prose, words

NAME = "explain"


def command(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="The code a warning ends in."), NO_FILE
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Print the page of a warning's code, or list all codes."""
    chosen = (code,) if code else explain.codes()
    if as_json:
        common.print_json(
            [{"code": c, "title": explain.title(c), "page": explain.page(c)} for c in chosen]
        )
        return
    if code:
        common.console().print(Markdown(explain.page(code)))
        return
    table = Sheet([*words("code"), *prose("title")], "warnings explained")
    for each in chosen:
        table.add(each, explain.title(each))
    common.console().print(table)
