"""Real TensorFlow Lite models against LiteRT: faces in float, wake words in int8 over many steps.

``python tools/fetch_models.py && python -m pytest -m models``
"""

import numpy as np
import pytest

import npusim
from npusim.importers.tflite.importer import initial_states, load_tflite
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.passes.pipeline import lower
from npusim.reference.evaluate import evaluate

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")
from tests.importers.layerwise import (
    assert_close_layers,
    compare_layers,
    litert_values,
)
from tests.real_models import model_path

FLOAT = ("face_detection_front", "face_detection_back", "face_detection_full_range",
         "face_landmark", "iris_landmark")  # fmt: skip
WAKE_WORDS = ("hey_jarvis", "okay_nabu")

pytestmark = pytest.mark.models


def path_of(name):
    return model_path(f"{name}.tflite")


@pytest.mark.parametrize("name", FLOAT)
def test_float_models(name):
    path = path_of(name)
    graph = load_tflite(path)
    (entry,) = graph.inputs
    n, c, h, w = graph.spec(entry).shape
    image = np.random.default_rng(1).uniform(-1, 1, (n, h, w, c)).astype(np.float32)
    values, _ = litert_values(path, [image])
    feeds = {entry: np.ascontiguousarray(image.transpose(0, 3, 1, 2))}
    ours = evaluate(graph, feeds)
    halves = npusim.compile(npusim.float16(graph)).run(feeds, preprocessed=True)
    for output in graph.outputs:
        want = values[f"{output}/nhwc"]
        scale = np.abs(want).max()
        assert ours[output].shape == halves[output].shape == want.shape
        np.testing.assert_allclose(ours[output], want, rtol=1e-4, atol=1e-5 * scale)
        np.testing.assert_allclose(halves[output], want, atol=0.03 * scale)


def sounds(count):
    """Return feature rows as the wake word models take them: quiet, loud, changing."""
    random = np.random.default_rng(4)
    level = np.linspace(-128, 100, count)[:, None, None, None]
    steps = random.normal(level, 40, (count, 1, 3, 40))
    return list(np.clip(np.rint(steps), -128, 127).astype(np.int8))


@pytest.mark.parametrize("name", WAKE_WORDS)
def test_wake_words_layer_by_layer(name):
    """Every layer, fed as LiteRT's own: at most one step apart."""
    path = path_of(name)
    source = load_tflite(path)
    graph = lower(npusim.float16(source))
    assert {n.engine for n in graph.nodes if n.op == "conv2d"} == {Engine.SHADER}
    values, _ = litert_values(path, sounds(12))
    values |= states_of(graph, values)
    results = compare_layers(graph, values)
    assert_close_layers(results, share=0.01)
    moved = sum("/rows" in n.outputs[0] for n in graph.nodes)
    outputs = sum(len(n.outputs) for n in graph.nodes)
    assert len(results) == outputs - moved


def states_of(graph, values):
    """Name the variables as the graph does: what was read, and what is assigned."""
    found = {}
    for node in graph.nodes:
        for name in node.inputs:
            if name.startswith("state/"):
                read = next(n for n in values if n.endswith("/concat/ReadVariableOp")
                            and f"/{name.split('/')[1]}/" in n)  # fmt: skip
                found[name] = values[read]
    for name in graph.outputs:
        if name.startswith("next_state/"):
            stem = name.split("/")[1]
            rows = values[
                next(
                    n
                    for n in values
                    if n.startswith("model")
                    and n.split("/")[1:3] == [stem, "concat"]
                    and n.count("/") == 2
                )
            ]
            kept = found[f"state/{stem}/states"].shape[2]
            found[f"{name}/nchw"] = rows[:, :, rows.shape[2] - kept :]
            found[name] = found[f"{name}/nhwc"] = found[f"{name}/nchw"].transpose(0, 2, 3, 1)
    return found


@pytest.mark.parametrize("name", WAKE_WORDS)
def test_wake_words_over_many_steps(name):
    """State goes from output to input: the probability follows LiteRT's over 40 steps."""
    path = path_of(name)
    graph = load_tflite(path)
    (note,) = graph.notes
    assert note.startswith("streaming model: 6 variables")
    assert all(spec.dtype is not DType.F32 for spec in graph.tensors.values())
    program = npusim.compile(npusim.float16(graph))
    state = initial_states(path)
    assert set(state) == set(graph.inputs[1:])
    entry, quant = graph.inputs[0], graph.spec(graph.inputs[0]).quant
    rows = sounds(40)
    for count, row in enumerate(rows, start=1):
        real = (row.astype(np.float32) - quant.zero_point) * np.float32(quant.scale)
        out = program.run({entry: real, **state}, preprocessed=True)
        state = {n: out[f"next_{n}"].transpose(0, 3, 1, 2) for n in state}
        if count in (1, 2, 3, 5, 10, 20, 30, 40):
            values, found = litert_values(path, rows[:count])
            (end,) = found.get_output_details()
            probability = values[end["name"]] * np.float32(1 / 256)
            assert abs(float(out[graph.outputs[0]].item()) - probability.item()) <= 4 / 256
