"""Which measurement would make a chip's predictions surest.

Predictions of given networks have a variance by what a fit leaves open. A measurement of relative
noise ``noise`` takes a part of it away, whatever it turns out to be; the one that takes most is
worth making first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from npusim.perfmodel.fit import Fit, Vector, gradients
from npusim.perfmodel.samples import Sample, errors

NOISE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A measurement, and the mean standard deviation of predictions before and after it."""

    name: str
    before: float
    after: float


def gains(
    found: Fit, wanted: Sequence[Sample], candidates: Sequence[Sample], noise: float = NOISE
) -> list[Gain]:
    """Return the gain of measuring each candidate alone, the largest first.

    Parameters
    ----------
    found : Fit
    wanted : sequence of Sample
        Whose predictions count; their measured times do not matter.
    candidates : sequence of Sample
    noise : float
        Of a measured time, relative: one standard deviation.
    """
    slopes = _relative_slopes(found, wanted)
    before = _spread(slopes, found.covariance)
    result = []
    for candidate, slope in zip(candidates, _relative_slopes(found, candidates), strict=True):
        toward = found.covariance @ slope
        left = found.covariance - np.outer(toward, toward) / (noise**2 + slope @ toward)
        result.append(Gain(name=candidate.name, before=before, after=_spread(slopes, left)))
    return sorted(result, key=lambda gain: gain.after)


def _spread(slopes: Vector, covariance: Vector) -> float:
    return sqrt(float(np.einsum("ij,jk,ik->i", slopes, covariance, slopes).mean()))


def _relative_slopes(found: Fit, samples: Sequence[Sample]) -> Vector:
    """Return the change of every predicted time with every constant, over the time itself."""
    at = np.array(errors(samples, [found.applied(s.machine.board) for s in samples]))
    slopes: Vector = gradients(samples, found.names, found.point, list(at)) / (1 + at)[:, None]
    return slopes
