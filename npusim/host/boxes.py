"""Overlap and non-maximum suppression of boxes, float32, rows of (left, top, right, bottom)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
f32 = np.float32


def areas(boxes: Array, extra: float = 0.0) -> Array:
    """Return the area of boxes (.., 4); 0 where a side is negative.

    ``extra`` is added to both sides: 1 where corners are pixels that belong to the box.
    """
    sides = boxes[..., 2:] - boxes[..., :2] + f32(extra)
    area: Array = np.where((boxes[..., 2:] < boxes[..., :2]).any(-1), f32(0), sides.prod(-1))
    return area


def overlaps(box: Array, others: Array, extra: float = 0.0) -> Array:
    """Return intersection over union of a box (4,) with others (n, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + f32(extra)
    both = np.where((sides > 0).all(1), sides.prod(1), f32(0))
    union = areas(box, extra) + areas(others, extra) - both
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(both > 0, both / union, f32(0))


def suppressed(
    boxes: Array, order: Array, threshold: float, *, eta: float = 1.0, extra: float = 0.0
) -> list[int]:
    """Return the indices that stay, best first.

    Parameters
    ----------
    boxes : ndarray of float32, shape (n, 4)
    order : ndarray of int
        Indices of the candidates, best first.
    threshold : float
        A box goes when its overlap with one that stays is larger.
    eta : float
        While the threshold is above 0.5 every box that stays multiplies it by this.
    extra : float
        As in ``areas``.
    """
    limit, kept = f32(threshold), list[int]()
    waiting = np.asarray(order)
    while len(waiting):
        best, waiting = int(waiting[0]), waiting[1:]
        if eta < 1 and kept and (overlaps(boxes[best], boxes[kept], extra) > limit).any():
            continue  # the threshold has become smaller since
        kept.append(best)
        if eta < 1:
            if limit > 0.5:
                limit = f32(limit * f32(eta))
            continue
        waiting = waiting[overlaps(boxes[best], boxes[waiting], extra) <= limit]
    return kept
