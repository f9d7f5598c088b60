"""The JSON of the page: its schema is in docs/report.md."""

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from npusim import words
from npusim.ir.graph import Graph
from npusim.perfmodel.network import Network
from npusim.plain import name_of
from npusim.quantization.input_text import array_text, input_text
from npusim.report.page.contents import Contents
from npusim.report.page.costs import time_of
from npusim.report.page.details import details
from npusim.report.page.layers import Groups, edges_of, formats_of, groups_of, layer_rows
from npusim.report.page.layout import NODE_HEIGHT, NODE_WIDTH, Layout, lay_out
from npusim.report.page.numbers import short, whole
from npusim.report.page.outputs import outputs_of, pictures_of
from npusim.report.page.verdict import causes_of, sentence
from npusim.report.page.whatif import beside

SCHEMA = 1
BOX_MARGIN = 7.0
_CODE = re.compile(r"\s*\(npusim explain ([a-z0-9-]+)\)\s*$")
SECTIONS = ("causes", "time", "outputs", "pictures", "metrics", "vs", "tuning")


def page_data(contents: Contents) -> dict[str, Any]:
    """Return the whole page as plain values: no NaN, no infinity."""
    groups = groups_of(contents.network, contents.estimate)
    rows = layer_rows(contents, groups)
    causes = causes_of(contents)
    _blame(rows, causes)
    _add_details(contents, rows)
    edges = edges_of(rows)
    place = lay_out(len(rows), edges)
    text, severity = sentence(contents, causes)
    ids = [row["id"] for row in rows]
    other = contents.other
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "head": _head(contents, rows, text, severity),
        "causes": causes,
        "layers": rows,
        "edges": [[ids[start], ids[end]] for start, end in edges],
        "layout": _layout(place, rows, groups),
        "time": None if contents.estimate is None else time_of(contents.estimate),
        "outputs": outputs_of(contents),
        "pictures": pictures_of(contents),
        "metrics": _metrics(contents),
        "vs": None
        if other is None
        else beside(contents, rows, layer_rows(other, groups_of(other.network, other.estimate))),
        "tuning": _tuning(contents),
    }
    measured = {
        **found,
        "causes": contents.analysis,
        "outputs": found["outputs"] or None,
        "pictures": found["pictures"] or None,
    }
    found["missing"] = {name: _how(name) for name in SECTIONS if measured[name] is None}
    return found


def _how(section: str) -> str:
    """Return how a section that was not measured is had, in the words of the front end."""
    return words.say(f"report_{'outputs' if section == 'pictures' else section}")


def _blame(rows: list[dict[str, Any]], causes: list[dict[str, Any]]) -> None:
    """Name the root cause in every layer that inherits from it, and in itself."""
    blamed = {name: cause["layer"] for cause in reversed(causes) for name in cause["inherited"]}
    blamed |= {cause["layer"]: cause["layer"] for cause in causes}
    for row in rows:
        row["cause"] = blamed.get(row["id"])


def _add_details(contents: Contents, rows: list[dict[str, Any]]) -> None:
    analysis, graph = contents.analysis, contents.network
    if analysis is None or not isinstance(graph, Graph):
        return
    ranks = {"bad": 0.0, "warn": 1000.0}
    order = {
        row["id"]: ranks.get(row["severity"] or "", 2000.0)
        + (row["alone_sqnr_db"] if row["alone_sqnr_db"] is not None else 999.0)
        for row in rows
    }
    by_id = {row["id"]: row for row in rows}
    for layer, detail in details(graph, analysis, order):
        by_id[layer]["detail"] = detail


def _head(
    contents: Contents, rows: list[dict[str, Any]], text: str, severity: str
) -> dict[str, Any]:
    network, estimate = contents.network, contents.estimate
    source = network.source if isinstance(network, Graph) else None
    return {
        "title": name_of(Path(contents.model)) or network.name,
        "model": contents.model,
        "sha256": source.sha256 if source else "",
        "source_format": source.framework if source else "layer list",
        "versions": {
            "npusim": _version("npusim"),
            "numpy": _version("numpy"),
            "numba": _version("numba"),
            "python": platform.python_version(),
        },
        "target": estimate.machine if estimate else network.target,
        "batch": network.batch,
        "formats": formats_of(rows),
        "inputs": _inputs(contents, network),
        "outputs": [{"name": name, "shape": _shape(network, name)} for name in network.outputs],
        "dataset": {"path": contents.dataset, "samples": contents.samples}
        if contents.dataset
        else None,
        "command": contents.command,
        "created": contents.created,
        "duration_s": short(contents.duration_s, 3),
        "total_time_us": short(estimate.total_time_us, 7) if estimate else None,
        "frames_per_s": short(estimate.frames_per_s) if estimate else None,
        "peak_memory_bytes": estimate.memory.npu_bytes if estimate else None,
        "ddr_bytes": whole(estimate.cost.traffic.ddr_bytes) if estimate else None,
        "macs": estimate.macs if estimate else None,
        "verdict": text,
        "severity": severity,
        "warnings": [_warning(line) for line in contents.warnings],
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a bare checkout
        return "unknown"


def _shape(network: Graph | Network, name: str) -> list[int]:
    shape = network.spec(name).shape if isinstance(network, Graph) else network.shapes[name]
    return list(shape)


def _inputs(contents: Contents, network: Graph | Network) -> list[dict[str, Any]]:
    if isinstance(network, Network):
        return [
            {"name": name, "shape": _shape(network, name), "layout": "NCHW", "mean": [], "std": []}
            | {"reorder": [], "what_goes_in": ""}
            for name in network.inputs
        ]
    said = {line.partition(":")[0]: line for line in contents.taken_as}
    found = []
    for name in network.inputs:
        spec, how = network.spec(name), network.preprocess.get(name)
        default = input_text(name, spec, how, array_text("values", spec, layout="nchw"))
        found.append(
            {
                "name": name,
                "shape": list(spec.shape),
                "layout": "NCHW" if len(spec.shape) == 4 else "as in the source model",
                "mean": list(how.mean) if how else [],
                "std": list(how.std) if how else [],
                "reorder": list(how.reorder) if how else [],
                "what_goes_in": said.get(f"input {name!r}", default),
            }
        )
    return found


def _warning(line: str) -> dict[str, str | None]:
    code = _CODE.search(line)
    return {"text": _CODE.sub("", line), "code": code.group(1) if code else None}


def _layout(place: Layout, rows: list[dict[str, Any]], groups: Groups) -> dict[str, Any]:
    ids = [row["id"] for row in rows]
    rows_by_id = dict(zip(ids, rows, strict=True))
    nodes = {
        layer: [round(x), round(y), round(NODE_WIDTH), round(NODE_HEIGHT)]
        for layer, (x, y) in zip(ids, place.nodes, strict=True)
    }
    return {
        "width": round(place.width),
        "height": round(place.height),
        "nodes": nodes,
        "edges": [[[round(x), round(y)] for x, y in line] for line in place.edges],
        "groups": [
            {
                "id": group,
                "title": _title(members, rows_by_id),
                "members": list(members),
                "box": _box([nodes[name] for name in members]),
            }
            for group, members in groups.members.items()
        ],
    }


def _title(members: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how many layers a group has, and of what."""
    kinds = [rows[name]["op"] for name in members]
    said = ", ".join(
        f"{count} x {kind}" if count > 1 else kind
        for kind in dict.fromkeys(kinds)
        if (count := kinds.count(kind))
    )
    return f"{len(members)} layers: {said}"


def _box(nodes: list[list[int]]) -> list[int]:
    left, top = min(n[0] for n in nodes), min(n[1] for n in nodes)
    right, bottom = max(n[0] + n[2] for n in nodes), max(n[1] + n[3] for n in nodes)
    edge = BOX_MARGIN
    box = (left - edge, top - edge, right - left + 2 * edge, bottom - top + 2 * edge)
    return [round(value) for value in box]


def _metrics(contents: Contents) -> list[dict[str, Any]] | None:
    """Return what was measured on a labelled set: float beside the first quantized network."""
    evaluation = contents.evaluation
    if evaluation is None:
        return None
    runs = {run.name: run for run in evaluation.accuracies}
    floats = runs.pop("float", None)
    found = []

    def add(name: str, left: float | None, right: float | None) -> None:
        found.append({"name": name, "float": short(left), "quantized": short(right)})

    for run in runs.values():
        mark = f" ({run.name})" if len(runs) > 1 else ""
        for name, key in (("top-1", "top1"), ("top-5", "top5")):
            if getattr(run, key) is not None:
                add(name + mark, getattr(floats, key, None), getattr(run, key))
        if run.agreement is not None:
            add(f"same class as float{mark}", 1.0, run.agreement)
        for name, value in run.scores.items():
            add(name + mark, floats.scores.get(name) if floats else None, value)
        for name, value in run.means.items():
            add(name + mark, floats.means.get(name) if floats else None, value)
    return found


def _tuning(contents: Contents) -> dict[str, Any] | None:
    front = contents.front
    if front is None:
        return None

    def plain(point: Any) -> dict[str, Any] | None:
        return (
            None
            if point is None
            else {
                "metric": short(point["metric"], 7),
                "time_us": short(point["time_us"], 7),
                "layers": list(point["layers"]),
            }
        )

    return {
        "metric": front.metric,
        "budget_us": front.budget_us,
        "base": plain(front.base),
        "best": plain(front.best),
        "front": [plain(point) for point in front.points],
    }
