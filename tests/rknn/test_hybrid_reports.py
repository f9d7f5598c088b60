"""Outlier table, histograms, exported parameters."""

import numpy as np
import pytest
import yaml
from onnx import helper
from PIL import Image

from npusim.quantization.outliers import outlier_table, weight_outliers
from npusim.testing import GraphBuilder
from tests.rknn.conftest import conv_weights, write_onnx


def with_outlier(work, value=9.0):
    weights = conv_weights(8, 3)
    weights["w"][3, 1, 2, 0] = value
    shape = {"x": (1, 3, 8, 10)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="r1"),
    ]
    return write_onnx(work / "out.onnx", nodes, shape, {"y": (1, 8, 8, 10)}, weights)


def test_case_B40_planted_outlier_is_listed(new, images, work, capfd):
    rknn = new()
    rknn.load_onnx(with_outlier(work))
    assert rknn.build(dataset=images().path) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("W outlier values in 1 weight tensors")
    assert lines[1].split() == ["W", "const", "name", "abs_mean", "abs_std", "outlier", "value"]
    name, mean, std, value = lines[2].split()[1:]
    assert name == "w"
    weights = conv_weights(8, 3)["w"]
    weights[3, 1, 2, 0] = 9
    assert float(mean) == pytest.approx(np.abs(weights).mean(), abs=1e-5)
    assert float(std) == pytest.approx(np.abs(weights).std(), abs=1e-5)
    assert float(value) == 9


def test_ordinary_weights_are_not_listed(new, convnet, images, capfd):
    rknn = new()
    rknn.load_onnx(convnet())
    assert rknn.build(dataset=images().path) == 0
    assert capfd.readouterr().err == ""


def test_most_extreme_outlier_comes_first():
    b = GraphBuilder()
    b.input("x", 1, 3, 8, 8)
    last = "x"
    for i, value in enumerate((5.0, -50.0, 0.1)):
        weights = np.random.default_rng(i).normal(size=(3, 3, 5, 5)) * 0.1
        weights[0, 0, 0, 0] = value
        b.constant(f"w{i}", weights)
        b.constant(f"b{i}", np.zeros(3))
        pad = {"pad": (2, 2, 2, 2)}
        from npusim.ir.attrs import Conv2dAttrs

        last = b.node("conv2d", [last, f"w{i}", f"b{i}"], f"y{i}", Conv2dAttrs(**pad))
    found = weight_outliers(b.done(last))
    assert [(o.const, o.value) for o in found] == [("w1", -50.0), ("w0", 5.0)]
    assert len(outlier_table(found).splitlines()) == 3


@pytest.mark.parametrize("call", ["build", "step1", "accuracy_analysis"])
def test_case_B44_histograms(new, convnet, images, work, monkeypatch, capfd, call):
    pytest.importorskip("matplotlib")
    rknn = new(verbose=True)
    rknn.load_onnx(convnet())
    dataset = images(1).path  # one line is enough
    if call == "accuracy_analysis":
        assert rknn.build(dataset=dataset) == 0
    assert not (work / "dump_data_distribute").exists()
    monkeypatch.setenv("RKNN_DRAW_DATA_DISTRIBUTE", "1")
    if call == "accuracy_analysis":
        assert rknn.accuracy_analysis(dataset) == 0
    elif call == "build":
        assert rknn.build(dataset=dataset) == 0
    else:
        assert rknn.hybrid_quantization_step1(dataset=dataset) == 0
    folder = work / "dump_data_distribute"
    names = {path.name for path in folder.iterdir()}
    assert "x.png" in names
    for part in ("weight", "bias", "out0"):
        assert any(n.startswith("Conv_c2_") and n.endswith(f"_{part}.png") for n in names), part
    assert any(n.startswith("Softmax_prob_") for n in names)
    with Image.open(folder / "x.png") as picture:
        assert min(picture.size) > 200
    assert "histograms (png)" in capfd.readouterr().err


def test_case_B44_npz_without_matplotlib(new, convnet, images, work, monkeypatch, capfd):
    from npusim.errors import MissingExtraError
    from npusim.report import distribution_plots

    def missing(*args, **kwargs):
        raise MissingExtraError("matplotlib is missing")

    monkeypatch.setattr(distribution_plots, "require", missing)
    monkeypatch.setenv("RKNN_DRAW_DATA_DISTRIBUTE", "1")
    data = images(3)
    rknn = new()
    rknn.load_onnx(convnet())
    assert rknn.build(dataset=data.path) == 0
    assert "W RKNN_DRAW_DATA_DISTRIBUTE: matplotlib is not installed" in capfd.readouterr().err
    with np.load(work / "dump_data_distribute" / "x.npz") as file:
        assert file["counts"].sum() == 3 * 3 * 8 * 10
        everything = np.stack(data.pixels)
        assert (file["low"], file["high"]) == (everything.min(), everything.max())


def test_no_histograms_unless_asked(new, convnet, images, work, monkeypatch):
    monkeypatch.setenv("RKNN_DRAW_DATA_DISTRIBUTE", "0")
    rknn = new()
    rknn.load_onnx(convnet())
    assert rknn.build(dataset=images().path) == 0
    assert not (work / "dump_data_distribute").exists()


@pytest.mark.parametrize(
    ("dtype", "kind", "stored", "bias"),
    [
        ("asymmetric_quantized-u8", "asymmetric_affine", "u8", "i32"),
        ("dynamic_fixed_point-8", "dynamic_fixed_point", "i8", "i32"),
        ("dynamic_fixed_point-16", "dynamic_fixed_point", "i16", "i64"),
    ],
)
def test_export_rknn_quant_params(new, convnet, images, work, dtype, kind, stored, bias):
    rknn = new()
    rknn.config(quantized_dtype=dtype)
    rknn.load_onnx(convnet())
    assert rknn.build(dataset=images().path) == 0
    assert rknn.export_rknn("net.rknn") == 0
    assert rknn.export_rknn_quant_params("net.rknn") == 0
    text = (work / "net_quant_param.yml").read_text()
    assert text.startswith("%YAML 1.2\n---\n")
    content = yaml.safe_load(text)
    assert set(content) == {"model_name", "quant_params"}
    params = content["quant_params"]
    assert list(params) == ["input_0", "y"]
    assert params["input_0"]["qtype"] == kind
    assert params["input_0"]["dtype"] == stored
    assert params["y"] == {"qtype": "none", "dtype": "fp16"}  # softmax
    assert rknn.export_rknn_quant_params("net.rknn", only_io=False) == 0
    params = yaml.safe_load((work / "net_quant_param.yml").read_text())["quant_params"]
    conv = next(key for key in params if key.startswith("Conv_c2_") and key.endswith(":out0"))
    assert params[conv]["op"] == "VSI_NN_OP_CONV2D"
    stem = conv.removesuffix("out0")
    assert params[f"{stem}in1"]["dtype"] == stored
    assert params[f"{stem}in2"]["dtype"] == bias
    numbers = {"scale", "zero_point"} if kind == "asymmetric_affine" else {"fl"}
    assert numbers <= set(params[conv])


def test_export_rknn_quant_params_of_missing_files(new, capfd):
    assert new().export_rknn_quant_params("none.rknn") == -1
    assert "none.rknn" in capfd.readouterr().err
