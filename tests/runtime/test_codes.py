"""Codes in, codes out: what ONNX Runtime and LiteRT take and give, and what is said otherwise."""

import json
import logging

import numpy as np
import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.errors import ConfigError, InputError
from npusim.ir.graph import Preprocess
from npusim.rknn import RKNN
from tests.importers.layerwise import litert_values, ort_values
from tests.importers.tflite_build import one_op
from tests.onnx_models import onnx_model

SCALE = np.float32(0.03)
SHAPE = (1, 3, 8, 8)
KINDS = [(np.uint8, 120), (np.int8, -5)]
kinds = pytest.mark.parametrize(("dtype", "zero_point"), KINDS, ids=["uint8", "int8"])


def codes_of(dtype, shape=SHAPE, seed=0):
    ends = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(ends.min, ends.max + 1, shape).astype(dtype)


def pooled(dtype, zero_point, scale=SCALE) -> onnx.ModelProto:
    """Return DequantizeLinear, MaxPool, QuantizeLinear: integers in and out, no rounding."""
    constants = {"s": np.float32(scale), "z": np.array(zero_point, dtype)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["y"]),
    ]
    types = {"x": dtype, "y": dtype}
    return onnx_model(nodes, {"x": SHAPE}, {"y": (1, 3, 4, 4)}, constants, types=types, opset=13)


def convolved(dtype, zero_point) -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    constants = {
        "s": SCALE, "z": np.array(zero_point, dtype), "ws": np.float32(0.01),
        "w": rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8), "wz": np.int8(0),
        "ys": np.float32(0.05), "yz": np.array(zero_point, dtype),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["k"]),
        helper.make_node("Conv", ["a", "k"], ["b"]),
        helper.make_node("QuantizeLinear", ["b", "ys", "yz"], ["y"]),
    ]
    types = {"x": dtype, "y": dtype}
    return onnx_model(nodes, {"x": SHAPE}, {"y": (1, 4, 6, 6)}, constants, types=types, opset=13)


@pytest.fixture
def built(tmp_path):
    def build(model):
        onnx.save(model, tmp_path / "m.onnx")
        return npusim.compile(npusim.float16(npusim.load_model(tmp_path / "m.onnx")))

    return build


@kinds
def test_codes_are_those_of_onnx_runtime(built, dtype, zero_point):
    model, x = pooled(dtype, zero_point), codes_of(dtype)
    got = built(model).run_codes({"x": x})
    assert set(got) == {"y"}
    np.testing.assert_array_equal(got["y"], ort_values(model, {"x": x})["y"], strict=True)


@kinds
def test_sums_are_within_a_step_of_onnx_runtime(built, dtype, zero_point):
    model, x = convolved(dtype, zero_point), codes_of(dtype)
    got, want = built(model).run_codes({"x": x})["y"], ort_values(model, {"x": x})["y"]
    assert got.dtype == want.dtype
    gap = np.abs(got.astype(int) - want)
    assert gap.max() <= 1
    assert (gap > 0).mean() < 0.05


@kinds
def test_codes_are_those_of_litert(tmp_path, dtype, zero_point):
    pytest.importorskip("ai_edge_litert")
    quant = (float(SCALE), zero_point)
    model = one_op(
        "MAX_POOL_2D", (1, 8, 8, 3), (1, 4, 4, 3), options="Pool2DOptions", quant=(quant, quant),
        dtype=np.dtype(dtype).name, filterHeight=2, filterWidth=2, strideH=2, strideW=2,
    )  # fmt: skip
    path, x = model.save(tmp_path / "m.tflite"), codes_of(dtype, (1, 8, 8, 3))
    graph = npusim.load_model(path)
    assert graph.coded == graph.inputs + graph.outputs
    program = npusim.compile(npusim.float16(graph))
    (name,) = graph.inputs
    (got,) = program.run_codes({name: x.transpose(0, 3, 1, 2)}).values()
    values, _ = litert_values(path, [x])
    np.testing.assert_array_equal(got.transpose(0, 3, 1, 2), values["y"], strict=True)


@kinds
def test_codes_and_real_numbers_are_the_same_run(built, dtype, zero_point, caplog):
    program, x = built(convolved(dtype, zero_point)), codes_of(dtype)
    real = (x.astype(np.float32) - zero_point) * SCALE
    with caplog.at_level(logging.WARNING, "npusim"):
        got = program.run({"x": real})["y"]
        passed = program.run({"x": x}, pass_through=["x"])["y"]
    assert not caplog.records
    codes = program.run_codes({"x": x})["y"]
    np.testing.assert_allclose(got, (codes.astype(int) - zero_point) * np.float32(0.05), 1e-6)
    np.testing.assert_array_equal(got, passed)


def test_integers_read_as_real_numbers_are_said_once(built, caplog):
    program, x = built(pooled(*KINDS[0])), codes_of(np.uint8)
    with caplog.at_level(logging.WARNING, "npusim"):
        for _ in range(3):
            program.run({"x": x})
    (record,) = caplog.records
    text = record.getMessage()
    assert "input 'x': the uint8 array is read as real numbers" in text
    assert "scale 0.03 and zero point 120" in text
    assert "run_codes" in text
    assert text.endswith("(npusim explain integer-input)")


@pytest.mark.parametrize(
    ("model", "how"),
    [
        (pooled(*KINDS[0]), Preprocess(mean=(127.5,), std=(127.5,))),
        (pooled(np.uint8, 0, scale=1), None),  # codes and real numbers are the same
    ],
)
def test_pixels_and_plain_numbers_are_not_in_doubt(built, model, how, caplog):
    program = built(model)
    if how:
        program = npusim.compile(program.graph.copy(preprocess={"x": how}))
    with caplog.at_level(logging.WARNING, "npusim"):
        program.run({"x": codes_of(np.uint8)})
    assert not caplog.records


def test_a_model_quantized_here_declares_no_codes(tmp_path, caplog):
    node = helper.make_node("Relu", ["x"], ["y"])
    onnx.save(onnx_model([node], {"x": SHAPE}, {"y": SHAPE}, {}), tmp_path / "f.onnx")
    graph = npusim.load_model(tmp_path / "f.onnx")
    assert graph.coded == ()
    feeds = {"x": np.random.default_rng(0).uniform(-3, 90, SHAPE).astype(np.float32)}
    program = npusim.compile(npusim.quantize(graph, [("s", feeds)]))
    with caplog.at_level(logging.WARNING, "npusim"):
        program.run({"x": codes_of(np.uint8)})
    assert not caplog.records
    codes = program.run_codes({"x": codes_of(np.uint8)})["y"]
    assert codes.dtype == np.uint8


def test_a_batch_of_codes(built):
    program, x = built(pooled(*KINDS[0])), codes_of(np.uint8, (2, 3, 8, 8))
    both = npusim.compile(program.graph.copy(batch=2)).run_codes({"x": x})["y"]
    for i in range(2):
        np.testing.assert_array_equal(
            both[i : i + 1], program.run_codes({"x": x[i : i + 1]})["y"], strict=True
        )


def test_float_inputs_take_real_numbers_beside_codes(built):
    constants = {"s": SCALE, "z": np.uint8(120)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("Add", ["a", "f"], ["y"]),
    ]
    shapes = {"x": (1, 4), "f": (1, 4)}
    model = onnx_model(nodes, shapes, {"y": (1, 4)}, constants, types={"x": np.uint8}, opset=13)
    feeds = {"x": codes_of(np.uint8, (1, 4)), "f": np.float32([[0.5, -1, 2, 0.25]])}
    got, want = built(model).run_codes(feeds)["y"], ort_values(model, feeds)["y"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, 2e-3)


def test_what_are_no_codes_is_refused(built):
    program = built(pooled(*KINDS[0]))
    with pytest.raises(InputError, match=r"(?s)an array of float32 .*'x'|'x'.*array of float32"):
        program.run_codes({"x": np.zeros(SHAPE, np.float32)})
    with pytest.raises(InputError, match=r"(?s)codes from -1 to 0.*uint8 holds 0 to 255"):
        program.run_codes({"x": np.full(SHAPE, [-1] + [0] * 7)})
    wide = codes_of(np.uint8).astype(np.int64)
    np.testing.assert_array_equal(
        program.run_codes({"x": wide})["y"], program.run_codes({"x": codes_of(np.uint8)})["y"]
    )


def test_what_is_declared_survives_a_file(built, tmp_path):
    program = built(pooled(*KINDS[0]))
    npusim.save(program.graph, tmp_path / "m.rknn")
    assert npusim.load_model(tmp_path / "m.rknn").coded == ("x", "y")


def test_the_command_line_takes_and_gives_codes(tmp_path):
    model, x = pooled(*KINDS[0]), codes_of(np.uint8)
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", x.transpose(0, 2, 3, 1))
    arguments = ["run", tmp_path / "m.onnx", "--input", tmp_path / "x.npy", "--output", tmp_path]
    done = CliRunner().invoke(app, [*map(str, arguments), "--codes", "--json"])
    assert done.exit_code == 0, done.output
    want = ort_values(model, {"x": x})["y"]
    np.testing.assert_array_equal(np.load(tmp_path / "output_0.npy"), want, strict=True)
    (row,) = json.loads(done.stdout)["outputs"]
    assert (row["max"], row["value"][0]) == (want.max(), want.max())


def test_the_command_line_says_that_files_of_integers_are_numbers(tmp_path, caplog):
    onnx.save(pooled(*KINDS[0]), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", codes_of(np.uint8, (1, 8, 8, 3)))
    arguments = ["run", tmp_path / "m.onnx", "--input", tmp_path / "x.npy"]
    with caplog.at_level(logging.WARNING, "npusim"):
        assert CliRunner().invoke(app, [*map(str, arguments)]).exit_code == 0
    assert any("read as real numbers" in r.getMessage() for r in caplog.records)


def test_codes_need_files_and_an_input_that_has_codes(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    onnx.save(onnx_model([node], {"x": SHAPE}, {"y": SHAPE}, {}), tmp_path / "f.onnx")
    np.save(tmp_path / "x.npy", codes_of(np.uint8, (1, 8, 8, 3)))
    base = ["run", str(tmp_path / "f.onnx"), "--codes"]
    done = CliRunner().invoke(app, [*base, "--input", str(tmp_path / "x.npy")])
    assert isinstance(done.exception, ConfigError)
    assert "no input of this model holds codes" in str(done.exception)
    onnx.save(pooled(*KINDS[0]), tmp_path / "m.onnx")
    done = CliRunner().invoke(app, ["run", str(tmp_path / "m.onnx"), "--codes"])
    assert "there is nothing to run on" in str(done.exception)


def test_comparison_gives_the_source_model_codes(built, tmp_path):
    program = built(pooled(*KINDS[0]))
    graph = npusim.load_model(tmp_path / "m.onnx")
    real = (codes_of(np.uint8).astype(np.float32) - 120) * SCALE
    source = npusim.record_source(graph, {"x": real})
    ran = npusim.record_program(program, {"x": real})
    rows = npusim.compare(ran, source).layers
    assert rows
    assert all(row.difference.max_abs == 0 for row in rows)


def test_the_toolkit_class_says_it_and_passes_codes_through(tmp_path, capsys):
    model, x = pooled(*KINDS[0]), codes_of(np.uint8)
    onnx.save(model, tmp_path / "m.onnx")
    rknn = RKNN()
    rknn.config()
    assert rknn.load_onnx(str(tmp_path / "m.onnx")) == 0
    assert rknn.build(do_quantization=False) == 0
    assert rknn.init_runtime() == 0
    (passed,) = rknn.inference([x], inputs_pass_through=[1])
    assert "read as real numbers" not in capsys.readouterr().out
    want = (ort_values(model, {"x": x})["y"].astype(np.float32) - 120) * SCALE
    np.testing.assert_allclose(passed, want, 1e-6)
    rknn.inference([x], data_format="nchw")
    printed = capsys.readouterr()
    assert "read as real numbers" in printed.out + printed.err
    rknn.release()
