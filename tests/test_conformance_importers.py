"""Recorded models of other frameworks: the runner, and the shared cases where they are."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from npusim.conformance import conform
from npusim.conformance.__main__ import main
from npusim.conformance.boxes import behind, options_of
from npusim.conformance.deviations import DEVIATIONS
from npusim.conformance.importers import replay_importers

SHARED = Path(__file__).parents[1].parent / "shared" / "golden" / "importers"
RELU = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
    'layer { name: "l" type: "ReLU" bottom: "x" top: "y" }\n'
)


def record(**changes):
    base = {
        "id": "0",
        "label": "relu",
        "framework": "caffe",
        "program": "Caffe",
        "layers": ["ReLU"],
        "files": {"net.prototxt": RELU},
        "inputs": {"x": {"shape": [1, 2], "data": [-1, 2]}},
        "outputs": {"y": {"shape": [1, 2], "data": [0, 2]}},
    }
    return base | changes


def write(path, *records):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.writelines(json.dumps(r) + "\n" for r in records)
    return path


@pytest.mark.parametrize("name", ["caffe.jsonl", "caffe.jsonl.gz"])
def test_agreement_and_refusals_are_counted(tmp_path, name):
    bad = RELU.replace('bottom: "x"', 'bottom: "q"')
    write(
        tmp_path / name,
        record(),
        record(files={"net.prototxt": bad}, outputs={}, error="unknown bottom"),
        record(framework="another", label="other"),
    )
    found = conform([tmp_path])
    assert found.ok
    first, second = found.models
    assert (first.cases, first.agreed, first.refused) == (2, 1, 1)
    assert (second.framework, second.cases, second.note) == ("another", 1, "no importer")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"outputs": {"y": {"shape": [1, 2], "data": [0, 2.01]}}}, "differs by up to 0.01"),
        ({"outputs": {"y": {"shape": [2], "data": [0, 2]}}}, r"\(1, 2\), recorded \(2,\)"),
        ({"outputs": {"z": {"shape": [1, 2], "data": [0, 2]}}}, "'z' is missing"),
        ({"error": "refused there"}, "accepted: the program says: refused there"),
        ({"files": {"net.prototxt": RELU.replace("ReLU", "Wonder")}}, "refused: .*Wonder"),
        ({"outputs": {"y": {"shape": [1, 2], "data": ["nan", 2]}}}, "differs"),
    ],
)
def test_every_difference_without_a_reason_fails(tmp_path, changes, what, capsys):
    path = write(tmp_path / "caffe.jsonl", record(**changes))
    (result,) = replay_importers(path)
    assert not result.ok
    (line,) = result.failures
    assert re.search(what, line), line
    assert main([str(path)]) == 1
    assert "1 fail" in capsys.readouterr().out


def test_a_deviation_needs_its_reason(tmp_path):
    text = RELU.replace("ReLU", "Mish")
    path = write(
        tmp_path / "caffe.jsonl",
        record(
            label="unknown layer type Mish",
            layers=["Mish"],
            files={"net.prototxt": text},
            outputs={},
            error="unknown",
        ),
    )
    (result,) = replay_importers(path)
    assert result.ok
    assert result.deviations[0][1].startswith("accepted: a layer of other forks")
    assert all(deviation.reason for deviation in DEVIATIONS)


@pytest.mark.parametrize("text", ["{", "[]", '{"label": 1}', "\x00"])
def test_damaged_files_are_bad_input(tmp_path, text, capsys):
    (tmp_path / "x.jsonl").write_text(text)
    assert main([str(tmp_path)]) == 2
    assert "line 1" in capsys.readouterr().err


def test_what_stands_behind_boxes():
    front = np.zeros((1, 7, 1, 1), np.float32)
    yolo = behind(front, "yolo", {"classes": "2", "scale_x_y": "2"}, fork=False)
    assert yolo.reshape(-1).tolist() == [0.5, 0.5, 0, 0, 0.5, 0.5, 0.5]
    region = behind(front, "region", {"classes": "2", "softmax": "1"}, fork=True)
    assert region.reshape(-1).tolist() == [0, 0, 0, 0, 0.5, 0.5, 0.5]
    cfg = "[net]\nwidth=1\n[conv]\nsize=1\n# x\n[yolo]\nclasses = 3\nclasses=4\n"
    assert options_of(cfg, 1) == ("yolo", {"classes": "3"})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize(
    "name", ["caffe.jsonl", "darknet.jsonl", "keras.jsonl.gz", "tensorflow.jsonl"]
)
def test_shared_cases(name):
    (result,) = replay_importers(SHARED / name)
    assert result.failures == []
    hosts = sum("runs on no engine" in reason for _, reason in result.deviations)
    assert result.agreed + result.refused >= 0.98 * (result.cases - hosts)
