"""A sweep of variants as a table, JSON and CSV. docs/performance.md explains every column."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from npusim.perfmodel.guesses import guesses_line
from npusim.perfmodel.sweep import Point, Refused, Sweep
from npusim.report.perf_data import csv_text
from npusim.report.table import Sheet, numbers
from npusim.words import say

MOST_REFUSED = 5


def size_text(point: Point | Refused) -> str:
    """Return the input size as height x width; a dash for the list's own."""
    return f"{point.size[0]}x{point.size[1]}" if point.size else "-"


def sweep_report(sweep: Sweep, heading: str, budget_ms: float | None = None) -> Group:
    """Return the Pareto front, and what lies beside it."""
    columns = [*numbers("width", "input", "MMAC", "us", "frames/s"), *numbers("NPU kB")]
    columns += numbers("weights kB", "maps kB", "DDR kB", priority=1)
    sheet = Sheet(columns, heading)
    for point in sweep.front:
        priced, memory = point.estimate, point.estimate.memory
        sheet.add(
            f"{point.width:g}",
            size_text(point),
            f"{priced.macs / 1e6:.1f}",
            f"{priced.total_time_us:.0f}",
            f"{priced.frames_per_s:.1f}",
            f"{memory.npu_bytes / 1e3:.0f}",
            f"{memory.stored_weight_bytes / 1e3:.0f}",
            f"{memory.activation_peak_bytes / 1e3:.0f}",
            f"{priced.cost.traffic.ddr_bytes / 1e3:.0f}",
        )
    within = f" within {budget_ms:g} ms" if budget_ms is not None else ""
    count = len(sweep.points)
    parts: list[RenderableType] = [sheet, Text("")]
    parts.append(
        Text(
            f"{len(sweep.front)} of {count} variants{within} are on the front: none of the others "
            "has as many products and is as fast and as small"
        )
    )
    if sweep.front:
        parts += [Text(line) for line in [_guessed(sweep)] if line]
    parts += [
        Text(f"not priced: {refused.error.where}: {refused.error.what}")
        for refused in sweep.refused[:MOST_REFUSED]
    ]
    if (more := len(sweep.refused) - MOST_REFUSED) > 0:
        parts.append(Text(f"not priced: {more} more, {say('all_refused')}"))
    return Group(*parts)


def _guessed(sweep: Sweep) -> str:
    priced = sweep.front[0].estimate
    return guesses_line(priced.setting.machine, priced.guesses)


def _row(point: Point) -> dict[str, Any]:
    priced, memory = point.estimate, point.estimate.memory
    return {
        "width": point.width,
        "input": list(point.size) if point.size else None,
        "macs": priced.macs,
        "total_time_us": round(priced.total_time_us, 3),
        "frames_per_s": round(priced.frames_per_s, 3),
        "npu_bytes": memory.npu_bytes,
        "stored_weight_bytes": memory.stored_weight_bytes,
        "activation_peak_bytes": memory.activation_peak_bytes,
        "ddr_bytes": round(priced.cost.traffic.ddr_bytes),
        "front": point.on_front,
    }


def to_json(sweep: Sweep) -> dict[str, Any]:
    """Return every point in the order asked for, and those that could not be made."""
    first = sweep.points[0].estimate
    return {
        "network": first.network,
        "machine": first.machine,
        "profile": first.profile,
        "clock_mhz": first.clock_hz / 1e6,
        "ddr_gbps": first.ddr_bytes_per_s / 1e9,
        "batch": first.batch,
        "guesses": [guess.to_dict() for guess in first.guesses],
        "points": [_row(point) for point in sweep.points],
        "refused": [
            {
                "width": refused.width,
                "input": list(refused.size) if refused.size else None,
                "where": refused.error.where,
                "what": refused.error.what,
            }
            for refused in sweep.refused
        ],
    }


def to_csv(sweep: Sweep) -> str:
    """Return one line per priced point with the names of the JSON."""
    rows = [_row(point) | {"input": size_text(point)} for point in sweep.points]
    return csv_text(tuple(rows[0]), [tuple(row.values()) for row in rows])
