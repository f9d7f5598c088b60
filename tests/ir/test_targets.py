"""Chips by name: one list, and every door refuses what is not in it."""

import numpy as np
import pytest

import npusim
from npusim.errors import ConfigError, MachineError
from npusim.ir.targets import CHIPS, FAMILY, OTHER_FAMILY, SIMULATED, checked_target
from npusim.perfmodel.machine import machine_names
from npusim.rknn import RKNN


@pytest.fixture
def graph(tmp_path):
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4)) for n in "xy"]
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    save(model, str(tmp_path / "relu.onnx"))
    return npusim.load_model(tmp_path / "relu.onnx")


def test_the_performance_model_knows_the_same_chips() -> None:
    assert sorted(CHIPS) == sorted(machine_names())
    assert set(SIMULATED) < set(FAMILY)


@pytest.mark.parametrize("name", CHIPS)
def test_chips_are_compiled_for_in_any_case(graph, name, caplog) -> None:
    with caplog.at_level("WARNING"):
        program = npusim.compile(npusim.float16(graph), target=name.upper())
    assert program.graph.target == name
    (result,) = program.run({"x": np.array([[-1, 0, 1, 2]], np.float32)}).values()
    assert result.tolist() == [[0, 0, 1, 2]]
    assert ("was not measured" in caplog.text) == (name in OTHER_FAMILY)


@pytest.mark.parametrize("name", ["rk9999", ""])
def test_compile_refuses_other_chips_at_once(graph, name) -> None:
    ready = npusim.float16(graph)
    for refused in (
        lambda: npusim.compile(ready, target=name),
        lambda: npusim.compile(ready.copy(target=name)),
        lambda: checked_target(name),
    ):
        with pytest.raises(ConfigError) as error:
            refused()
        assert repr(name) in str(error.value)
        assert all(known in str(error.value) for known in CHIPS)


def test_estimate_and_the_rknn_class_refuse_unknown_chips(graph, capfd, tmp_path, monkeypatch):
    with pytest.raises(MachineError, match=r"rk9999(.|\n)*rk1808"):
        npusim.estimate(graph, target="rk9999")
    assert npusim.estimate(graph, target="rv1126").machine == "rv1126"
    monkeypatch.chdir(tmp_path)
    rknn = RKNN()
    rknn.config(target_platform="rk9999")
    assert rknn.load_onnx("relu.onnx") == -1
    assert "rk1808" in capfd.readouterr().err
