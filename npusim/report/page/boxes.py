"""Boxes of a detector on the sample: float beside quantized, and which of them are the same."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.evaluation.detection import RIGHT
from npusim.host.boxes import overlaps
from npusim.report.page.contents import Contents
from npusim.report.page.numbers import short

LEAST = 0.25  # score of a box that is shown. Source: Ultralytics YOLO, predict's default ``conf``
MOST = 40  # boxes of a run; more cover the picture
Row = Sequence[float]  # class, score, left, top, right, bottom


def boxes_of(contents: Contents, real: Sequence[NDArray[Any]]) -> list[dict[str, Any]]:
    """Return the boxes of float and of quantized, best first.

    Corners are pixels of the sample's picture; of the network's input where it came as numbers.
    ``match`` is the overlap (intersection over union) with the box of the same class in the other
    run, None where that has none that overlaps by half.

    Parameters
    ----------
    contents : Contents
        With an analysis, and a detector.
    real : sequence of ndarray
        The quantized network's outputs.
    """
    detector, analysis = contents.detector, contents.analysis
    assert detector is not None
    assert analysis is not None
    picture, size = contents.picture, detector.head.size
    height, width = size if picture is None else picture.shape[:2]
    outputs = {
        "float": [analysis.values[name] for name in contents.network.outputs],
        "quantized": list(real),
    }
    if picture is None:  # the input is the picture: nothing is mapped back
        detector = type(detector)(detector.head, "stretch")
    rows = {
        run: [row for row in detector.boxes(values, (height, width)) if row[1] >= LEAST][:MOST]
        for run, values in outputs.items()
    }
    name = picture_name(contents, None if picture is not None else contents.network.inputs[0])
    matches = paired(rows["float"], rows["quantized"])
    found = []
    for run, matched in zip(rows, matches, strict=True):
        for row, match in zip(rows[run], matched, strict=True):
            label = int(row[0])
            known = contents.labels[label] if label < len(contents.labels) else f"class {label}"
            found.append(
                {
                    "box": [round(float(end), 1) for end in row[2:]],
                    "score": short(row[1]),
                    "label": known,
                    "from": run,
                    "picture": name,
                    "match": short(match),
                }
            )
    return found


def picture_name(contents: Contents, tensor: str | None = None) -> str:
    """Return what a picture is called: the sample's own, or an input as the network sees it."""
    sample = contents.sample
    if tensor is None:
        return sample or "picture"
    return f"{tensor}: {sample}" if sample else tensor


def paired(
    left: Sequence[Row], right: Sequence[Row]
) -> tuple[list[float | None], list[float | None]]:
    """Return the overlap of every box with its partner in the other list, None without one.

    A box has one partner at most: of the same class, overlapping by half; best overlaps first.
    """
    boxes = np.array([row[2:6] for row in right], np.float32).reshape(-1, 4)
    pairs = [
        (float(share), i, j)
        for i, row in enumerate(left)
        for j, share in enumerate(overlaps(np.array(row[2:6], np.float32), boxes))
        if row[0] == right[j][0] and share >= RIGHT
    ]
    one: list[float | None] = [None] * len(left)
    other: list[float | None] = [None] * len(right)
    for share, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if one[i] is None and other[j] is None:
            one[i] = other[j] = share
    return one, other


def found_of(boxes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many boxes there are, in both runs and in one only, and how well they agree."""
    runs = {run: [box for box in boxes if box["from"] == run] for run in ("float", "quantized")}
    both = [box["match"] for box in runs["float"] if box["match"] is not None]
    return {
        **{run: len(rows) for run, rows in runs.items()},
        "both": len(both),
        "mean_overlap": short(float(np.mean(both))) if both else None,
        "least_score": LEAST,
    }
