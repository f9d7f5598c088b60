"""Commands on models that come quantized."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from npusim.cli.app import app
from npusim.errors import ConfigError
from tests.importers.quantized_nets import convnet, quantized_by_ort


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    return quantized_by_ort(convnet(), folder, form="QDQ", per_channel=True)


def test_info_shows_the_scheme_and_what_runs_elsewhere(model):
    done = run("info", model)
    assert done.exit_code == 0, done.output
    assert "i8 per channel x" in done.output
    assert "one weight scale per channel" in done.output
    facts = json.loads(run("info", model, "--json").stdout)
    (layers,) = facts["number_formats"]["elsewhere"].values()
    assert {"Conv_first", "Conv_depthwise", "Conv_wide", "Gemm_dense"} <= set(layers)
    assert facts["number_formats"]["weights"] == {"i8 per channel": 6}


def test_info_of_a_float_model_has_no_such_rows(tmp_path):
    import onnx

    onnx.save(convnet(), tmp_path / "float.onnx")
    assert (
        json.loads(run("info", tmp_path / "float.onnx", "--json").stdout)["number_formats"] is None
    )


def test_quantize_stores_its_own_parameters(model, tmp_path):
    target = tmp_path / "net.rknn"
    done = run("quantize", model, "-o", target)
    assert done.exit_code == 0, done.output
    assert "its own parameters" in done.output
    assert run("perf", target).exit_code == run("perf", model).exit_code == 0
    again = run("quantize", model, "-o", target, "--quantize", "u8")
    assert isinstance(again.exception, ConfigError)
    assert "already quantized" in str(again.exception)


def test_compare_lines_up_with_onnx_runtime(model, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(-1, 1, (16, 16, 3)))
    done = run("compare", model, "--input", tmp_path / "x.npy", "--json")
    assert done.exception is None or isinstance(done.exception, SystemExit)
    rows = json.loads(done.stdout)["layers"]
    assert {"first", "depthwise", "wide"} <= {name for row in rows for name in row["origin"]}
