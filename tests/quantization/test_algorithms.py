"""Calibration algorithms: what they choose, and that nothing but the samples decides."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.errors import ConfigError, DatasetError, InputError, QuantizationError
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, EltwiseAttrs
from npusim.ir.codes import dequantize, quantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import scale_of, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.quantization.algorithms import ALGORITHMS, Algorithm
from npusim.quantization.calibrate import calibrate
from npusim.quantization.histograms import best_threshold, histogram
from npusim.quantization.observers import MinMaxObserver, MovingAverageObserver
from npusim.quantization.schemes import Scheme, parameters
from npusim.reference.float_engine import OwnEngine, float_engine
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(5)


def toy():
    b = GraphBuilder()
    b.input("x", 1, 3, 6, 6)
    b.constant("w", RNG.normal(size=(4, 3, 3, 3)))
    b.constant("b", RNG.normal(size=4))
    b.node("conv2d", ["x", "w", "b"], "c", Conv2dAttrs())
    return b.done(b.node("relu", ["c"], "y"))


def samples(count=7, seed=1):
    rng = np.random.default_rng(seed)
    return [
        (f"sample {i}", {"x": (rng.normal(size=(1, 3, 6, 6)) * (i + 1)).astype(np.float32)})
        for i in range(count)
    ]


def relu_net():
    b = GraphBuilder()
    b.input("x", 1, 1000)
    return b.done(b.node("relu", ["x"], "y"))


def ranges_of(values, algorithm, scheme=Scheme.U8, **settings):
    """Calibrate a network of one relu on rows of values; return the range of its input."""
    feeds = [(f"row {i}", {"x": np.float32(row)[None]}) for i, row in enumerate(values)]
    observer = Algorithm(name=algorithm, **settings).observer(scheme)
    return calibrate(relu_net(), feeds, observer=observer).ranges["x"]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("engine", ["npusim", "onnxruntime"])
def test_case_B10_threads_and_side_by_side_runs_do_not_change_a_bit(name, engine):
    if engine == "onnxruntime":
        pytest.importorskip("onnxruntime")
    graph = toy()
    found = []
    for jobs in (1, 2, 5):
        runner = float_engine(graph, engine)
        runner.jobs = jobs
        observer = Algorithm(name=name).observer(Scheme.U8)
        found.append(calibrate(graph, samples(), observer=observer, engine=runner))
    assert found[0] == found[1] == found[2]
    assert found[0].samples == 7


def test_moving_average_weighs_the_old_value_as_measured_or_the_new_one_as_worded():
    rows = [np.linspace(-1, 2, 1000), np.linspace(-3, 6, 1000), np.linspace(-5, 1, 1000)]
    low, high = ranges_of(rows, "moving_average")
    assert high == pytest.approx(0.01 * (0.01 * 2 + 0.99 * 6) + 0.99 * 1)
    assert low == pytest.approx(0.01 * (0.01 * -1 + 0.99 * -3) + 0.99 * -5)
    low, high = ranges_of(rows, "moving_average", moving_alpha_weighs="new")
    assert high == pytest.approx(0.99 * (0.99 * 2 + 0.01 * 6) + 0.01 * 1)
    assert ranges_of(rows, "moving_average", moving_alpha=1.0) == (-1, 2)


@given(st.integers(0, 2**31), st.sampled_from(ALGORITHMS), st.sampled_from(list(Scheme)[:3]))
def test_no_algorithm_leaves_the_measured_range(seed, name, scheme):
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(3, 1000)) * rng.uniform(0.01, 100)).astype(np.float32)
    low, high = ranges_of(rows, name, scheme, divergence_nbins=256)
    assert rows.min() <= low <= 0 <= high <= rows.max()
    parameters((low, high), scheme)


def error_of(values, bounds, scheme):
    quant = parameters(bounds, scheme)
    back = dequantize(quantize(values, scheme.dtype, quant), quant)
    return float(np.square(back.astype(np.float64) - values).sum())


@pytest.mark.parametrize("scheme", [Scheme.U8, Scheme.I8])
def test_kl_divergence_clips_one_outlier(scheme):
    rows = np.random.default_rng(3).laplace(size=(20, 1000)).astype(np.float32)
    rows[4, 17] = 400
    low, high = ranges_of(rows, "kl_divergence", scheme)
    assert low == rows.min()
    assert 40 < high < 60  # 128 of the 1024 bins: as many as there are levels


@pytest.mark.parametrize("scheme", [Scheme.U8, Scheme.I8])
def test_mmse_clips_an_outlier_when_that_pays(scheme):
    rows = np.random.default_rng(3).laplace(size=(20, 1000)).astype(np.float32)
    rows[4, 17] = 40
    low, high = ranges_of(rows, "mmse", scheme)
    assert high < 40
    assert error_of(rows, (low, high), scheme) < error_of(rows, (rows.min(), 40), scheme)
    rows[4, 17] = 4000  # its own error would outweigh that of all others
    assert ranges_of(rows, "mmse", scheme)[1] > 3000


def test_mmse_is_near_the_best_range_that_a_fine_search_finds():
    rows = np.random.default_rng(3).standard_t(2, size=(5, 1000)).astype(np.float32)
    found = ranges_of(rows, "mmse")
    shares = np.linspace(1 / 16, 1, 61)
    best = min(
        error_of(rows, (rows.min() * a, rows.max() * b), Scheme.U8) for a in shares for b in shares
    )
    assert error_of(rows, found, Scheme.U8) <= 1.05 * best
    first = error_of(rows, ranges_of(rows, "mmse", mmse_epoch=1), Scheme.U8)
    thirty = ranges_of(rows, "mmse", mmse_epoch=30)
    assert ranges_of(rows, "mmse", mmse_epoch=10**18) == thirty  # no finer steps are left
    assert error_of(rows, found, Scheme.U8) <= first * 1.001


def test_kl_counts_in_16_bits_clip_nothing():
    rows = np.random.default_rng(3).standard_t(2, size=(5, 1000)).astype(np.float32)
    found = ranges_of(rows, "kl_divergence", Scheme.I16)
    assert found == (float(rows.min()), float(rows.max()))


def test_best_threshold_on_hand_made_counts():
    flat = np.full(512, 100, np.int64)
    assert best_threshold(flat, 128) == 512
    steep = (1e6 * np.exp(-np.arange(512) / 20)).astype(np.int64)
    steep[511] = 1
    assert 128 <= best_threshold(steep, 128) <= 260
    assert best_threshold(np.zeros(512, np.int64), 128) == 512


@given(st.integers(0, 2**31), st.integers(1, 3000))
def test_histogram_counts_every_value_once_and_is_additive(seed, size):
    value = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    low, high = float(value.min()), float(value.max())
    counts = histogram(value, low, high, 64)
    assert counts.sum() == size
    half = size // 2
    parts = histogram(value[:half], low, high, 64) + histogram(value[half:], low, high, 64)
    assert (parts == counts).all()
    expected = np.histogram(value.astype(np.float64), 64, (low, high))[0]
    if high > low:
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= max(2, size * 0.01)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_constant_and_zero_tensors_calibrate_sanely(name):
    assert ranges_of(np.zeros((2, 1000)), name) == (0, 0)
    low, high = ranges_of(np.full((2, 1000), 3.0), name)
    quant = parameters((low, high), Scheme.U8)
    assert dequantize(quantize([3.0], quant=quant, dtype=Scheme.U8.dtype), quant)[0] == (
        pytest.approx(3.0, rel=0.01)
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_empty_tensors_are_left_out(name):
    observer = Algorithm(name=name).observer(Scheme.U8)
    assert observer.summarize("t", np.zeros((1, 0), np.float32)) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("engine", ["npusim", "auto"])
def test_nan_and_infinity_name_layer_tensor_and_sample(value, name, engine):
    b = GraphBuilder()
    b.input("x", 1, 4)
    b.node("exp", ["x"], "e")
    graph = b.done(b.node("log", ["e"], "y"))
    feeds = [("good.npy", {"x": np.zeros((1, 4), np.float32)})]
    bad = np.float32([[0, 1, 2, 500 if value == np.inf else np.nan]])
    feeds.append(("list.txt:2 bad.npy", {"x": bad}))
    with pytest.raises(QuantizationError, match=r"bad\.npy") as caught:
        npusim.quantize(graph, feeds, algorithm=name, engine=engine)
    if value == np.inf:
        assert "layer 'n_e' (exp)" in str(caught.value)
        assert "tensor 'e'" in str(caught.value)


def test_two_pass_algorithms_refuse_samples_that_can_be_read_once():
    graph = toy()
    with pytest.raises(DatasetError, match="only once"):
        npusim.quantize(graph, iter(samples()), algorithm="mmse")
    npusim.quantize(graph, iter(samples()), algorithm="normal")


def test_no_samples():
    with pytest.raises(DatasetError, match="no sample"):
        calibrate(toy(), [])


def test_samples_are_taken_a_few_at_a_time():
    """Memory does not grow with the number of samples."""
    alive = {"now": 0, "most": 0}

    class Counted(dict):
        def __init__(self, *args):
            super().__init__(*args)
            alive["now"] += 1
            alive["most"] = max(alive["most"], alive["now"])

        def __del__(self):
            alive["now"] -= 1

    def stream():
        for label, feeds in samples(40):
            yield label, Counted(feeds)

    graph = toy()
    engine = float_engine(graph)
    calibrate(graph, stream(), engine=engine)
    assert alive["most"] <= 2 * engine.jobs + 3


def test_case_B42_mmse_works_with_constant_operands():
    b = GraphBuilder()
    b.input("x", 1, 3, 4, 4)
    b.constant("k", np.float32([0.5, -2.0, 3.0]).reshape(1, 3, 1, 1))
    graph = b.done(b.node("mul", ["x", "k"], "y", EltwiseAttrs()))
    feeds = [("s", {"x": np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)})]
    for scheme in ("u8", "i8", "i16"):
        mmse = Algorithm(name="mmse", mmse_epoch=2)
        ready = npusim.quantize(graph, feeds, scheme=scheme, algorithm=mmse)
        (y,) = npusim.compile(ready).run(feeds[0][1]).values()
        expected = feeds[0][1]["x"] * np.float32([0.5, -2.0, 3.0]).reshape(1, 3, 1, 1)
        assert np.abs(y - expected).max() < 0.06


def test_engine_and_samples_are_recorded_in_the_graph():
    ready = npusim.quantize(toy(), samples(), engine="npusim", algorithm="moving_average")
    assert any("7 samples" in note and "float engine npusim" in note for note in ready.notes)
    assert any("moving_average (0.01 on the old value)" in note for note in ready.notes)


def test_engines_calibrate_alike():
    pytest.importorskip("onnxruntime")
    graph = toy()
    own = calibrate(graph, samples(), engine="npusim")
    theirs = calibrate(graph, samples(), engine="onnxruntime")
    assert own.engine == "npusim"
    assert theirs.engine.startswith("onnxruntime ")
    for name, bounds in own.ranges.items():
        assert theirs.ranges[name] == pytest.approx(bounds, rel=1e-5, abs=1e-5)


def test_unknown_names_and_settings():
    with pytest.raises(ConfigError, match="normal, moving_average"):
        Algorithm(name="entropy")
    with pytest.raises(ConfigError, match="mmse_epoch 0"):
        Algorithm(name="mmse", mmse_epoch=0)
    with pytest.raises(ConfigError, match="16"):
        Algorithm(name="kl_divergence", divergence_nbins=4)
    with pytest.raises(ConfigError, match="'old' or 'new'"):
        MovingAverageObserver(0.5, "both")
    with pytest.raises(ConfigError, match="auto, onnxruntime, npusim"):
        float_engine(toy(), "tensorflow")


def test_without_onnxruntime_the_own_engine_runs(monkeypatch):
    from npusim.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(float_engine(toy()), OwnEngine)
    with pytest.raises(MissingExtraError):
        float_engine(toy(), "onnxruntime")
    assert calibrate(toy(), samples(2)).engine == "npusim"


@given(
    st.floats(-1e4, 1e4, width=32),
    st.floats(-1e4, 1e4, width=32),
    st.sampled_from([Scheme.U8, Scheme.I8, Scheme.I16]),
)
def test_round_trips_stay_within_half_a_step_away_from_the_ends(a, b, scheme):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    quant = parameters((low, high), scheme)
    step, zero = scale_of(quant), zero_point_of(quant)
    dtype = scheme.dtype
    inner = [v for v in np.linspace(low, high, 65) if dtype.min < v / step + zero < dtype.max]
    back = dequantize(quantize(inner, dtype, quant), quant).astype(np.float64)
    assert (np.abs(back - inner) <= step * 0.5001 + 1e-6 * np.abs(inner)).all()
    assert dequantize(quantize([0.0], dtype, quant), quant)[0] == 0
    ends = quantize([low - 10 * step * 70000, high + 10 * step * 70000], dtype, quant)
    assert ends.tolist() == [dtype.min, dtype.max]


def test_min_max_is_the_union_over_samples():
    observer = MinMaxObserver()
    calibrate(toy(), samples(), observer=observer, engine="npusim")
    stacked = np.concatenate([feeds["x"] for _, feeds in samples()])
    assert observer.ranges()["x"] == (stacked.min(), stacked.max())


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16"])
@pytest.mark.parametrize("power", [2.0, 4.0, 0.5, 1.0])
def test_known_operands_are_held_exactly(scheme, power):
    b = GraphBuilder()
    b.input("x", 1, 3, 4, 4)
    b.constant("k", np.float32([power]))
    b.node("pow", ["x", "k"], "p", EltwiseAttrs())
    b.constant("m", np.full((1, 3, 1, 1), power, np.float32))
    b.node("mul", ["x", "m"], "y", EltwiseAttrs())
    graph = b.done("p", "y")
    low = 0 if power != int(power) else -2  # no roots of negative numbers
    x = np.linspace(low, 2, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    ready = npusim.quantize(graph, [("s", {"x": x})], scheme=scheme)
    for node in ready.nodes:
        spec = ready.spec(node.inputs[1])
        held = dequantize(ready.constants[node.inputs[1]], spec.quant)
        np.testing.assert_allclose(held, power, rtol=1e-6)
    results = npusim.compile(ready).run({"x": x}, preprocessed=True)
    for name, wanted in (("p", x.astype(np.float64) ** power), ("y", x * power)):
        limit = {"u8": 0.03, "i8": 0.06, "i16": 0.002}[scheme]
        assert np.abs(results[name] - wanted).max() <= limit * np.abs(wanted).max()


@pytest.mark.parametrize("engine", ["npusim", "auto"])
@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, r"no data for \['x'\]"),
        ({"x": np.zeros((1, 3, 6, 6)), "y": 1}, "are no inputs"),
        ({"x": np.zeros((1, 3, 6, 6))}, "element type float64"),
        ({"x": np.zeros((3, 6, 6), np.float32)}, "shape"),
    ],
)
def test_wrong_samples_are_explained_by_every_engine(engine, feeds, says):
    with pytest.raises(InputError, match=says):
        calibrate(toy(), [("s", feeds)], engine=engine)


@pytest.mark.parametrize("engine", ["npusim", "auto"])
def test_a_sample_on_which_the_model_stops(engine):
    b = GraphBuilder()
    b.input("x", 5, 2)
    b.input("i", 1)
    b.graph.tensors["i"] = TensorSpec(name="i", shape=(1,), dtype=DType.I64)
    graph = b.done(b.node("gather", ["x", "i"], "y", AxisAttrs(axis=0)))
    feeds = {"x": np.zeros((5, 2), np.float32), "i": np.array([9])}
    with pytest.raises(InputError, match="9"):
        calibrate(graph, [("s", feeds)], engine=engine)
