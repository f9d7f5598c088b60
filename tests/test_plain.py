"""Names are text for people: no name of a model, file or list steers a terminal or a table."""

import csv
import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from npusim.cli.common import PlainConsole
from npusim.errors import NpusimError
from npusim.ir.graph import layer_id
from npusim.plain import cell, from_cell, printable
from npusim.report.perf_data import csv_text
from npusim.report.table import Sheet, names, prose

HARMLESS = {"Zl", "Zp", "Cc", "Cs"}  # lines, paragraphs, control, halves: none may be left
TEXT = st.text(st.characters(codec=None, categories=None), max_size=40)


def is_plain(text, *, lines=False):
    kept = text.replace("\n", "") if lines else text
    return not {unicodedata.category(c) for c in kept} & HARMLESS


@given(TEXT)
def test_nothing_that_steers_is_left(text):
    said = printable(text)
    assert is_plain(said)
    assert len(said.splitlines()) <= 1
    assert printable(said) == said
    assert is_plain(printable(text, lines=True), lines=True)
    assert is_plain(layer_id(text, 3))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_ordinary_text_stays(text):
    assert printable(text) == text
    assert from_cell(str(cell(text))) == text


def test_direction_and_invisible_characters_are_spelled_out():
    for code in (0x202E, 0x2066, 0x200B, 0xFEFF, 0xE0041, 0x9B, 0x7F, 0xD800):
        assert printable(f"a{chr(code)}b").isascii()


@given(st.lists(st.one_of(TEXT, st.integers(), st.floats(allow_nan=False)), min_size=1))
def test_no_cell_of_a_table_is_a_formula(values):
    rows = list(csv.reader(io.StringIO(csv_text(["h"] * len(values), [values]))))
    assert len(rows) == 2
    for value, found in zip(values, rows[1], strict=True):
        if found.startswith(("=", "+", "-", "@")):
            float(found)
        if isinstance(value, str):
            assert from_cell(found) == printable(value)


@given(TEXT, TEXT)
def test_an_error_keeps_its_form(name, place):
    error = NpusimError("no", where=place, rule="yes")
    assert str(error).count("\n") == 1
    assert is_plain(str(NpusimError(name, where=place, remedy=name)), lines=True)


@given(TEXT)
def test_the_console_and_tables_say_names_as_they_are(name):
    for kind in (PlainConsole, Console):
        file = io.StringIO()
        console = kind(file=file, width=400)
        sheet = Sheet([*names("layer"), *prose("note")], title=f"of {name}", notes=[name])
        sheet.add(name, name)
        console.print(sheet)
        assert is_plain(file.getvalue(), lines=True)
    file = io.StringIO()
    PlainConsole(file=file, width=4000).print(f"<{name}>", soft_wrap=True)
    assert file.getvalue() == f"<{printable(name, lines=True)}>\n"


def test_markup_in_names_means_nothing():
    file = io.StringIO()
    PlainConsole(file=file, force_terminal=True).print("[link=http://x]a[/link] :smile: [red]b")
    assert "[link=http://x]a[/link] :smile: [red]b" in "".join(
        part.partition("m")[2] if n else part
        for n, part in enumerate(file.getvalue().split("\x1b["))
    )
