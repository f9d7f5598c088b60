"""Causal attention as exporters write it, from file to integers, against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx import helper as oh

import npusim
from tests.onnx_models import onnx_model

COUNT, WIDTH = 8, 4
SHAPES = {"q": (1, 2, COUNT, WIDTH), "k": (1, 2, COUNT, WIDTH), "v": (1, 2, COUNT, WIDTH)}
TURN = oh.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2])
SCORES = oh.make_node("MatMul", ["q", "kt"], ["scores"])
TAIL = [
    oh.make_node("Softmax", ["masked"], ["p"], axis=-1),
    oh.make_node("MatMul", ["p", "v"], ["o"]),
]
LOWEST = float(np.finfo(np.float32).min)


def added_triangle(low):
    """Return nodes and constants: torch.triu of a full matrix, added."""
    nodes = [
        oh.make_node("Trilu", ["full", "one"], ["mask"], upper=1),
        oh.make_node("Add", ["scores", "mask"], ["masked"]),
    ]
    full = np.full((COUNT, COUNT), low, np.float32)
    return nodes, {"full": full, "one": np.array(1, np.int64)}


def chosen_by_comparison(low):
    """Return the legacy export of scaled_dot_product_attention: Expand, Trilu, Equal, Where."""
    nodes = [
        oh.make_node("Expand", ["unit", "size"], ["ones"]),
        oh.make_node("Trilu", ["ones"], ["lower"], upper=0),
        oh.make_node("Equal", ["lower", "zero"], ["away"]),
        oh.make_node("Where", ["away", "low", "lower"], ["mask"]),
        oh.make_node("Add", ["scores", "mask"], ["masked"]),
    ]
    return nodes, {
        "unit": np.float32([1]),
        "size": np.array([COUNT, COUNT], np.int64),
        "zero": np.float32(0),
        "low": np.float32(low),
    }


def stored(low):
    """Return the mask as the newer exporter stores it: one constant of four axes."""
    mask = np.triu(np.full((1, 1, COUNT, COUNT), low, np.float32), 1)
    return [oh.make_node("Add", ["scores", "mask"], ["masked"])], {"mask": mask}


def scaled(low):
    """Return (1 - keep) * low with a constant keep, as BERT's extended attention mask."""
    nodes = [
        oh.make_node("Sub", ["unit", "keep"], ["drop"]),
        oh.make_node("Mul", ["drop", "low"], ["mask"]),
        oh.make_node("Add", ["mask", "scores"], ["masked"]),
    ]
    keep = np.tril(np.ones((COUNT, COUNT), np.float32))
    return nodes, {"unit": np.float32(1), "keep": keep, "low": np.float32(low)}


@pytest.mark.parametrize("scheme", ["f16", "u8", "i8", "i16"])
@pytest.mark.parametrize("low", [-np.inf, LOWEST, -1e9, -1e4])
@pytest.mark.parametrize("form", [added_triangle, chosen_by_comparison, stored, scaled])
def test_causal_attention(form, low, scheme, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    if form is scaled and np.isinf(low):
        pytest.skip("0 * inf is no number in the model itself")
    nodes, constants = form(low)
    model = onnx_model([TURN, SCORES, *nodes, *TAIL], SHAPES, ["o"], constants, opset=17)
    path = tmp_path / "attention.onnx"
    onnx.save(model, path)
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, feeds)
    graph = npusim.load_model(path)
    ready = (
        npusim.float16(graph)
        if scheme == "f16"
        else npusim.quantize(graph, [("sample", feeds)], scheme=scheme)
    )
    found = npusim.compile(ready).run(feeds, preprocessed=True)["o"]
    cosine = np.vdot(found, expected) / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > (0.995 if scheme == "i8" else 0.9995)


def test_infinite_pads_join_max_pools(tmp_path):
    nodes = [
        oh.make_node("Pad", ["x", "pads", "low"], ["p"]),
        oh.make_node("MaxPool", ["p"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
    ]
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "low": np.float32(-np.inf)}
    path = tmp_path / "pool.onnx"
    onnx.save(onnx_model(nodes, {"x": (1, 3, 8, 8)}, ["y"], constants), path)
    graph = npusim.load_model(path)
    x = np.random.default_rng(0).uniform(-3, -1, (1, 3, 8, 8)).astype(np.float32)
    ready = npusim.quantize(graph, [("sample", {"x": x})])
    assert [node.op for node in ready.nodes] == ["pool2d"]
    found = npusim.compile(ready).run({"x": x}, preprocessed=True)["y"]
    assert found.max() < -0.9
