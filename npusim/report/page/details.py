"""What a layer did to its numbers: histograms, points, channels, parts of a concat."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.analyze import Analysis
from npusim.analysis.findings import db_between
from npusim.analysis.metrics import gap_between
from npusim.analysis.recording import LayerOutput
from npusim.ir.attrs import AxisAttrs
from npusim.ir.graph import Graph, Node
from npusim.report.page.numbers import decibel, short

Array = NDArray[Any]
BINS = 64
POINTS = 160  # of the scatter; a third of them are the worst ones
CHANNELS = 8
OPERANDS = 32
POINT_DIGITS = 4
ROOM_BYTES = 1_100_000  # of all details together: a page stays below 2 MB
PLAIN_BYTES = 900  # of a layer without points


def details(
    graph: Graph, analysis: Analysis, order: Mapping[str, float]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (layer id, detail) of layers, as many as there is room for.

    Every layer is run alone, so that what is shown is the layer's own doing.

    Parameters
    ----------
    graph : Graph
        As it ran.
    analysis : Analysis
    order : mapping
        Layer id -> how much it matters; the smallest first. Where room ends, points are left out.
    """
    nodes = {node.layer_id: node for node in graph.nodes}
    outputs: dict[str, LayerOutput] = {}
    for output in analysis.individual.layers:
        outputs.setdefault(output.layer, output)
    room = ROOM_BYTES
    for layer in sorted(outputs, key=lambda name: order.get(name, np.inf)):
        output = outputs[layer]
        known = analysis.values.get(output.tensor)
        if known is None or not known.size or layer not in nodes:
            continue
        if room < PLAIN_BYTES:
            return
        reference, real = known.astype(np.float32), output.real
        found: dict[str, Any] = {
            "histogram": histogram(reference, real),
            "scatter": [],
            "channels": channels(reference, real),
            "operands": _operands(graph, nodes[layer], reference, real),
        }
        room -= PLAIN_BYTES
        points = scatter(reference, real)
        size = 20 * len(points)
        if room > size:
            found["scatter"] = points
            room -= size
        yield layer, found


def histogram(reference: Array, real: Array) -> dict[str, Any] | None:
    """Return counts of float and quantized values over the range that both take."""
    finite = np.isfinite(reference).all() and np.isfinite(real).all()
    if not finite:
        return None
    low = float(min(reference.min(), real.min()))
    high = float(max(reference.max(), real.max()))
    if high <= low:
        high = low + (abs(low) or 1.0)
    return {
        "low": short(low),
        "high": short(high),
        "float": _counts(reference, low, high),
        "quantized": _counts(real, low, high),
    }


def _counts(values: Array, low: float, high: float) -> list[int]:
    place = (values.reshape(-1).astype(np.float64) - low) * (BINS / (high - low))
    found = np.bincount(place.astype(np.int64).clip(0, BINS - 1), minlength=BINS)
    return [int(count) for count in found]


def scatter(reference: Array, real: Array) -> list[list[float]]:
    """Return pairs of float and quantized values: a spread of all, and those furthest apart."""
    left, right = reference.reshape(-1), real.reshape(-1)
    usable = np.flatnonzero(np.isfinite(left) & np.isfinite(right))
    worst = POINTS // 3
    if usable.size <= POINTS:
        chosen = usable
    else:
        gap = np.abs(left[usable] - right[usable])
        far = usable[np.argpartition(gap, -worst)[-worst:]]
        spread = usable[np.linspace(0, usable.size - 1, POINTS - worst).astype(np.int64)]
        chosen = np.union1d(far, spread)
    pairs = {
        (short(float(left[i]), POINT_DIGITS) or 0.0, short(float(right[i]), POINT_DIGITS) or 0.0)
        for i in chosen
    }
    return [list(pair) for pair in sorted(pairs)]


def channels(reference: Array, real: Array) -> list[dict[str, Any]]:
    """Return the channels that hold most of the error, with their SQNR."""
    if reference.ndim < 2 or reference.shape[1] < 2:
        return []
    gap = gap_between(real, reference)
    axes = tuple(axis for axis in range(reference.ndim) if axis != 1)
    with np.errstate(over="ignore", invalid="ignore"):
        noise = np.square(gap).sum(axis=axes)
    total = float(noise.sum())
    if not np.isfinite(total) or total <= 0.0:
        return []
    ranked = np.argsort(-noise, kind="stable")[:CHANNELS]
    return [
        {
            "channel": int(index),
            "sqnr_db": decibel(
                db_between(
                    np.take(reference, index, 1).astype(np.float64),
                    np.take(real, index, 1).astype(np.float64),
                )
            ),
            "share": short(float(noise[index]) / total, 4),
        }
        for index in ranked
        if noise[index] > 0.0
    ]


def _operands(graph: Graph, node: Node, reference: Array, real: Array) -> list[dict[str, Any]]:
    """Return the parts of a concat with their own SQNR and range."""
    if node.op != "concat" or not isinstance(node.attrs, AxisAttrs):
        return []
    made = {tensor: other.layer_id for other in graph.nodes for tensor in other.outputs}
    found, begin, axis = [], 0, node.attrs.axis
    for name in node.inputs[:OPERANDS]:
        size = graph.spec(name).shape[axis]
        part = np.take(reference, np.arange(begin, begin + size), axis)
        own = np.take(real, np.arange(begin, begin + size), axis)
        begin += size
        if not part.size:
            continue
        found.append(
            {
                "name": made.get(name, name),
                "sqnr_db": decibel(db_between(part.astype(np.float64), own.astype(np.float64))),
                "range": [short(float(part.min())), short(float(part.max()))],
            }
        )
    return found
