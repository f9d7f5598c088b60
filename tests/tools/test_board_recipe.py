"""The recipe that measures a board: its networks, and its table; npusim stands for the toolkit."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import npusim
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.owner import calibrate
from npusim.rknn import RKNN

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def recipe():
    sys.path.insert(0, str(TOOLS))
    try:
        import_module("board_probes")
        return import_module("board_recipe")
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    found = tmp_path_factory.mktemp("board")
    recipe.prepare(str(found))
    return found


def test_the_files_are_the_lists(folder):
    lists = sorted((folder / "networks").glob("*.json"))
    assert len(lists) == 7
    for path in lists:
        listed = estimate(load_layer_list(path), "rk1808")
        model = npusim.estimate(path.with_suffix(".onnx"), target="rk1808")
        assert model.macs == listed.macs
        assert model.total_time_us == pytest.approx(listed.total_time_us, rel=0.02)


def test_the_table_is_what_calibrate_takes(recipe, folder, monkeypatch):
    toolkit, api = ModuleType("rknn"), ModuleType("rknn.api")
    api.RKNN = RKNN
    monkeypatch.setitem(sys.modules, "rknn", toolkit)
    monkeypatch.setitem(sys.modules, "rknn.api", api)
    for path in (folder / "networks").glob("*.onnx"):  # the smallest are enough
        if path.stem not in ("launches", "programs"):
            path.unlink()
    recipe.measure(str(folder), "rk1808", 792.0, None, 1)
    found = calibrate(load_machine("rk1808"), folder / "times.csv")
    assert {sample.name for sample in found.samples} == {"launches", "programs"}
    assert max(map(abs, found.errors_before)) < 0.05


def test_a_folder_without_networks_is_named(recipe, tmp_path):
    (tmp_path / "networks").mkdir()
    with pytest.raises(SystemExit, match=r"networks: has no \.onnx files; run prepare first"):
        recipe.measure(str(tmp_path), "rk1808", 792.0, None, 1)
