"""A network with host layers from file to every report."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import ContainerError, GraphError, InputError
from npusim.host.runner import network_results, run_tail
from npusim.host.tail import HostNode, tail_of
from npusim.ir.verify import verify
from npusim.reference.evaluate import evaluate
from npusim.rknn import RKNN
from npusim.testing import GraphBuilder
from tests.importers.caffe_build import load
from tests.importers.test_caffe_faq import DETECTION, HEAD


@pytest.fixture
def detector(tmp_path):
    return load(tmp_path, HEAD + DETECTION)


@pytest.fixture
def pixels():
    return np.random.default_rng(3).integers(0, 256, (1, 3, 8, 8)).astype(np.float32)


def float_boxes(graph, pixels):
    feeds = {"data": pixels}
    return network_results(graph, evaluate(graph, feeds), feeds)["detection_out"]


@pytest.mark.parametrize("scheme", ["f16", "u8", "i16"])
def test_boxes_of_each_format_are_near_those_of_float(detector, pixels, scheme):
    stored = npusim.quantize(detector, [("one", {"data": pixels})], scheme=scheme)
    found = npusim.compile(stored).run({"data": pixels}, preprocessed=True)
    assert list(found) == ["detection_out"]
    wanted = float_boxes(detector, pixels)
    best = found["detection_out"][0, 0]
    assert best.shape[1] == 7
    assert abs(best[0, 2] - wanted[0, 0, 0, 2]) < 0.05 * abs(wanted[0, 0, 0, 2])


def test_the_tail_reads_what_the_npu_gives(detector, pixels):
    """Its results are those of the outputs in front of it, computed apart."""
    program = npusim.compile(npusim.float16(detector))
    inner = {}
    found = program.run(
        {"data": pixels},
        preprocessed=True,
        observe=lambda node, tensor, value: inner.update({tensor: value.astype(np.float32)}),
    )
    again = run_tail(detector.tail, {name: inner[name] for name in detector.outputs})
    np.testing.assert_array_equal(found["detection_out"], again["detection_out"])


def test_it_is_stored_and_read(detector, pixels, tmp_path):
    stored = npusim.quantize(detector, [("one", {"data": pixels})], scheme="u8")
    npusim.save(stored, tmp_path / "net.npusim")
    again = npusim.load_model(tmp_path / "net.npusim")
    assert again.tail == detector.tail
    feeds = {"data": pixels}
    first, second = (npusim.compile(g).run(feeds, preprocessed=True) for g in (stored, again))
    np.testing.assert_array_equal(first["detection_out"], second["detection_out"])


def test_reports_say_what_the_cpu_does(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(HEAD + DETECTION)
    run = CliRunner(env={"COLUMNS": "200"})
    facts = json.loads(run.invoke(app, ["info", str(path), "--json"]).stdout)
    assert facts["host_layers"][0]["op"] == "DetectionOutput"
    assert facts["outputs"] == ["detection_out (made by host layer DetectionOutput_detection_out)"]
    assert "on the CPU, in float" in run.invoke(app, ["info", str(path)]).output
    priced = run.invoke(app, ["perf", str(path)])
    assert "not in these times, on the CPU: DetectionOutput_detection_out" in priced.output
    prices = json.loads(run.invoke(app, ["perf", str(path), "--json"]).stdout)
    assert prices["host_layers"] == ["DetectionOutput_detection_out (DetectionOutput)"]
    np.save(tmp_path / "x.npy", np.ones((1, 8, 8, 3), np.float32))
    done = run.invoke(
        app, ["dump", str(path), "-o", str(tmp_path / "d"), "--input", str(tmp_path / "x.npy")]
    )
    assert done.exit_code == 0, done.output
    with (tmp_path / "d" / "nn_layer_dump_index.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["engine"], last["form"], last["op"]) == ("CPU", "host layer", "DetectionOutput")
    assert np.load(tmp_path / "d" / last["file"]).size % 7 == 0
    same = run.invoke(
        app,
        ["compare", str(path), "--folder", str(tmp_path / "d"), "--input", str(tmp_path / "x.npy")],
    )
    assert same.exit_code == 0, same.output


def test_the_toolkits_class_gives_boxes(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(HEAD + DETECTION)
    rknn = RKNN()
    rknn.config(batch_size=1)
    assert rknn.load_caffe(str(path), "caffe", None) == 0
    assert rknn.build(do_quantization=False, rknn_batch_size=2) == 0
    assert rknn.init_runtime() == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    (boxes,) = rknn.inference(inputs=[images])
    assert boxes.dtype == np.float32
    assert boxes.shape[-1] == 7


def picked(results=("v", "i"), reads="y"):
    """A relu on the NPU and ONNX's TopK behind it."""
    build = GraphBuilder()
    x = build.input("x", 1, 6)
    graph = build.graph
    graph.outputs = (build.node("relu", (x,), "y"),)
    node = HostNode(
        name="top",
        op="TopK",
        inputs=(reads, "k"),
        outputs=("v", "i"),
        attrs={"axis": 1},
        domain="",
    )
    graph.tail = tail_of([node], graph.tensors, {"k": np.array([2], np.int64)}, results, name="net")
    return graph


def test_onnx_operators_run_and_outputs_of_both_parts_keep_their_order():
    graph = picked(("i", "y", "v"))
    verify(graph)
    x = np.array([[1, -5, 4, 2, 0, 3]], np.float32)
    found = npusim.compile(npusim.float16(graph)).run({"x": x})
    assert list(found) == ["i", "y", "v"]
    np.testing.assert_array_equal(found["i"], [[2, 5]])
    np.testing.assert_array_equal(found["v"], [[4, 3]])
    np.testing.assert_array_equal(found["y"], np.maximum(x, 0))


def test_wrong_tails_are_refused():
    graph = picked()
    graph.outputs = ()
    with pytest.raises(GraphError, match="read \\['y'\\]"):
        verify(graph)
    lost = picked(("v", "nothing"))
    with pytest.raises(GraphError, match="written by nothing"):
        verify(lost)
    with pytest.raises(ContainerError, match="cannot be read"):
        run_tail(npusim.ir.graph.Tail(model=b"no", inputs=(), results=("a",), layers=()), {})
    with pytest.raises(InputError, match="'top' \\(TopK\\)"):
        run_tail(picked().tail, {"y": np.zeros((1, 1), np.float32)})
