"""Texts that the toolkit prints or returns."""

import json
import struct
from collections import OrderedDict

import pytest

import npusim


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
    assert lines[2].startswith(f"  API: {npusim.__version__} (npusim")
    assert lines[3].startswith("  DRV: ")


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
    assert found["mean_value"] == [[1, 2, 3]]
    assert found["reorder"] == [[2, 1, 0]]
    assert found["input_num"] == found["output_num"] == 1
    assert found["norm_tensor"][0]["size"] == [3, 2, 3, 1]  # W, H, C, N
    assert found["norm_tensor"][0]["dtype"] == {"vx_type": "FLOAT16", "qnt_type": "NONE"}
    assert [end["left"] for end in found["graph"]] == ["input", "output"]
    assert found["nodes"][0]["name"] == stored._built.nodes[0].name


def test_model_config_of_a_vendor_file(work, new):
    text = json.dumps({"target_platform": ["RV1126"], "name": "Net"}).encode()
    (work / "v.rknn").write_bytes(
        b"RKNN" + struct.pack("<IQQ", 0, 1, 4) + b"VPMN" + struct.pack("<Q", len(text)) + text
    )
    assert new().fetch_rknn_model_config("v.rknn")["name"] == "Net"
    assert new().list_support_target_platform("v.rknn") == {
        "filled_target_platform": ["RV1126"],
        "support_target_platform": ["RV1126"],
    }
