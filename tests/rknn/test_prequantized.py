"""Models that come quantized (case 1.9): loaded, built without calibration, run, refused twice."""

import numpy as np
import onnx
import pytest

from tests.importers.quantized_nets import SHAPE, convnet, quantized_by_ort, samples

HWC = (16, 16, 3)


@pytest.fixture
def quantized(tmp_path):
    def make(form="QDQ", **kinds):
        return str(quantized_by_ort(convnet(), tmp_path, form=form, **kinds))

    return make


def image():
    (feeds,) = samples("x", SHAPE, 1)
    return np.ascontiguousarray(feeds["x"][0].transpose(1, 2, 0)), feeds


def running(new, path, **config):
    rknn = new(verbose=True)
    rknn.config(**config)
    assert rknn.load_onnx(path) == 0
    assert rknn.build(do_quantization=False, dataset="missing.txt") == 0
    assert rknn.init_runtime() == 0
    return rknn


def reference(path, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def test_parameters_are_kept_and_said(new, quantized, capfd):
    path = quantized()
    rknn = running(new, path)
    pixels, feeds = image()
    (got,) = rknn.inference([pixels], data_type="float32")
    np.testing.assert_allclose(got, reference(path, feeds), atol=8 / 256)
    text = capfd.readouterr().err
    assert "already quantized" in text
    assert "its own parameters are kept" in text
    assert "i8 symmetric x" in text
    assert "the chip does not run all of this" not in text
    first = next(n for n in rknn._built.nodes if "first" in n.origin)
    values = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    np.testing.assert_array_equal(rknn._built.constants[first.inputs[1]], values["w1_quantized"])


def test_layers_that_run_elsewhere_are_one_warning(new, quantized, capfd):
    running(new, quantized(per_channel=True))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W ")]
    found = [line for line in lines if "one weight scale per channel" in line]
    assert len(found) == 1
    assert "layers: one weight scale per channel: a shader program" in found[0]
    for name in ("first", "depthwise", "pointwise", "wide", "dense"):
        assert name in found[0]


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantizing_again_is_refused_before_any_work(new, quantized, capfd, form):
    rknn = new()
    assert rknn.load_onnx(quantized(form)) == 0
    assert rknn.build(do_quantization=True, dataset="missing.txt") == -1
    text = capfd.readouterr().err
    assert "quantized.onnx: the model is already quantized" in text
    assert "do_quantization=False" in text
    assert "missing.txt" not in text
    assert rknn.build(do_quantization=False) == 0


def test_quantize_input_node(new, quantized):
    path = quantized()
    pixels, feeds = image()
    usual, own = running(new, path), running(new, path, quantize_input_node=True)
    assert usual._built.spec("x").dtype.value == "f16"
    assert own._built.spec("x").dtype.value == "u8"
    assert len(own._built.nodes) == len(usual._built.nodes) - 1
    (got,) = own.inference([pixels], data_type="float32")
    np.testing.assert_allclose(got, reference(path, feeds), atol=8 / 256)


def test_merge_dequant_layer_and_output_node(new, quantized):
    path = quantized()
    pixels, _ = image()
    usual = running(new, path)
    own = running(new, path, merge_dequant_layer_and_output_node=True)
    assert usual._built.spec("y").dtype.value == "f16"
    spec = own._built.spec("y")
    assert spec.dtype.value == "u8"
    (result,) = own.inference([pixels], data_type="float32")
    assert result.dtype == np.float32
    steps = result / np.float32(spec.quant.scale)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    (other,) = usual.inference([pixels], data_type="float32")
    np.testing.assert_allclose(result, other, atol=1e-3)  # the other way is rounded to float16


def test_options_without_effect_on_a_float_model_are_named(new, tmp_path, capfd):
    onnx.save(convnet(), tmp_path / "float.onnx")
    rknn = new()
    rknn.config(quantize_input_node=True)
    assert rknn.load_onnx(str(tmp_path / "float.onnx")) == 0
    assert rknn.build(do_quantization=False) == 0
    assert "its inputs and outputs stay float16" in capfd.readouterr().err


def test_a_stored_model_is_the_same(new, quantized, work):
    rknn = running(new, quantized("QOperator", activations="QInt8"))
    pixels, _ = image()
    before = rknn.inference([pixels], data_type="float32")
    assert rknn.export_rknn("net.rknn") == 0
    other = new()
    assert other.load_rknn("net.rknn") == 0
    assert other.init_runtime() == 0
    np.testing.assert_array_equal(other.inference([pixels], data_type="float32"), before)
    assert other.eval_perf(is_print=False)["total_time"] > 0


def test_batches_of_a_quantized_model_are_single_runs(new, quantized):
    """Cases 1.16 and B38."""
    path = quantized()
    one = running(new, path)
    many = new()
    assert many.load_onnx(path) == 0
    assert many.build(do_quantization=False, rknn_batch_size=3) == 0
    assert many.init_runtime() == 0
    pixels = np.stack([f["x"][0].transpose(1, 2, 0) for f in samples("x", SHAPE, 3)])
    (whole,) = many.inference([pixels], data_type="float32")
    parts = [one.inference([p], data_type="float32")[0] for p in pixels]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert many.inference([pixels[:1]], data_type="float32") is None


def test_tensorflow_lite(new, tmp_path, capfd):
    pytest.importorskip("ai_edge_litert")
    from tests.importers.layerwise import litert_values
    from tests.importers.tflite_build import one_op

    weights = np.arange(-60, 60, dtype=np.int8).reshape(5, 2, 4, 3)
    scales, bias = np.linspace(0.01, 0.03, 5).astype(np.float32), np.arange(5, dtype=np.int32)
    model = one_op("CONV_2D", (1, 6, 8, 3), (1, 6, 8, 5), quant=((0.1, -3), (0.5, 4)),
                   options="Conv2DOptions", strideH=1, strideW=1,
                   constants=[(weights, (scales, [0] * 5, 0)),
                              (bias, (scales * np.float32(0.1), [0] * 5, 0))])  # fmt: skip
    path = model.save(tmp_path / "net.tflite")
    rknn = new(verbose=True)
    assert rknn.load_tflite(str(path)) == 0
    assert rknn.build(do_quantization=True, dataset="missing.txt") == -1
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    codes = np.random.default_rng(0).integers(-128, 128, (1, 6, 8, 3)).astype(np.int8)
    real = (codes.astype(np.float32) + 3) * np.float32(0.1)
    (got,) = rknn.inference([real], data_type="float32")
    values, _ = litert_values(path, [codes])
    want = (values["y/nhwc"].astype(np.float32) - 4) * 0.5
    assert got.shape == want.shape == (1, 6, 8, 5)  # the source's layout
    assert np.abs(got - want).max() <= 0.5
    text = capfd.readouterr().err
    assert "int8 with a zero point: the shader copies it to uint8 or back" in text


def test_tensorflow_lite_without_the_extra(new, tmp_path, capfd, monkeypatch):
    import sys

    path = tmp_path / "net.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    monkeypatch.setitem(sys.modules, "tflite", None)
    assert new().load_tflite(str(path)) == -1
    assert "npusim[tflite]" in capfd.readouterr().err
