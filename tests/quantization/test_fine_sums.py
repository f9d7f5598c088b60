"""i16 results get no more fraction bits than their sums, whose negative ones would be -32768."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.analysis.analyze import analyze
from npusim.ir.attrs import AxisAttrs, EltwiseAttrs, Pool2dAttrs, PoolKind
from npusim.passes.pipeline import place
from npusim.passes.requant import excess_fraction_bits
from npusim.quantization.eras import ERAS
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(9)
X = RNG.standard_normal((1, 8, 12, 12)).astype(np.float32)
SUM = EltwiseAttrs()


def cancelling(op="add", rest=0.02, *, size=12, after=(), seed=0):
    """Return two convolutions whose sum or difference nearly vanishes."""
    rng = np.random.default_rng(seed)
    b = GraphBuilder()
    b.input("x", 1, 8, size, size)
    first = rng.standard_normal((8, 8, 1, 1)) * 0.3
    second = (-first if op == "add" else first) + rest * rng.standard_normal((8, 8, 1, 1))
    for name, weights in (("p", first), ("q", second)):
        inputs = ["x", b.constant(f"{name}.w", weights), b.constant(f"{name}.b", np.zeros(8))]
        b.node("conv2d", inputs, name, npusim.ir.attrs.Conv2dAttrs())
    at = b.node(op, ["p", "q"], "s", SUM)
    for number, kind in enumerate(after):
        match kind:
            case "relu":
                at = b.node("relu", [at], f"t{number}")
            case "pool":
                attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2))
                at = b.node("pool2d", [at], f"t{number}", attrs)
            case "concat":
                at = b.node("concat", [at, at], f"t{number}", AxisAttrs(axis=1))
    return b.done(at)


def errors(graph, scheme="i16", feeds=X, **more):
    ready = npusim.quantize(graph, [("s", {"x": feeds})], scheme=scheme, **more)
    found = npusim.compile(ready).run({"x": feeds}, preprocessed=True)[graph.outputs[0]]
    return ready, np.abs(found - evaluate(graph, {"x": feeds})[graph.outputs[0]])


@pytest.mark.parametrize("after", [(), ("relu",), ("pool",), ("concat",), ("relu", "concat")])
@pytest.mark.parametrize("op", ["add", "sub"])
def test_the_default_avoids_it(op, after, caplog):
    with caplog.at_level(logging.WARNING, logger="npusim"):
        ready, gap = errors(cancelling(op, after=after))
        npusim.compile(ready)
    assert gap.max() < 2e-3
    assert caplog.text == ""
    placed = place(ready)
    assert not any(excess_fraction_bits(node, placed) for node in placed.nodes)


@pytest.mark.parametrize("release", [name for name in ERAS if name != "1.7"])
def test_a_release_is_followed_to_the_letter_and_the_warning_says_so(release, caplog):
    graph = cancelling()
    with caplog.at_level(logging.WARNING, logger="npusim"):
        ready, gap = errors(graph, toolkit=release)
    assert gap.max() > 0.1
    texts = [r.getMessage() for r in caplog.records if "i16-negative-sums" in r.getMessage()]
    assert texts
    assert all("'n_s'" in text and "-32768" in text for text in texts)
    program = npusim.compile(ready)
    (row,) = [row for row in analyze(graph, program, {"x": X}).layers if row.tensor == "s"]
    assert (row.verdict, row.severity) == ("negative_sums", "bad")
    assert "-32768" in row.reason


@pytest.mark.parametrize("scheme", ["u8", "i8", "f16"])
def test_other_formats_are_sound(scheme, caplog):
    graph = cancelling()
    with caplog.at_level(logging.WARNING, logger="npusim"):
        if scheme == "f16":
            npusim.compile(npusim.float16(graph))
        else:
            errors(graph, scheme, toolkit="1.7.1")
    assert caplog.text == ""


@pytest.mark.parametrize("op", ["add", "sub"])
def test_single_pixels_and_shader_sums_keep_their_own_fraction_bits(op):
    x = RNG.standard_normal((1, 8, 1, 1)).astype(np.float32)
    exact, _ = errors(cancelling(op, size=1), feeds=x, toolkit="1.7.1")
    ready, gap = errors(cancelling(op, size=1), feeds=x)
    assert ready.spec("s").quant == exact.spec("s").quant
    assert gap.max() < 2e-3


@given(st.integers(0, 2**16), st.floats(1e-4, 1.0), st.sampled_from(["add", "sub"]))
def test_no_i16_network_stores_wrong_signs(seed, rest, op):
    ready, gap = errors(cancelling(op, rest, seed=seed))
    step = 2.0 ** -ready.spec("s").quant.fl
    assert gap.max() < 8 * step + 1e-3


def test_parameters_that_somebody_chose_stay(tmp_path, caplog):
    graph = cancelling()
    npusim.quantize(
        graph, [("s", {"x": X})], scheme="i16", toolkit="1.7.1", write_cfg=tmp_path / "a.cfg"
    )
    with caplog.at_level(logging.WARNING, logger="npusim"):
        ready = npusim.quantize(graph, None, scheme="i16", cfg=tmp_path / "a.cfg")
        npusim.compile(ready)
    assert (
        ready.spec("s").quant.fl
        == npusim.quantize(graph, [("s", {"x": X})], scheme="i16", toolkit="1.7.1")
        .spec("s")
        .quant.fl
    )
    assert "i16-negative-sums" in caplog.text
