"""What joining ranges costs, said by the build."""

import logging

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import AxisAttrs
from npusim.quantization.apply import Formats
from npusim.quantization.constrain import constrain
from npusim.quantization.eras import era_of
from npusim.quantization.losses import losses, sigmoid_cuts
from npusim.quantization.schemes import Scheme
from npusim.testing import GraphBuilder
from tests.quantization.test_constrain import sliced


def head():
    """Scores of a sigmoid joined with box coordinates, as detectors end."""
    b = GraphBuilder()
    x = b.input("x", 1, 2, 4, 4)
    b.node("sigmoid", [x], "scores")
    b.node("mul", [x, b.constant("k", np.array(639.0))], "boxes")
    return b.done(b.node("concat", ["scores", "boxes"], "out", AxisAttrs(axis=1)))


def samples():
    return [("one", {"x": np.linspace(0, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)})]


def test_scores_joined_with_boxes_are_all_zero_and_the_build_says_so(caplog):
    with caplog.at_level(logging.WARNING, "npusim"):
        ready = npusim.quantize(head(), samples(), engine="npusim")
    scores = ready.spec("scores").quant
    assert scores == ready.spec("boxes").quant == ready.spec("out").quant
    assert scores.scale == pytest.approx(639 / 255, rel=1e-6)
    out = npusim.compile(ready).run(samples()[0][1])["out"]
    assert not out[:, :2].any()
    first = caplog.messages[0]
    assert first.startswith("n_scores_1: ")
    for word in (
        "0.292 steps",
        "alone: 255",
        "n_out_3",
        "['scores', 'boxes']",
        "no_join=['n_out_3']",
    ):
        assert word in first


def test_parts_kept_apart_keep_their_scales():
    ready = npusim.quantize(head(), samples(), no_join=["n_out_3"], engine="npusim")
    assert ready.spec("scores").quant.scale < 0.004
    assert ready.spec("out").quant == ready.spec("boxes").quant
    assert any("not joined: n_out" in note for note in ready.notes)


def test_equal_ranges_cost_nothing():
    graph = head()
    measured = {"x": (0, 1), "scores": (0, 1), "boxes": (0, 2), "out": (0, 2)}
    assert losses(graph, measured, constrain(graph, measured), Scheme.U8) == ()


@pytest.mark.parametrize(("scheme", "alone"), [(Scheme.I8, 128.0), (Scheme.I16, 32768.0)])
def test_fixed_point_loses_whole_bits(scheme, alone):
    graph = head()
    measured = {"x": (0, 1), "scores": (0, 1), "boxes": (0, 639), "out": (0, 639)}
    (loss,) = losses(graph, measured, constrain(graph, measured), scheme)
    assert (loss.layer, loss.steps_alone, loss.steps) == ("n_scores_1", alone, alone / 1024)


def test_concat_that_slices_of_1_7_0_clip_is_named():
    graph, measured = sliced()
    era = era_of("1.7.0")
    (loss,) = losses(graph, measured, constrain(graph, measured, era=era), Scheme.U8, era=era)
    assert loss.clipped
    assert loss.layer == "n_c_1"
    assert "0 .. 8 and are clipped to 0 .. 4" in loss.text()
    assert "n_d_5" in loss.text()


def test_release_is_in_the_notes():
    ready = npusim.quantize(head(), samples(), toolkit="1.7.3", engine="npusim")
    assert any("toolkit 1.7.3" in note for note in ready.notes)


def test_many_losses_are_told_by_name(caplog):
    b = GraphBuilder()
    x = b.input("x", 1, 2, 4, 4)
    parts = [b.node("sigmoid", [x], f"s{i}") for i in range(9)]
    parts.append(b.node("mul", [x, b.constant("k", np.array(639.0))], "boxes"))
    graph = b.done(b.node("concat", parts, "out", AxisAttrs(axis=1)))
    with caplog.at_level(logging.WARNING, "npusim"):
        npusim.quantize(graph, samples(), engine="npusim")
    said = [text for text in caplog.messages if "explain shared-range" in text]
    assert len(said) == 7
    assert said[6].startswith("3 more layers lose 3 bits or more")
    assert ": n_s6_7, n_s7_8, n_s8_9 (npusim explain shared-range)" in said[6]


def read_by_two(*outputs):
    """conv -> sigmoid, and the convolution's result, far beyond 6.3, in a sum."""
    b = GraphBuilder(seed=1)
    b.conv(b.input("x", 1, 4, 6, 6), 4, 1, output="c")
    b.node("sigmoid", ["c"], "s")
    if not outputs:
        b.node("add", ["c", "x"], "y")
        outputs = ("y", "s")
    return b.done(*outputs)


def wide():
    values = np.random.default_rng(0).standard_normal((1, 4, 6, 6)) * 10
    return [("one", {"x": values.astype(np.float32)})]


def built(caplog, graph, **options):
    with caplog.at_level(logging.WARNING, "npusim"):
        ready = npusim.quantize(graph, wide(), engine="npusim", **options)
    return ready, caplog.messages


@pytest.mark.parametrize(
    ("outputs", "reader"), [((), "n_y_3"), (("c", "s"), "the output of the model")]
)
def test_cut_of_a_sigmoid_that_others_feel_is_told(caplog, outputs, reader):
    _, (said,) = built(caplog, read_by_two(*outputs))
    assert said.startswith("n_c_1: its values go ")
    for word in ("cut to -6.3 .. 6.3", f"lost for {reader}", "raise n_s_2", "write_cfg=", "'c'"):
        assert word in said


def test_cut_that_only_the_sigmoid_feels_is_not_told(caplog):
    assert built(caplog, read_by_two("s"))[1] == []


def test_raised_sigmoid_as_the_warning_says_leaves_the_range(caplog):
    ready, said = built(caplog, read_by_two(), layers={"n_s_2": "i16"})
    assert said == []
    assert ready.spec("c").quant.scale > 30 / 255


def test_cut_of_less_than_a_step_is_not_told():
    graph = read_by_two()
    ranges = {"x": (-1.0, 1.0), "c": (-6.3, 6.34), "s": (0.0, 1.0), "y": (-7.0, 7.0)}
    assert sigmoid_cuts(graph, ranges, Formats()) == ()
    assert len(sigmoid_cuts(graph, ranges | {"c": (-6.3, 6.4)}, Formats())) == 1
    assert sigmoid_cuts(graph, ranges | {"c": (-9.0, 9.0)}, Formats(default=Scheme.I8)) == ()
    assert sigmoid_cuts(graph, ranges | {"c": (-9.0, 9.0)}, Formats(given=frozenset("c"))) == ()
