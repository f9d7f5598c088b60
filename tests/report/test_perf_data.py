"""Totals, JSON and CSV say the same as the estimate."""

import csv
import io
import json

import pytest

from npusim.ir.dtypes import DType
from npusim.report.eval_perf import executed
from npusim.report.perf_data import CSV_COLUMNS, engine_totals, op_totals, to_csv, to_json
from tests.report.estimates import tiny

LAYER_KEYS = {
    *("name", "uid", "op", "fused", "engine", "form", "macs", "cycles"),
    *("compute_cycles", "time_us"),
    *("share", "utilisation", "bound", "bound_cycles", "ddr_image_bytes", "ddr_kernel_bytes"),
    *("ddr_command_bytes", "ddr_write_bytes", "sram_image_bytes", "sram_kernel_bytes"),
    *("sram_write_bytes", "operations", "note", "number", "advice"),
}
KEYS = {
    *("network", "machine", "profile", "clock_mhz", "ddr_gbps", "batch", "sram", "macs"),
    *("total_cycles",),
    *("total_time_us", "copy_time_us", "frames_per_s", "host_layers", "transport"),
    *("holes", "not_priced", "guesses"),
    *("by_engine_us", "by_op_us", "memory"),
    *("layers", "bound_share", "by_engine", "by_op", "advice"),
}


@pytest.mark.parametrize("totals", [engine_totals, op_totals])
@pytest.mark.parametrize("dtype", [DType.U8, DType.I16])
def test_totals_add_up(totals, dtype):
    estimate = tiny(dtype)
    rows = totals(estimate)
    assert sum(row.time_us for row in rows) == pytest.approx(estimate.total_time_us)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert sum(row.macs for row in rows) == estimate.macs
    assert sum(row.ddr_bytes for row in rows) == pytest.approx(estimate.cost.traffic.ddr_bytes)
    assert [row.time_us for row in rows] == sorted((r.time_us for r in rows), reverse=True)
    assert all(0 <= row.utilisation <= 1 for row in rows)


def test_bytes_are_the_same_in_both_profiles():
    board, vendor = tiny(sram=False), tiny(profile="vendor")
    for a, b in zip(board.layers, vendor.layers, strict=True):
        for mine, theirs in zip(a.operations, b.operations, strict=True):
            if mine.tile is None:
                assert mine.cost.traffic == theirs.cost.traffic


def test_json_has_the_documented_keys_and_is_plain():
    data = to_json(tiny())
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(data) == KEYS
    for layer in data["layers"]:
        assert set(layer) == LAYER_KEYS
    numbers = [layer["number"] for layer in data["layers"] if layer["number"] is not None]
    assert numbers == list(range(len(executed(tiny()))))
    by_name = {layer["name"]: layer for layer in data["layers"]}
    assert by_name["spp"]["advice"]["rule"] == "large-pool"
    assert by_name["flat"]["number"] is None
    assert sum(data["bound_share"].values()) == pytest.approx(1, abs=1e-5)
    assert {row["engine"] for row in data["by_engine"]} == {"NN", "TP", "SH"}
    assert "buffers" not in data["memory"]
    assert to_json(tiny(), buffers=True)["memory"]["buffers"]


def test_csv_has_a_line_per_executed_layer():
    estimate = tiny()
    text = to_csv(estimate)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["name"] for row in rows] == [layer.name for layer in executed(estimate)]
    total = sum(float(row["time_us"]) for row in rows)
    assert total == pytest.approx(estimate.total_time_us, rel=1e-4)
    assert rows[0]["operations"] == "RESHUFFLE CONVOLUTION"
    assert "\r" not in text
