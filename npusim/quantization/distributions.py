"""Histograms of everything that is quantized: weights, biases and layer outputs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from npusim.ir.graph import Graph
from npusim.ops import op_def
from npusim.quantization.calibrate import Sample
from npusim.quantization.histograms import Counts, HistogramObserver, histogram
from npusim.quantization.masks import calibrate_masked
from npusim.quantization.schemes import Range, Scheme

BINS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram.

    Attributes
    ----------
    name : str
        ``<layer id>_weight``, ``_bias`` or ``_out<k>``; inputs by their own name.
    counts : int64 array
        Values in equal bins from ``low`` to ``high``.
    """

    name: str
    counts: Counts
    low: float
    high: float


class _Everything(HistogramObserver):
    def chosen(self, tensor: str) -> Range:
        return self.extremes[tensor]


def distributions(
    graph: Graph,
    samples: Iterable[Sample],
    *,
    engine: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> tuple[Distribution, ...]:
    """Return histograms of weights, biases, inputs and layer outputs over all samples.

    Samples are read twice; memory does not depend on their number. Masks are left out.
    """
    made: list[_Everything] = []

    def fresh() -> _Everything:
        made.append(_Everything(scheme=Scheme.U8, bins=BINS))
        return made[-1]

    calibrate_masked(
        graph,
        samples,
        observer=fresh,
        scheme_of=lambda _: Scheme.U8,
        engine=engine,
        progress=progress,
    )
    observer = made[-1]
    found: list[Distribution] = []

    def activation(name: str, tensor: str) -> None:
        if tensor in observer.counts:
            low, high = observer.extremes[tensor]
            counts = observer.counts[tensor]
            found.append(Distribution(name=name, counts=counts, low=low, high=high))

    for tensor in graph.inputs:
        activation(tensor, tensor)
    for node in graph.nodes:
        if op_def(node.op).weighted:
            for part, tensor in zip(("weight", "bias"), node.inputs[1:3], strict=True):
                value = graph.constants.get(tensor)
                if value is not None and value.size:
                    low, high = float(np.min(value)), float(np.max(value))
                    counts = histogram(value, low, high, BINS)
                    name = f"{node.layer_id}_{part}"
                    found.append(Distribution(name=name, counts=counts, low=low, high=high))
        for i, tensor in enumerate(node.outputs):
            activation(f"{node.layer_id}_out{i}", tensor)
    return tuple(found)
