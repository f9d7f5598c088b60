"""Variants of one design beside each other, and which of them no other beats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from npusim.errors import NpusimError
from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.layer_list import LayerList
from npusim.perfmodel.scaling import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One variant: ``width``, ``size`` (height, width; None: the list's own) and its price.

    ``layers`` is the variant itself. On the front no other point has as many products and is as
    fast and as small, and better in one of the three.
    """

    width: float
    size: Size | None
    layers: LayerList
    estimate: Estimate
    on_front: bool = False

    @property
    def figures(self) -> tuple[int, float, int]:
        """Return products, microseconds and bytes of NPU memory of one run."""
        return self.estimate.macs, self.estimate.total_time_us, self.estimate.memory.npu_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A variant whose layers do not fit, and the error that says why."""

    width: float
    size: Size | None
    error: NpusimError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All points in the order asked for, and what could not be made."""

    points: tuple[Point, ...]
    refused: tuple[Refused, ...]

    @property
    def front(self) -> tuple[Point, ...]:
        """Return the points on the front, the fastest first."""
        return tuple(sorted((p for p in self.points if p.on_front), key=lambda p: p.figures[1]))


def with_front(points: Sequence[Point], budget_us: float | None) -> tuple[Point, ...]:
    """Mark the points that none beats: more products, less time, less memory."""
    figures = [point.figures for point in points]
    rivals = [own for own in figures if budget_us is None or own[1] <= budget_us]
    return tuple(
        replace(
            point,
            on_front=(budget_us is None or own[1] <= budget_us)
            and not any(_beats(other, own) for other in rivals),
        )
        for point, own in zip(points, figures, strict=True)
    )


def _beats(one: tuple[int, float, int], other: tuple[int, float, int]) -> bool:
    no_worse = one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2]
    return no_worse and one != other
