"""The benchmarks that time whole jobs run, each as small as it can be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from npusim import assets
from tests.real_models import model_path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def run(name: str, *arguments: str) -> str:
    """Return what a benchmark prints."""
    command = [sys.executable, str(FOLDER / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_throughput(tmp_path, monkeypatch):
    for name in ("skimage", "onnxruntime"):
        pytest.importorskip(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = json.loads(
        run("bench_throughput.py", "--images", "4", "--networks", "mobilenet_v2", "--json")
    )
    assert [row["network"] for row in rows] == ["mobilenet_v2"]
    assert all(rows[0][key] > 0 for key in ("npusim", "ort_u8s8", "ort_u8u8", "reading"))


@pytest.mark.models
@pytest.mark.parametrize("engine", ["npusim", "onnxruntime"])
def test_calibration(engine):
    pytest.importorskip("skimage")
    model_path("mobilenet_v2.onnx")
    printed = run("bench_calibration.py", "--samples", "3", "--engine", engine)
    assert f"normal, {engine}" in printed
    assert "3 samples in " in printed


@pytest.mark.slow
def test_sweep():
    network = assets.layer_list_path()
    row = json.loads(run("bench_sweep.py", str(network), "--repetitions", "1", "--json"))
    assert 0 < row["sweep_s"] < row["alone_s"]
