"""What Darknet's box layers do to the map in front of them, for comparison with recorded outputs.

Importers end a network in front of these layers; the programs print what comes behind.
Source: both programs, measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
OBJECTNESS = 4


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def options_of(cfg: str, index: int) -> tuple[str, dict[str, str]]:
    """Return type and options of a layer of a configuration; the first of equal keys counts."""
    sections: list[tuple[str, dict[str, str]]] = []
    for raw in cfg.splitlines():
        line = "".join(raw.split())
        if line.startswith("["):
            sections.append((line.strip("[]"), {}))
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            sections[-1][1].setdefault(key, value)
    return sections[index + 1]


def behind(front: Array, kind: str, options: Mapping[str, str], fork: bool) -> Array:
    """Return the output of a ``yolo`` or ``region`` layer.

    Parameters
    ----------
    front : float32 (1, boxes * entries, H, W)
    fork : bool
        Of the YOLOv4 fork; its ``region`` leaves positions as they are, in the order H, W, entry.
    """
    entries = int(options.get("classes", 20)) + OBJECTNESS + 1
    _, channels, height, width = front.shape
    boxes = front.reshape(channels // entries, entries, height, width).copy()
    softmax = kind == "region" and options.get("softmax", "0") != "0"
    positions: Sequence[int] = () if kind == "region" and fork else (0, 1)
    if options.get("new_coords", "0") == "0":
        for entry in (*positions, OBJECTNESS):
            boxes[:, entry] = _logistic(boxes[:, entry])
        classes = boxes[:, OBJECTNESS + 1 :]
        if softmax:
            boxes[:, OBJECTNESS + 1 :] = _softmax(classes)
        elif not (kind == "region" and fork):
            boxes[:, OBJECTNESS + 1 :] = _logistic(classes)
    stretch = float(options.get("scale_x_y", 1.0))
    boxes[:, :2] = boxes[:, :2] * stretch - (stretch - 1) / 2
    if kind == "region" and fork:
        boxes = boxes.transpose(2, 3, 0, 1)
    return boxes.reshape(front.shape)
