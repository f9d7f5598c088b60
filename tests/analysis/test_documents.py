"""What docs/accuracy-analysis.md says is what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest

from npusim.analysis.analyze import INHERITED, NO_REFERENCE, OK
from npusim.analysis.findings import Cause
from npusim.analysis.metrics import Difference, difference
from npusim.analysis.snapshot import error_line
from npusim.ir.dtypes import DType
from npusim.report.analysis_table import COLUMNS, DISTANCES

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "accuracy-analysis.md").read_text(encoding="utf-8")


def first_cells(heading):
    part = TEXT.split(f"### {heading}\n")[1].split("\n#")[0]
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", row)[1].strip() for row in rows[1:]]


def test_every_verdict_has_a_row():
    assert set(first_cells("Verdicts")) == {OK, INHERITED, NO_REFERENCE, *(c.value for c in Cause)}


def test_every_column_has_a_row():
    cells = ", ".join(first_cells("Table")).replace("... ", "")
    words = {word.strip() for word in cells.split(",")}
    plain = {c for c in COLUMNS if not c.startswith(("entire_", "individual_"))}
    assert words == plain | set(DISTANCES) | {"entire_...", "individual_..."}


def test_the_example_line_has_the_form_of_the_files():
    example = next(line for line in TEXT.splitlines() if "eculidean_norm=" in line)
    name, word, *fields = example.strip().split("<TAB>")
    apart, cosine = (float(field.partition("=")[2]) for field in fields)
    found = Difference(
        cosine=cosine, euclidean=0.0, euclidean_norm=apart, sqnr_db=0.0,
        max_abs=0.0, max_steps=0.0, rms=0.0,
    )  # fmt: skip
    assert error_line(name.strip(), DType(word), found).replace("\t", "<TAB>") == example.strip()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("B21", "quantized features of another are easily mixed up"),
        ("B34", "What to expect layer by layer when a board's dump is compared"),
        ("B48", "A board is right, whatever a simulator says"),
    ],
)
def test_questions_that_documentation_answers(case, words):
    assert words in " ".join(TEXT.split()), case


def test_a_vanished_tensor_has_no_cosine_and_long_names_keep_one_space():
    zeros, ones = np.zeros(4, np.float32), np.ones(4, np.float32)
    line = error_line("n" * 61, DType.F16, difference(zeros, ones))
    assert line == "n" * 61 + " \tfp16\teculidean_norm=1.000000\tcosine_norm=nan"
    assert error_line("n", DType.U8, difference(ones, ones)).index("\t") == 61
