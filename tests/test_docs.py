"""Tables of the documents that are told in the code as well say the same."""

import importlib.util
import re
from pathlib import Path

import pytest

from npusim.conformance.allowances import ALLOWANCES
from npusim.kernels._cache import FOLDER

ROOT = Path(__file__).resolve().parent.parent


def section(document: str, number: int) -> str:
    """Return the text of a numbered section of a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.split(r"^## \d+\. .*$", text, flags=re.M)[number]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without heads and rules."""
    found = re.findall(r"^\|(.+)\|$", text, re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in found]


def layering():
    spec = importlib.util.spec_from_file_location("layering_rules", ROOT / "tests/test_layering.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_architecture_tells_who_may_import_whom():
    told = {}
    for name, _, allowed in rows(section("docs/architecture.md", 2)):
        if name.startswith("`"):
            told[name.strip("`")] = set(re.findall(r"`([\w.]+)`", allowed))
    assert told == layering().ALLOWED


def test_architecture_names_the_folders_of_kernels():
    told = {
        match[1]
        for name, _ in rows(section("docs/architecture.md", 3))
        if (match := re.fullmatch(r"`kernels/(\w+)/`", name))
    }
    assert told == {init.parent.name for init in FOLDER.glob("*/__init__.py")}


def test_every_node_field_has_its_life_told():
    from dataclasses import fields

    from npusim.ir.graph import Node

    told = set()
    for names, *_ in rows(section("docs/architecture.md", 4)):
        told |= set(re.findall(r"`(\w+)[`.]", names))
    assert told == {field.name for field in fields(Node)}


def test_fidelity_lists_the_allowances():
    told = {}
    for op, dtype, counts, _ in rows(section("docs/fidelity.md", 2)):
        if match := re.fullmatch(r"(\d+) / (\d+)|not modelled", counts):
            pair = (1, 1) if match[1] is None else (int(match[1]), int(match[2]))
            told[op, dtype] = pair
    assert told == {key: (a.mismatches, a.elements) for key, a in ALLOWANCES.items()}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_figures_of_documents_exist(page):
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), target
