"""ONNX models that end in what no engine runs, against ONNX Runtime."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import npusim
from npusim.errors import UnsupportedOpError
from npusim.exporters.onnx import save_onnx
from npusim.host.runner import network_results
from npusim.reference.evaluate import evaluate

ort = pytest.importorskip("onnxruntime")
SHAPE = (1, 3, 8, 8)
WEIGHTS = np.random.default_rng(0).standard_normal((9, 3, 3, 3)).astype(np.float32)
CONSTANTS = {
    "w": WEIGHTS,
    "flat": np.array([1, 9, 64]),
    "parts": np.array([4, 5]),
    "three": np.array([3]),
    "iou": np.array([0.5], np.float32),
    "low": np.array([0.2], np.float32),
    "two": np.array([2]),
    "w2": np.ones((1, 2, 1, 1), np.float32),
}
HEAD = [
    helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
    helper.make_node("Reshape", ["c", "flat"], ["f"]),
    helper.make_node("Split", ["f", "parts"], ["b", "s"], axis=1),
    helper.make_node("Transpose", ["b"], ["boxes"], perm=[0, 2, 1]),
    helper.make_node("Sigmoid", ["s"], ["scores"]),
]
NMS = helper.make_node(
    "NonMaxSuppression", ["boxes", "scores", "three", "iou", "low"], ["found"], name="nms"
)
TOP = helper.make_node("TopK", ["scores", "two"], ["v", "i"], axis=2, name="top")
PICKED = helper.make_node("GatherElements", ["s", "i"], ["picked"], axis=2, name="pick")


def saved(path, nodes, outputs, opset=18):
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(v, name) for name, v in CONSTANTS.items() if name in read],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
TAILS = {
    "boxes": ([*HEAD, NMS], {"found": INT}),
    "largest and where": ([*HEAD, TOP], {"i": INT, "v": FLOAT}),
    "with an output of the NPU": ([*HEAD, TOP], {"v": FLOAT, "scores": FLOAT, "i": INT}),
    "several": ([*HEAD, NMS, TOP, PICKED], {"picked": FLOAT, "found": INT, "v": FLOAT}),
}


@pytest.mark.parametrize("kind", TAILS)
def test_the_float_network_gives_what_onnx_runtime_gives(tmp_path, kind):
    nodes, outputs = TAILS[kind]
    path = saved(tmp_path / "net.onnx", nodes, outputs)
    graph = npusim.load_model(path)
    assert graph.results == tuple(outputs)
    assert any("on the CPU" in note for note in graph.notes)
    feeds = {"x": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    found = network_results(graph, evaluate(graph, feeds), feeds)
    wanted = ort.InferenceSession(path).run(None, feeds)
    for name, value in zip(outputs, wanted, strict=True):
        assert found[name].dtype == value.dtype
        np.testing.assert_allclose(found[name], value, 1e-5, 1e-6)


def test_outputs_of_the_caller_choose_the_end(tmp_path):
    path = saved(tmp_path / "net.onnx", *TAILS["several"])
    assert npusim.load_model(path, outputs=["scores"]).tail is None
    graph = npusim.load_model(path, outputs=["i"])
    assert [layer.op for layer in graph.tail.layers] == ["TopK"]
    assert graph.outputs == ("scores",)


def test_quantized_and_stored(tmp_path):
    graph = npusim.load_model(saved(tmp_path / "net.onnx", *TAILS["several"]))
    feeds = {"x": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    stored = npusim.quantize(graph, [("one", feeds)], scheme="u8")
    npusim.save(stored, tmp_path / "net.npusim")
    program = npusim.compile(npusim.load_model(tmp_path / "net.npusim"))
    found = program.run(feeds, preprocessed=True)
    assert found["found"].shape[1] == 3
    np.testing.assert_allclose(found["v"], np.sort(found["v"], 2)[:, :, ::-1])


def test_what_goes_on_behind_is_refused_with_the_cut(tmp_path):
    again = helper.make_node("Conv", ["v4", "w2"], ["y"], name="again")
    shape = helper.make_node("Unsqueeze", ["v", "two"], ["v4"], name="shape")
    path = saved(tmp_path / "net.onnx", [*HEAD, TOP, shape, again], {"y": FLOAT})
    with pytest.raises(UnsupportedOpError, match="outputs=\\['scores'\\]") as caught:
        npusim.load_model(path)
    assert "node 'again' (Conv) comes behind, which belongs on the NPU" in str(caught.value)


def test_nothing_for_the_npu_is_refused(tmp_path):
    alone = helper.make_node("TopK", ["x", "two"], ["v", "i"], axis=2, name="top")
    path = saved(tmp_path / "net.onnx", [alone], {"v": FLOAT})
    with pytest.raises(UnsupportedOpError, match="nothing is left for the NPU"):
        npusim.load_model(path)


def test_an_exported_file_says_what_it_leaves_out(tmp_path, caplog):
    graph = npusim.load_model(saved(tmp_path / "net.onnx", *TAILS["several"]))
    with caplog.at_level(logging.WARNING):
        save_onnx(graph, tmp_path / "out.onnx")
    assert "TopK_top" in caplog.text
    assert "npusim explain host-layers" in caplog.text
    assert npusim.load_model(tmp_path / "out.onnx").outputs == graph.outputs
