"""What is remembered of each activation while samples run through the float graph.

An observer looks at a tensor in two steps. ``summarize`` reduces the values of one sample to a few
numbers; it keeps nothing and may run in several threads. ``take`` adds the summaries in the order
of the samples, so results do not depend on threads. Observers with ``passes`` of 2 see all samples
twice.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError, QuantizationError
from npusim.quantization.schemes import Range

Summary = Any


class Observer(Protocol):
    """Collects values of many tensors over many samples."""

    passes: int

    def summarize(self, tensor: str, value: NDArray[Any]) -> Summary | None:
        """Return what to remember of one tensor of one sample; None for nothing."""

    def take(self, tensor: str, summary: Summary, sample: str) -> None:
        """Take in a summary; samples come in the order of the list."""

    def end_of_pass(self) -> None:
        """Prepare for the next look at the samples."""

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""


def finite_extremes(tensor: str, summary: Range, sample: str) -> Range:
    """Return minimum and maximum.

    Raises
    ------
    QuantizationError
        When one is NaN or infinite; it names the tensor and the sample.
    """
    low, high = summary
    if not (np.isfinite(low) and np.isfinite(high)):
        raise QuantizationError(
            f"tensor {tensor!r} holds NaN or infinity for sample {sample}",
            where=f"tensor {tensor!r}",
            rule="calibration needs finite activations",
            remedy="check this sample and the mean/std settings; run the float model on it",
        )
    return low, high


def extremes(value: NDArray[Any]) -> Range | None:
    """Return minimum and maximum, NaN if there is one; None for an empty tensor."""
    from npusim.reference.statistics import extremes  # here: it loads the compiler

    return extremes(value)


@dataclass(slots=True)
class MinMaxObserver:
    """Running minimum and maximum: the toolkit's ``normal`` algorithm.

    Exact for any order and any split of the samples into batches.
    """

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    passes: int = 1

    def summarize(self, tensor: str, value: NDArray[Any]) -> Range | None:
        """Return minimum and maximum."""
        return extremes(value)

    def take(self, tensor: str, summary: Range, sample: str) -> None:
        """Widen the range."""
        low, high = finite_extremes(tensor, summary, sample)
        self.low[tensor] = min(self.low.get(tensor, low), low)
        self.high[tensor] = max(self.high.get(tensor, high), high)

    def end_of_pass(self) -> None:
        """Do nothing: one pass is enough."""

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""
        return {name: (self.low[name], self.high[name]) for name in self.low}


def check_weighs(word: str) -> None:
    """Refuse a word that does not say what a weight belongs to."""
    if word not in ("old", "new"):
        raise ConfigError(f"moving average weighs {word!r}", rule="'old' or 'new'")


@dataclass(slots=True)
class MovingAverageObserver:
    """Exponential average of minimum and maximum: the toolkit's ``moving_average``.

    Every sample is a step of its own, in the order of the list, whatever ``batch_size`` says: only
    so is the result the same for every way to cut the samples into batches. The first sample sets
    the starting value.

    Parameters
    ----------
    alpha : float
        0 .. 1.
    weighs : {"old", "new"}
        What ``alpha`` is the weight of: ``old``: ``alpha * old + (1 - alpha) * new``, as the
        vendor's current tool computes it (measured); ``new``: ``(1 - alpha) * old + alpha * new``,
        as the toolkit words it.
    """

    alpha: float = 0.01
    weighs: str = "old"
    passes: int = 1
    state: dict[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"moving average weight {self.alpha}", rule="0 .. 1")
        check_weighs(self.weighs)

    def summarize(self, tensor: str, value: NDArray[Any]) -> Range | None:
        """Return minimum and maximum."""
        return extremes(value)

    def take(self, tensor: str, summary: Range, sample: str) -> None:
        """Move both ends towards those of this sample."""
        new = finite_extremes(tensor, summary, sample)
        old = self.state.get(tensor)
        if old is not None:
            keep = self.alpha if self.weighs == "old" else 1.0 - self.alpha
            new = (
                keep * old[0] + (1.0 - keep) * new[0],
                keep * old[1] + (1.0 - keep) * new[1],
            )
        self.state[tensor] = new

    def end_of_pass(self) -> None:
        """Do nothing: one pass is enough."""

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""
        return dict(self.state)
