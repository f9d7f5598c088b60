"""Mean and extremes of every channel of activations over the samples."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import DatasetError
from npusim.ir.graph import Graph
from npusim.quantization.calibrate import Sample, calibrate
from npusim.quantization.observers import Summary
from npusim.quantization.schemes import Range

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Per channel: mean, minimum and maximum, float64."""

    mean: Vector
    low: Vector
    high: Vector


@dataclass(slots=True)
class ChannelObserver:
    """Collects ``ChannelStats``; the sums are float64 and in the order of the samples.

    Channels are axis 1 of feature maps and the last axis of everything else.
    """

    wanted: Collection[str]
    passes: int = 1
    _sums: dict[str, tuple[int, Vector, Vector, Vector]] = field(default_factory=dict)

    def summarize(self, tensor: str, value: NDArray[Any]) -> Summary | None:
        """Return count, sum, minimum and maximum of each channel."""
        if tensor not in self.wanted or not value.size:
            return None
        axis = 1 if value.ndim == 4 else value.ndim - 1
        rest = tuple(i for i in range(value.ndim) if i != axis)
        count = value.size // value.shape[axis]
        total = value.sum(rest, dtype=np.float64)
        return count, total, value.min(rest), value.max(rest)

    def take(self, tensor: str, summary: Summary, sample: str) -> None:
        """Add a sample."""
        count, total, low, high = summary
        if not np.isfinite(total).all():
            raise DatasetError(
                f"tensor {tensor!r} holds NaN or infinity for sample {sample}",
                where=f"tensor {tensor!r}",
                rule="finite activations are needed",
            )
        if tensor in self._sums:
            known = self._sums[tensor]
            count, total = count + known[0], total + known[1]
            low, high = np.minimum(low, known[2]), np.maximum(high, known[3])
        self._sums[tensor] = count, total, low, high

    def end_of_pass(self) -> None:
        """Do nothing: one pass is enough."""

    def ranges(self) -> dict[str, Range]:
        """Return the range of each whole tensor."""
        return {
            name: (float(low.min()), float(high.max()))
            for name, (_, _, low, high) in self._sums.items()
        }

    def stats(self) -> dict[str, ChannelStats]:
        """Return the statistics of every wanted tensor seen."""
        return {
            name: ChannelStats(total / count, low.astype(np.float64), high.astype(np.float64))
            for name, (count, total, low, high) in self._sums.items()
        }


def channel_stats(
    graph: Graph,
    samples: Iterable[Sample],
    tensors: Collection[str],
    *,
    engine: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, ChannelStats]:
    """Run samples through the float graph and return statistics of some of its tensors."""
    observer = ChannelObserver(frozenset(tensors))
    calibrate(graph, samples, observer=observer, engine=engine, progress=progress)
    return observer.stats()
