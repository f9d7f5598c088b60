"""The estimate as a timeline in the Chrome trace event format, one track per engine.

Opens in Perfetto and in chrome://tracing. Operations follow one another, as the model adds them up;
times are microseconds. Source: the published description of the trace event format.
"""

import json
from pathlib import Path
from typing import Any

from npusim.ir.atomic import atomic_write
from npusim.ir.graph import Engine
from npusim.perfmodel.estimate import Estimate
from npusim.report.eval_perf import executed

PROCESS = 1
TRACKS = {Engine.NN: 1, Engine.TP: 2, Engine.SHADER: 3, Engine.CPU: 4}
TRACK_NAMES = {
    Engine.NN: "NN cores",
    Engine.TP: "tensor processor",
    Engine.SHADER: "shader",
    Engine.CPU: "CPU",
}
HOST_TRACK = 5


def trace_events(estimate: Estimate) -> list[dict[str, Any]]:
    """Return the events: names of the tracks, one slice per operation, the DDR rate as counter."""
    events = [_name("process_name", 0, f"{estimate.network} on {estimate.machine_title}")]
    used = {o.engine for layer in estimate.layers for o in layer.operations}
    for engine, track in TRACKS.items():
        if engine in used:
            events.append(_name("thread_name", track, TRACK_NAMES[engine]))
    now = 0.0
    if estimate.copy_time_us:
        events.append(_name("thread_name", HOST_TRACK, "host link"))
        events.append(_slice("input and output copies", HOST_TRACK, 0.0, estimate.copy_time_us, {}))
        now = estimate.copy_time_us
    for layer in executed(estimate):
        for operation in layer.operations:
            time_us = operation.cost.cycles / estimate.clock_hz * 1e6
            size = operation.cost.traffic.ddr_bytes
            arguments = {
                "operation": operation.operation,
                "op": layer.op,
                "bound": operation.cost.bound.value,
                "cycles": round(operation.cost.cycles),
                "macs": layer.macs if operation.work.macs else 0,
                "ddr_bytes": round(size),
            }
            track = TRACKS[operation.engine]
            events.append(_slice(layer.layer_id, track, now, time_us, arguments))
            events.append(_rate(now, size / time_us / 1e3))
            now += time_us
    events.append(_rate(now, 0.0))
    return events


def _name(kind: str, track: int, text: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": PROCESS, "tid": track, "args": {"name": text}}


def _slice(
    name: str, track: int, begin_us: float, time_us: float, arguments: dict[str, Any]
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": "npu",
        "pid": PROCESS,
        "tid": track,
        "ts": round(begin_us, 3),
        "dur": round(begin_us + time_us, 3) - round(begin_us, 3),
        "args": arguments,
    }


def _rate(begin_us: float, gb_per_s: float) -> dict[str, Any]:
    return {
        "ph": "C",
        "name": "DDR GB/s",
        "pid": PROCESS,
        "ts": round(begin_us, 3),
        "args": {"rate": round(gb_per_s, 3)},
    }


def write_trace(estimate: Estimate, path: str | Path) -> None:
    """Write the timeline, completely or not at all.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    document = {
        "traceEvents": trace_events(estimate),
        "displayTimeUnit": "ns",
        "otherData": {
            "network": estimate.network,
            "machine": estimate.machine,
            "profile": estimate.profile,
            "clock_mhz": estimate.clock_hz / 1e6,
        },
    }
    with atomic_write(path) as file:
        file.write(json.dumps(document, allow_nan=False).encode())
