"""Region proposals of Faster R-CNN: anchors moved by a network's output, suppressed, cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from npusim.host.boxes import suppressed
from npusim.host.tail import DOMAIN

Array = NDArray[Any]
f32 = np.float32
PIXEL = 1.0  # corners are pixels that belong to the box


def anchors(base_size: int, ratios: Sequence[float], scales: Sequence[float]) -> Array:
    """Return the boxes round one position, (ratios * scales, 4), as Faster R-CNN makes them.

    Sides are rounded once per ratio; the base box is (0, 0, base_size - 1, base_size - 1).
    """
    middle = (base_size - 1) / 2
    found = []
    for ratio in ratios:
        width = np.round(np.sqrt(base_size * base_size / ratio))
        height = np.round(width * ratio)
        for scale in scales:
            half = np.array([width * scale - 1, height * scale - 1]) / 2
            found.append([*(middle - half), *(middle + half)])
    return np.array(found, f32)


def moved(boxes: Array, deltas: Array) -> Array:
    """Return boxes (n, 4) moved by deltas (n, 4): centre by sides, logarithm of the sides."""
    size = boxes[:, 2:] - boxes[:, :2] + f32(PIXEL)
    middle = boxes[:, :2] + f32(0.5) * size
    middle = deltas[:, :2] * size + middle
    with np.errstate(over="ignore"):
        half = f32(0.5) * np.exp(deltas[:, 2:]) * size
    return np.concatenate([middle - half, middle + half], 1)


class Proposal(OpRun):
    """(scores, deltas[, im_info]) -> rois (rows, 5) and their scores (rows, 1).

    scores are (1, 2 * anchors, H, W), background first; deltas (1, 4 * anchors, H, W); im_info is
    (1, 3): height and width of the picture and its scale. Without im_info the picture is the map
    times ``feat_stride`` and its scale 1. A row is (0, left, top, right, bottom).
    """

    op_domain = DOMAIN

    def _run(
        self,
        scores: Array,
        deltas: Array,
        im_info: Array | None = None,
        *,
        feat_stride: int = 16,
        base_size: int = 16,
        min_size: int = 16,
        ratio: Sequence[float] = (0.5, 1.0, 2.0),
        scale: Sequence[float] = (8.0, 16.0, 32.0),
        pre_nms_topn: int = 6000,
        post_nms_topn: int = 300,
        nms_thresh: float = 0.7,
    ) -> tuple[Array, Array]:
        base = anchors(base_size, ratio, scale)
        count, (height, width) = len(base), scores.shape[2:]
        if im_info is None:
            size, factor = np.array([width, height], f32) * f32(feat_stride), f32(1)
        else:
            rows, columns, factor = im_info.astype(f32).reshape(-1)[:3]
            size = np.array([columns, rows], f32)
        x, y = np.meshgrid(np.arange(width) * feat_stride, np.arange(height) * feat_stride)
        shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(f32)
        boxes = (shifts + base).reshape(-1, 4)
        steps = deltas[0].reshape(count, 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
        own = scores[0, count:].transpose(1, 2, 0).reshape(-1).astype(f32)
        boxes = moved(boxes, steps.astype(f32))
        boxes = np.clip(boxes, 0, np.tile(size - f32(PIXEL), 2)).astype(f32)
        sides = boxes[:, 2:] - boxes[:, :2] + f32(PIXEL)
        (large,) = np.nonzero((sides >= f32(min_size) * factor).all(1))
        order = large[np.argsort(-own[large], kind="stable")]
        if pre_nms_topn > 0:
            order = order[:pre_nms_topn]
        kept = suppressed(boxes, order, nms_thresh, extra=PIXEL)
        if post_nms_topn > 0:
            kept = kept[:post_nms_topn]
        rois = np.zeros((len(kept), 5), f32)
        rois[:, 1:] = boxes[kept]
        return rois, own[kept].reshape(-1, 1)
