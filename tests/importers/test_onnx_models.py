"""The real models import whole and keep the names of their tensors.

``python tools/fetch_models.py && python -m pytest -m models``
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from npusim.importers import load
from npusim.ir.dtypes import DType
from npusim.reference.evaluate import evaluate

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fetch_models.py"
SPEC = importlib.util.spec_from_file_location("fetch_models_for_importers", TOOL)
assert SPEC
assert SPEC.loader
fetch_models = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = fetch_models
SPEC.loader.exec_module(fetch_models)
MODELS = fetch_models.load_list()[1]

pytestmark = pytest.mark.models


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.file)
def test_values_names_and_types(model) -> None:
    path = fetch_models.cache_folder() / model.file
    assert path.exists(), f"{path.name} is missing: run python tools/fetch_models.py first"
    graph = load(path, input_shapes={model.input: model.shape})
    n, h, w, c = model.shape if model.layout == "NHWC" else np.take(model.shape, (0, 2, 3, 1))
    assert graph.spec(model.input).shape == (n, c, h, w)
    assert {spec.dtype for spec in graph.tensors.values()} == {DType.F32}

    # every value between layers is a value of the file, so the two can be compared by name;
    # a picture in the file's own order of axes is a step of the importer
    proto = onnx.load(path, load_external_data=False)
    values = {name for node in proto.graph.node for name in node.output}
    turned = {f"{model.input}/nhwc"} if model.layout == "NHWC" else set()
    assert {name for node in graph.nodes for name in node.outputs} - turned <= values
    names = {node.name or node.output[0] for node in proto.graph.node} | {model.input}
    assert {name for node in graph.nodes for name in node.origin} <= names

    x = np.random.default_rng(1).random(model.shape, np.float32)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.run(list(graph.outputs), {model.input: x})
    picture = x.transpose(0, 3, 1, 2) if model.layout == "NHWC" else x
    ours = evaluate(graph, {model.input: np.ascontiguousarray(picture)})
    for name, want in zip(graph.outputs, wanted, strict=True):
        np.testing.assert_allclose(ours[name], want, rtol=1e-3, atol=1e-5)
