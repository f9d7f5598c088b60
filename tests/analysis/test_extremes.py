"""Extreme values: analyze answers or refuses in words, and blames what is furthest off alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.analysis.analyze import INHERITED, analyze
from npusim.analysis.compare import compare
from npusim.analysis.findings import POOR_DB
from npusim.analysis.metrics import difference, sqnr_db
from npusim.analysis.recording import record_float, record_program
from npusim.errors import NpusimError
from npusim.ir.attrs import AxisAttrs, ClipAttrs, EltwiseAttrs, ReduceAttrs
from npusim.testing import GraphBuilder

SUM = EltwiseAttrs()
SIZES = (-np.inf, -3.4e38, -1e9, -1e4, -1e-8, -1e-38, 0.0, 1e-30, 1e-5, 1.0, 7e4, 1e30, 3e38)
OPS = ("add", "sub", "mul", "div", "max", "min")
FUNCTIONS = ("relu", "sigmoid", "exp", "square", "sqrt", "abs", "neg", "tanh")


@st.composite
def extreme_graphs(draw):
    b = GraphBuilder()
    at = b.input("x", 1, 2, 4, 4)
    known = [at]
    for number in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(["constant", "constant", "function", "softmax", "maximum", "own"])
        )
        at = draw(st.sampled_from(known[-2:]))
        name = f"t{number}"
        if kind == "constant":
            size = np.float32(draw(st.sampled_from(SIZES)))
            shape = draw(st.sampled_from([(), (1,), (4, 4), (1, 2, 1, 1)]))
            value = np.zeros(shape, np.float32)
            value[...] = size
            if value.ndim == 2 and draw(st.booleans()):
                value = np.where(np.eye(4) > 0, np.float32(0), value)
            pair = [at, b.constant(f"k{number}", value)]
            op = draw(st.sampled_from(OPS))
            at = b.node(op, pair if draw(st.booleans()) else pair[::-1], name, SUM)
        elif kind == "function":
            at = b.node(draw(st.sampled_from(FUNCTIONS)), [at], name)
        elif kind == "softmax":
            at = b.node("softmax", [at], name, AxisAttrs(axis=3))
        elif kind == "maximum":
            at = b.node("reduce_max", [at], name, ReduceAttrs(axes=(3,), keepdims=True))
        else:
            at = b.node("clip", [at], name, ClipAttrs(minimum=-2.0, maximum=5.0))
        known.append(at)
    return b.done(at)


@given(
    extreme_graphs(),
    st.sampled_from(["f16", "u8", "i8", "i16"]),
    st.sampled_from([1e-30, 1e-4, 1.0, 1e4, 1e30]),
    st.integers(0, 99),
)
def test_analyze_answers_or_refuses_and_blames_the_worst_layer(graph, scheme, reach, seed):
    x = np.random.default_rng(seed).normal(size=(1, 2, 4, 4)) * reach
    feeds = {"x": x.astype(np.float32)}
    try:
        with np.errstate(all="ignore"):
            ready = (
                npusim.float16(graph)
                if scheme == "f16"
                else npusim.quantize(graph, [("sample", feeds)], scheme=scheme)
            )
            found = analyze(graph, npusim.compile(ready), feeds)
    except NpusimError:
        return
    known = [row for row in found.layers if row.individual is not None]
    worst = min(known, key=lambda row: row.individual.sqnr_db, default=None)
    if worst is None or not worst.individual.sqnr_db < POOR_DB:
        return
    if scheme == "f16" and worst.individual.max_abs <= 2.0**-14:
        return  # float16 holds nothing smaller
    assert worst.severity == "bad", worst
    assert worst.verdict != INHERITED
    assert worst in found.bad


def test_decibels_of_energies_beyond_float64_quotients():
    assert sqnr_db(1e300, 1e-300) == pytest.approx(6000)
    assert sqnr_db(1e-320, 1e300) == pytest.approx(-6200, rel=1e-3)
    assert sqnr_db(np.inf, np.inf) != sqnr_db(1.0, 0.0)
    far = difference(np.float32([np.inf, 1]), np.float32([np.inf, 1]))
    assert far.max_abs == 0.0


@pytest.mark.parametrize("scheme", ["f16", "u8", "i8", "i16"])
@pytest.mark.parametrize("low", [-np.inf, -3.4e38, -1e9, -1e4])
def test_masks_are_no_error(scheme, low):
    """Neither compare nor analyze minds how far off masked values are."""
    b = GraphBuilder()
    x = np.random.default_rng(1).normal(size=(1, 2, 6, 6)).astype(np.float32)
    b.input("x", *x.shape)
    mask = np.triu(np.full((6, 6), low, np.float32), 1)
    b.node("add", ["x", b.constant("m", mask)], "s", SUM)
    graph = b.done(b.node("softmax", ["s"], "y", AxisAttrs(axis=3)))
    feeds = {"x": x}
    ready = (
        npusim.float16(graph)
        if scheme == "f16"
        else npusim.quantize(graph, [("s", feeds)], scheme=scheme)
    )
    program = npusim.compile(ready)
    found = compare(record_program(program, feeds, preprocessed=True), record_float(graph, feeds))
    assert found.first_wrong is None
    assert [row.verdict for row in analyze(graph, program, feeds).layers] == ["ok", "ok"]
    other = npusim.compile(npusim.quantize(graph, [("s", feeds)], scheme="u8"))
    pair = (record_program(p, feeds, preprocessed=True) for p in (program, other))
    assert compare(*pair).first_wrong is None


def test_a_layer_below_float16_is_not_wrong_but_the_rest_counts():
    b = GraphBuilder()
    x = np.random.default_rng(1).normal(size=(1, 2, 6, 6)).astype(np.float32)
    b.input("x", *x.shape)
    b.node("mul", ["x", b.constant("tiny", np.float32(1e-4))], "a", SUM)
    b.node("mul", ["a", b.constant("smaller", np.float32(1e-2))], "t", SUM)
    graph = b.done(b.node("add", ["t", "x"], "y", SUM))
    feeds = {"x": x}
    program = npusim.compile(npusim.float16(graph))
    found = compare(record_program(program, feeds, preprocessed=True), record_float(graph, feeds))
    tiny = next(row for row in found.layers if row.tensor == "t")
    assert tiny.difference.cosine < 0.98
    assert tiny.below_float16
    assert found.first_wrong is None
    assert found.worst is not tiny
    result = analyze(graph, program, feeds)
    assert result.first_wrong is None
    assert result.bad == ()
    wrong = {"x": x * 3e3}  # the same layer above 2**-14, against the floats of the small input
    rows = record_program(program, wrong, preprocessed=True)
    assert compare(rows, record_float(graph, {"x": -wrong["x"]})).first_wrong is not None
