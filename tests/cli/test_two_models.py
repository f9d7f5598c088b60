"""``npusim compare MODEL OTHER``."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from npusim.cli.app import app
from npusim.errors import ConfigError
from tests.importers.vendor_sources import FORMATS, built, numbers, source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, bias = numbers()
    how = {"mean_value": [128.0] * 3, "std_value": [50.0] * 3, "reorder": [2, 1, 0]}
    built(tmp_path / "net.rknn", weights, bias, **how)
    source(tmp_path / "net.onnx", weights, bias)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save("a.png")
    (tmp_path / "list.txt").write_text("a.png\n")
    return tmp_path


def run(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["compare", *words])


def test_an_old_file_and_its_source_need_no_dataset(folder):
    done = run("net.rknn", "net.onnx", "--input", "a.png")
    assert done.exit_code == 0, done.output
    assert "weights: 1 of 1 equal in codes and parameters" in done.output
    assert "Both models store the same numbers." in done.output
    assert "results of net against net on a.png" in done.output
    done = run("net.onnx", "net.rknn", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["parameters"]["equal"]
    assert facts["results"] is None


def test_a_dataset_calibrates_the_float_one(folder):
    done = run("net.rknn", "net.onnx", "--quantize", "u8", "--dataset", "list.txt", "--all")
    assert done.exit_code == 1, done.output
    assert "measured otherwise" in done.output
    assert "weights: 1 of 1 equal" in done.output
    assert "preparation differs" not in done.output  # the file's was taken
    done = run("net.rknn", "net.onnx", "--dataset", "list.txt", "--mean", "0", "--json")
    facts = json.loads(done.stdout)
    assert len(facts["parameters"]["preparation"]) == 3
    assert facts["results"]["layers"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_every_format_is_compared_analysed_and_dumped(folder, kind):
    """Without its source against its own numbers in float32, with it against that."""
    weights, bias = numbers()
    built(folder / "one.rknn", weights, bias, kind)
    sample = ("--input", "a.png")
    for words in (
        ("compare", "one.rknn", *sample),
        ("analyze", "one.rknn", *sample),
        ("analyze", "net.onnx", "--stored", "one.rknn", *sample),
    ):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--json"])
        assert done.exit_code in (0, 1), (words, done.output)  # values beyond the made-up range
        layers = json.loads(done.stdout)["layers"]
        ids = [row["layer"] for row in layers]
        assert ids == ["Relu_r_2", "Sigmoid_s_1"], words
    done = CliRunner().invoke(app, ["dump", "one.rknn", *sample, "-o", "dump"])
    assert done.exit_code == 0, done.output
    assert {path.name.split("_")[1] for path in Path("dump").glob("NodeID_*")} == {"1", "2"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("net.onnx", "net.onnx"), "both models are float32"),
        (("net.rknn", "net.onnx", "--quantize", "u8"), "need --dataset"),
        (("net.rknn", "net.onnx", "--folder", "."), "OTHER and --folder"),
        (("net.rknn", "net.onnx", "--other-quantize", "i8"), "OTHER and --other-"),
        (("net.rknn", "--all", "--input", "a.png"), "need OTHER"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, words, says):
    with pytest.raises(ConfigError, match=says):
        CliRunner().invoke(app, ["compare", *words], catch_exceptions=False)
