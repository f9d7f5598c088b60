"""What is remembered of each activation while samples run through the float graph."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from npusim.errors import QuantizationError
from npusim.quantization.schemes import Range


class Observer(Protocol):
    """Collects values of many tensors over many samples."""

    def observe(self, tensor: str, value: NDArray[Any], sample: str) -> None:
        """Take in one tensor of one sample."""

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""


@dataclass(slots=True)
class MinMaxObserver:
    """Running minimum and maximum: the toolkit's ``normal`` algorithm.

    Exact for any order and any split of the samples into batches.
    """

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)

    def observe(self, tensor: str, value: NDArray[Any], sample: str) -> None:
        """Take in one tensor of one sample; NaN and infinity raise, naming both."""
        if value.size == 0:
            return
        low, high = float(np.min(value)), float(np.max(value))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise QuantizationError(
                f"tensor {tensor!r} holds NaN or infinity for sample {sample}",
                where=f"tensor {tensor!r}",
                rule="calibration needs finite activations",
                remedy="check this sample and the mean/std settings; run the float model on it",
            )
        self.low[tensor] = min(self.low.get(tensor, low), low)
        self.high[tensor] = max(self.high.get(tensor, high), high)

    def ranges(self) -> dict[str, Range]:
        """Return the range of every tensor seen."""
        return {name: (self.low[name], self.high[name]) for name in self.low}
