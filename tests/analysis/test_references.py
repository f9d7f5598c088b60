"""compare and analyze against the source framework's own runtime, and what they say without it."""

import sys

import numpy as np
import onnx
import pytest
from onnx import helper

import npusim
from npusim.analysis.source import RUNTIMES, record_every_layer
from npusim.errors import ConfigError, InputError, MissingExtraError
from npusim.importers.formats import FORMATS
from npusim.report.analysis_table import analysis_verdict
from npusim.report.compare_table import verdict
from tests.importers import caffe_build
from tests.onnx_models import onnx_model

R = np.random.default_rng(5)
WEIGHTS = R.standard_normal((5, 3, 3, 4)).astype(np.float32)
BIAS = R.standard_normal(5).astype(np.float32)


def model(quantized=False):
    """Return convolution, mean over rows, softmax: float, or int8 in the format's usual way."""
    from tests.importers.tflite_build import Model

    net = Model()
    main = net.function()
    kind = "int8" if quantized else "float32"
    quants = [(0.05, 3), (0.1, -8), (0.1, -8), (1 / 256, -128)] if quantized else [None] * 4
    x, a, b, y = (
        main.tensor(name, shape, kind, quant=quant)
        for name, shape, quant in zip(
            "xaby", ((1, 6, 8, 4), (1, 6, 8, 5), (1, 8, 5), (1, 8, 5)), quants, strict=True
        )
    )
    if quantized:
        w = main.constant("w", np.rint(WEIGHTS * 30).astype(np.int8), (1 / 30, 0))
        bias = main.constant("bias", np.rint(BIAS * 600).astype(np.int32), (0.05 / 30, 0))
    else:
        w, bias = main.constant("w", WEIGHTS), main.constant("bias", BIAS)
    main.op("CONV_2D", [x, w, bias], [a], "Conv2DOptions", strideH=1, strideW=1)
    main.op("MEAN", [a, main.constant("axes", np.array([1], np.int32))], [b], "ReducerOptions")
    main.op("SOFTMAX", [b], [y], "SoftmaxOptions", beta=1.0)
    main.proto.inputs, main.proto.outputs = [x], [y]
    return net


@pytest.fixture
def litert(tmp_path):
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert")
    graph = npusim.load_model(model().save(tmp_path / "net.tflite"))
    return graph, {"x": R.uniform(-1, 1, (1, 4, 6, 8)).astype(np.float32)}


def compared(graph, feeds, **options):
    program = npusim.compile(npusim.float16(graph))
    mine = npusim.record_program(program, feeds, preprocessed=True)
    return npusim.compare(mine, npusim.record_source(graph, feeds, **options))


def test_litert_is_the_reference_of_its_models(litert):
    graph, feeds = litert
    found = compared(graph, feeds)
    assert found.reference.startswith("float (LiteRT 2")
    assert found.notes == ()
    assert {row.tensor for row in found.layers} == {"a", "b", "y"}
    assert found.worst.difference.cosine > 0.9999
    own = compared(graph, feeds, reference="npusim")
    assert own.reference == "float (npusim's own evaluator)"
    assert "cannot show a fault of the import: it was asked for" in verdict(own)


def test_a_fault_of_the_import_shows(litert):
    """Rows and columns of the kernel exchanged, as a wrong importer would have them."""
    graph, feeds = litert
    wrong = graph.copy(constants={**graph.constants, "w": graph.constants["w"][:, :, ::-1].copy()})
    assert compared(wrong, feeds).first_wrong is not None
    assert compared(wrong, feeds, reference="npusim").first_wrong is None
    program = npusim.compile(npusim.float16(wrong))
    assert npusim.analyze(wrong, program, feeds).first_wrong is not None


def test_without_the_runtime(litert, monkeypatch):
    graph, feeds = litert
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    found = compared(graph, feeds)
    assert found.reference == "float (npusim's own evaluator)"
    (note,) = found.notes
    assert "npusim's own evaluator" in note
    assert "'npusim[litert]'" in note
    with pytest.raises(MissingExtraError, match=r"npusim\[litert\]"):
        npusim.record_source(graph, feeds, reference="framework")
    program = npusim.compile(npusim.quantize(graph, [("s", feeds)]))
    assert "Note: the reference is npusim's own" in analysis_verdict(
        npusim.analyze(graph, program, feeds)
    )


def test_analysis_takes_the_frameworks_values(litert):
    graph, feeds = litert
    program = npusim.compile(npusim.quantize(graph, [("s", feeds)]))
    found = npusim.analyze(graph, program, feeds)
    assert found.to_dict()["reference"].startswith("float (LiteRT 2")
    assert "The reference is float (LiteRT 2" in analysis_verdict(found)
    assert found.first_wrong is None
    wrong = dict(record_values_of(graph, feeds), a=np.zeros((1, 5, 6, 7), np.float32))
    runtime = RUNTIMES["tflite"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RUNTIMES, "tflite", type(runtime)(runtime.version, lambda *_: wrong))
        with pytest.raises(InputError, match="the import is wrong"):
            record_every_layer(graph, feeds)


def record_values_of(graph, feeds):
    return {row.tensor: row.stored for row in npusim.record_source(graph, feeds).layers}


def test_quantized_models_are_compared_with_litert(tmp_path):
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert")
    graph = npusim.load_model(model(quantized=True).save(tmp_path / "net.tflite"))
    feeds = {"x": R.uniform(-3, 3, (1, 4, 6, 8)).astype(np.float32)}
    found = compared(graph, feeds)
    assert found.reference.startswith("quantized (LiteRT 2")
    assert found.first_wrong is None
    (first,) = (row for row in found.layers if row.tensor == "a")
    assert first.difference.max_steps < 1.01
    assert found.worst.difference.cosine > 0.999


@pytest.mark.parametrize("word", ["", "tflite", "LiteRT"])
def test_other_words_are_refused(litert, word):
    graph, feeds = litert
    with pytest.raises(ConfigError, match="auto, framework, npusim"):
        npusim.record_source(graph, feeds, reference=word)


def caffe(folder):
    text = caffe_build.input_layer("x", (1, 3, 6, 7)) + "".join(
        caffe_build.layer(kind, [bottom], [top], more).replace('"l"', f'"{name}"')
        for kind, name, bottom, top, more in (
            ("Convolution", "conv", "x", "c", "convolution_param { num_output: 4 kernel_size: 3 }"),
            ("ReLU", "bend", "c", "c", ""),
            ("Pooling", "pool", "c", "p", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"),
            ("Softmax", "prob", "p", "y", ""),
        )
    )
    values = [R.standard_normal((4, 3, 3, 3)), R.standard_normal(4)]
    blobs = {"conv": [value.astype(np.float32) for value in values]}
    return caffe_build.load(folder, text, caffe_build.weights(blobs))


def test_opencv_is_the_reference_of_caffe(tmp_path):
    pytest.importorskip("cv2")
    graph = caffe(tmp_path)
    feeds = {"x": R.standard_normal((1, 3, 6, 7)).astype(np.float32)}
    found = compared(graph, feeds)
    assert found.reference.startswith("float (OpenCV 4")
    assert {row.tensor for row in found.layers} >= {"c", "p", "y"}
    assert found.worst.difference.cosine > 0.9999
    name = next(n for n, v in graph.constants.items() if v.shape == (4, 3, 3, 3))
    wrong = graph.copy(constants={**graph.constants, name: graph.constants[name][:, ::-1].copy()})
    assert compared(wrong, feeds).first_wrong is not None


def test_caffe_without_opencv_or_weights(tmp_path, monkeypatch):
    graph = caffe(tmp_path)
    feeds = {"x": R.standard_normal((1, 3, 6, 7)).astype(np.float32)}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cv2", None)
        (note,) = compared(graph, feeds).notes
        assert "'npusim[opencv]'" in note
    pytest.importorskip("cv2")
    (tmp_path / "net.caffemodel").unlink()
    (note,) = compared(graph, feeds).notes
    assert "weights do not lie beside it" in note


def test_every_row_is_a_framework_of_the_table():
    assert set(RUNTIMES) <= {form.call.removeprefix("load_") for form in FORMATS}


def darknet(folder):
    from tests.importers.test_darknet import load, net, section, weights

    text = net(
        section("convolutional", batch_normalize=1, filters=4, size=3, pad=1, activation="leaky"),
        section("convolutional", filters=4, size=1, activation="linear"),
        section("shortcut", from_=-2, activation="linear"),
        section("maxpool", size=2, stride=2),
        section("route", layers="-1"),
        section("convolutional", filters=6, size=1, activation="logistic"),
        channels=3, height=6, width=8,
    )  # fmt: skip
    variances, rest = R.uniform(0.5, 2, 4), R.standard_normal(4 * 3 + 4 * 27)
    numbers = [*rest[:12], *variances, *rest[12:]]  # bias, scale, mean, variance, weights
    more = R.standard_normal(4 + 16 + 6 + 24)
    return load(folder, text, weights([*numbers, *more]))


def test_opencv_is_the_reference_of_darknet(tmp_path):
    pytest.importorskip("cv2")
    graph = darknet(tmp_path)
    (entry,) = graph.inputs
    feeds = {entry: R.standard_normal((1, 3, 6, 8)).astype(np.float32)}
    found = compared(graph, feeds)
    assert found.reference.startswith("float (OpenCV 4")
    assert len(found.layers) >= 4
    assert found.worst.difference.cosine > 0.999
    name = next(n for n, v in graph.constants.items() if v.shape == (4, 3, 3, 3))
    wrong = graph.copy(constants={**graph.constants, name: graph.constants[name][:, ::-1].copy()})
    assert compared(wrong, feeds).first_wrong is not None


@pytest.mark.parametrize("sizes", [(1, 6, 9, 3), ("n", "h", "w", 3), ("n", "h", "w", "c")])
def test_onnx_runtime_is_fed_pictures_in_the_files_order(tmp_path, sizes):
    pytest.importorskip("onnxruntime")
    net = onnx_model(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["t", "w"], ["y"]),
        ],
        inputs={"x": sizes},
        outputs=["y"],
        constants={"w": R.standard_normal((4, 3, 3, 3)).astype(np.float32)},
    )
    onnx.save(net, tmp_path / "net.onnx")
    graph = npusim.load_model(tmp_path / "net.onnx", input_shapes={"x": (1, 6, 9, 3)})
    found = compared(graph, {"x": R.standard_normal((1, 3, 6, 9)).astype(np.float32)})
    assert found.reference.startswith("float (ONNX Runtime")
    assert found.worst.difference.cosine > 0.9999


@pytest.mark.parametrize("k", [1, 2])
def test_opencv_is_the_reference_of_lrn_unless_k_is_set(tmp_path, k):
    pytest.importorskip("cv2")
    text = caffe_build.input_layer("x", (1, 6, 5, 5)) + "".join(
        caffe_build.layer(kind, [bottom], [top], more).replace('"l"', f'"{kind}"')
        for kind, bottom, top, more in (
            ("LRN", "x", "n", f"lrn_param {{ local_size: 5 alpha: 0.5 k: {k} }}"),
            ("Convolution", "n", "y", "convolution_param { num_output: 2 kernel_size: 3 }"),
        )
    )
    blobs = [R.standard_normal((2, 6, 3, 3)).astype(np.float32), np.zeros(2, np.float32)]
    graph = caffe_build.load(tmp_path, text, caffe_build.weights({"Convolution": blobs}))
    feeds = {"x": R.standard_normal((1, 6, 5, 5)).astype(np.float32)}
    found = compared(graph, feeds)
    assert found.reference.startswith("float (OpenCV 4" if k == 1 else "float (npusim's own")
    assert found.worst.difference.cosine > 0.9999


def test_a_softmax_at_darknets_end_has_a_counterpart_in_opencv(tmp_path):
    """OpenCV gives it four axes, the graph two."""
    pytest.importorskip("cv2")
    from tests.importers.test_darknet import load, net, section, weights

    text = net(
        section("convolutional", filters=5, size=1, activation="linear"),
        section("avgpool"),
        section("softmax", groups=1),
        channels=3, height=4, width=4,
    )  # fmt: skip
    graph = load(tmp_path, text, weights(R.standard_normal(5 + 15)))
    (entry,) = graph.inputs
    found = compared(graph, {entry: R.standard_normal((1, 3, 4, 4)).astype(np.float32)})
    assert found.reference.startswith("float (OpenCV 4")
    assert graph.outputs[0] in {row.tensor for row in found.layers}
    assert found.worst.difference.cosine > 0.9999
