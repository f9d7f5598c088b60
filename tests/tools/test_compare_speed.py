"""What benchmarks/compare.py calls a loss."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def tool(monkeypatch):
    for name in ("NPUSIM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the tool sets them; they are as before afterwards
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("compare_speed", FOLDER / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_loss_is_what_the_clock_does_not_explain(tool):
    old = {"clock": 1.0, "a": 10.0, "b": 10.0, "c": 10.0}
    assert tool.losses(old, {**old, "a": 10.9}, 10) == {}
    assert list(tool.losses(old, {**old, "a": 11.1, "b": 9.0}, 10)) == ["a"]
    slow_clock = {name: 2 * value for name, value in old.items()}
    assert tool.losses(old, slow_clock, 10) == {}
    assert list(tool.losses(old, {**slow_clock, "c": 23.0}, 10)) == ["c"]


def test_the_baseline_has_figures_of_everything(tool):

    known = json.loads((FOLDER / "baseline.json").read_text(encoding="utf-8"))
    names = {f"{model} {scheme}" for model in tool.MODELS for scheme in tool.FORMATS}
    for figures in known.values():
        assert set(figures) == names | {"clock", "compile", "import", "calibrate"}
        assert all(value > 0 for value in figures.values())
