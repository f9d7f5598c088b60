"""How far two tensors are apart."""

from dataclasses import dataclass
from math import inf, log10, nan
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
        10 log10(|b|^2 / |a - b|^2) with b the reference; infinite when they are equal.
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
    left, right = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return _cosine(left, right, float(np.linalg.norm(left)), float(np.linalg.norm(right)))


def sqnr_db(signal: float, noise: float) -> float:
    """Return 10 log10(signal / noise) of two energies; infinite without noise."""
    if noise == 0.0:
        return inf
    return 10.0 * log10(signal / noise) if signal > 0.0 else -inf


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
    left, right = actual.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    gap = left - right
    noise = float(gap @ gap)
    largest = float(np.abs(gap).max(initial=0.0))
    norm_a, norm_b = float(np.linalg.norm(left)), float(np.linalg.norm(right))
    with np.errstate(invalid="ignore"):
        apart = float(np.linalg.norm(left / (norm_a or 1.0) - right / (norm_b or 1.0)))
    finite = bool(np.isfinite(noise))
    return Difference(
        cosine=_cosine(left, right, norm_a, norm_b),
        euclidean=float(np.sqrt(noise)),
        euclidean_norm=apart,
        sqnr_db=sqnr_db(norm_b * norm_b, noise) if finite else nan,
        max_abs=largest,
        max_steps=largest / step if step else nan,
        rms=float(np.sqrt(noise / gap.size)) if gap.size else 0.0,
    )


def _cosine(
    left: NDArray[np.float64], right: NDArray[np.float64], norm_a: float, norm_b: float
) -> float:
    norms = norm_a * norm_b
    if norms == 0.0:
        return 1.0 if norm_a == norm_b else 0.0
    return float(np.clip(left @ right / norms, -1.0, 1.0))
