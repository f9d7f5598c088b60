"""No digit of a table is cut, whatever the width; what has no room is named."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from npusim.analysis.analyze import AnalysedLayer, Analysis
from npusim.analysis.compare import ComparedLayer, Comparison
from npusim.analysis.metrics import difference
from npusim.analysis.recording import Recording
from npusim.report.analysis_table import analysis_table
from npusim.report.compare_table import comparison_table
from npusim.report.table import LEGEND, Column, Kind, Sheet, legend_of, names, numbers, prose

FUSED = ";".join(f"model/batch_normalization_{n}/FusedBatchNormV3" for n in range(6)) + "_1234"
COLUMNS = st.lists(
    st.builds(
        Column, st.sampled_from(["us", "entire\ncosine", "layer"]), st.sampled_from(Kind),
        st.integers(0, 4),
    ), min_size=1, max_size=12,
)  # fmt: skip
FIGURES = st.floats(allow_nan=False).map(lambda value: f"{value:.6g}") | st.integers().map(str)


def printed(what, width):
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def cell_of(column, figure):
    if column.kind is Kind.NAME:
        return f"{FUSED}{abs(hash(figure)) % 1000}"
    return f"a sentence about {figure} in words" if column.kind is Kind.PROSE else figure


def numbered(columns):
    return [replace(c, heading=f"{c.heading}{n}x") for n, c in enumerate(columns)]


@given(COLUMNS.map(numbered), st.lists(FIGURES, min_size=1, max_size=4), st.integers(60, 220))
def test_numbers_stay_whole_or_their_column_is_named_as_left_out(columns, figures, width):
    sheet = Sheet(columns, "title")
    for figure in figures:
        sheet.add(*(cell_of(column, figure) for column in columns))
    text = printed(sheet, width)
    assert max(map(len, text.splitlines())) <= width
    missing = re.search(r"no room here for: (.*)", text.replace("\n", " "))
    for column in columns:
        if column.kind not in (Kind.NUMBER, Kind.WORD):
            continue
        if missing and column.title in missing[1]:
            assert column.priority
            continue
        for figure in figures:
            assert re.search(rf"(^|\s){re.escape(figure)}($|\s)", text), (column, figure)


def far(cosine, scale):
    base = np.array([1.0, 0.0]) * scale
    turned = np.array([cosine, np.sqrt(1 - cosine**2)]) * scale
    return difference(turned, base, step=0.01 * scale)


def analysed(name, alone, entire, scale, verdict, severity):
    return AnalysedLayer(
        layer=name, op="conv2d", engine="NN", dtype="u8", origin=(FUSED,), tensor=name, elements=2,
        entire=far(entire, scale), individual=far(alone, scale), at_low=0, at_high=0,
        clipped_low=12345, clipped_high=0, range_low=-scale, range_high=scale, seen_low=-scale,
        seen_high=scale, verdict=verdict, severity=severity, reason="r", suggestion="s",
    )  # fmt: skip


def analysis_of(rows):
    empty = Recording(label="", layers=())
    return Analysis(
        label="u8", sample="", layers=tuple(rows), threshold=0.98, first_wrong=None, hint="",
        entire=empty, individual=empty, source=empty, values={},
    )  # fmt: skip


@given(
    st.integers(60, 200),
    st.lists(
        st.tuples(st.floats(0.5, 1), st.floats(0.5, 1), st.floats(1e-6, 1e6)),
        min_size=1, max_size=5,
    ),
)  # fmt: skip
def test_analyses_and_comparisons_keep_their_digits(width, rows):
    layers = [analysed(f"{FUSED}{n}", *row, "ok", "ok") for n, row in enumerate(rows)]
    text = printed(analysis_table(analysis_of(layers)), width)
    pairs = [
        ComparedLayer(
            layer=r.layer, op=r.op, engine=r.engine, dtype=r.dtype, origin=r.origin,
            tensor=r.tensor, counterpart=r.layer, difference=r.entire, saturated_low=0.0,
            saturated_high=0.0,
        ) for r in layers
    ]  # fmt: skip
    found = Comparison(layers=tuple(pairs), unmatched=(), threshold=0.0, first_wrong=None, hint="")
    text_of_comparison = printed(comparison_table(found), width)
    for row in layers:
        assert f"{row.individual.sqnr_db:.1f}" in text.split()
        assert f"{row.entire.sqnr_db:.1f}" in text.split()
        assert f"{row.entire.cosine:.6f}" in text_of_comparison.split()


def test_blame_comes_first_and_heirs_are_folded():
    found = analysis_of(
        [
            analysed("fine", 0.9999, 0.9999, 1, "ok", "ok"),
            analysed("coarse", 0.99, 0.99, 1, "few_steps", "note"),
            analysed("bad", 0.9, 0.9, 1, "clipped_range", "bad"),
            analysed("worse", 0.7, 0.7, 1, "clipped_range", "bad"),
            analysed("heir", 0.6, 0.6, 1, "inherited", "bad"),
        ]
    )
    text = printed(analysis_table(found), 160)
    order = [text.index(name) for name in ("worse ", "bad ", "coarse ", "fine ")]
    assert order == sorted(order)
    assert "heir " not in text
    assert "1 more layers only inherit an error" in text
    everything = printed(analysis_table(found, everything=True), 160)
    order = [everything.index(f"{row.layer} ") for row in found.layers]
    assert order == sorted(order)


def test_heirs_without_a_cause_are_shown():
    found = analysis_of([analysed("heir", 0.6, 0.6, 1, "inherited", "bad")])
    assert "heir " in printed(analysis_table(found, brief=True), 100)


def test_names_get_what_numbers_leave_and_are_whole_when_there_is_room():
    sheet = Sheet([*names("name"), *numbers("n")])
    sheet.add(FUSED, "12345.678")
    for width in (30, 40, 400):
        (line,) = (line for line in printed(sheet, width).splitlines() if "12345.678" in line)
        assert (FUSED in line) == (width > len(FUSED))
        assert "1234 " in line


def test_where_nothing_fits_each_figure_has_a_line():
    sheet = Sheet([*names("name"), *numbers(*"abcdefgh"), *prose("why")])
    sheet.add("layer", *(f"{n}2345678.5" for n in range(8)), "because")
    assert "a: 02345678.5" in printed(sheet, 60)
    with pytest.raises(ValueError, match="1 cells for 10 columns"):
        sheet.add("one")


def test_the_legend_explains_what_is_used_in_its_own_order():
    assert legend_of(["SH", "x", "NN"]) == ("NN", "SH")
    text = printed(Sheet([*names("n")], legend=("TP",)), 100)
    assert LEGEND["TP"] in text
