"""Names are shortened in the middle, numbers stay whole, tables have the width they are given."""

import io
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from npusim.analysis.compare import compare
from npusim.analysis.recording import LayerOutput, Recording
from npusim.cli import common
from npusim.report.compare_table import comparison_table
from npusim.report.names import shorten

PARTS = ["block", "conv", "Relu6", "BatchNorm", "12", "345", "/", ";", "_", " + ", ".", "@", "é"]
NAMES = st.lists(st.sampled_from(PARTS), max_size=60).map("".join)
FUSED = ";".join(f"model/batch_normalization_{n}/FusedBatchNormV3" for n in range(6)) + "_1234"


@given(NAMES, st.integers(1, 80))
def test_a_shortened_name_fits_and_no_number_is_cut(name, width):
    short = shorten(name, width)
    assert len(short) <= width
    if len(name) <= width:
        assert short == name
        return
    head, gap, tail = short.partition("…")
    assert gap
    assert name.startswith(head)
    assert name.endswith(tail)
    numbers = {(m.start(), m.end()) for m in re.finditer(r"\d+", name)}
    for at in (len(head), len(name) - len(tail)):
        assert not any(start < at < end for start, end in numbers)


@given(NAMES, st.integers(0, 99999), st.integers(14, 60))
def test_the_uid_at_the_end_is_kept(name, uid, width):
    assert shorten(f"{name}_{uid}", width).endswith(f"{uid}")


def test_names_are_cut_where_their_parts_are_joined():
    assert shorten("stem/block_12/conv1/BiasAdd_417", 24) == "stem/…/conv1/BiasAdd_417"
    assert shorten("Conv_1 + Add_2 + BatchNorm_3 + Relu_4", 24) == "Conv_…_3 + Relu_4"
    assert shorten(FUSED, 0) == ""


def shown(renderable, width):
    text = io.StringIO()
    Console(file=text, width=width).print(renderable)
    return text.getvalue().splitlines()


def test_a_comparison_of_long_names_has_one_line_a_layer():
    row = LayerOutput(
        layer=FUSED, op="conv2d", engine="NN", origin=(FUSED, FUSED), stored=np.ones(3, np.float32)
    )
    found = compare(Recording(label="a", layers=(row,)), Recording(label="b", layers=(row,)))
    for width in (100, 160):
        lines = shown(comparison_table(found), width)
        (line,) = (line for line in lines if " conv2d " in line)
        assert "1234" in line
        assert "1.000000" in line
        assert max(map(len, lines)) <= width


def test_columns_decides_the_width_where_it_is_set(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert common.console().width in (100, common.FILE_WIDTH)
    for width in (77, 230):
        monkeypatch.setenv("COLUMNS", str(width))
        assert common.console().width == width
    monkeypatch.setenv("COLUMNS", "wide")
    assert common.console().width in (100, common.FILE_WIDTH)
