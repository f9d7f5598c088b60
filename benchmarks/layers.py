"""Time of every layer of a network on stored codes, beside what the arithmetic units allow."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np


def layer_times(program: Any, stored: Mapping[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """Return one record per layer: op, engine, shapes, median microseconds, multiply-adds."""
    from npusim.ops import node_macs
    from npusim.runtime.threads import own_processors

    graph, nodes = program.graph, program._nodes
    times: list[list[float]] = [[] for _ in nodes]
    for _ in range(repetitions + 1):
        values = {**graph.constants, **stored}
        with own_processors():
            for bound, taken in zip(nodes, times, strict=True):
                feeds = [values[name] for name in bound.feeds]
                begin = time.perf_counter()
                results = bound.step(*feeds)
                taken.append(time.perf_counter() - begin)
                values.update(zip(bound.node.outputs, results, strict=True))
    rows = []
    for bound, taken in zip(nodes, times, strict=True):
        node = bound.node
        shapes = [graph.spec(name).shape for name in node.inputs]
        ofm = graph.spec(node.outputs[0])
        rows.append(
            {
                "layer": node.name,
                "op": node.op,
                "engine": node.engine.value,
                "ifm": shapes[0],
                "ofm": ofm.shape,
                "us": statistics.median(taken[1:]) * 1e6,
                "macs": node_macs(node, shapes, ofm.shape),
            }
        )
    return rows


def print_layers(rows: list[dict[str, Any]], peak_gmacs: float) -> None:
    """Print the layers in order, then their sums by operator, the most expensive first."""
    sums: dict[tuple[str, str], np.ndarray] = {}
    for row in rows:
        bound = row["macs"] / peak_gmacs / 1e3
        rate = f"{row['macs'] / row['us'] / 1e3:7.1f} GMAC/s, bound {bound:6.0f} us"
        shapes = f"{row['ifm']!s:20} {row['ofm']!s:20}"
        head = f"{row['layer'][:24]:24} {row['op']:12} {row['engine']:3} {shapes}"
        print(f"{head} {row['us']:8.0f} us {rate if row['macs'] else ''}")
        key = (row["op"], row["engine"])
        sums[key] = sums.get(key, 0) + np.array([1, row["us"], bound])
    print()
    for (op, engine), (count, us, bound) in sorted(sums.items(), key=lambda item: -item[1][1]):
        print(f"{op:14} {engine:3} {count:3.0f} layers {us:8.0f} us, bound {bound:6.0f} us")
    print(f"all layers {sum(row['us'] for row in rows):.0f} us")
