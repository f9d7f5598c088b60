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
from npusim.conformance.forms import FORMS
from npusim.conformance.importers import replay_importers
from npusim.errors import ConfigError

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


@pytest.mark.parametrize(
    ("form", "offset", "agrees"),
    [
        ("f16", 0.001, True),
        ("f16", 0.02, False),
        ("u8", 0.2, True),
        ("u8", 5, False),
        ("i8", 0.2, True),
        ("i16", 0.2, False),
    ],
)
def test_models_are_run_as_the_chip_does_it(tmp_path, form, offset, agrees, capsys):
    wanted = {"y": {"shape": [1, 2], "data": [offset, 2]}}
    path = write(tmp_path / "caffe.jsonl", record(outputs=wanted))
    (result,) = replay_importers(path, form)
    assert (result.ok, result.form) == (agrees, form)
    assert main([str(path), "--run", form]) == (0 if agrees else 1)
    assert ("1 fail" in capsys.readouterr().out) is not agrees


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ([-np.inf, 1], [-3.4e38, 1], True),
        ([65504, 1], [7e9, 1], True),
        ([np.nan, 1], [np.nan, 1.001], True),
        ([np.nan, 1], [1, 1], False),
        ([1e-5, 0], [0, 0], True),
        ([], [], True),
    ],
)
def test_float16_is_judged_by_what_it_can_hold(found, wanted, same):
    gap = FORMS["f16"].gap(np.array(found, np.float32), np.array(wanted, np.float32))
    assert (not gap) is same


def test_other_formats_are_refused_by_name(tmp_path):
    path = write(tmp_path / "caffe.jsonl", record())
    with pytest.raises(ConfigError, match=r"'f8'[\s\S]*float, f16, u8"):
        conform([path], "f8")


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
    "name", ["caffe.jsonl", "darknet.jsonl", "keras.jsonl.gz", "mxnet.jsonl", "tensorflow.jsonl"]
)
@pytest.mark.parametrize(
    "form", ["float", *(pytest.param(f, marks=pytest.mark.slow) for f in FORMS if f != "float")]
)
def test_shared_cases(name, form):
    (result,) = replay_importers(SHARED / name, form)
    assert result.failures == []
    hosts = sum("runs on no engine" in reason for _, reason in result.deviations)
    share = 0.98 if form in ("float", "f16") else 0.97  # integer formats: ties, ranges, as listed
    assert result.agreed + result.refused >= share * (result.cases - hosts)
