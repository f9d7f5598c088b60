"""Algorithms that look at distributions: ``kl_divergence`` and ``mmse``.

The first pass over the samples finds minimum and maximum of each tensor, the second one counts
values between them. Counts are integers, so the order of the samples does not matter, and memory
does not depend on their number.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError
from npusim.ir.quant import scale_of, zero_point_of
from npusim.quantization.observers import Summary, extremes, finite_extremes
from npusim.quantization.schemes import Range, Scheme, parameters

Counts = NDArray[np.int64]
Vector = NDArray[np.float64]

LARGEST_BINS = 1 << 16
MMSE_BINS = 4096
VALUES_PER_BIN = 4
MMSE_STEPS = 24
# Sums of one float64 rounding a bin, of numbers below 64 (logarithms of counts), are off by less
# than 64 * 2**-53 a bin each; there are a handful of them.
ROUNDING_PER_BIN = 1e-12
SMALLEST_SHARE = 1 / 16  # of a range: clipping more than that is never a better quantization


def histogram(value: NDArray[Any], low: float, high: float, bins: int) -> Counts:
    """Return how many values lie in each of ``bins`` equal parts of low..high.

    Values outside count at the ends; rounding may put a value on an edge into either neighbour.
    """
    return counted(value, low, high, bins)[0]


def counted(
    value: NDArray[Any], low: float, high: float, bins: int, *, absolute: bool = False
) -> tuple[Counts, int]:
    """Return ``histogram`` of the values, or of their absolute values, and how many are 0."""
    from npusim.reference.statistics import histogram  # here: it loads the compiler

    return histogram(value, low, high, bins, absolute=absolute)


@dataclass(slots=True, kw_only=True)
class HistogramObserver(ABC):
    """Minimum, maximum and distribution of every tensor; the base of the two algorithms."""

    absolute: ClassVar[bool] = False  # whether absolute values are counted
    scheme: Scheme
    bins: int
    passes: int = 2
    extremes: dict[str, Range] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    zeros: dict[str, int] = field(default_factory=dict)
    counting: bool = False

    def __post_init__(self) -> None:
        if not 16 <= self.bins <= LARGEST_BINS:
            raise ConfigError(f"{self.bins} histogram bins", rule=f"16 .. {LARGEST_BINS}")

    def summarize(self, tensor: str, value: NDArray[Any]) -> Summary | None:
        """Return minimum and maximum, in the second pass counts."""
        if not self.counting:
            return extremes(value)
        if not value.size:
            return None
        low, high = self.bounds(tensor)
        return counted(value, low, high, self.bins, absolute=self.absolute)

    def take(self, tensor: str, summary: Summary, sample: str) -> None:
        """Widen the range, in the second pass add the counts."""
        if self.counting:
            counts, zeros = summary
            self.counts[tensor] = self.counts.get(tensor, 0) + counts
            self.zeros[tensor] = self.zeros.get(tensor, 0) + zeros
            return
        low, high = finite_extremes(tensor, summary, sample)
        known = self.extremes.get(tensor, (low, high))
        self.extremes[tensor] = min(low, known[0]), max(high, known[1])

    def end_of_pass(self) -> None:
        """Start counting."""
        self.counting = True

    def bounds(self, tensor: str) -> Range:
        """Return the limits of the histogram."""
        return self.extremes[tensor]

    @abstractmethod
    def chosen(self, tensor: str) -> Range:
        """Return the range for a tensor; the algorithm."""

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""
        return {name: self.chosen(name) for name in self.extremes}


@dataclass(slots=True, kw_only=True)
class KlObserver(HistogramObserver):
    """Clip where the clipped distribution loses least information: ``kl_divergence``.

    The threshold search of TensorRT on ``bins`` equal parts of 0 .. max |x|: for every threshold
    the distribution up to it (what lies beyond is added to its last part) is compared with the same
    one in as many levels as the scheme has. Zeros are not counted: they are exact in any scheme. A
    tensor with fewer than ``VALUES_PER_BIN`` values a bin over all samples keeps its range: so few
    say nothing about a distribution.
    """

    absolute: ClassVar[bool] = True
    bins: int = 1024

    def bounds(self, tensor: str) -> Range:
        """Return 0 and the largest absolute value."""
        low, high = self.extremes[tensor]
        return 0.0, max(abs(low), abs(high))

    def chosen(self, tensor: str) -> Range:
        """Return the measured range, cut at the best threshold."""
        low, high = self.extremes[tensor]
        reach = self.bounds(tensor)[1]
        counts = self.counts[tensor].copy()
        counts[0] -= min(self.zeros[tensor], int(counts[0]))
        if counts.sum() < VALUES_PER_BIN * self.bins:
            return low, high
        one_sided = low >= 0 or high <= 0
        levels = 1 << (
            self.scheme.dtype.bits - (0 if self.scheme is Scheme.U8 and one_sided else 1)
        )
        threshold = reach * best_threshold(counts, levels) / self.bins
        return max(low, -threshold), min(high, threshold)


def best_threshold(counts: Counts, levels: int) -> int:
    """Return how many bins to keep so that quantizing them to ``levels`` loses least information.

    Parameters
    ----------
    counts : int64 array
        Distribution of absolute values in equal bins.
    levels : int
        Quantization levels; with no more bins than levels nothing is gained by clipping.
    """
    bins = counts.size
    if bins <= levels or not counts.any():
        return bins
    total = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    occupied = np.concatenate([[0], np.cumsum(counts > 0)]).astype(np.float64)
    best, loss = bins, np.inf
    for kept in _candidates(counts, levels):
        found = _divergence(counts, total, occupied, kept, levels)
        if found <= loss:  # of equal ones the widest
            best, loss = kept, found
    return best


def _candidates(counts: Counts, levels: int) -> list[int]:
    """Return, ascending, all thresholds that may be the best one by ``_divergence``.

    A compiled form finds the divergences of all of them but for rounding; only those that lie
    within the rounding of the smallest one have to be compared.
    """
    from npusim.reference.statistics import divergences  # here: it loads the compiler

    found = divergences(counts, levels)
    near = found <= found.min() + counts.size * ROUNDING_PER_BIN
    return [levels + int(n) for n in np.flatnonzero(near)]


def _divergence(counts: Counts, total: Vector, occupied: Vector, kept: int, levels: int) -> float:
    """Return the Kullback-Leibler divergence of the kept bins from their quantized form."""
    reference = counts[:kept].astype(np.float64)
    beyond = total[-1] - total[kept]
    reference[-1] += beyond
    edges = np.arange(levels + 1) * kept // levels
    mass, cells = np.diff(total[edges]), np.diff(occupied[edges])
    level = np.divide(mass, cells, out=np.zeros(levels), where=cells > 0)
    quantized = np.where(counts[:kept] > 0, np.repeat(level, np.diff(edges)), 0.0)
    if quantized.sum() == 0:
        return float("inf")
    p, q = reference / reference.sum(), quantized / quantized.sum()
    some = p > 0
    if (q[some] == 0).any():  # mass beyond the threshold fell on an empty bin
        q = np.where(q == 0, 1e-12, q)
    return float((p[some] * np.log(p[some] / q[some])).sum())


@dataclass(slots=True, kw_only=True)
class MmseObserver(HistogramObserver):
    """Clip where the squared quantization error is least: ``mmse``.

    ``epochs`` rounds of a search over both ends of the range (u8), each round in finer steps around
    the best of the round before; for dynamic fixed point over the fractional lengths. The error is
    computed on a histogram of 4096 bins; zeros are exact and add nothing.
    """

    bins: int = MMSE_BINS
    epochs: int = 3

    def __post_init__(self) -> None:
        """Check the number of rounds."""
        if self.epochs < 1:
            raise ConfigError(f"mmse_epoch {self.epochs}", rule="at least 1")

    def chosen(self, tensor: str) -> Range:
        """Return the range with the least squared error."""
        low, high = self.extremes[tensor]
        counts = self.counts[tensor]
        centres = low + (np.arange(self.bins) + 0.5) * ((high - low) / self.bins)
        weights = counts.astype(np.float64)
        if self.zeros[tensor] and high > low:
            at = int(np.clip(-low * self.bins / (high - low), 0, self.bins - 1))
            weights[at] = max(0.0, weights[at] - self.zeros[tensor])
        some = weights > 0
        if not some.any():
            return low, high
        return self._search((low, high), centres[some], weights[some])

    def _search(self, measured: Range, centres: NDArray[Any], weights: NDArray[Any]) -> Range:
        low, high = min(measured[0], 0.0), max(measured[1], 0.0)
        if self.scheme is not Scheme.U8:
            reach = max(-low, high)
            tries = [(low / 2**k, high / 2**k) for k in range(5)] if reach > 0 else [(low, high)]
            return min(tries, key=lambda r: self._error(r, centres, weights))
        best = (1.0, 1.0)  # shares of low and high that are kept
        width = 1.0 - SMALLEST_SHARE

        def error(shares: Range) -> float:
            return self._error((low * shares[0], high * shares[1]), centres, weights)

        for _ in range(self.epochs):
            for end in (0, 1):
                if (low, high)[end] == 0:
                    continue
                middle = best[end]
                shares = np.linspace(middle - width, middle + width, 2 * MMSE_STEPS + 1)
                candidates = [float(s) for s in shares if SMALLEST_SHARE <= s <= 1.0]
                tries = [(s, best[1]) if end == 0 else (best[0], s) for s in (*candidates, middle)]
                best = min(tries, key=lambda shares: (error(shares), -sum(shares)))
            width /= MMSE_STEPS / 2
            if all(share - width == share == share + width for share in best):
                break  # every further round would try these shares again
        return low * best[0], high * best[1]

    def _error(self, bounds: Range, centres: NDArray[Any], weights: NDArray[Any]) -> float:
        quant = parameters(bounds, self.scheme)
        step, zero = scale_of(quant), zero_point_of(quant)
        dtype = self.scheme.dtype
        q = np.clip(np.rint(centres / step + zero), dtype.min, dtype.max)
        gap = (q - zero) * step - centres
        return float((weights * gap * gap).sum())
