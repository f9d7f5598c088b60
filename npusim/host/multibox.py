"""MXNet's operators behind detectors: MultiBoxDetection, box_nms, topk. Rules are measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from npusim.host.boxes import overlaps
from npusim.host.tail import DOMAIN

Array = NDArray[Any]
f32 = np.float32


def _moved(anchors: Array, loc: Array, variances: Sequence[float], clip: bool) -> Array:
    """Return boxes (n, 4) in corners from anchors in corners and their moves."""
    by = np.array(variances, f32)
    size = anchors[:, 2:] - anchors[:, :2]
    middle = (anchors[:, :2] + anchors[:, 2:]) * f32(0.5)
    with np.errstate(over="ignore"):
        centre = loc[:, :2] * by[:2] * size + middle
        half = np.exp(loc[:, 2:] * by[2:]) * size / f32(2)
    boxes = np.concatenate([centre - half, centre + half], 1)
    return np.clip(boxes, f32(0), f32(1)) if clip else boxes


class MultiBoxDetection(OpRun):
    """(scores (N, C, B), moves (N, 4 B), anchors (1, B, 4)) -> rows (N, B, 6).

    A row is class, score and corners. Rows that are suppressed keep all but their class, which
    becomes -1; rows of no object are -1 throughout.
    """

    op_domain = DOMAIN

    def _run(
        self,
        scores: Array,
        moves: Array,
        anchors: Array,
        *,
        clip: int = 1,
        threshold: float = 0.01,
        nms_threshold: float = 0.5,
        force_suppress: int = 0,
        variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
        nms_topk: int = -1,
        background_id: int = 0,
    ) -> tuple[Array]:
        images, _, count = scores.shape
        rows = np.full((images, count, 6), -1, f32)
        for image in range(images):
            objects = scores[image, 1:]
            label = objects.argmax(0)
            best = objects.max(0)
            found = np.flatnonzero(~(best < f32(threshold)) & (best > -1))
            boxes = _moved(anchors[0], moves[image].reshape(-1, 4), variances, bool(clip))
            own = rows[image, : len(found)]
            own[:, 0], own[:, 1], own[:, 2:] = label[found], best[found], boxes[found]
            if not len(found) or not 0 < nms_threshold <= 1:
                continue
            order = np.argsort(-own[:, 1], kind="stable")
            kept = len(order) if nms_topk <= 0 else min(nms_topk, len(order))
            ranked = own[order]
            own[:kept] = ranked[:kept]
            own[kept:, 0] = -1
            _suppress(own[:kept], nms_threshold, bool(force_suppress))
        return (rows,)


def _suppress(rows: Array, threshold: float, across: bool) -> None:
    """Set the class of rows to -1 that overlap a better one of the same class, or of any."""
    for index in range(len(rows)):
        if rows[index, 0] < 0:
            continue
        rest = rows[index + 1 :]
        near = overlaps(rows[index, 2:], rest[:, 2:]) >= f32(threshold)
        same = across | (rest[:, 0] == rows[index, 0])
        rest[near & same, 0] = -1


class BoxNms(OpRun):
    """Rows of boxes (.., B, K) -> the same rows, best first, -1 where nothing stays."""

    op_domain = DOMAIN

    def _run(
        self,
        data: Array,
        *,
        overlap_thresh: float = 0.5,
        valid_thresh: float = 0.0,
        topk: int = -1,
        coord_start: int = 2,
        score_index: int = 1,
        id_index: int = -1,
        background_id: int = -1,
        force_suppress: int = 0,
        in_format: str = "corner",
        out_format: str = "corner",
    ) -> tuple[Array]:
        flat = data.reshape(-1, *data.shape[-2:]).astype(f32)
        result = np.full_like(flat, -1)
        place = slice(coord_start, coord_start + 4)
        for rows, out in zip(flat, result, strict=True):
            valid = rows[:, score_index] > f32(valid_thresh)
            if id_index >= 0 and background_id >= 0:
                valid &= rows[:, id_index] != background_id
            order = np.flatnonzero(valid)
            order = order[np.argsort(-rows[order, score_index], kind="stable")]
            if topk > 0:
                order = order[:topk]
            boxes = rows[:, place] if in_format == "corner" else _corners(rows[:, place])
            kept: list[int] = []
            waiting = order
            while len(waiting):
                best, waiting = int(waiting[0]), waiting[1:]
                kept.append(best)
                near = overlaps(boxes[best], boxes[waiting]) > f32(overlap_thresh)
                if not force_suppress and id_index >= 0:
                    near &= rows[waiting, id_index] == rows[best, id_index]
                waiting = waiting[~near]
            chosen = rows[kept]
            if in_format != out_format:
                change = _corners if out_format == "corner" else _centres
                chosen[:, place] = change(chosen[:, place])
            out[: len(kept)] = chosen
        return (result.reshape(data.shape),)


def _corners(boxes: Array) -> Array:
    half = boxes[:, 2:] / f32(2)
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def _centres(boxes: Array) -> Array:
    middle = (boxes[:, :2] + boxes[:, 2:]) / f32(2)
    return np.concatenate([middle, boxes[:, 2:] - boxes[:, :2]], 1)


class MxTopK(OpRun):
    """The first ``k`` of a sorted axis (0: all): values, places as real numbers, or both."""

    op_domain = DOMAIN

    def _run(
        self,
        data: Array,
        *,
        axis: int = -1,
        k: int = 1,
        ascending: int = 0,
        returns: str = "indices",
        flat: int = 0,
    ) -> tuple[Array, ...]:
        values = data.reshape(-1) if flat else data
        axis = 0 if flat else axis
        order = np.argsort(values if ascending else -values, axis, kind="stable")
        count = values.shape[axis]
        order = order.take(range(min(k, count) if k > 0 else count), axis)
        if returns == "mask":
            mask = np.zeros(values.shape, f32)
            np.put_along_axis(mask, order, f32(1), axis)
            return (mask.reshape(data.shape),)
        found = np.take_along_axis(values, order, axis)
        places = order.astype(f32)
        if returns == "both":
            return (found, places)
        return (found,) if returns == "value" else (places,)
