"""Boxes of a detector on the sample: float beside quantized, and which of them are the same."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npusim.evaluation.detection import RIGHT
from npusim.host.boxes import overlaps
from npusim.ir.graph import STRETCH
from npusim.report.page.contents import Contents
from npusim.report.page.numbers import class_name, short

LEAST = 0.25  # score of a box that is shown. Source: Ultralytics YOLO, predict's default ``conf``
MOST = 30  # pairs of boxes; more cover the picture
Row = Sequence[float]  # class, score, left, top, right, bottom


class Pair(NamedTuple):
    """Indices of a box in either run and their overlap; None where a run has it not."""

    left: int | None
    right: int | None
    overlap: float | None


def boxes_of(
    contents: Contents, real: Sequence[NDArray[Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the best boxes of float and of quantized, and how well all of them agree.

    Corners are pixels of the sample's picture; of the network's input where it came as numbers.
    ``match`` is the overlap (intersection over union) with the partner in the other run and
    ``there`` that one's score, None where there is no partner. Boxes that lie in the border of a
    letterbox are left out.

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
    picture, names = contents.picture, contents.network.inputs
    if picture is None:  # the input is the picture: nothing is mapped back
        detector, size = replace(detector, fit=STRETCH), detector.head.size
    else:
        size = (picture.shape[0], picture.shape[1])
    known = [analysis.values[name] for name in contents.network.outputs]
    left, right = (_seen(detector.boxes(values, size)) for values in (known, real))
    pairs = paired(left, right)
    pairs.sort(key=lambda pair: -max(row[1] for row in _rows(pair, left, right)))
    name = picture_name(contents, None if picture is not None else names[0])
    found: dict[str, list[dict[str, Any]]] = {"float": [], "quantized": []}
    for pair in pairs[:MOST]:
        scores = [row[1] for row in _rows(pair, left, right)]
        for run, rows, at, there in (
            ("float", left, pair.left, scores[-1]),
            ("quantized", right, pair.right, scores[0]),
        ):
            if at is None:
                continue
            label = int(rows[at][0])
            found[run].append(
                {
                    "box": [round(float(end), 1) for end in rows[at][2:]],
                    "score": short(rows[at][1]),
                    "label": class_name(contents.labels, label),
                    "from": run,
                    "picture": name,
                    "match": short(pair.overlap),
                    "there": None if pair.overlap is None else short(there),
                }
            )
    both = [pair.overlap for pair in pairs if pair.overlap is not None]
    return found["float"] + found["quantized"], {
        "float": len(left),
        "quantized": len(right),
        "both": len(both),
        "mean_overlap": short(float(np.mean(both))) if both else None,
        "least_score": LEAST,
    }


def _seen(rows: Sequence[Row]) -> list[Row]:
    """Return the boxes that are likely enough and lie in the picture."""
    return [row for row in rows if row[1] >= LEAST and row[4] > row[2] and row[5] > row[3]]


def _rows(pair: Pair, left: Sequence[Row], right: Sequence[Row]) -> list[Row]:
    sides = ((left, pair.left), (right, pair.right))
    return [rows[at] for rows, at in sides if at is not None]


def picture_name(contents: Contents, tensor: str | None = None) -> str:
    """Return what a picture is called: the sample's own, or an input as the network sees it."""
    sample = contents.sample
    if tensor is None:
        return sample or "picture"
    return f"{tensor}: {sample}" if sample else tensor


def paired(left: Sequence[Row], right: Sequence[Row]) -> list[Pair]:
    """Return every box of two runs, once, with its partner in the other.

    A box has one partner at most: of the same class, overlapping by half; best overlaps first.
    """
    boxes = np.array([row[2:6] for row in right], np.float32).reshape(-1, 4)
    close = [
        (float(share), i, j)
        for i, row in enumerate(left)
        for j, share in enumerate(overlaps(np.array(row[2:6], np.float32), boxes))
        if row[0] == right[j][0] and share >= RIGHT
    ]
    found: list[Pair] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for share, i, j in sorted(close, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if i not in taken[0] and j not in taken[1]:
            found.append(Pair(i, j, share))
            taken[0].add(i)
            taken[1].add(j)
    found += [Pair(i, None, None) for i in range(len(left)) if i not in taken[0]]
    return found + [Pair(None, j, None) for j in range(len(right)) if j not in taken[1]]
