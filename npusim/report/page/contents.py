"""What a report page is made of: everything that was measured; what was not is None."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from numpy.typing import NDArray

from npusim.analysis.analyze import Analysis
from npusim.analysis.compare import Comparison
from npusim.evaluation.detection import DetectorMeasure
from npusim.evaluation.evaluate import Evaluation
from npusim.ir.graph import Graph
from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.network import Network

NOTABLE_DB = 0.5  # a gain below this is none


class Remedy(Enum):
    """What a front end can be told to do about a cause."""

    WIDER = "layers in i16"
    APART = "parts of a concat with ranges of their own"
    MMSE = "ranges that leave outliers out"
    EQUALIZE = "channels of equal size"


Repair = Callable[[Remedy, tuple[str, ...]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a remedy was measured to bring.

    Attributes
    ----------
    remedy : Remedy
    layers : tuple of str
        Layer ids it is applied to.
    cost_us : float
        Additional time of one run, estimated.
    gain_db : float
        What the SQNR of the worst output gains.
    own_gain_db : float
        What the SQNR of the cause's own result gains in the whole network.
    """

    remedy: Remedy
    layers: tuple[str, ...]
    cost_us: float
    gain_db: float
    own_gain_db: float

    @property
    def helps(self) -> bool:
        """Tell whether the outputs, or the result without loss at the outputs, became better."""
        unharmed = self.gain_db > -NOTABLE_DB
        return self.gain_db >= NOTABLE_DB or (unharmed and self.own_gain_db >= NOTABLE_DB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a search for layers to raise found; the keys of ``npusim tune --json``."""

    metric: str
    budget_us: float | None
    base: Mapping[str, Any] | None
    best: Mapping[str, Any] | None
    points: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What was measured of a network.

    Attributes
    ----------
    network : Graph or Network
        As it runs, with engines; a Network where only its price is known.
    model : str
        What the user gave: a path, or a word.
    analysis : Analysis, optional
        Whole and layer by layer against float.
    comparison : Comparison, optional
        Whole against another run; less than an analysis.
    trials : mapping
        Layer id of a cause -> what remedies were measured to bring.
    feeds : mapping
        The sample after preprocessing: float32 by input name.
    taken_as : tuple of str
        What goes into the inputs, in words, one line each.
    labels : tuple of str
        Class names.
    detector : DetectorMeasure, optional
        Makes boxes of the outputs.
    picture : ndarray of uint8, shape (H, W) or (H, W, 3), optional
        The sample's picture before it got the input's size; None where it came as numbers.
    other : Contents, optional
        The run to show beside this one.
    command : str
        Repeats the report.
    repair : callable, optional
        (remedy, layer ids) -> the text to paste that quantizes the model again with it.
    warnings : tuple of str
        What was warned of on the way.
    """

    network: Graph | Network
    model: str
    analysis: Analysis | None = None
    comparison: Comparison | None = None
    estimate: Estimate | None = None
    evaluation: Evaluation | None = None
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    front: Front | None = None
    feeds: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sample: str = ""
    taken_as: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    detector: DetectorMeasure | None = None
    picture: NDArray[Any] | None = None
    dataset: str = ""
    samples: int = 0
    other: "Contents | None" = None
    command: str = ""
    repair: "Repair | None" = None
    warnings: tuple[str, ...] = ()
    created: str = ""
    duration_s: float = 0.0
