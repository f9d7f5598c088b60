"""Least squares of board constants, with what is known of them before.

Constants are fitted as logarithms (``operation_cycles``, which may be 0, in units of ten thousand),
each with a normal prior around the machine's value. What the fit leaves open is the covariance of
these logarithms: where the samples say nothing, the prior stays.

Relative errors are taken as normal with a scale of their own; those beyond ``FAR`` count less
(Huber's weights). Leaving a family out is one step of the same normal equations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from npusim.perfmodel.machine import Profile
from npusim.perfmodel.samples import Sample, errors

Vector = NDArray[np.float64]

FITTED = (
    "ddr_bytes_per_s",
    "operation_cycles",
    "nn_time_ratio",
    "tp_time_ratio",
    "shader_cycles_per_value",
)
LINEAR_UNIT = {"operation_cycles": 1e4}
PRIOR_SIGMA = {"measured": 0.05, "documented": 0.15, "fitted": 0.3, "guess": 0.7}
"""How far a constant may be from its value, as a logarithm, by its confidence."""
FAR = 0.1
LEAST_NOISE = 0.01
STEP, MOST_STEPS, CLOSE = 0.02, 12, 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Constants, and how sure they are.

    Attributes
    ----------
    names : tuple of str
        Constants of ``[board]``.
    point, start : Vector
        Fitted and prior values in the units of the fit, shape (n,), float64.
    covariance : Vector
        Of ``point``, shape (n, n).
    residuals : list of float
        Predicted over measured, less one; ``left_out``: with the sample's family left out.
    noise : float
        Scale of the residuals.
    """

    names: tuple[str, ...]
    start: Vector = field(repr=False)
    point: Vector = field(repr=False)
    covariance: Vector = field(repr=False)
    residuals: list[float] = field(repr=False)
    left_out: list[float] = field(repr=False)
    noise: float

    def applied(self, board: Profile) -> Profile:
        """Return board constants with the fitted ones in their place."""
        return changed(board, self.names, self.point)

    def sigma(self, name: str) -> float:
        """Return the standard deviation of a constant, in its own unit."""
        at = self.names.index(name)
        wide: float = float(self.covariance[at, at]) ** 0.5
        return wide * LINEAR_UNIT.get(name, _from(name, float(self.point[at])))


def coordinate(name: str, value: float) -> float:
    """Return a constant in the units of the fit."""
    return value / LINEAR_UNIT[name] if name in LINEAR_UNIT else log(value)


def _from(name: str, x: float) -> float:
    return max(0.0, x) * LINEAR_UNIT[name] if name in LINEAR_UNIT else exp(x)


def changed(board: Profile, names: Sequence[str], point: Vector) -> Profile:
    """Return board constants with some replaced."""
    values = {name: _from(name, float(x)) for name, x in zip(names, point, strict=True)}
    return replace(board, **values)  # type: ignore[arg-type]


def prior_sigmas(sample: Sample, names: Sequence[str], widened: float = 1.0) -> Vector:
    """Return the priors' standard deviations by the machine's own confidence."""
    provenance = sample.machine.provenance
    return np.array([PRIOR_SIGMA[provenance[f"board.{n}"].confidence] * widened for n in names])


def gradients(
    samples: Sequence[Sample], names: Sequence[str], point: Vector, at: Sequence[float]
) -> Vector:
    """Return the change of every relative error with every constant, shape (samples, n)."""
    columns = []
    for index in range(len(names)):
        moved = point.copy()
        moved[index] += STEP
        boards = [changed(s.machine.board, names, moved) for s in samples]
        columns.append((np.array(errors(samples, boards)) - np.array(at)) / STEP)
    return np.stack(columns, axis=1)


def fit(
    samples: Sequence[Sample],
    names: Sequence[str] = FITTED,
    sigmas: Vector | None = None,
    families: Callable[[Sample], str] = lambda sample: sample.family,
) -> Fit:
    """Fit constants to samples.

    Parameters
    ----------
    samples : sequence of Sample
        Of chips that share the fitted constants; the first one's machine gives the prior.
    names : sequence of str
    sigmas : Vector, optional
        Standard deviations of the prior, by default by confidence; shape (n,).
    families : callable
        What is left out together.
    """
    board = samples[0].machine.board
    start = np.array([coordinate(name, getattr(board, name)) for name in names])
    precision = np.diag((prior_sigmas(samples[0], names) if sigmas is None else sigmas) ** -2.0)
    lowest = np.array([0.0 if name in LINEAR_UNIT else -np.inf for name in names])
    given = np.array([sample.weight for sample in samples])

    def relative(point: Vector) -> Vector:
        boards = [changed(s.machine.board, names, point) for s in samples]
        return np.array(errors(samples, boards))

    def weights(found: Vector) -> Vector:
        return given * np.minimum(1.0, FAR / np.maximum(np.abs(found), 1e-9))

    point, found = start, relative(start)
    noise, slope, best = LEAST_NOISE, np.zeros((len(samples), len(names))), np.inf
    for _ in range(MOST_STEPS):
        slope = gradients(samples, names, point, list(found))
        noise = _noise(found, weights(found))
        step = _step(slope, found, weights(found), noise, precision, point - start)
        tried = np.maximum(point + np.clip(step, -0.5, 0.5), lowest)
        after = relative(tried)
        loss = _loss(after, given, noise, precision, tried - start)
        best = _loss(found, given, noise, precision, point - start)
        while loss > best and np.abs(tried - point).max() > CLOSE:
            tried = (tried + point) / 2
            after = relative(tried)
            loss = _loss(after, given, noise, precision, tried - start)
        if loss > best:
            break
        moved, point, found = np.abs(tried - point).max(), tried, after
        if moved < CLOSE:
            break
    information = (slope.T * weights(found)) @ slope / noise**2 + precision
    left = list(map(float, found))
    for family in dict.fromkeys(map(families, samples)):
        inside = np.array([families(sample) == family for sample in samples])
        kept = np.where(inside, 0.0, weights(found))
        step = _step(slope, found, kept, noise, precision, point - start)
        step = np.maximum(point + step, lowest) - point
        for index in np.flatnonzero(inside):
            left[index] = float(found[index] + slope[index] @ step)
    return Fit(
        names=tuple(names),
        start=start,
        point=point,
        covariance=np.asarray(np.linalg.inv(information), np.float64),
        residuals=list(map(float, found)),
        left_out=left,
        noise=noise,
    )


def _noise(found: Vector, weight: Vector) -> float:
    return max(LEAST_NOISE, float(np.sqrt((weight * found**2).sum() / weight.sum())))


def _step(
    slope: Vector, found: Vector, weight: Vector, noise: float, precision: Vector, away: Vector
) -> Vector:
    information = (slope.T * weight) @ slope / noise**2 + precision
    pull = -(slope.T @ (weight * found)) / noise**2 - precision @ away
    return np.asarray(np.linalg.solve(information, pull), np.float64)


def _loss(found: Vector, given: Vector, noise: float, precision: Vector, away: Vector) -> float:
    size = np.abs(found)
    huber = np.where(size <= FAR, size**2, 2 * FAR * size - FAR**2)
    return float((given * huber).sum() / noise**2 + away @ precision @ away)
