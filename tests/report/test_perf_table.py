"""The console tables fit 100 columns and say what the estimate says."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report.eval_perf import executed
from npusim.report.names import shorten
from npusim.report.perf_compare import compare, comparison_report
from npusim.report.perf_table import (
    advice_table,
    full_report,
    layer_table,
    summary,
    traffic_table,
)
from tests.report.estimates import layer_list, tiny

LONG = "MobilenetV1/MobilenetV1/Conv2d_1_depthwise/Relu6/with/a/very/long/name"


def printed(what, width=100):
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def long_names():
    data = layer_list()
    data["layers"][0]["name"] = LONG
    data["layers"][1]["inputs"] = [LONG]
    return data


@pytest.mark.parametrize("dtype", [DType.U8, DType.F16])
@pytest.mark.parametrize("target", ["rk1808", "rk3399pro"])
def test_everything_fits_100_columns_and_no_number_is_cut(dtype, target):
    result = estimate(parse_layer_list(long_names(), dtype), target)
    text = printed(full_report(result, traffic=True, memory=True))
    text += printed(comparison_report(compare(result, tiny())))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    for layer in executed(result):
        assert f" {layer.time_us:.1f} " in text
    assert text.count("…") == 3  # the long name, once in each table of layers


def test_wide_consoles_get_whole_names():
    result = estimate(parse_layer_list(long_names()))
    assert LONG in printed(layer_table(result), width=200)


def test_names_keep_their_end():
    assert shorten("short", 20) == "short"
    assert shorten("BatchNormalization_BatchNormalization@32_27", 20) == "BatchNo…zation@32_27"
    assert len(shorten("x" * 50, 17)) == 17


def test_top_shows_the_longest_in_order_of_execution():
    result = tiny()
    text = printed(layer_table(result, top=2))
    longest = sorted(executed(result), key=lambda layer: -layer.time_us)[:2]
    assert all(layer.layer_id in text for layer in longest)
    assert "the 2 layers that take longest, of 7" in text
    rows = [line for line in text.splitlines() if any(x.layer_id in line for x in longest)]
    assert len(rows) == 2
    assert printed(traffic_table(result, top=2)).count("_") == 2


def test_summary_names_what_bounds_the_time():
    text = summary(tiny())
    assert text.startswith(f"total {tiny().total_time_us:.0f} us, ")
    shares = [int(part.split()[-1].rstrip("%")) for part in text.split("bound by ")[1].split(",")]
    assert sum(shares) == pytest.approx(100, abs=3)
    assert "host copies" not in text
    assert "us host copies" in summary(estimate(parse_layer_list(layer_list()), "rk3399pro"))


def test_equal_advice_is_one_line_and_none_is_no_table():
    data = layer_list()
    again = dict(data["layers"][2], name="spp2", inputs=["spp"])
    data["layers"].insert(3, again)
    data["layers"][4]["inputs"] = ["spp2"]
    text = printed(advice_table(estimate(parse_layer_list(data))))
    assert text.count("5x5 max pool") == 1
    good = {"name": "g", "input": [1, 64, 28, 28], "outputs": ["c"], "layers": [
        {"name": "c", "op": "conv", "inputs": ["data"], "out": [1, 640, 28, 28], "kernel": 3,
         "pad": [1, 1, 1, 1]}]}  # fmt: skip
    assert advice_table(estimate(parse_layer_list(good))) is None


def test_a_fused_pool_is_shown_with_its_convolution():
    data = layer_list()
    data["layers"].insert(1, {"name": "half", "op": "maxpool", "inputs": ["stem"],
                              "out": [1, 16, 8, 8], "kernel": 2, "stride": 2})  # fmt: skip
    data["layers"] = data["layers"][:2]
    data["layers"][0] |= {"stride": 1, "out": [1, 16, 32, 32]}
    data["layers"][1]["out"] = [1, 16, 16, 16]
    data["outputs"] = ["half"]
    assert "conv2d+pool" in printed(layer_table(estimate(parse_layer_list(data))))


@pytest.mark.parametrize(
    ("macs", "words"),
    [(0, "0"), (480_500, "0.48"), (5_120_000, "5.12"), (1_238_652_800, "1239")],
)
def test_the_work_of_small_networks_keeps_its_digits(macs, words):
    first, *others = (replace(layer, macs=0) for layer in tiny().layers)
    work = replace(tiny(), layers=(replace(first, macs=macs), *others))
    assert f" {words} MMAC," in summary(work)
