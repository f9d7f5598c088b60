"""Two runs side by side: another model, or the same one in other formats."""

from collections.abc import Mapping, Sequence
from typing import Any

from npusim.analysis.analyze import Analysis
from npusim.report.page.contents import Contents
from npusim.report.page.numbers import decibel, short
from npusim.report.page.verdict import worst_output


def beside(
    contents: Contents, rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return both runs by layer, and their sums; None without a second run.

    A layer's counterpart has its id, else ends in the same source node.
    """
    other = contents.other
    if other is None:
        return None
    by_id = {row["id"]: row for row in others}
    by_origin = {row["origin"][-1]: row for row in others if row["origin"]}
    pairs, taken = [], set()
    for row in rows:
        there = by_id.get(row["id"])
        if there is None and row["origin"]:
            there = by_origin.get(row["origin"][-1])
        if there is not None and there["id"] in taken:
            there = None
        if there is not None:
            taken.add(there["id"])
        pairs.append(_pair(row["id"], row, there))
    pairs += [_pair(row["id"], None, row) for row in others if row["id"] not in taken]
    return {"model": other.model, "rows": pairs, "summary": _summary(contents, other)}


def _pair(
    layer: str, here: Mapping[str, Any] | None, there: Mapping[str, Any] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"id": layer}
    for side, row in (("here", here), ("there", there)):
        found[f"{side}_us"] = row["time_us"] if row else None
        found[f"{side}_sqnr_db"] = row["entire_sqnr_db"] if row else None
        found[f"{side}_format"] = row["format"] if row else None
    return found


def _summary(here: Contents, there: Contents) -> list[dict[str, Any]]:
    return [
        {"what": what, "here": left, "there": right}
        for (what, left), (_, right) in zip(_sums(here), _sums(there), strict=True)
        if left is not None or right is not None
    ]


def _sums(contents: Contents) -> list[tuple[str, float | None]]:
    estimate, analysis = contents.estimate, contents.analysis
    worst = worst_output(analysis, contents.network) if analysis else None
    return [
        ("time of a run (us)", short(estimate.total_time_us, 7) if estimate else None),
        ("frames/s", short(estimate.frames_per_s) if estimate else None),
        ("DDR bytes", round(estimate.cost.traffic.ddr_bytes) if estimate else None),
        ("memory (bytes)", estimate.memory.npu_bytes if estimate else None),
        ("SQNR of the worst output (dB)", _output_db(worst)),
        ("layers at fault", _faults(analysis)),
    ]


def _output_db(worst: Any) -> float | None:
    return decibel(worst.worst.sqnr_db) if worst is not None and worst.worst else None


def _faults(analysis: Analysis | None) -> int | None:
    return None if analysis is None else len({row.layer for row in analysis.bad})
