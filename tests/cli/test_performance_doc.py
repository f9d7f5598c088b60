"""docs/performance.md is true: its commands run; columns, options and keys are the real ones."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from npusim.cli import perf
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report.perf_advice import _RULES
from npusim.report.perf_data import CSV_COLUMNS, to_json
from npusim.report.perf_table import layer_table, memory_table, traffic_table
from tests.report.estimates import tiny

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def first_cells(heading):
    """Return the first column of the tables under a heading, without code marks."""
    section = re.split(r"^#{2,3} ", TEXT.split(f"# {heading}\n", 1)[1], flags=re.MULTILINE)[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")]
    return [row.removeprefix("| ").replace("`", "") for row in rows]


def test_every_command_runs_as_written(run):
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(commands) > 12
    for line in commands:
        command, _, remark = line.partition("#")
        name, *arguments = shlex.split(command)
        assert name == "npusim"
        code, out, err = run(*arguments)
        wanted = 1 if "exits with 1" in remark else 0
        assert code == wanted, f"{line}\n{err}"
        assert out


def test_python_and_json_examples_run(capsys):
    for block in blocks("python"):
        exec(compile(block, "docs/performance.md", "exec"), {})
    assert "wide_9" in capsys.readouterr().out
    (example,) = blocks("json")
    assert len(parse_layer_list(json.loads(example)).layers) == 2


@pytest.mark.parametrize(("heading", "table"), [("Layers", layer_table), ("Bytes", traffic_table)])
def test_columns_are_explained_in_the_printed_order(heading, table):
    printed = [column.title for column in table(tiny()).columns]
    cells = first_cells(heading)[1:]
    explained = [name for cell in cells for name in cell.split(", ")]
    assert explained[: len(printed)] == printed


def test_memory_figures_are_explained_in_the_printed_order():
    table = memory_table(tiny().memory)
    printed = [cells[0] for cells, _ in table.rows]
    explained = [name for cell in first_cells("Memory")[1:] for name in cell.split(", ")]
    assert explained == printed


def test_every_option_is_explained():
    command = typer.main.get_command(_app())
    options = {name for p in command.params for name in p.opts if name.startswith("--")}
    assert options - {"--help"} <= set(re.findall(r"--[a-z-]+", TEXT))
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) - {"--vs-..."} <= options | {"--vs-"}


def _app():
    app = typer.Typer(add_completion=False)
    app.command()(perf.command)
    return app


def test_every_key_and_rule_is_named():
    data = to_json(tiny())
    for key in {*data, *data["layers"][0], *CSV_COLUMNS}:
        assert f"`{key}`" in TEXT, key
    for name, _ in _RULES:
        assert re.search(rf"\b{name}\b", TEXT), name


def test_every_operator_of_layer_lists_is_named():
    from npusim.perfmodel.layer_forms import SHORT
    from npusim.perfmodel.layer_list import COMMON_KEYS

    section = TEXT.split("## Layer lists", 1)[1].split("## eval_perf", 1)[0]
    for name in (*SHORT, *COMMON_KEYS):
        assert re.search(rf"\b{name}\b", section), name
