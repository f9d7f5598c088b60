"""``npusim perf``: every option on the bundled model and on the bundled layer list."""

import csv
import io
import json
import subprocess
import sys

import pytest

from npusim import assets
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.report.perf_data import CSV_COLUMNS


def as_json(run, *arguments):
    code, out, _ = run("perf", *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_text_names_network_chip_and_total(run):
    code, out, _ = run("perf", "demo-layers", "--profile", "vendor")
    assert code == 0
    assert "example_detector on rk1808, profile vendor, u8, 1000 MHz, DDR 3.80 GB/s" in out
    assert "by engine" in out
    assert "by operator" in out
    assert "9x9 max pool runs on the shader" in out
    assert "\ntotal " in out


def test_json_adds_up_and_equals_the_typed_api(run):
    report = as_json(run, "demo-layers")
    direct = estimate(load_layer_list(assets.layer_list_path()))
    assert report["total_time_us"] == pytest.approx(direct.total_time_us, abs=1e-3)
    spent = sum(layer["time_us"] for layer in report["layers"])
    assert spent == pytest.approx(report["total_time_us"], rel=1e-4)


def test_csv(run):
    code, out, err = run("perf", "demo-layers", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert err == ""
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[1]["fused"] == "pool1"
    assert run("perf", "demo-layers", "--csv", "--json")[0] == 2


def test_options_reach_the_estimate(run):
    base = as_json(run, "demo-layers")
    for arguments, key, value in (
        (("--target", "rk3399pro"), "machine", "rk3399pro"),
        (("--profile", "vendor"), "profile", "vendor"),
        (("--clock-mhz", "400"), "clock_mhz", 400),
        (("--ddr-gbps", "3.5"), "ddr_gbps", 3.5),
        (("--batch", "4"), "batch", 4),
        (("--sram", "off"), "sram", False),
    ):
        report = as_json(run, "demo-layers", *arguments)
        assert report[key] == value
        assert report[key] != base[key]
    assert as_json(run, "demo-layers", "--batch", "4")["macs"] == 4 * base["macs"]
    sizes = {
        dtype: as_json(run, "demo-layers", "--dtype", dtype)["memory"]["activation_bytes"]
        for dtype in ("u8", "i16", "f16")
    }
    assert sizes["f16"] == 2 * sizes["u8"]
    assert sizes["i16"] > 2 * sizes["u8"]  # its max pool is not fused


def test_slower_clock_and_memory_take_longer(run):
    times = [
        as_json(run, "demo-layers", *arguments)["total_time_us"]
        for arguments in ((), ("--clock-mhz", "400"), ("--ddr-gbps", "2"))
    ]
    assert times[0] < min(times[1:])


def test_parts_on_demand(run):
    _, plain, _ = run("perf", "demo-layers")
    _, full, _ = run("perf", "demo-layers", "--bytes", "--memory", "--top", "3")
    assert "kilobytes by memory and kind" not in plain
    assert "memory of one run" not in plain
    assert "kilobytes by memory and kind" in full
    assert "NPU total" in full
    assert full.count("the 3 layers that take longest, of 11") == 1
    assert "buffers" not in as_json(run, "demo-layers")["memory"]
    assert as_json(run, "demo-layers", "--memory")["memory"]["buffers"]


def test_a_stored_model_costs_what_its_source_costs(run):
    """Pricing before quantization is only of use if quantization does not change the price."""
    assert run("quantize", "demo", "-o", "cls.npusim")[0] == 0
    stored, source = as_json(run, "cls.npusim"), as_json(run, "demo")
    assert stored["total_time_us"] == pytest.approx(source["total_time_us"], rel=0.01)
    other = as_json(run, "cls.npusim", "--dtype", "f16")
    assert other["total_time_us"] == pytest.approx(
        as_json(run, "demo", "--dtype", "f16")["total_time_us"], rel=0.01
    )
    both = as_json(run, "cls.npusim", "--vs", "demo")
    assert (both["a"]["network"], both["b"]["network"]) == ("cls", "demo")
    assert all(row["ratio"] == pytest.approx(1) for row in both["layers"])


def test_plots_and_timeline(run, tmp_path):
    code, out, _ = run("perf", "demo-layers", "--plot", "plots", "--trace", "time.json")
    assert code == 0
    assert "wrote plots/roofline.svg" in out
    names = {"layers.png", "layers.svg", "roofline.png", "roofline.svg"}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    assert json.loads((tmp_path / "time.json").read_text())["traceEvents"]
    code, out, err = run("perf", "demo-layers", "--trace", "time.json", "--json")
    assert json.loads(out)
    assert "wrote time.json" in err


def test_plots_of_two_configurations_lie_side_by_side(run, tmp_path):
    code, _, _ = run("perf", "demo-layers", "--vs-dtype", "i16", "--plot", "p", "--trace", "t.json")
    assert code == 0
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"a", "b"}
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {1, 2}


@pytest.mark.parametrize(
    ("option", "value", "key", "shown"),
    [
        ("--vs-target", "rv1126", "machine", "rv1126"),
        ("--vs-profile", "vendor", "profile", "vendor"),
        ("--vs-dtype", "i16", "dtype", "i16"),
        ("--vs-clock-mhz", "600", "clock_mhz", 600),
        ("--vs-ddr-gbps", "3", "ddr_gbps", 3),
        ("--vs-batch", "2", "batch", 2),
        ("--vs-sram", "off", "sram", False),
    ],
)
def test_one_option_is_changed_in_the_second_configuration(run, option, value, key, shown):
    both = as_json(run, "demo-layers", "--dtype", "u8", option, value)
    assert both["b"][key] == shown
    changed = {name for name in both["a"] if both["a"][name] != both["b"][name]}
    follow = {"total_time_us", "clock_mhz", "ddr_gbps", "guesses", "sram"}  # the chip and profile
    assert changed - follow <= {key}


def test_two_models_side_by_side(run):
    code, out, _ = run("perf", "demo-layers", "--vs", "demo", "--top", "4")
    assert code == 0
    assert "A  example_detector on rk1808" in out
    assert "times as fast as" in out
    code, out, _ = run("perf", "demo-layers", "--vs-dtype", "f16", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert all(float(row["b_us"]) > 0 for row in rows)


def test_shapes_of_the_second_model_are_its_own(run):
    both = as_json(run, "demo", "--vs-shape", "x=1,3,48,384")
    work = next(row for row in both["figures"] if row["name"] == "macs")
    assert 1.9 < work["ratio"] < 2.1
    assert as_json(run, "demo", "--shape", "x=1,3,48,384", "--vs", "demo-layers")


def test_budget_decides_the_exit_code(run):
    assert run("perf", "demo-layers", "--budget-ms", "1000")[0] == 0
    code, out, err = run("perf", "demo-layers", "--budget-ms", "1", "--json")
    assert code == 1
    assert json.loads(out)
    assert "exceed the budget of 1.0 ms" in err


LIST = {"name": "n", "input": [1, 3, 8, 8], "outputs": ["c"], "layers": []}
CONV = {"name": "c", "op": "conv", "inputs": ["data"], "out": [1, 4, 8, 8]}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([CONV | {"op": "convolve"}], "list.json, layer 0 (c): op 'convolve' does not exist"),
        ([CONV | {"out": [1, 4, 8, 9]}], "its inputs give [1, 4, 8, 8]"),
        ([CONV | {"inputs": ["x"]}], "inputs ['x'] come from no layer before it"),
        ([CONV | {"colour": 1}], "unknown fields ['colour']"),
        ([], "outputs ['c'] are no layers"),
        ([CONV | {"zero_fraction": 2}], "layer 0 (c): zero_fraction 2"),
        ([CONV | {"inputs": "data"}], "layer 0 (c), inputs: 'data' is no list"),
        ([CONV | {"out": [1, 0, 8, 8]}], "layer 0 (c), out: [1, 0, 8, 8] is no shape"),
        ([CONV | {"op": "maxpool"}], "layer 0 (c): lacks 'kernel'"),
        ([CONV | {"pad": [1]}], "layer 0 (c): cannot be understood"),
        ([CONV | {"act": "blob"}], "activation 'blob' does not exist"),
        (["c"], "layer 0: 'c' is no layer"),
        ({"name": "c"}, "layers: {'name': 'c'} is no list"),
    ],
)
def test_a_wrong_layer_list_names_file_layer_and_rule(run, tmp_path, layers, words):
    (tmp_path / "list.json").write_text(json.dumps(LIST | {"layers": layers}))
    code, _, err = run("perf", "list.json")
    assert code == 2
    assert words in err
    assert "list.json" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.onnx",), "missing.onnx"),
        (("missing.json",), "missing.json"),
        (("demo-layers", "--target", "rk9999"), "rk9999"),
        (("demo-layers", "--profile", "silicon"), "silicon"),
        (("demo-layers", "--dtype", "int4"), "int4"),
        (("demo-layers", "--batch", "0"), "--batch"),
        (("demo-layers", "--vs-sram", "maybe"), "--sram"),
        (("demo-layers", "--clock-mhz", "-1"), "clock_mhz"),
        (("demo-layers", "--vs", "missing.onnx"), "missing.onnx"),
        (("demo-layers", "--trace", "no/folder/t.json"), "no/folder"),
        (("demo-layers", "--top", "0"), "--top"),
    ],
)
def test_bad_input_exits_with_2_and_names_the_culprit(run, arguments, words):
    code, out, err = run("perf", *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_a_list_is_written_under_a_name_that_is_read_as_a_list(run, tmp_path):
    good, other = tmp_path / "net.json", tmp_path / "net.csv"
    code, _, err = run("perf", "demo", "--write-layers", str(other))
    assert code == 2
    assert "net.json" in err
    assert not other.exists()
    assert run("perf", "demo", "--write-layers", str(good))[0] == 0
    assert run("perf", str(good))[0] == 0


def test_no_compiler_and_no_plotting_is_loaded():
    """Numba and matplotlib take longer to import than an estimate takes."""
    code = """
import sys
from npusim.cli import main
sys.argv = ["npusim", "perf", "demo", "--json"]
try:
    main()
except SystemExit as ended:
    print(ended.code, *{"numba", "scipy", "matplotlib"} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert done.stderr.split() == ["0"]
