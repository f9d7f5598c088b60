"""What a converter of a Darknet layer works with."""

from dataclasses import dataclass, field

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.common.layers import Converters, LayerContext
from npusim.importers.darknet.net import FORK, DarknetLayer
from npusim.importers.darknet.weights_file import Numbers

NO_FILL = float("nan")
ORIGINAL_EPSILON, FORK_EPSILON = 1e-6, 1e-5
"""The original program adds it to the root of the variance, the fork to the variance."""


@dataclass(slots=True)
class DarknetContext(LayerContext):
    """The import in progress.

    Attributes
    ----------
    program : str
        Whose rules count where the programs differ.
    """

    numbers: Numbers = field(default_factory=lambda: Numbers(None))
    program: str = FORK

    @property
    def fork(self) -> bool:
        """Tell whether the rules of the YOLOv4 fork count."""
        return self.program == FORK

    def take(
        self, layer: DarknetLayer, shape: tuple[int, ...], what: str, fill: float = NO_FILL
    ) -> Array:
        """Return the next numbers of the weights file."""
        return self.numbers.take(shape, f"the {what}", layer.where, fill=fill)

    def normalised(
        self, layer: DarknetLayer, source: str, statistics: tuple[Array, ...], *, part: str
    ) -> str:
        """Normalise by scales, biases, mean and variance as the program does."""
        scales, biases, mean, variance = statistics
        if self.fork:
            return self.batch_norm(layer, source, statistics, FORK_EPSILON, part=part)
        with np.errstate(invalid="ignore"):  # a negative variance is no number there either
            root = np.sqrt(variance.astype(np.float64)) + ORIGINAL_EPSILON
        squared = (root * root).astype(np.float32)
        return self.batch_norm(layer, source, (scales, biases, mean, squared), 0.0, part=part)


converter: Converters[DarknetLayer, DarknetContext] = Converters()
"""Registers converters of layer types."""
