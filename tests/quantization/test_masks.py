"""Masks in front of softmax and maximum: any size gives the same bits, live scores keep steps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.errors import InputError, QuantizationError
from npusim.ir.attrs import (
    AxisAttrs,
    EltwiseAttrs,
    MatmulAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.limits import representable
from npusim.passes.hidden import hidden_tensors
from npusim.testing import GraphBuilder

SUM = EltwiseAttrs()
COUNT, WIDTH = 12, 8
CAUSAL = np.triu(np.ones((COUNT, COUNT), np.float32), 1)
LOWS = (-np.inf, float(np.finfo(np.float32).min), -1e9, -1e4)
SCHEMES = ("f16", "u8", "i8", "i16")


def data(seed=0, reach=1.0):
    rng = np.random.default_rng(seed)
    shapes = {"q": (1, 2, COUNT, WIDTH), "k": (1, 2, WIDTH, COUNT), "v": (1, 2, COUNT, WIDTH)}
    return {
        name: (rng.standard_normal(shape) * reach).astype(np.float32)
        for name, shape in shapes.items()
    }


def attention(form, low, where=CAUSAL):
    """Return a graph of masked attention and what else it is fed, the mask made in some way."""
    masked = np.where(where > 0, np.float32(low), np.float32(0))
    b, fed = GraphBuilder(), {}
    for name, value in data().items():
        b.input(name, *value.shape)
    scores = b.node("matmul", ["q", "k"], "a", MatmulAttrs())
    match form:
        case "added":
            b.node("add", [scores, b.constant("m", masked)], "s", SUM)
        case "added first":
            b.node("add", [b.constant("m", masked), scores], "s", SUM)
        case "subtracted":
            b.node("sub", [scores, b.constant("m", -masked)], "s", SUM)
        case "scaled":
            b.node("add", [scores, b.constant("m", masked)], "t", SUM)
            b.node("div", ["t", b.constant("root", np.float32(2))], "s", SUM)
        case "twice":
            b.node("add", [scores, b.constant("m", masked)], "t", SUM)
            b.node("add", ["t", b.constant("n", np.where(where > 1, low, 0))], "s", SUM)
        case "kept and added":
            b.node("mul", [scores, b.constant("keep", 1 - np.minimum(where, 1))], "t", SUM)
            b.node("add", ["t", b.constant("m", masked)], "s", SUM)
        case "zeros and ones":
            b.input("keep", *where.shape)
            fed["keep"] = 1 - np.minimum(where, 1)
            b.node("sub", [b.constant("one", np.float32(1)), "keep"], "drop", SUM)
            b.node("mul", ["drop", b.constant("m", np.float32(low))], "bias", SUM)
            b.node("add", [scores, "bias"], "s", SUM)
        case "chosen" | "chosen and added":
            b.input("keep", *where.shape)
            fed["keep"] = 1 - np.minimum(where, 1)
            b.node("greater", ["keep", b.constant("half", np.float32(0.5))], "c")
            b.graph.tensors["c"] = replace(b.graph.tensors["c"], dtype=DType.BOOL)
            away = b.constant("m", np.float32(low))
            if form == "chosen":
                b.node("select", ["c", scores, away], "s")
            else:
                b.node("select", ["c", b.constant("zero", np.float32(0)), away], "bias")
                b.node("add", [scores, "bias"], "s", SUM)
        case "input":
            b.input("m", *where.shape)
            fed["m"] = masked
            b.node("add", [scores, "m"], "s", SUM)
    b.node("softmax", ["s"], "p", AxisAttrs(axis=3))
    return b.done(b.node("matmul", ["p", "v"], "o", MatmulAttrs())), fed


def expected(form, feeds, where=CAUSAL):
    scores = feeds["q"].astype(np.float64) @ feeds["k"] / (2 if form == "scaled" else 1)
    scores = np.where(where > 0, -1e6, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ feeds["v"]


def cosine(a, b):
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def made(graph, feeds, scheme, **more):
    if scheme == "f16":
        return npusim.float16(graph)
    return npusim.quantize(graph, [("sample", feeds)], scheme=scheme, **more)


FORMS = (
    "added",
    "added first",
    "subtracted",
    "scaled",
    "twice",
    "kept and added",
    "zeros and ones",
    "chosen",
    "chosen and added",
    "input",
)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", FORMS)
def test_any_size_of_a_mask_gives_the_same_bits(form, scheme):
    results = []
    for low in LOWS:
        if np.isinf(low) and form in ("zeros and ones", "input"):
            continue  # 0 * inf is no number, and runs take finite numbers
        graph, fed = attention(form, low)
        feeds = {**data(), **fed}
        ready = made(graph, feeds, scheme)
        found = npusim.compile(ready).run(feeds, preprocessed=True)["o"]
        assert cosine(found, expected(form, feeds)) > (0.99 if scheme == "i8" else 0.999)
        results.append(found)
        if scheme != "f16" or low < -61440:
            told = [note for note in ready.notes if "mask" in note]
            assert len(told) == 1 or (form, scheme) == ("input", "f16")
    for found in results[1:]:
        if scheme == "f16" and form == "scaled":
            continue  # -1e4 and -61440 are both far enough; nothing more is promised in float16
        assert np.array_equal(found, results[0])


@pytest.mark.parametrize("algorithm", ["kl_divergence", "mmse", "moving_average"])
def test_every_algorithm_leaves_masks_out(algorithm):
    graph, _ = attention("added", -np.inf)
    feeds = data()
    ready = made(graph, feeds, "u8", algorithm=algorithm)
    found = npusim.compile(ready).run(feeds, preprocessed=True)["o"]
    assert cosine(found, expected("added", feeds)) > 0.99


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_without_anything_live_are_even(scheme):
    where = CAUSAL.copy()
    where[3] = 1
    graph, _ = attention("added", float(np.finfo(np.float32).min), where)
    feeds = data()
    found = npusim.compile(made(graph, feeds, scheme)).run(feeds, preprocessed=True)["o"]
    even = feeds["v"].mean(axis=2)
    assert cosine(found[:, :, 3], even) > 0.99
    others = [row for row in range(COUNT) if row != 3]
    assert cosine(found[:, :, others], expected("added", feeds, CAUSAL)[:, :, others]) > 0.99


@given(st.sampled_from(["u8", "i8", "i16"]), st.integers(0, 99), st.floats(0.2, 2.5))
def test_masked_probabilities_are_nothing_and_live_scores_keep_their_steps(scheme, seed, reach):
    """The range goes as far below the live scores as a probability needs, and no further."""
    graph, _ = attention("added", -1e9)
    feeds = data(seed, reach)
    graph = graph.copy(outputs=("p", *graph.outputs))
    ready = made(graph, feeds, scheme)
    scores = (feeds["q"] @ feeds["k"])[:, :, CAUSAL == 0]
    low, high = float(scores.min()), float(scores.max())
    spec = ready.spec("s")
    step = spec.quant.scale if scheme == "u8" else 2.0**-spec.quant.fl
    room = np.log(COUNT * 2 * (255 if scheme == "u8" else 2.0 ** (spec.dtype.bits - 1)) * 2)
    assert step * 2**spec.dtype.bits <= 4.1 * (max(high, 0) - min(low - room, 0))
    found = npusim.compile(ready).run(feeds, preprocessed=True)["p"]
    assert not found[:, :, CAUSAL > 0].any()


def test_an_input_that_is_a_mask_is_named_and_ends_where_it_comes_to_nothing():
    graph, fed = attention("input", -np.inf)
    feeds = {**data(), **fed}
    ready = made(graph, feeds, "u8")
    assert any("input 'm' holds -inf in sample sample" in note for note in ready.notes)
    assert ready.spec("m").quant.scale < 0.5
    with pytest.raises(InputError, match="'m'"):
        npusim.compile(ready).run(feeds, preprocessed=True)
    finite = {**feeds, "m": np.maximum(feeds["m"], -1e4)}
    found = npusim.compile(ready).run(finite, preprocessed=True)["o"]
    assert cosine(found, expected("input", feeds)) > 0.999


def test_numbers_that_are_no_mask_after_all_count_like_others():
    """-100 is no mask beside scores of hundreds: they may be lower themselves."""
    graph, _ = attention("added", -100.0)
    feeds = data(reach=12.0)
    ready = made(graph, feeds, "i16")
    scores = feeds["q"] @ feeds["k"] - 100 * CAUSAL
    low, high = representable(ready.spec("s"))
    assert low <= scores.min()
    assert scores.max() <= high + 1
    assert not any("mask" in note for note in ready.notes)


def test_a_mask_that_shows_is_named_when_no_format_holds_it():
    b = GraphBuilder()
    b.input("x", 1, 2, 4, 4)
    mask = np.zeros((4, 4), np.float32)
    mask[1] = -np.inf
    b.node("add", ["x", b.constant("m", mask)], "s", SUM)
    b.node("reduce_max", ["s"], "y", ReduceAttrs(axes=(3,)))
    graph = b.done("y")  # row 1 has nothing else: its maximum is the mask
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    with pytest.raises(QuantizationError, match=r"constant 'm' holds -inf"):
        npusim.quantize(graph, [("s", {"x": x})])


def test_infinite_constants_that_no_softmax_reads_are_named_in_every_format():
    b = GraphBuilder()
    b.input("x", 1, 2, 4, 4)
    b.node("add", ["x", b.constant("huge", np.float32([np.inf, 0, 0, 0]))], "s", SUM)
    graph = b.done(b.node("sigmoid", ["s"], "y"))
    x = np.zeros((1, 2, 4, 4), np.float32)
    for scheme in SCHEMES:
        with pytest.raises(QuantizationError, match=r"constant 'huge'.*inf") as caught:
            made(graph, {"x": x}, scheme)
        assert "n_s" in str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_maxima_do_not_feel_masks(scheme):
    """A masked maximum, a pad in front of a pool that it cannot join, and the lowest operand."""
    rng = np.random.default_rng(2)
    x = rng.uniform(1, 3, (1, 4, 6, 6)).astype(np.float32)
    for low in LOWS:
        b = GraphBuilder()
        b.input("x", *x.shape)
        b.node("add", ["x", b.constant("m", np.where(np.eye(6) > 0, 0, low))], "s", SUM)
        b.node("reduce_max", ["s"], "y", ReduceAttrs(axes=(3,)))
        pad = PadAttrs(front=(0, 0, 1, 1), back=(0, 0, 1, 1), value=low)
        b.node("pad", ["x"], "p", pad)
        attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2), ceil_mode=True)
        b.node("pool2d", ["p"], "z", attrs)
        b.node("max", ["x", b.constant("lowest", np.float32([low]))], "w", SUM)
        graph = b.done("y", "z", "w")
        ready = made(graph, {"x": x}, scheme)
        found = npusim.compile(ready).run({"x": x}, preprocessed=True)
        diagonal = np.diagonal(x, axis1=2, axis2=3)
        step = {"u8": 3.0 / 255, "i8": 4 / 128, "i16": 4 / 2**15, "f16": 2.0**-9}[scheme]
        assert np.abs(found["y"].reshape(1, 4, 6) - diagonal).max() <= step
        assert np.abs(found["w"] - x).max() <= step
        assert np.abs(found["z"][:, :, 0, 0] - x[:, :, 0, 0]).max() <= step
        assert hidden_tensors(ready).get("s") == 1 or (scheme == "f16" and low > -3e4)


def test_layers_in_float16_have_masks_too():
    graph, _ = attention("added", -np.inf)
    feeds = data()
    ready = made(graph, feeds, "u8", layers={"n_s": "f16", "n_p": "f16"})
    assert ready.spec("s").dtype.value == "f16"
    found = npusim.compile(ready).run(feeds, preprocessed=True)["o"]
    assert cosine(found, expected("added", feeds)) > 0.999


@pytest.mark.parametrize("scheme", ["u8", "i16"])
def test_a_cfg_file_gives_the_same_model(scheme, tmp_path):
    graph, _ = attention("added", -np.inf)
    feeds = data()
    first = made(graph, feeds, scheme, write_cfg=tmp_path / "a.cfg")
    again = npusim.quantize(graph, None, scheme=scheme, cfg=tmp_path / "a.cfg")
    found, same = (npusim.compile(g).run(feeds, preprocessed=True)["o"] for g in (first, again))
    assert np.array_equal(found, same)


def test_perf_prices_masked_attention():
    for low in LOWS:
        graph, _ = attention("added", low)
        assert npusim.estimate(graph, scheme="u8").total_time_us > 0
