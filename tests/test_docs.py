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


BOARD_CHIPS = ("rk1808", "rv1126", "rv1109")


def board_rows(columns: int) -> list[list[str]]:
    """Return the rows of the tables of board times that have so many columns."""
    text = (ROOT / "docs/board-times.md").read_text(encoding="utf-8")
    return [row for row in rows(text) if len(row) == columns]


def percents(pattern: str, document: str) -> list[float]:
    """Return the numbers that a pattern finds in a document."""
    text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
    found = re.search(pattern, text)
    assert found, f"{document} has no sentence {pattern!r}"
    return [float(number) for number in found.groups()]


def test_errors_by_chip_are_those_of_the_board_times():
    table = {row[0]: row for row in board_rows(7)}
    told = percents(
        r"RK1808 ([\d.]+) % mean \(([\d.]+) % .*?\), RV1109 ([\d.]+) % \(([\d.]+) %\), "
        r"RV1126 ([\d.]+) % \(([\d.]+) %\)",
        "docs/performance-model.md",
    )
    cells = [table[chip][column] for chip in ("rk1808", "rv1109", "rv1126") for column in (2, 5)]
    assert told == [float(cell.rstrip("%")) for cell in cells]


@pytest.mark.parametrize(
    ("document", "pattern", "digits"),
    [
        (
            "README.md",
            r"mean ([\d.]+), ([\d.]+) and ([\d.]+) %, worst (\d+), (\d+) and (\d+) %",
            0,
        ),
        (
            "docs/performance-model.md",
            r"mean ([\d.]+), ([\d.]+), ([\d.]+) %, worst ([\d.]+), ([\d.]+), ([\d.]+) %",
            1,
        ),
        (
            "CHANGELOG.md",
            r"high trust ([\d.]+) % on RK1808, ([\d.]+) % on RV1126, ([\d.]+) % on RV1109",
            1,
        ),
    ],
)
def test_errors_of_trusted_times_are_those_of_the_board_times(document, pattern, digits):
    errors = {chip: [] for chip in BOARD_CHIPS}
    for _, chip, _, error, _, trust, _ in board_rows(7):
        if trust == "high":
            errors[chip].append(abs(float(error.rstrip("%"))))
    assert sum(map(len, errors.values())) == 81
    told = percents(pattern, document)
    means = [sum(errors[chip]) / len(errors[chip]) for chip in BOARD_CHIPS]
    assert told[:3] == pytest.approx(means, abs=0.06)  # of errors that are rounded themselves
    if len(told) > 3:
        worst = [max(errors[chip]) for chip in BOARD_CHIPS]
        assert told[3:] == pytest.approx(worst, abs=0.51 if digits == 0 else 0.051)


def test_machine_files_are_within_a_deviation_of_the_fit():
    constants = [row for row in board_rows(5) if re.match(r"r[kv]\d", row[0])]
    fitted = [row for row in constants if row[1].startswith("`")]
    assert len(fitted) == 8
    for _, name, value, deviation, in_file in fitted:
        assert abs(float(value) - float(in_file)) <= float(deviation), name


def test_unexplained_errors_are_those_of_the_table():
    table = {(row[0], row[1]): row[3] for row in board_rows(7)}
    told = percents(
        r"MobileNetV1 on the RV1126, 5.5 ms: predicted (\d+) % low.*? predicted (\d+) % high. "
        r"The same on the RK1808, 4.76 ms, predicted (\d+) % low.*?"
        r"PP-YOLOE m on the RK1808, (\d+) % low, while s is (\d+) % too high",
        "docs/board-times.md",
    )
    errors = [
        *(table["mobilenet_v1", "rv1126"], table["mobilenet_v2", "rv1126"]),
        *(table["mobilenet_v1", "rk1808"], table["ppyoloe_m", "rk1808"]),
        table["ppyoloe_s", "rk1808"],
    ]
    signs = (-1, 1, -1, -1, 1)
    signed = [sign * number for sign, number in zip(signs, told, strict=True)]
    assert signed == [round(float(error.rstrip("%"))) for error in errors]
