"""How far two tensors are apart."""

from dataclasses import dataclass
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
    max_abs : float
        Largest absolute difference.
    max_steps : float
        The same in quantization steps of the tensor; NaN for float tensors.
    rms : float
        Root mean square difference.
    """

    cosine: float
    max_abs: float
    max_steps: float
    rms: float


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the cosine between two tensors, computed in float64."""
    left, right = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if norms == 0.0:
        return 1.0 if not left.any() and not right.any() else 0.0
    return float(np.clip(left @ right / norms, -1.0, 1.0))


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
    gap = np.abs(actual.astype(np.float64) - reference.astype(np.float64))
    largest = float(gap.max(initial=0.0))
    return Difference(
        cosine=cosine(actual, reference),
        max_abs=largest,
        max_steps=largest / step if step else float("nan"),
        rms=float(np.sqrt(np.mean(gap * gap))) if gap.size else 0.0,
    )
