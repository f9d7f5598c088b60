"""Data of a report page, made by hand: a network of any size whose names are hostile.

The keys are those that the page reads; numbers are drawn once from a fixed seed.
"""

import base64
import io
import random
from typing import Any

from PIL import Image

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
NASTY = (
    HOSTILE,
    "</script><script>document.title='owned'</script>",
    "a&b='c'\"d\"`${1}`",
    "conv/ü/层/\u202egnp.exe\u2028end",
    '=HYPERLINK("http://x.invalid")',
    "#layer=x&view=time%20",
)
OPS = ("Conv", "Relu", "Add", "Concat", "Softmax", "MaxPool")
ENGINES = {
    "Conv": "NN",
    "Relu": "NN",
    "Add": "TP",
    "Concat": "TP",
    "Softmax": "SH",
    "MaxPool": "TP",
}


def _layer_id(index: int) -> str:
    return NASTY[index] if index < len(NASTY) else f"backbone/stage{index // 8}/block{index}/conv"


def _severity(index: int) -> str:
    return "bad" if index in (3, 7) else "warn" if index == 9 else "ok"


def _layer(index: int, count: int, draw: random.Random) -> dict[str, Any]:
    op = OPS[index % len(OPS)]
    inherits = 3 if 3 < index < 7 else None
    alone = {3: 4.2, 7: 11.5, 9: 18.0, 13: 200.0}.get(index, 25 + 25 * draw.random())
    return {
        "id": _layer_id(index),
        "name": _layer_id(index),
        "uid": f"uid_{index}",
        "op": op,
        "engine": ENGINES[op],
        "form": "conv 3x3",
        "reason": "runs there because it can",
        "format": "i16" if index % 11 == 10 else "u8",
        "shape": [1, 16 + index % 7, 24, 24],
        "inputs": [_layer_id(index - 1)] if index else ["image"],
        "outputs": [f"tensor_{index}"],
        "origin": [f"/model/{index}/{op}", HOSTILE],
        "group": f"g{index // 8}" if index >= 8 and index // 8 % 2 else None,
        "alone_sqnr_db": alone,
        "alone_cosine": 1 - 1 / (10 + alone * alone),
        "entire_sqnr_db": None if index == 12 else alone - 3,
        "entire_cosine": 0.99,
        "verdict": "inherited"
        if inherits is not None
        else {3: "narrow", 7: "outlier"}.get(index, "ok"),
        "severity": "bad" if inherits is not None else _severity(index),
        "cause": _layer_id(inherits) if inherits is not None else None,
        "time_us": round(1 + 400 / count * draw.random(), 3),
        "bound": ("compute", "ddr", "launch")[index % 3],
        "cycles": {"compute": 1000 + index, "ddr": 800, "sram": 0, "launch": 120},
        "bytes": {"read": 4096, "write": 4096 + index, "weights": 20000},
        "macs": 1000 * index,
        "start_us": 0.0,
        "range": {
            "low": -1.0,
            "high": 3.0,
            "seen_low": -0.8,
            "seen_high": 6.5 if index == 3 else 2.5,
            "scale": 4 / 255,
            "zero_point": 64,
            "fl": None,
        },
        "requant": "multiplier 18213, shift 22" if op == "Conv" else None,
        "detail": _detail(index, draw) if index < 10 else None,
    }


def _detail(index: int, draw: random.Random) -> dict[str, Any]:
    values = [draw.gauss(0.5, 1) for _ in range(200)]
    float_counts = [0] * 64
    for value in [draw.gauss(0.5, 1) for _ in range(3000)]:
        float_counts[min(63, max(0, int((value + 3) / 7 * 64)))] += 1
    return {
        "histogram": {
            "low": -3.0,
            "high": 4.0,
            "float": float_counts,
            "quantized": [c if i % 2 else 0 for i, c in enumerate(float_counts)],
        },
        "scatter": [[v, max(-1.0, min(3.0, round(v * 16) / 16))] for v in values],
        "channels": [{"channel": c, "sqnr_db": 3.0 + c, "share": 0.4 / (c + 1)} for c in range(5)],
        "operands": [
            {"name": _layer_id(index - 1), "sqnr_db": 31.0, "range": [0.0, 320.0]},
            {"name": HOSTILE, "sqnr_db": 2.5, "range": [0.0, 1.0]},
        ]
        if index == 3
        else [],
    }


def _layout(layers: list[dict[str, Any]], edges: list[list[str]]) -> dict[str, Any]:
    width, height, gap = 150, 34, 26
    nodes: dict[str, list[float]] = {}
    for index, layer in enumerate(layers):
        nodes[layer["id"]] = [
            40.0 + index % 3 * 200,
            30.0 + index // 3 * (height + gap) * 2,
            width,
            height,
        ]
    lines = []
    for source, target in edges:
        (x0, y0, _, _), (x1, y1, _, _) = nodes[source], nodes[target]
        lines.append([[x0 + width / 2, y0 + height], [x1 + width / 2, y1]])
    groups: dict[str, list[str]] = {}
    for layer in layers:
        if layer["group"]:
            groups.setdefault(layer["group"], []).append(layer["id"])
    boxes = []
    for name, members in groups.items():
        spots = [nodes[m] for m in members]
        left, top = min(s[0] for s in spots) - 8, min(s[1] for s in spots) - 16
        right = max(s[0] for s in spots) + width + 8
        bottom = max(s[1] for s in spots) + height + 8
        title = HOSTILE if name == "g1" else f"stage {name}"
        box = [left, top, right - left, bottom - top]
        boxes.append({"id": name, "title": title, "members": members, "box": box})
    return {
        "width": 640,
        "height": max(n[1] for n in nodes.values()) + 80,
        "nodes": nodes,
        "edges": lines,
        "groups": boxes,
    }


def _picture() -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("RGB", (96, 64), (40, 120, 90)).save(stream, "PNG")
    text = base64.b64encode(stream.getvalue()).decode()
    return {"name": HOSTILE, "data": f"data:image/png;base64,{text}", "width": 96, "height": 64}


def _head(layers: list[dict[str, Any]], total: float) -> dict[str, Any]:
    return {
        "title": f"net {HOSTILE}",
        "model": f"models/{HOSTILE}.onnx",
        "sha256": "ab" * 32,
        "source_format": "onnx",
        "versions": {"npusim": "0.1.0", "numpy": "2.3", "numba": "0.66", "python": "3.11"},
        "target": "rk1808",
        "formats": [{"format": "u8", "layers": len(layers) - 1}, {"format": "i16", "layers": 1}],
        "inputs": [
            {
                "name": "image",
                "shape": [1, 3, 64, 96],
                "layout": "NCHW",
                "mean": [127.5, 127.5, 127.5],
                "std": [128.0, 128.0, 128.0],
                "reorder": [2, 1, 0],
                "what_goes_in": f"pixels 0..255, {HOSTILE}",
            }
        ],
        "outputs": [{"name": "scores", "shape": [1, 10]}],
        "dataset": {"path": f"{HOSTILE}/list.txt", "samples": 8},
        "command": "npusim report model.onnx --dataset list.txt -o report.html",
        "created": "2026-01-01T12:00:00+00:00",
        "duration_s": 12.3,
        "total_time_us": total,
        "frames_per_s": 1e6 / total,
        "peak_memory_bytes": 3_500_000,
        "ddr_bytes": 12_000_000,
        "macs": 314_000_000,
        "verdict": f"Three layers lose accuracy; the worst is {HOSTILE}.",
        "severity": "bad",
        "warnings": [{"text": f"node {HOSTILE} was approximated", "code": "approximate_op"}],
    }


def _causes() -> list[dict[str, Any]]:
    def cause(index: int, severity: str, inherited: list[int]) -> dict[str, Any]:
        return {
            "layer": _layer_id(index),
            "severity": severity,
            "kind": "narrow",
            "title": f"The range cuts values off in {_layer_id(index)}",
            "evidence": [f"{HOSTILE} seen up to 6.5, range ends at 3.0", "12 % of the elements"],
            "advice": "Raise this layer to i16.",
            "paste": [
                {
                    "what": "hybrid cfg",
                    "text": f'customized_quantize_layers:\n  "{HOSTILE}": i16\n',
                },
                {"what": "command", "text": "npusim quantize model.onnx --layer 'x=i16'"},
            ],
            "cost_us": 12.5,
            "inherited": [_layer_id(i) for i in inherited],
            "gain_db": 8.1,
        }

    return [cause(3, "bad", [4, 5, 6]), cause(7, "bad", []), cause(9, "warn", [])]


def page_data(count: int = 40) -> dict[str, Any]:
    """Return data of a page with ``count`` (at least 14) layers; every section is filled."""
    draw = random.Random(1)
    layers = [_layer(index, count, draw) for index in range(count)]
    start = 0.0
    for layer in layers:
        layer["start_us"] = start
        start += layer["time_us"]
    edges = [[layers[i]["id"], layers[i + 1]["id"]] for i in range(count - 1)]
    edges += [[layers[i]["id"], layers[i + 3]["id"]] for i in range(0, count - 3, 5)]
    return {
        "schema": 1,
        "head": _head(layers, start),
        "causes": _causes(),
        "layers": layers,
        "edges": edges,
        "layout": _layout(layers, edges),
        "time": {
            "total_us": start,
            "by_engine": {"NN": 0.6 * start, "TP": 0.3 * start, "SH": 0.1 * start},
            "by_bound": {"compute": 0.5 * start, "ddr": 0.4 * start, "launch": 0.1 * start},
            "roofline": {
                "points": [
                    {"layer": x["id"], "intensity": 1 + i * 3.0, "performance": 50.0 + 40 * i}
                    for i, x in enumerate(layers[:40])
                    if x["engine"] == "NN"
                ],
                "peak_macs_per_us": 1_500_000.0,
                "ddr_bytes_per_us": 6000.0,
                "share_not_shown": 0.684,
            },
            "memory": [
                {"layer": x["id"], "bytes": 10_000 + 97 * (i % 31)} for i, x in enumerate(layers)
            ],
            "advice": [f"Fuse {HOSTILE}"],
        },
        "outputs": [
            {
                "name": f"scores {HOSTILE}",
                "parts": [
                    {
                        "name": "boxes",
                        "channels": "0..3",
                        "sqnr_db": 41.0,
                        "cosine": 0.99999,
                        "max_error": 0.5,
                    },
                    {
                        "name": HOSTILE,
                        "channels": "4..83",
                        "sqnr_db": 1.5,
                        "cosine": 0.41,
                        "max_error": 0.9,
                    },
                ],
                "classes": [{"name": HOSTILE, "float": 0.91, "quantized": 0.62}],
                "boxes": [
                    {"box": [8, 8, 40, 40], "score": 0.9, "label": HOSTILE, "from": "float"},
                    {"box": [10, 9, 44, 41], "score": 0.7, "label": HOSTILE, "from": "quantized"},
                ],
            }
        ],
        "pictures": [_picture()],
        "metrics": [{"name": "top-1", "float": 0.71, "quantized": 0.65}],
        "vs": {
            "model": f"other {HOSTILE}",
            "rows": [
                {
                    "id": x["id"],
                    "here_us": x["time_us"],
                    "there_us": 0.5 * x["time_us"] + 0.1 * i,
                    "here_sqnr_db": x["alone_sqnr_db"],
                    "there_sqnr_db": x["alone_sqnr_db"] + 1,
                    "here_format": "u8",
                    "there_format": "i16",
                }
                for i, x in enumerate(layers[:20])
            ],
            "summary": [{"what": "time (us)", "here": start, "there": 0.5 * start}],
        },
        "tuning": {
            "metric": "worst output (dB)",
            "budget_us": 1.1 * start,
            "base": {"metric": 4.2, "time_us": start, "layers": []},
            "best": {"metric": 19.0, "time_us": 1.05 * start, "layers": [layers[3]["id"]]},
            "front": [
                {"metric": 19.0, "time_us": 1.05 * start, "layers": [layers[3]["id"]]},
                {"metric": 21.0, "time_us": 1.3 * start, "layers": [x["id"] for x in layers[3:8]]},
            ],
        },
        "missing": {},
    }


def bare_data() -> dict[str, Any]:
    """Return data of a page on which nothing optional was measured."""
    full = page_data(14)
    for layer in full["layers"]:
        for key in (
            "alone_sqnr_db",
            "alone_cosine",
            "entire_sqnr_db",
            "entire_cosine",
            "detail",
            "range",
        ):
            layer[key] = None
        for key in (
            "time_us",
            "start_us",
            "cycles",
            "bytes",
            "bound",
            "severity",
            "verdict",
            "cause",
        ):
            layer[key] = None
    names = (
        "causes",
        "time",
        "outputs",
        "pictures",
        "metrics",
        "vs",
        "tuning",
        "network",
        "detail",
    )
    full["head"] |= dict.fromkeys(
        ("dataset", "total_time_us", "frames_per_s", "peak_memory_bytes", "ddr_bytes")
    )
    full["head"]["severity"] = "ok"
    return full | {
        "causes": [],
        "time": None,
        "outputs": [],
        "pictures": [],
        "metrics": None,
        "vs": None,
        "tuning": None,
        "layout": None,
        "missing": {name: f"Give --{name} to get it." for name in names},
    }
