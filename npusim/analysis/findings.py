"""What a measurement says of a layer: a cause, a reason with numbers, the next step."""

from dataclasses import dataclass
from enum import Enum
from math import inf, isfinite

from npusim import words
from npusim.analysis.layer_view import LayerView, Real
from npusim.analysis.metrics import energy, gap_between, sqnr_db
from npusim.ir.dtypes import DType

POOR_DB = 20.0  # a layer's own error below this is bad; its cosine is then below 0.995
DOMINANT = 0.5  # share of the layer's own error that makes a cause the main one
LOST_DB = 12.0  # two bits


class Cause(Enum):
    """Why a layer is off, the most definite first."""

    ACCUMULATOR_WRAP = "accumulator_wrap"
    NEGATIVE_SUMS = "negative_sums"
    VANISHED_CONSTANT = "vanished_constant"
    CLIPPED_RANGE = "clipped_range"
    TABLE_KINK = "table_kink"
    UNEQUAL_CHANNELS = "unequal_channels"
    MIXED_CONCAT = "mixed_concat"
    OUTLIER_RANGE = "outlier_range"
    FEW_STEPS = "few_steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause with what was measured and what to do next.

    Attributes
    ----------
    severe : bool
        The result is wrong, not only coarse.
    at : str
        Id of the layer whose number format makes the error, where it is another one: the concat
        whose range this layer shares, the layer whose stored result it reads, the sigmoid behind it
        that sets its range.
    """

    cause: Cause
    reason: str
    suggestion: str
    severe: bool = False
    at: str = ""


def raise_precision(view: LayerView) -> str:
    """Return the advice to give a layer a wider format."""
    name, short = view.node.layer_id, view.spec.dtype in (DType.U8, DType.I8)
    what = f"raise {name} to 16 bits" if short else f"run {name} in float16"
    word, wide = ("i16", "dynamic_fixed_point-i16") if short else ("f16", "float32")
    return f"{what}: {words.say('raise_layer', name=name, word=word, wide=wide)}"


def own_db(view: LayerView) -> float:
    """Return the SQNR of the layer run alone; that of its worst part, where there are parts."""
    if view.parts is None:
        noise = view.error_energy
        return sqnr_db(view.reference_energy, noise) if isfinite(noise) else -inf
    reference, real = view.parts.split(view.reference), view.parts.split(view.real)
    return min(db_between(reference[name], real[name]) for name in view.parts.names)


def db_between(reference: Real, real: Real) -> float:
    """Return the SQNR of real values against a reference; -infinity beside an infinite error."""
    noise = energy(gap_between(real, reference))
    return sqnr_db(energy(reference), noise) if isfinite(noise) else -inf
