"""From a detector's outputs to boxes in pixels of its input: YOLO v3, v5, v8 and SSD heads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ConfigError, InputError

Real = NDArray[np.float64]
Outputs = Sequence[NDArray[Any]]
Decoded = tuple[Real, Real]  # boxes (n, 4) left, top, right, bottom; scores (n, classes)

YOLO_ANCHORS = {
    "yolov3": (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326),
    "yolov5": (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326),
}
"""Width and height of COCO's anchors. Source: yolov3.cfg of Darknet; yolov5s.yaml of Ultralytics.
"""
SSD_VARIANCES = (0.1, 0.1, 0.2, 0.2)  # Source: SSD paper's code; TensorFlow's box coder, 10 10 5 5
DFL = 16  # bins of a side. Source: Ultralytics, reg_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a decoder has to know besides the outputs.

    Attributes
    ----------
    decoder : str
        Key of ``DECODERS``.
    size : (height, width)
        Of the network's input.
    ops : tuple of str
        Operator that made each output, behind movement: scores behind a sigmoid or a softmax are
        taken as they are.
    anchors : tuple of float
        Width and height of each anchor in input pixels, those of the finest grid first; empty:
        COCO's.
    priors : tuple of tuple of float
        SSD: a row of four per box, centre and size as parts of the input, in the head's own order.
    offset : int
        Score columns before the first class: 1 for a background.
    """

    decoder: str
    size: tuple[int, int]
    ops: tuple[str, ...]
    anchors: tuple[float, ...] = ()
    priors: tuple[tuple[float, ...], ...] = ()
    offset: int = 0


def decode(outputs: Outputs, head: Head) -> Decoded:
    """Return boxes in pixels of the input and their scores.

    Raises
    ------
    InputError
        When the outputs are not what the decoder takes.
    """
    return DECODERS[head.decoder]([np.asarray(o, np.float64) for o in outputs], head)


def _misfit(outputs: Outputs, head: Head, wanted: str) -> InputError:
    return InputError(
        f"the outputs have shapes {', '.join(str(o.shape) for o in outputs)}",
        where=f"{words.say('decoder')} {head.decoder}",
        rule=wanted,
    )


def _sigmoid(value: Real) -> Real:
    found: Real = 1 / (1 + np.exp(-np.clip(value, -60, 60)))
    return found


def _softmax(value: Real, axis: int) -> Real:
    raised = np.exp(value - value.max(axis=axis, keepdims=True))
    found: Real = raised / raised.sum(axis=axis, keepdims=True)
    return found


def _rows(value: Real) -> Real:
    """Return (places, values) of an output (1, places, values) or (1, values, places)."""
    shape = value.shape
    first, second = (shape[1], shape[2] * shape[3]) if value.ndim == 4 else (shape[-2], shape[-1])
    rows: Real = value.reshape(first, second)
    return rows.T if first < second else rows


def _corners(boxes: Real) -> Real:
    """Return left, top, right, bottom of centres and sizes."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def _flat(value: Real) -> bool:
    """Tell whether an output is a list of places: all its axes but two are 1."""
    return value.ndim in (2, 3) or (value.ndim == 4 and 1 in value.shape[2:])


def _yolo(outputs: list[Real], head: Head) -> Decoded:
    """Decode YOLO v3 and v5: one decoded output, or a map of three anchors per scale."""
    if len(outputs) == 1 and _flat(outputs[0]):
        rows = _rows(outputs[0])
        return _corners(rows[:, :4]), rows[:, 4:5] * rows[:, 5 + head.offset :]
    anchors = np.array(head.anchors or YOLO_ANCHORS[head.decoder], np.float64).reshape(-1, 2)
    per_scale, left = divmod(len(anchors), len(outputs))
    maps = [_anchored(o, per_scale) if not left else None for o in outputs]
    boxes, scores = [], []
    # the finest grid has the smallest anchors
    order = sorted(range(len(maps)), key=lambda i: -outputs[i].size)
    for scale, i in enumerate(order):
        value = maps[i]
        if value is None or value.shape[1] < 6 + head.offset:
            raise _misfit(
                outputs,
                head,
                f"one output (1, places, 5 + classes), or {len(anchors)} anchors over maps of "
                "anchors * (5 + classes) channels",
            )
        raw = head.ops[i] != "sigmoid"
        on = _sigmoid(value) if raw else value
        rows, columns = value.shape[2:]
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)))[None]
        stride = np.array([head.size[1] / columns, head.size[0] / rows]).reshape(1, 2, 1, 1)
        own = anchors[scale * per_scale : (scale + 1) * per_scale].reshape(-1, 2, 1, 1)
        if head.decoder == "yolov5":
            centre, size = (2 * on[:, :2] - 0.5 + grid) * stride, (2 * on[:, 2:4]) ** 2 * own
        elif raw:
            centre, size = (on[:, :2] + grid) * stride, np.exp(np.minimum(value[:, 2:4], 20)) * own
        else:
            raise _misfit(outputs, head, "maps before the sigmoid: sizes are exponentials of them")
        both = np.concatenate([centre, size], 1)
        boxes.append(_corners(both.transpose(0, 2, 3, 1).reshape(-1, 4)))
        found = on[:, 4:5] * on[:, 5 + head.offset :]
        scores.append(found.transpose(0, 2, 3, 1).reshape(-1, found.shape[1]))
    return np.concatenate(boxes), np.concatenate(scores)


def _anchored(value: Real, anchors: int) -> Real | None:
    """Return (anchors, 5 + classes, rows, columns) of a map in any of the usual forms."""
    if value.ndim == 4 and value.shape[1] % anchors == 0:
        return value.reshape(anchors, -1, *value.shape[2:])
    if value.ndim == 5 and value.shape[1] == anchors:
        # the values come last in PyTorch's export, second where it was cut before the transpose
        last = value.shape[4] > value.shape[2] or value.shape[2] == value.shape[3]
        found: Real = value[0].transpose(0, 3, 1, 2) if last else value[0]
        return found
    return None


def _yolov8(outputs: list[Real], head: Head) -> Decoded:
    """Decode YOLO v8: one output, boxes and scores apart, or maps of distances and classes."""
    if len(outputs) == 1 and _flat(outputs[0]):
        rows = _rows(outputs[0])
        return _corners(rows[:, :4]), rows[:, 4 + head.offset :]
    if len(outputs) == 2 and all(_flat(o) for o in outputs):
        lists = [_rows(o) for o in outputs]
        at = next((i for i, r in enumerate(lists) if r.shape[1] == 4), None)
        if at is not None:
            scores = lists[1 - at][:, head.offset :]
            on = scores if head.ops[1 - at] == "sigmoid" else _sigmoid(scores)
            return _corners(lists[at]), on
    boxes, found = [], []
    grids: dict[tuple[int, ...], list[int]] = {}
    for i, output in enumerate(outputs):
        grids.setdefault(output.shape[2:], []).append(i)
    for (rows_n, columns), members in grids.items() if all(o.ndim == 4 for o in outputs) else ():
        sides = next((i for i in members if outputs[i].shape[1] == 4 * DFL), None)
        classes = next((i for i in members if i != sides and outputs[i].shape[1] > 1), None)
        if sides is None or classes is None:
            raise _misfit(outputs, head, f"maps of {4 * DFL} and of classes channels per scale")
        bins = outputs[sides].reshape(4, DFL, rows_n, columns)
        reach = np.einsum("sbhw,b->shw", _softmax(bins, 1), np.arange(DFL))
        x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows_n) + 0.5)
        wide, high = head.size[1] / columns, head.size[0] / rows_n
        corners = [
            (x - reach[0]) * wide,
            (y - reach[1]) * high,
            (x + reach[2]) * wide,
            (y + reach[3]) * high,
        ]
        boxes.append(np.stack(corners, -1).reshape(-1, 4))
        value = outputs[classes]
        on = value if head.ops[classes] == "sigmoid" else _sigmoid(value)
        found.append(on[0].reshape(value.shape[1], -1).T[:, head.offset :])
    if not boxes:
        raise _misfit(outputs, head, "one output (1, 4 + classes, places), or maps per scale")
    return np.concatenate(boxes), np.concatenate(found)


def _ssd(outputs: list[Real], head: Head) -> Decoded:
    """Decode SSD: offsets (1, n, 4) and scores (1, n, classes) against priors."""
    if not head.priors:
        raise ConfigError(
            f"{words.say('decoder')} {head.decoder} has no priors",
            where=words.say("priors"),
            rule="a row of four numbers per box: centre and size as parts of the input",
        )
    priors = np.array(head.priors, np.float64)
    lists = [o.reshape(len(priors), -1) for o in outputs if o.size % len(priors) == 0]
    at = next((i for i, o in enumerate(lists) if o.shape[1] == 4), None)
    if len(outputs) != 2 or len(lists) != 2 or at is None:
        raise _misfit(outputs, head, f"{len(priors)} offsets of four and as many rows of scores")
    step = lists[at] * np.array(SSD_VARIANCES)
    centre = step[:, :2] * priors[:, 2:] + priors[:, :2]
    size = np.exp(np.minimum(step[:, 2:], 20)) * priors[:, 2:]
    y_first = head.decoder == "ssd"
    if y_first:
        centre, size = centre[:, ::-1], size[:, ::-1]
    boxes = _corners(np.concatenate([centre, size], 1)) * np.array([*head.size[::-1]] * 2)
    scores = lists[1 - at]
    if head.ops[1 - at] not in ("sigmoid", "softmax"):
        scores = _sigmoid(scores) if y_first else _softmax(scores, 1)
    return boxes, scores[:, head.offset :]


DECODERS: dict[str, Callable[[list[Real], Head], Decoded]] = {
    "yolov3": _yolo,
    "yolov5": _yolo,
    "yolov8": _yolov8,
    "ssd": _ssd,
    "ssd-xy": _ssd,
}
"""``ssd`` is TensorFlow's (y before x, sigmoid), ``ssd-xy`` Caffe's and PyTorch's (softmax)."""
