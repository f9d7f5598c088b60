"""The calibration algorithms by the toolkit's names."""

from dataclasses import dataclass

from npusim.errors import ConfigError
from npusim.quantization.histograms import KlObserver, MmseObserver
from npusim.quantization.observers import (
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
    check_weighs,
)
from npusim.quantization.schemes import Scheme

NORMAL, MOVING_AVERAGE, KL_DIVERGENCE, MMSE = ALGORITHMS = (
    "normal",
    "moving_average",
    "kl_divergence",
    "mmse",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """A calibration algorithm with its settings.

    Attributes
    ----------
    name : str
        One of ``ALGORITHMS``.
    mmse_epoch : int
        Rounds of the mmse search.
    moving_alpha, moving_alpha_weighs
        See ``MovingAverageObserver``.
    divergence_nbins : int
        Histogram bins of kl_divergence.
    """

    name: str = NORMAL
    mmse_epoch: int = 3
    moving_alpha: float = 0.01
    moving_alpha_weighs: str = "old"
    divergence_nbins: int = 1024

    def __post_init__(self) -> None:
        if self.name not in ALGORITHMS:
            raise ConfigError(
                f"calibration algorithm {self.name!r}", rule=f"one of {', '.join(ALGORITHMS)}"
            )
        check_weighs(self.moving_alpha_weighs)  # also where it means nothing: it is no toolkit's
        self.observer(Scheme.U8)  # refuses settings out of range

    def observer(self, scheme: Scheme) -> Observer:
        """Return a fresh observer for a number format."""
        if self.name == MOVING_AVERAGE:
            return MovingAverageObserver(self.moving_alpha, self.moving_alpha_weighs)
        if self.name == KL_DIVERGENCE:
            return KlObserver(scheme=scheme, bins=self.divergence_nbins)
        if self.name == MMSE:
            return MmseObserver(scheme=scheme, epochs=self.mmse_epoch)
        return MinMaxObserver()

    def text(self) -> str:
        """Return the name with the settings that count."""
        settings = {
            MOVING_AVERAGE: f" ({self.moving_alpha:g} on the {self.moving_alpha_weighs} value)",
            KL_DIVERGENCE: f" ({self.divergence_nbins} bins)",
            MMSE: f" ({self.mmse_epoch} rounds)",
        }
        return self.name + settings.get(self.name, "")
