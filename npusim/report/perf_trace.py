"""The estimate as a timeline in the Chrome trace event format, one track per engine.

Opens in Perfetto and in chrome://tracing. Operations follow one another, as the model adds them up;
times are microseconds. Source: the published description of the trace event format.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npusim.errors import ConfigError
from npusim.ir.atomic import atomic_write
from npusim.ir.graph import Engine
from npusim.perfmodel.estimate import Estimate
from npusim.report.eval_perf import executed
from npusim.report.perf_table import heading

TRACKS = {Engine.NN: 1, Engine.TP: 2, Engine.SHADER: 3, Engine.CPU: 4}
TRACK_NAMES = {
    Engine.NN: "NN cores",
    Engine.TP: "tensor processor",
    Engine.SHADER: "shader",
    Engine.CPU: "CPU",
}
HOST_TRACK = 5


def trace_events(estimate: Estimate, process: int = 1) -> list[dict[str, Any]]:
    """Return the events: names of the tracks, one slice per operation, the DDR rate as counter.

    Parameters
    ----------
    estimate : Estimate
    process : int
        Number of the group of tracks.
    """
    title = f"{estimate.network} on {estimate.machine_title}"
    events = [_name("process_name", 0, title)]
    used = {o.engine for layer in estimate.layers for o in layer.operations}
    for engine, track in TRACKS.items():
        if engine in used:
            events += _track(track, TRACK_NAMES[engine])
    now = 0.0
    if estimate.copy_time_us:
        events += _track(HOST_TRACK, "host link")
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
    return [event | {"pid": process} for event in events]


def _track(number: int, text: str) -> list[dict[str, Any]]:
    """Return the events that name a track and keep the tracks in the order of their numbers."""
    order = _name("thread_sort_index", number, text) | {"args": {"sort_index": number}}
    return [_name("thread_name", number, text), order]


def _name(kind: str, track: int, text: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "tid": track, "args": {"name": text}}


def _slice(
    name: str, track: int, begin_us: float, time_us: float, arguments: dict[str, Any]
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": "npu",
        "tid": track,
        "ts": round(begin_us, 3),
        "dur": round(round(begin_us + time_us, 3) - round(begin_us, 3), 3),
        "args": arguments,
    }


def _rate(begin_us: float, gb_per_s: float) -> dict[str, Any]:
    return {
        "ph": "C",
        "name": "DDR GB/s",
        "ts": round(begin_us, 3),
        "args": {"rate": round(gb_per_s, 3)},
    }


def write_trace(estimates: Sequence[Estimate], path: str | Path) -> None:
    """Write the timeline, completely or not at all; several estimates are shown together.

    Raises
    ------
    ConfigError
        When the file cannot be written.
    """
    document = {
        "traceEvents": [
            event
            for process, estimate in enumerate(estimates, 1)
            for event in trace_events(estimate, process)
        ],
        "displayTimeUnit": "ns",
        "otherData": {
            f"configuration {process}": heading(estimate)
            for process, estimate in enumerate(estimates, 1)
        },
    }
    try:
        with atomic_write(path) as file:
            file.write(json.dumps(document, allow_nan=False).encode())
    except OSError as error:
        raise ConfigError(
            f"the timeline cannot be written: {error.strerror}",
            where=str(path),
            remedy="give a file in a folder that exists and can be written",
        ) from error
