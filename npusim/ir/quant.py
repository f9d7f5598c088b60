"""How integers stand for real numbers: a tagged union, plus the lowered requantization."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from npusim.errors import QuantizationError

MAX_FL = 1000


@dataclass(frozen=True, slots=True)
class Float:
    """The tensor holds real numbers (f32, f16) or plain integers (indices)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """real = scale * (q - zero_point). ``scale`` is a float32 value held in a Python float."""

    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        """Round the scale to float32.

        Raises
        ------
        QuantizationError
            When it is no positive number in float32.
        """
        object.__setattr__(self, "scale", _checked_scale(self.scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinePerChannel:
    """As Affine, with one scale and zero point per index of ``axis``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0

    def __repr__(self) -> str:
        """Return how many scales there are: a weight may have thousands."""
        count, low, high = len(self.scales), min(self.scales), max(self.scales)
        return f"AffinePerChannel({count} scales {low:.6g} .. {high:.6g}, axis={self.axis})"

    def __post_init__(self) -> None:
        """Refuse scales that ``Affine`` refuses."""
        for scale in self.scales:
            _checked_scale(scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicFixedPoint:
    """real = q * 2**-fl; ``fl`` may be negative."""

    fl: int

    def __post_init__(self) -> None:
        """Refuse exponents whose power of two is no number.

        Raises
        ------
        QuantizationError
        """
        if abs(self.fl) > MAX_FL:
            raise QuantizationError(
                f"{self.fl} fraction bits",
                rule=f"-{MAX_FL} .. {MAX_FL}: one step is 2 to the power of -fl",
                remedy="8 and 16 bit tensors of usual values have -20 .. 40",
            )


def _checked_scale(scale: float) -> float:
    """Return a scale as float32 holds it."""
    with np.errstate(over="ignore", under="ignore"):
        held = float(np.float32(scale))
    if not (np.isfinite(held) and held > 0):
        held_as = "" if held == scale or np.isnan(held) else f", which float32 holds as {held:g}"
        raise QuantizationError(
            f"scale {scale:g}{held_as}",
            rule="a scale is a positive finite float32: the real distance of two codes",
            remedy="look for constants or ranges that are huge, tiny or not a number where it "
            "comes from; the product of two scales must be a float32 too",
        )
    return held


Quant = Float | Affine | AffinePerChannel | DynamicFixedPoint


class Rounding(Enum):
    """How a requantization rounds; every member is a different function."""

    HALF_EVEN_BEFORE_ZERO_POINT = "nearest, ties to even, before the zero point is added"
    HALF_EVEN_AFTER_ZERO_POINT = "nearest, ties to even, after the zero point is added"
    TRUNCATE_F16 = "cut toward zero to float16"
    NEAREST_F16 = "nearest float16, ties to even"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requant:
    """Lowered accumulator -> output step of one node.

    Integer engines: ``round(acc * multiplier / 2**shift) + zero_point``, then saturation.
    Float sums carry only the rounding.
    """

    multiplier: int = 1
    shift: int = 0
    zero_point: int = 0
    rounding: Rounding = Rounding.HALF_EVEN_BEFORE_ZERO_POINT


def scale_of(quant: Quant) -> float:
    """Return the real step of one integer (1.0 for floats); per-channel parameters raise."""
    match quant:
        case Float():
            return 1.0
        case Affine(scale=scale):
            return scale
        case DynamicFixedPoint(fl=fl):
            return float(2.0**-fl)
        case AffinePerChannel():
            raise QuantizationError("per-channel parameters have no single scale")


def zero_point_of(quant: Quant) -> int:
    """Return the integer that stands for 0.0; per-channel parameters raise."""
    match quant:
        case Affine(zero_point=zero_point):
            return zero_point
        case AffinePerChannel():
            raise QuantizationError("per-channel parameters have no single zero point")
        case _:
            return 0
