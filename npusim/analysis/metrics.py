"""How far two tensors are apart."""

from dataclasses import dataclass
from math import inf, isfinite, log10, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Distances between a tensor and its reference.

    Attributes
    ----------
    cosine : float
        a.b / (|a| |b|); 1.0 when both are zero, 0.0 when one is.
    euclidean : float
        |a - b|.
    euclidean_norm : float
        |a/|a| - b/|b||, which is sqrt(2 - 2 cosine); a zero vector stays zero.
    sqnr_db : float
        10 log10(|b|^2 / |a - b|^2) with b the reference; infinite when they are equal, -infinity
        beside infinite errors and NaN.
    max_abs : float
        Largest absolute difference.
    max_steps : float
        The same in quantization steps of the tensor; NaN for float tensors.
    rms : float
        Root mean square difference.
    """

    cosine: float
    euclidean: float
    euclidean_norm: float
    sqnr_db: float
    max_abs: float
    max_steps: float
    rms: float


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the cosine between two tensors, computed in float64."""
    return difference(a, b).cosine


def sqnr_db(signal: float, noise: float) -> float:
    """Return 10 log10(signal / noise) of two energies; infinite without noise."""
    if noise == 0.0:
        return inf
    # not of the quotient, which may leave float64 on either side
    return 10.0 * (log10(signal) - log10(noise)) if signal > 0.0 else -inf


def energy(value: NDArray[np.floating[Any]]) -> float:
    """Return the sum of squares. Not by BLAS: its threads cost more than they bring here."""
    flat = value.reshape(-1)
    return float(np.einsum("i,i->", flat, flat))


def gap_between(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return one - other in float64; equal infinities have no gap."""
    left, right = one.astype(np.float64, copy=False), other.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        gap = np.asarray(left - right)
    strange = np.isnan(gap)
    if strange.any():
        gap[strange & (left == right)] = 0.0
    return gap


def difference(
    actual: NDArray[Any], reference: NDArray[Any], *, step: float | None = None
) -> Difference:
    """Return all distances between real-valued tensors of one shape.

    Parameters
    ----------
    actual, reference : ndarray
        Real values (dequantized), any float type, equal shapes.
    step : float, optional
        Quantization step of ``actual``.
    """
    left = actual.astype(np.float64, copy=False).reshape(-1)
    right = reference.astype(np.float64, copy=False).reshape(-1)
    gap = gap_between(left, right)
    noise = energy(gap)
    largest = float(np.abs(gap).max(initial=0.0))
    norm_a, norm_b = sqrt(energy(left)), sqrt(energy(right))
    if norm_a == 0.0 or norm_b == 0.0:
        apart = 0.0 if norm_a == norm_b else 1.0
        angle = 1.0 - apart
    else:
        with np.errstate(invalid="ignore"):
            turned = left * (norm_b / norm_a) - right
        apart = sqrt(energy(turned)) / norm_b
        angle = 1.0 - apart * apart / 2.0  # precise near 1, where it matters
        angle = max(-1.0, angle) if isfinite(angle) else nan
    return Difference(
        cosine=angle,
        euclidean=sqrt(noise),
        euclidean_norm=apart,
        sqnr_db=sqnr_db(norm_b * norm_b, noise) if isfinite(noise) else -inf,
        max_abs=largest,
        max_steps=largest / step if step else nan,
        rms=sqrt(noise / gap.size) if gap.size else 0.0,
    )
