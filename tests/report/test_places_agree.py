"""Engine and form of every layer are the same in dump, performance estimate and its reports."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from npusim import assets
from npusim.analysis.dump import INDEX_NAME, LayerDump
from npusim.importers import load
from npusim.ir.graph import Engine, Form
from npusim.passes.pipeline import lower, optimize
from npusim.perfmodel.estimate import estimate
from npusim.quantization.assumed import assume_quantized
from npusim.quantization.schemes import Scheme
from npusim.report.eval_perf import ENGINE_NUMBERS, executed, simulator_result
from npusim.report.perf_data import to_csv, to_json
from npusim.runtime.program import Program
from tests.real_models import MODELS, model_path

ROOT = Path(__file__).resolve().parents[2]
REAL = ("mobilenet_v2.onnx", "ch_PP-OCRv4_det_infer.onnx", "light_densenet121.onnx")


def lowered(path, scheme, shapes=None):
    return lower(assume_quantized(optimize(load(path, input_shapes=shapes)), scheme))


def dumped(graph, folder):
    """Return layer -> (engine, form) as a dump of one run says."""
    program = Program(graph)
    dump = LayerDump(program, folder)
    rng = np.random.default_rng(0)
    feeds = {n: rng.random(graph.spec(n).shape, np.float32) for n in graph.inputs}
    program.run(feeds, observe=dump.observe)
    dump.close()
    with open(folder / INDEX_NAME, newline="", encoding="utf-8") as file:
        return {row["layer"]: (row["engine"], row["form"]) for row in csv.DictReader(file)}


def agree(graph, folder):
    expected = {node.name: (node.engine.value, node.form.value) for node in graph.nodes}
    assert dumped(graph, folder) == expected
    result = estimate(graph)
    rows = {row["name"]: (row["engine"], row["form"]) for row in to_json(result)["layers"]}
    assert rows == expected
    listed = list(csv.DictReader(to_csv(result).splitlines()))
    assert {row["name"]: (row["engine"], row["form"]) for row in listed}.items() <= rows.items()
    vendor = simulator_result(result)["layers"].values()
    numbers = {number: engine.value for engine, number in ENGINE_NUMBERS.items()}
    assert [numbers[int(row["name"].rpartition("_")[2])] for row in vendor] == [
        expected[layer.name][0] for layer in executed(result)
    ]


@pytest.mark.parametrize("scheme", [Scheme.U8, Scheme.I16])
def test_the_bundled_demo(scheme, tmp_path):
    graph = lowered(assets.model_path(), scheme, {assets.INPUT_NAME: assets.INPUT_SHAPE})
    agree(graph, tmp_path)
    engines = [node.engine for node in graph.nodes]
    assert engines.count(Engine.TP) > 10


def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


def test_a_small_yolov5s(tmp_path):
    path = tmp_path / "yolov5s.onnx"
    zoo = module("zoo", ROOT / "benchmarks" / "zoo.py")
    onnx.save(zoo.yolov5s("silu", 64, 0.25), path)
    graph = lowered(path, Scheme.U8)
    agree(graph, tmp_path / "dump")
    assert {node.form for node in graph.nodes} >= {Form.IN_PLACE, Form.ENLARGEMENT, Form.SUM}


@pytest.mark.models
@pytest.mark.parametrize("name", REAL)
def test_real_networks(name, tmp_path):
    (model,) = (model for model in MODELS if model.file == name)
    agree(lowered(model_path(name), Scheme.U8, {model.input: model.shape}), tmp_path)
