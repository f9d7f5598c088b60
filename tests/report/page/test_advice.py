"""Where the outputs agree with float nothing needs doing: the page and ``analyze`` say the same."""

from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim.analysis.analyze import analyze
from npusim.report.analysis_table import analysis_verdict
from npusim.report.page.contents import Contents, Remedy, Trial
from npusim.report.page.verdict import ACCUMULATED, causes_of
from npusim.testing import GraphBuilder

INSIDE, ALL = 0.99999, 0.9999999  # cosines that only the output reaches, and that nothing does
NOTHING = (
    "nothing: the outputs agree with float in this sample (cosine 0.999998); a labelled set decides"
)


def contents_of(threshold):
    """Two convolutions, each with a small error, in front of a sigmoid that hides most of it."""
    rng = np.random.default_rng(7)
    b = GraphBuilder()
    last = b.input("x", 1, 4, 6, 6)
    for name in ("a", "z"):
        weights = b.constant(f"{name}.w", rng.normal(size=(4, 4, 1, 1)) * 0.4)
        last = b.node("conv2d", [last, weights, b.constant(f"{name}.b", np.zeros(4))], name)
    b.node("sigmoid", [last], "y")
    graph = b.done("y")
    feeds = {"x": rng.uniform(-1, 1, (1, 4, 6, 6)).astype(np.float32)}
    program = npusim.compile(npusim.quantize(graph, [("one", feeds)]))
    found = analyze(graph, program, feeds, threshold=threshold)
    return Contents(network=program.graph, model="", analysis=found)


def trial(gain):
    return (Trial(remedy=Remedy.WIDER, layers=("a",), cost_us=9.0, gain_db=gain, own_gain_db=gain),)


@pytest.fixture(scope="module")
def hidden():
    return contents_of(INSIDE)


def test_the_page_and_analyze_say_that_nothing_needs_doing(hidden):
    assert hidden.analysis.first_wrong is not None
    (cause,) = causes_of(hidden)
    assert (cause["kind"], cause["severity"]) == (ACCUMULATED, "warn")
    assert cause["advice"] == NOTHING
    assert cause["paste"] == []
    assert f"Next: {NOTHING}." in analysis_verdict(hidden.analysis)


def test_what_lost_when_tried_is_not_advised_and_what_helped_is(hidden):
    (cause,) = causes_of(hidden)
    lost = replace(hidden, trials={cause["layer"]: trial(-7.1)})
    assert causes_of(lost)[0]["advice"] == NOTHING
    helped = replace(hidden, trials={cause["layer"]: trial(3.0)})
    assert causes_of(helped)[0]["advice"] == f"{NOTHING}; what helped when tried brings +3.0 dB"


def test_outputs_that_are_wrong_are_not_called_fine():
    wrong = contents_of(ALL)
    causes = causes_of(wrong)
    assert causes
    assert all("i16" in cause["advice"] for cause in causes)
    assert "nothing" not in analysis_verdict(wrong.analysis)
