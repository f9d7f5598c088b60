"""Every warning's code has a page, every page a warning, and pages say the three things."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import typer

from npusim import explain
from npusim.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"""["']([a-z0-9]+(?:-[a-z0-9]+)+)["']""")


def words_of_sources():
    paths = [p for f in ("npusim", "perfmodel") for p in (ROOT / f).rglob("*.py")]
    return {w for p in paths for w in CODE.findall(p.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("code", explain.codes())
def test_a_page_says_what_the_chip_and_npusim_do_and_the_way_out(code):
    text = explain.page(code)
    assert text.startswith("# ")
    assert 5 < len(explain.title(code)) < 100
    for part in ("**The chip.**", "**npusim**", "**Way out.**"):
        assert part in text, part


def test_every_page_belongs_to_a_warning():
    assert set(explain.codes()) <= words_of_sources()


OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")


@pytest.mark.parametrize("code", explain.codes())
def test_the_options_that_a_page_advises_exist(code):
    from npusim.cli.app import COMMANDS

    known = set()
    for name in COMMANDS:
        application = typer.Typer()
        application.command()(import_module(f"npusim.cli.{name}").command)
        known |= {opt for p in typer.main.get_command(application).params for opt in p.opts}
    assert set(OPTION.findall(explain.page(code))) <= known


# Warnings that change no result: they need no page.
HARMLESS = ("blank lines ignored", "open only files you trust")


def library_warnings():
    for path in sorted((ROOT / "npusim").rglob("*.py")):
        if path.relative_to(ROOT).parts[1] == "rknn":
            continue
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and ast.unparse(called) == "log.warning":
                around = "\n".join(text.splitlines()[max(0, node.lineno - 4) : node.end_lineno])
                yield f"{path.relative_to(ROOT)}:{node.lineno}", around


def test_the_library_s_warnings_end_in_a_code():
    found = dict(library_warnings())
    assert len(found) > 10
    without = [
        place
        for place, text in found.items()
        if "see(" not in text and not any(word in text for word in HARMLESS)
    ]
    # texts of these are made with their codes
    made = (
        "npusim/passes/warn_driver_faults.py",
        "npusim/quantization/dataset.py",
        "npusim/runtime/program.py",
    )
    assert [place.partition(":")[0] for place in without] == list(made)


def test_a_pointer_needs_a_page():
    code = explain.codes()[0]
    assert explain.see(code) == f"(npusim explain {code})"
    with pytest.raises(ConfigError, match="did you mean lrn-zeros"):
        explain.see("lrn-zero")
    with pytest.raises(ConfigError, match="lists all codes"):
        explain.page("qqqq")
