"""The float reference on real networks: every tensor agrees with ONNX Runtime."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from npusim.analysis.float_runner import run_source_float
from npusim.importers.onnx.importer import load_onnx
from npusim.reference.evaluate import Evaluator

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fetch_models.py"
SPEC = importlib.util.spec_from_file_location("fetch_models", TOOL)
assert SPEC
assert SPEC.loader
fetch_models = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = fetch_models
SPEC.loader.exec_module(fetch_models)

pytestmark = pytest.mark.models


@pytest.mark.parametrize("model", fetch_models.load_list()[1], ids=lambda model: model.file)
def test_every_tensor_agrees_with_onnxruntime(model):
    path = fetch_models.cache_folder() / model.file
    assert path.exists(), f"{path.name} is missing: run python tools/fetch_models.py first"
    graph = load_onnx(path, input_shapes={model.input: model.shape})
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, graph.spec(model.input).shape).astype(np.float32)
    mean, std = (np.float32(value).reshape(-1, 1, 1) for value in (model.mean, model.std))
    feeds = {model.input: (pixels - mean) / std}
    seen = {}
    Evaluator(graph).run(feeds, observe=seen.__setitem__)
    source = run_source_float(path, feeds)
    common = [name for name in source if name in seen]
    assert set(graph.outputs) <= set(common)
    # the rest of the source's tensors are constants that the importer folded; a picture in the
    # file's own order of axes is a step of the importer
    turned = {f"{model.input}/nhwc"} if model.layout == "NHWC" else set()
    assert {name for node in graph.nodes for name in node.outputs} - turned <= set(common)
    for name in common:
        scale = np.abs(source[name]).max()
        np.testing.assert_allclose(
            seen[name], source[name], rtol=0, atol=2e-4 * scale + 1e-6, err_msg=name
        )
