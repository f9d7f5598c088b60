"""Texts that the toolkit prints or returns."""

import json
import struct
from collections import OrderedDict

import numpy as np
import pytest
from onnx import helper

import npusim
from tests.rknn.conftest import conv_weights, write_onnx


def test_list_devices_names_the_simulator(new, capsys):
    assert new().list_devices() == ([], [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[-1] == "*" * 25
    assert lines[1] == "None devices connected."
    assert "simulator" in lines[2]


def test_sdk_version_after_init_runtime(ready, identity):
    text = ready(identity()).get_sdk_version()
    lines = text.splitlines()
    assert set(lines[0]) == set(lines[-1]) == {"="}
    assert lines[1] == "RKNN VERSION:"
    assert lines[2:4] == [
        f"  {part}: 1.7.3 (npusim build: {npusim.__version__} simulator)" for part in ("API", "DRV")
    ]


@pytest.fixture
def stored(new, identity):
    rknn = new()
    rknn.config(
        target_platform=["RK1808", "rk3399pro"], mean_values=[[1, 2, 3]], reorder_channel="2 1 0"
    )
    assert rknn.load_onnx(identity()) == 0
    assert rknn.build(False) == 0
    assert rknn.export_rknn("m.rknn") == 0
    return rknn


def test_platforms_of_a_model_and_of_a_file(stored, new, capsys):
    expected = {
        "filled_target_platform": ["RK1808", "RK3399PRO"],
        "support_target_platform": ["RK1806", "RK1808", "RK3399PRO"],
    }
    assert stored.list_support_target_platform() == expected
    assert new().list_support_target_platform("m.rknn") == expected
    assert new().list_support_target_platform(rknn_model="m.rknn") == expected
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[3] == "*" * 50
    assert "['RK1808', 'RK3399PRO']" in lines[1]
    assert "['RK1806', 'RK1808', 'RK3399PRO']" in lines[2]
    again = new()
    assert again.load_rknn("m.rknn") == 0
    assert again.list_support_target_platform() == expected


def test_model_config_has_the_vendors_keys(stored, new):
    found = new().fetch_rknn_model_config("m.rknn")
    assert isinstance(found, OrderedDict)
    json.dumps(found)
    assert found["target_platform"] == ["RK1808", "RK3399PRO"]
    assert found["mean_value"] == [1, 2, 3]
    assert (found["mean_value_chns"], found["std_value"]) == ([3], [1, 1, 1])
    assert found["reorder"] == [2, 1, 0]
    assert found["input_num"] == found["output_num"] == 1
    assert found["norm_tensor"][0]["size"] == [3, 2, 3, 1]  # W, H, C, N
    assert found["norm_tensor"][0]["dtype"] == {
        "vx_type": "VSI_NN_TYPE_FLOAT16",
        "qnt_type": "VSI_NN_QNT_TYPE_NONE",
    }
    assert [end["left"] for end in found["graph"]] == ["input", "output"]
    assert found["nodes"][0]["name"] == stored._built.nodes[0].name
    assert all(node["op"].startswith("VSI_NN_OP_") for node in found["nodes"])


def test_an_exported_file_is_said_to_be_npusims(stored, new, capfd):
    capfd.readouterr()
    assert stored.export_rknn("m.rknn") == 0
    assert capfd.readouterr().err == ""  # said the first time only
    assert stored.export_rknn("n.rknn") == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("W n.rknn: this is npusim's own file, which no stick or board loads")


def test_model_config_of_a_vendor_file(work, new):
    text = json.dumps({"target_platform": ["RV1126"], "name": "Net"}).encode()
    (work / "v.rknn").write_bytes(
        b"RKNN" + struct.pack("<IQQ", 0, 1, 4) + b"VPMN" + struct.pack("<Q", len(text)) + text
    )
    assert new().fetch_rknn_model_config("v.rknn")["name"] == "Net"
    assert new().list_support_target_platform("v.rknn") == {
        "filled_target_platform": ["RV1126"],
        "support_target_platform": ["RV1109", "RK1109", "RV1126", "RK1126"],
    }


def test_platforms_without_a_model(new, capsys):
    """As published of RKNN-Toolkit Lite."""
    assert new().list_support_target_platform() is None
    assert capsys.readouterr().out.splitlines() == [
        "*" * 50,
        "All RKNN Toolkit supported target platforms:",
        "chip family 1: RK1806,RK1808,RK3399PRO",
        "chip family 2: RV1109,RK1109,RV1126,RK1126",
        "*" * 50,
    ]


def test_eval_perf_prints_and_returns_the_documented_layout(ready, convnet, capsys):
    rknn = ready(convnet())
    capsys.readouterr()
    result = rknn.eval_perf()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "=" * 72
    assert lines[1].strip() == "Performance"
    assert lines[3].split() == ["Layer", "ID", "Name", "Time(us)"]
    rows = [line.split() for line in lines[4 : 4 + len(result["layers"])]]
    assert rows == [[k, v["name"], str(v["time"])] for k, v in result["layers"].items()]
    assert result["layers"]
    assert result["total_time"] == sum(row["time"] for row in result["layers"].values())
    assert f"Total Time(us): {result['total_time']}" in lines
    assert f"FPS(800MHz): {1e6 / result['total_time']:.2f}" in lines
    slow_fps = next(float(x.split()[-1]) for x in lines if x.startswith("FPS(600MHz)"))
    whole = 1e6 / result["total_time"]  # of rows in whole microseconds
    assert 0.75 * 0.98 * whole < slow_fps < whole
    assert rknn.eval_perf(is_print=False) == result
    assert capsys.readouterr().out == ""


def test_a_board_on_a_pc_costs_more_than_its_chip_and_nothing_is_mixed_in(ready, convnet, capsys):
    rknn = ready(convnet())
    assert rknn.init_runtime(target="rk1808") == 0
    alone = rknn.eval_perf()
    assert "beside the chip's time" not in capsys.readouterr().out
    assert rknn.init_runtime(target="rk1808", device_id="0123456789ABCDEF") == 0
    assert rknn.eval_perf() == alone
    text = capsys.readouterr().out
    assert "beside the chip's time, adb" in text
    assert f"Average inference Time(us): {alone['total_time']:.2f}" in text
    assert rknn.init_runtime(target="rk3399pro") == 0
    rknn.eval_perf()
    assert "beside the chip's time, usb" in capsys.readouterr().out


def test_eval_perf_signatures_of_all_releases(ready, convnet, images, capfd):
    (picture, *_) = images(1).pixels
    rknn = ready(convnet())
    result = rknn.eval_perf(is_print=False)
    capfd.readouterr()
    assert rknn.eval_perf([picture], "uint8", "nhwc", False) == result
    assert rknn.eval_perf(inputs=[picture], is_print=False, loop_cnt=10) == result
    assert rknn.eval_perf(is_print=False, export_perf_statistics=True) == result
    text = capfd.readouterr().err
    assert text.count("inputs are not needed") == 1
    assert "loop_cnt is ignored" in text


def test_layouts_of_the_first_releases_and_of_a_board(ready, new, convnet, monkeypatch, capsys):
    rknn = ready(convnet())
    monkeypatch.setenv("NPUSIM_COMPAT", "1.0")
    capsys.readouterr()
    rknn.eval_perf()
    text = capsys.readouterr().out
    assert text.startswith("=" * 46 + "\n")
    assert "FPS(600MHz)" not in text
    monkeypatch.setenv("NPUSIM_COMPAT", "2.0")
    assert rknn.eval_perf() is None
    monkeypatch.delenv("NPUSIM_COMPAT")
    assert rknn.init_runtime(target="rk1808") == 0
    rknn.eval_perf()
    assert "Average inference Time(us): " in capsys.readouterr().out
    assert rknn.init_runtime(target="rk1808", perf_debug=True) == 0
    rknn.eval_perf(export_perf_statistics=True)
    text = capsys.readouterr().out
    assert "Operator" in text
    assert "Call Number" in text


def test_return_values_of_a_board(ready, convnet, capsys):
    rknn = ready(convnet())
    listed = rknn.eval_perf(is_print=False)
    assert set(listed) == {"total_time", "layers"}
    assert {frozenset(row) for row in listed["layers"].values()} == {frozenset(("name", "time"))}
    assert rknn.init_runtime(target="rk1808") == 0
    total = rknn.eval_perf(is_print=False)
    assert list(total) == ["total_time"]
    assert rknn.init_runtime(target="rk1808", perf_debug=True) == 0
    detail = rknn.eval_perf(is_print=False, loop_cnt=3)
    assert next(list(row) for row in detail["layers"].values()) == ["name", "operation", "time"]
    assert list(detail["layers"]) == [str(i) for i in range(len(listed["layers"]))]
    assert detail["total_time"] == pytest.approx(total["total_time"], rel=0.2)  # whole us each
    assert capsys.readouterr().out == ""


def test_statistics_are_printed_below_the_simulators_table_as_well(ready, convnet, capsys):
    rknn = ready(convnet())
    capsys.readouterr()
    rknn.eval_perf(export_perf_statistics=True)
    lines = capsys.readouterr().out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("OP  "))
    assert lines[begin].split() == ["OP", "Call", "Number", "Total", "Time(us)", "Time", "Ratio(%)"]
    ratios = [float(line.split()[-1]) for line in lines[begin + 1 : -1]]
    assert ratios == sorted(ratios, reverse=True)
    assert len(ratios) <= 5


def test_case_B37_perf_debug_changes_nothing_in_the_simulator(ready, convnet, capfd):
    rknn = ready(convnet())
    before = rknn.eval_perf(is_print=False)
    assert rknn.init_runtime(perf_debug=True) == 0
    assert "perf_debug has no effect" in capfd.readouterr().err
    assert rknn.eval_perf(is_print=False) == before


def test_case_B18_float16_is_slower(ready, work, capfd):
    np.save(work / "a.npy", np.zeros((32, 32, 64), np.uint8))
    (work / "list.txt").write_text("a.npy\n")
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c")]
    shapes = {"x": (1, 64, 32, 32)}, {"y": (1, 128, 30, 30)}
    path = write_onnx(work / "big.onnx", nodes, *shapes, conv_weights(128, 64))
    u8 = ready(path, build={"do_quantization": True, "dataset": "list.txt"})
    quantized = u8.eval_perf(is_print=False)
    assert "float16" not in capfd.readouterr().err
    half = ready(path).eval_perf(is_print=False)
    assert half["total_time"] > 2 * quantized["total_time"]
    assert "float16 models much slower" in capfd.readouterr().err


def test_eval_memory(ready, convnet, capsys):
    rknn = ready(convnet())
    result = rknn.eval_memory()
    text = capsys.readouterr().out
    assert "Memory Profile Info Dump" in text
    assert list(result) == ["system_memory", "npu_memory", "total_memory"]
    for part in result.values():
        assert 0 < part["maximum_allocation"] <= part["total_allocation"]
    assert rknn.eval_memory(is_print=False) == result
    assert capsys.readouterr().out == ""
