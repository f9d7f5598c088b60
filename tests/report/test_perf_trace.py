"""The timeline: complete, in order, nothing at the same time."""

import json
from itertools import pairwise

import pytest

from npusim.errors import ConfigError
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report.perf_trace import TRACKS, trace_events, write_trace
from tests.report.estimates import layer_list, tiny


def slices(events):
    return [event for event in events if event["ph"] == "X"]


def test_one_track_per_engine_and_one_slice_per_operation():
    result = tiny()
    events = trace_events(result)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {1: "NN cores", 2: "tensor processor", 3: "shader"}
    order = [e["args"]["sort_index"] for e in events if e["name"] == "thread_sort_index"]
    assert order == list(names)
    operations = [(x, o) for x in result.layers for o in x.operations]
    assert len(slices(events)) == len(operations)
    for event, (layer, operation) in zip(slices(events), operations, strict=True):
        assert event["name"] == layer.layer_id
        assert event["tid"] == TRACKS[operation.engine]
        assert event["args"]["operation"] == operation.operation
        assert event["dur"] > 0
        assert set(event) == {"ph", "name", "cat", "pid", "tid", "ts", "dur", "args"}


def test_operations_follow_one_another_and_fill_the_total():
    result = tiny()
    now = 0.0
    for event in slices(trace_events(result)):
        assert event["ts"] == pytest.approx(now, abs=0.002)
        now = event["ts"] + event["dur"]
    assert now == pytest.approx(result.total_time_us, rel=1e-6)


def test_the_ddr_counter_adds_up_to_the_traffic():
    result = tiny()
    rates = [e for e in trace_events(result) if e["ph"] == "C"]
    moved = sum(
        now["args"]["rate"] * (after["ts"] - now["ts"]) * 1e3 for now, after in pairwise(rates)
    )
    assert moved == pytest.approx(result.cost.traffic.ddr_bytes, rel=0.01)
    assert rates[-1]["args"]["rate"] == 0


def test_host_copies_come_first():
    result = estimate(parse_layer_list(layer_list()), "rk3399pro")
    first, second, *_ = slices(trace_events(result))
    assert first["name"] == "input and output copies"
    assert second["ts"] == pytest.approx(result.copy_time_us, abs=0.01)


def test_two_estimates_are_two_processes(tmp_path):
    write_trace([tiny(), tiny(clock_mhz=400)], tmp_path / "t.json")
    data = json.loads((tmp_path / "t.json").read_text())
    assert {event["pid"] for event in data["traceEvents"]} == {1, 2}
    assert set(data) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no-folder"):
        write_trace([tiny()], tmp_path / "no-folder" / "t.json")
