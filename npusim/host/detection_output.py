"""Caffe's DetectionOutput (SSD branch): decode boxes, suppress, keep the best."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from npusim.host.boxes import suppressed
from npusim.host.tail import DOMAIN

Array = NDArray[Any]
f32 = np.float32
CODES = ("CORNER", "CENTER_SIZE", "CORNER_SIZE")


def decoded(loc: Array, priors: Array, variances: Array, code: str) -> Array:
    """Return boxes in corners; all are (n, 4) float32. Source: Caffe's documentation of SSD."""
    with np.errstate(over="ignore"):
        size = priors[:, 2:] - priors[:, :2]
        corners: Array = priors + variances * loc * (
            np.tile(size, 2) if code == "CORNER_SIZE" else f32(1)
        )
        if code != "CENTER_SIZE":
            return corners
        middle = (priors[:, :2] + priors[:, 2:]) / f32(2)
        middle = variances[:, :2] * loc[:, :2] * size + middle
        half = np.exp(variances[:, 2:] * loc[:, 2:]) * size / f32(2)
        return np.concatenate([middle - half, middle + half], 1)


class DetectionOutput(OpRun):
    """(loc, conf, priors) -> rows of (image, class, score, left, top, right, bottom).

    loc is (N, priors * (1 or classes) * 4), conf (N, priors * classes), priors (1, 2, priors * 4)
    with boxes and variances. The result is (1, 1, rows, 7); an image without a finding has a row
    (image, -1, ..) when there is none in any image.
    """

    op_domain = DOMAIN

    def _run(
        self,
        loc: Array,
        conf: Array,
        priors: Array,
        *,
        num_classes: int = 0,
        share_location: int = 1,
        background_label_id: int = 0,
        code_type: str = "CORNER",
        variance_encoded_in_target: int = 0,
        nms_threshold: float = 0.3,
        eta: float = 1.0,
        top_k: int = -1,
        keep_top_k: int = -1,
        confidence_threshold: float = float(np.finfo(f32).min),
    ) -> tuple[Array]:
        images, classes = len(loc), num_classes
        boxes, variances = priors.reshape(2, -1, 4).astype(f32)
        if variance_encoded_in_target:
            variances = np.ones_like(variances)
        count = len(boxes)
        spread = loc.reshape(images, count, -1, 4).astype(f32)
        scores = conf.reshape(images, count, classes).astype(f32)
        rows: list[list[Any]] = []
        for image in range(images):
            found: list[tuple[Any, int, int, Array]] = []
            for label in range(classes):
                if label == background_label_id:
                    continue
                place = spread[image, :, 0 if share_location else label]
                corners = decoded(place, boxes, variances, code_type)
                own = scores[image, :, label]
                order = np.argsort(-own, kind="stable")
                order = order[own[order] > f32(confidence_threshold)]
                if top_k > -1:
                    order = order[:top_k]
                kept = suppressed(corners, order, nms_threshold, eta=eta)
                found += [(own[i], label, i, corners[i]) for i in kept]
            if -1 < keep_top_k < len(found):
                best = sorted(range(len(found)), key=lambda n: -found[n][0])[:keep_top_k]
                found = sorted((found[n] for n in best), key=lambda entry: entry[1])
            rows += [[image, label, score, *box] for score, label, _, box in found]
        if not rows:
            rows = [[image, *(-1,) * 6] for image in range(images)]
        return (np.array(rows, f32).reshape(1, 1, -1, 7),)
