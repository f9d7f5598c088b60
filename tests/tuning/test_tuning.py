"""The search: finds the layer that hurts, keeps to the budget, loses nothing."""

import json

import numpy as np
import pytest

import npusim
from npusim.analysis.parts import OutputParts
from npusim.errors import ConfigError
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Plan
from npusim.quantization.schemes import Scheme
from npusim.reference.float_engine import float_engine
from npusim.runtime.program import Program
from npusim.testing import GraphBuilder
from npusim.tuning.errors import layer_noise, worst_layers
from npusim.tuning.metrics import (
    PartMetric,
    lowest_cosine,
    mean_cosine,
    metric_named,
    same_top1,
    sqnr_db,
)
from npusim.tuning.search import Tuner
from npusim.tuning.state import Point, State, front
from tests.detectors import detector, pictures


def chain(bad=1):
    """Four convolutions; the weights of one differ in range so much that u8 ruins them."""
    rng = np.random.default_rng(2)
    b = GraphBuilder()
    last = b.input("x", 1, 8, 12, 12)
    for i in range(4):
        weights = rng.normal(size=(8, 8, 3, 3)) * 0.12
        if i == bad:
            weights[0] *= 400
        bias = rng.normal(size=8) * 0.1
        b.constant(f"w{i}", weights)
        b.constant(f"b{i}", bias)
        last = b.node("conv2d", [last, f"w{i}", f"b{i}"], f"c{i}", Conv2dAttrs(pad=(1, 1, 1, 1)))
        last = b.node("relu6", [last], f"r{i}")
    return b.done(last)


def tuner(path=None, bad=1, metric=sqnr_db):
    rng = np.random.default_rng(3)
    feeds = [{"x": rng.normal(size=(1, 8, 12, 12)).astype(np.float32)} for _ in range(3)]
    samples = [(f"s{i}", f) for i, f in enumerate(feeds)]
    job = Quantization(chain(bad), Plan(dataset=samples))
    return Tuner(job, job.measure(), feeds, metric, State(path, {"what": "toy"}))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_bad_layer_is_the_noisiest_and_is_raised_first(bad):
    search = tuner(bad=bad)
    assert search.candidates(Scheme.I16)[0] == f"n_c{bad}"
    best = search.search(Scheme.I16, most=6)
    assert f"n_c{bad}" in best.layers
    base = search.state.find(Scheme.I16.value, ())
    assert best.metric > base.metric + 3
    assert best.time_us > base.time_us


def test_budget_is_kept_and_every_kept_point_was_measured():
    search = tuner()
    base = search.measure((), Scheme.I16)
    one = search.measure(("n_c1",), Scheme.I16)
    budget = one.time_us + 0.5
    seen = []
    best = search.search(Scheme.I16, budget_us=budget, report=seen.append)
    assert best.time_us <= budget
    assert all(p.point.time_us <= budget for p in seen)
    assert best.layers == ("n_c1",)
    nothing = search.search(Scheme.I16, budget_us=base.time_us + 0.01)
    assert nothing.layers == ()
    for progress in seen:
        assert search.state.points[progress.point.scheme, progress.point.layers] == progress.point


def test_goal_and_most_stop_the_search():
    search = tuner()
    base = search.measure((), Scheme.I16)
    assert search.search(Scheme.I16, goal=base.metric).layers == ()
    search = tuner()
    search.search(Scheme.I16, most=2)
    assert len(search.state.points) <= 3


def test_interrupted_search_goes_on_where_it_was_and_ends_alike(tmp_path):
    whole = tuner().search(Scheme.I16)

    class Stop(Exception):
        pass

    def interrupt(progress):
        if progress.measured == 4:
            raise Stop

    path = tmp_path / "state.json"
    with pytest.raises(Stop):
        tuner(path).search(Scheme.I16, report=interrupt)
    again = tuner(path)
    assert again.state.load() == 4
    measured = []
    original = Tuner.measure

    def counted(self, layers, scheme, graph=None):
        if self.state.find(scheme.value, layers) is None:
            measured.append(layers)
        return original(self, layers, scheme, graph)

    Tuner.measure = counted
    try:
        best = again.search(Scheme.I16)
    finally:
        Tuner.measure = original
    assert best == whole
    assert len(again.state.points) == 4 + len(measured)
    assert not list(tmp_path.glob(".*"))


def test_state_of_another_search_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "state.json"
    state = State(path, {"model": "a"})
    state.add(Point(scheme="i16", layers=("l",), metric=1.0, time_us=2.0))
    assert State(path, {"model": "a"}).load() == 1
    with pytest.raises(ConfigError, match="model differ") as caught:
        State(path, {"model": "b"}).load()
    assert "restart=True" in str(caught.value)
    for text in ("{", "[]", json.dumps({"kind": "x", "version": 1, "job": {}, "points": []})):
        path.write_text(text)
        with pytest.raises(ConfigError, match="no state of a search"):
            State(path, {"model": "a"}).load()
    assert State(tmp_path / "new.json", {}).load() == 0


def test_a_state_belongs_to_one_run_at_a_time(tmp_path):
    first, second = (State(tmp_path / "state.json", {"model": "a"}) for _ in range(2))
    refused = pytest.raises(ConfigError, match="another run uses the state")
    with first.held(), refused, second.held():
        pass
    with second.held():
        second.add(Point(scheme="i16", layers=("l",), metric=1.0, time_us=2.0))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_front_drops_everything_that_is_beaten():
    def point(time_us, metric, *layers):
        return Point(scheme="i16", layers=layers, metric=metric, time_us=time_us)

    points = [point(3, 0.9, "c"), point(1, 0.5), point(2, 0.4, "a"), point(2, 0.8, "b")]
    points.append(point(4, 0.9, "d"))
    assert [p.time_us for p in front(points)] == [1, 2, 3]


def test_layer_noise_counts_each_layer_alone():
    search = tuner(bad=0)
    program = Program(search.lowered((), Scheme.I16))
    noise = layer_noise(program, float_engine(search.job.graph), search.samples)
    assert set(noise) == {"n_r0", "n_r1", "n_r2", "n_r3"}  # fused under the rectifier's name
    assert noise["n_r0"] > 3 * max(noise["n_r1"], noise["n_r2"], noise["n_r3"])
    assert worst_layers(noise, search.job.graph) == ["n_r0"]


def test_metrics():
    e = [{"y": np.float32([[0, 1, 2]])}, {"y": np.float32([[3, 0, 0]])}]
    a = [{"y": np.float32([[0, 2, 1]])}, {"y": np.float32([[3, 0, 0]])}]
    assert mean_cosine(e, a) == pytest.approx((0.8 + 1) / 2)
    assert lowest_cosine(e, a) == pytest.approx(0.8)
    assert same_top1(e, a) == 0.5
    assert sqnr_db(e, a) == pytest.approx(10 * np.log10(14 / 2))
    assert sqnr_db(e, e) == 200
    zero = [{"y": np.zeros((1, 3), np.float32)}]
    assert sqnr_db(zero, [{"y": np.ones((1, 3), np.float32)}]) == -200


def test_custom_metric(tmp_path, monkeypatch):
    (tmp_path / "mine_metric.py").write_text(
        "def good(e, a):\n    return 3\n\ndef bad(e, a):\n    return float('nan')\n\nx = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert metric_named("custom:mine_metric:good")([], []) == 3
    with pytest.raises(ConfigError, match="nan"):
        metric_named("custom:mine_metric:bad")([], [])
    for name, says in (
        ("custom:mine_metric:none", "none"),
        ("custom:no_such_module_x:f", "no_such_module_x"),
        ("custom:mine_metric:x", "no function"),
        ("custom:f", "custom:module:function"),
        ("mse", "sqnr"),
    ):
        with pytest.raises(ConfigError, match=says):
            metric_named(name)


def test_state_of_another_release_or_of_joined_concats_is_refused(tmp_path):
    b = GraphBuilder(seed=1)
    b.conv(b.input("x", 1, 4, 6, 6), 4, 1, output="c")
    graph = b.done(b.node("concat", ["c", "x"], "y", AxisAttrs(axis=1)))
    samples = [("x", {"x": np.linspace(-1, 1, 144, dtype=np.float32).reshape(1, 4, 6, 6)})]
    options = {"state": tmp_path / "state.json", "engine": "npusim", "most": 1}
    npusim.tune(graph, samples, **options)
    for other in ({"toolkit": "1.7.3"}, {"no_join": "n_y"}):
        with pytest.raises(ConfigError, match=r"state\.json"):
            npusim.tune(graph, samples, **options, **other)


def test_dead_scores_are_repaired_by_the_few_layers_that_store_them():
    graph, samples = detector(body=2), pictures()
    found = npusim.tune(graph, samples)
    assert found.base.metric == found.base.parts["output [scores]"] < 1
    assert found.base.parts["output [boxes]"] > 40  # both together: 43 dB
    assert found.best.layers == ("n_flat", "n_joined", "n_output", "n_scores")
    assert found.best.parts["output [scores]"] == found.best.metric > 20
    assert found.to_dict()["best"]["parts"] == found.best.parts


def test_outputs_of_several_units_are_no_sum():
    """A metric of values is that of the worst output; one of the whole stays as it is."""
    expected = [{"a": np.full((1, 4), 300.0), "b": np.full((1, 4), 0.5)}]
    actual = [{"a": np.full((1, 4), 300.0), "b": np.zeros((1, 4))}]
    value, parts = PartMetric(sqnr_db, OutputParts(), expected).measure(actual)
    assert (value, parts) == (0.0, {"a": 200.0, "b": 0.0})
    whole, none = PartMetric(same_top1, OutputParts(), expected).measure(actual)
    assert (whole, none) == (1.0, {})
