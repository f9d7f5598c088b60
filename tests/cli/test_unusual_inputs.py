"""Every command on token ids, truth values, tensors without axes and with five of them."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

import npusim
from npusim.cli.app import app
from npusim.rknn import RKNN
from tests.importers.layerwise import ort_values
from tests.onnx_models import onnx_model

make = helper.make_node
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((50, 16)).astype(np.float32)
DENSE = RNG.standard_normal((16, 8)).astype(np.float32) / 4
MAP = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
EMBEDDING = [make("Gather", ["e", "x"], ["h"]), make("MatMul", ["h", "w"], ["y"])]
TABLES = {"e": TABLE, "w": DENSE}
IDS = RNG.integers(0, 50, (1, 7))
TRUTH = np.array([[True, False, True, True]])
ROW = RNG.standard_normal((1, 4)).astype(np.float32)
CASES = {
    "int64 ids": (EMBEDDING, {"x": IDS}, TABLES),
    "int32 ids": (EMBEDDING, {"x": IDS.astype(np.int32)}, TABLES),
    "ids in a map": (EMBEDDING, {"x": RNG.integers(0, 50, (1, 2, 3, 4))}, TABLES),
    "cast int64": (
        [make("Cast", ["x"], ["f"], to=1), make("Mul", ["f", "k"], ["y"])],
        {"x": RNG.integers(0, 20, (1, 4))},
        {"k": np.float32(0.5)},
    ),
    "cast bool": (
        [make("Cast", ["x"], ["f"], to=1), make("Mul", ["f", "z"], ["y"])],
        {"x": TRUTH, "z": ROW},
        {},
    ),
    "scalar out": ([make("ReduceMean", ["x"], ["y"], keepdims=0)], {"x": MAP}, {}),
    "scalar in": ([make("Mul", ["x", "s"], ["y"])], {"x": ROW, "s": np.array(0.5, np.float32)}, {}),
    "one axis": ([make("Relu", ["x"], ["y"])], {"x": ROW[0]}, {}),
    "five axes": (
        [make("Relu", ["x"], ["y"])],
        {"x": RNG.standard_normal((1, 2, 3, 4, 5)).astype(np.float32)},
        {},
    ),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    nodes, feeds, constants = CASES[request.param]
    shapes = {name: value.shape for name, value in feeds.items()}
    types = {name: value.dtype for name, value in feeds.items()}
    model = onnx_model(nodes, shapes, ["y"], constants, types=types, opset=13)
    onnx.save(model, tmp_path / "m.onnx")
    files = []
    for name, value in feeds.items():
        files.append(tmp_path / f"{name}.npy")
        np.save(files[-1], value.transpose(0, 2, 3, 1) if value.ndim == 4 else value)
    (tmp_path / "list.txt").write_text(" ".join(path.name for path in files) + "\n")
    return tmp_path, feeds, ort_values(model, feeds)["y"]


def test_every_command_takes_it(case):
    folder, _, want = case
    model, samples = str(folder / "m.onnx"), ["--dataset", str(folder / "list.txt")]

    def done(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.stdout

    facts = json.loads(done("info", model, "--json"))
    assert facts["refused"] == {}
    for scheme, limit in (("u8", 0.05), ("i16", 0.005), ("f16", 0.005)):
        chosen = ["--quantize", scheme, *samples]
        done("run", model, *chosen, "--output", folder / scheme)
        got = np.load(folder / scheme / "output_0.npy")
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= limit * max(np.abs(want).max(), 1)
    done("perf", model)
    done("dump", model, "--quantize", "u8", *samples, "-o", folder / "dump")
    done("compare", model, "--quantize", "i16", *samples)
    done("compare", model, "--quantize", "u8", *samples, "--threshold", "0.9")
    done("analyze", model, "--quantize", "i16", *samples, "-o", folder / "analysis")


def test_the_toolkit_class_takes_it(case):
    folder, feeds, want = case
    rknn = RKNN()
    rknn.config()
    assert rknn.load_onnx(str(folder / "m.onnx")) == 0
    assert rknn.build(do_quantization=True, dataset=str(folder / "list.txt")) == 0
    assert rknn.init_runtime() == 0
    arrays = [v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for v in feeds.values()]
    (got,) = rknn.inference(arrays)
    rknn.release()
    assert got.shape == want.shape  # the source model's layout
    assert np.abs(got - want).max() <= 0.05 * max(np.abs(want).max(), 1)


def test_typed_calls_take_it(case):
    folder, feeds, want = case
    graph = npusim.load_model(folder / "m.onnx")
    program = npusim.compile(npusim.quantize(graph, folder / "list.txt", scheme="i16"))
    (got,) = program.run(feeds).values()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 0.005 * max(np.abs(want).max(), 1)
