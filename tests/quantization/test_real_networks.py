"""Float engines, equalization and bias correction on real networks (tools/fetch_models.py)."""

import sys
from pathlib import Path

import numpy as np
import pytest

import npusim
from npusim.analysis.metrics import cosine
from npusim.exporters.onnx import save_onnx
from npusim.passes.pipeline import optimize
from npusim.reference.float_engine import float_engine

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
accuracy = pytest.importorskip("accuracy", reason="needs scikit-image")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.models
MODELS = [
    model
    for model in accuracy.fetch_models.load_list()[1]
    if "light_" not in model.file or "shufflenet" in model.file
]


def loaded(model):
    path = accuracy.fetch_models.cache_folder() / model.file
    if not path.exists():
        pytest.skip(f"{model.file}: run tools/fetch_models.py")
    return npusim.load_model(path, input_shapes={model.input: model.shape})


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.file)
def test_float_engines_agree_on_every_tensor(model):
    graph = optimize(loaded(model))
    feeds = accuracy.samples(model)[1][0]
    theirs = {}
    float_engine(graph, "onnxruntime").run(feeds, observe=theirs.__setitem__)
    seen = []

    def compare(name, value):
        seen.append(name)
        wanted = theirs[name]
        assert value.dtype == wanted.dtype
        scale = np.abs(wanted).max(initial=1e-30)
        assert np.abs(value - wanted).max(initial=0) <= 1e-3 * scale, name

    float_engine(graph, "npusim").run(feeds, observe=compare)
    assert seen == list(theirs)


def mobilenet():
    model = next(m for m in MODELS if m.file.startswith("mobilenet_v2"))
    graph = loaded(model)
    calibration, test = accuracy.samples(model)
    named = [(f"image {i}", feeds) for i, feeds in enumerate(calibration)]
    engine = float_engine(optimize(graph), observed=False)
    return graph, named, [(feeds, engine.run(feeds)) for feeds in test]


def lowest(graph, test):
    program = npusim.compile(graph)
    return min(
        cosine(value, wanted[name])
        for feeds, wanted in test
        for name, value in program.run(feeds, preprocessed=True).items()
    )


def test_mobilenet_v2_is_recovered_by_equalization_and_bias_correction():
    graph, named, test = mobilenet()
    plain = lowest(npusim.quantize(graph, named), test)
    corrected = lowest(npusim.quantize(graph, named, bias_correction=True), test)
    equal = lowest(npusim.quantize(graph, named, equalize="restrict"), test)
    both = lowest(npusim.quantize(graph, named, equalize="restrict", bias_correction=True), test)
    assert plain < 0.96
    assert corrected > plain
    assert equal > 0.97
    assert both > 0.985


def test_equalized_mobilenet_v2_as_onnx_gives_the_same_results(tmp_path):
    from npusim.quantization.equalize import Relu6
    from npusim.quantization.job import equalized

    graph, named, test = mobilenet()
    changed = equalized(optimize(graph), Relu6.RESTRICT, named)
    assert len(changed.pairs) == 36
    save_onnx(changed.graph, tmp_path / "equal.onnx")
    again = npusim.load_model(tmp_path / "equal.onnx")
    engine = float_engine(optimize(again), observed=False)
    calibration = [feeds for _, feeds in named]
    before = float_engine(optimize(graph), observed=False)
    for feeds in calibration:  # relu6 changes nothing on these
        for name, value in engine.run(feeds).items():
            wanted = before.run(feeds)[name]
            np.testing.assert_allclose(value, wanted, atol=2e-3 * np.abs(wanted).max())
    for feeds, wanted in test:
        assert all(cosine(v, wanted[n]) > 0.999 for n, v in engine.run(feeds).items())
