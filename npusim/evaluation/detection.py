"""Detection: boxes of each picture, and their mean average precision over the set."""

import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.analysis.parts import source_op
from npusim.errors import UNREADABLE, ConfigError
from npusim.evaluation.decoders import DECODERS, Head, decode
from npusim.evaluation.labelled import Item
from npusim.extras import require
from npusim.host.boxes import overlaps, suppressed
from npusim.ir.graph import Graph
from npusim.quantization.images import placement
from npusim.quantization.input_text import fit_of
from npusim.reading import arrays
from npusim.reading.files import read_text

DETECTION = "detection"
MAP50, MAP = "mAP@.5", "mAP@.5:.95"
LEAST_SCORE = 0.001  # a precision-recall curve needs the weak ones; as YOLO's and COCO's scripts
OVERLAP = 0.6  # boxes of a class that overlap more are one; as YOLO's validation
CANDIDATES, KEPT = 2000, 100  # before suppression, and after it (COCO's maxDets)
MOST_PRIORS = 1 << 26  # bytes
RIGHT = 0.5  # overlap of a box that was found
NOTHING = 0.01  # mAP@.5 of a float network that finds next to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """How a network's outputs become boxes.

    Attributes
    ----------
    decoder : str
        Key of ``DECODERS``.
    anchors, priors, offset
        As in ``Head``.
    """

    decoder: str
    anchors: tuple[float, ...] = ()
    priors: tuple[tuple[float, ...], ...] = ()
    offset: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no decoder.

        Raises
        ------
        ConfigError
            Naming those there are.
        """
        if self.decoder not in DECODERS:
            raise ConfigError(
                f"decoder {self.decoder!r}" if self.decoder else "no decoder is given",
                where=words.say("decoder"),
                rule=f"one of {', '.join(DECODERS)}: what the outputs of this detector mean",
            )
        if len(self.anchors) % 2:
            raise ConfigError(
                f"{len(self.anchors)} numbers",
                where=words.say("anchors"),
                rule="width and height of each anchor, those of the finest grid first",
            )

    def head(self, graph: Graph) -> Head:
        """Return what the decoder has to know of a network."""
        if len(graph.inputs) != 1 or len(graph.spec(graph.inputs[0]).shape) != 4:
            raise ConfigError(
                f"the network has the inputs {', '.join(map(repr, graph.inputs))}",
                where=f"{words.say('task')} {DETECTION}",
                rule="one input that takes a picture",
            )
        height, width = graph.spec(graph.inputs[0]).shape[2:]
        return Head(
            decoder=self.decoder,
            size=(height, width),
            ops=tuple(source_op(graph, name) for name in graph.outputs),
            anchors=self.anchors,
            priors=self.priors,
            offset=self.offset,
        )

    def measure(self, graph: Graph) -> "DetectorMeasure":
        """Return what is measured on each picture."""
        return DetectorMeasure(self.head(graph), fit_of(graph.preprocess.get(graph.inputs[0])))


@dataclass(frozen=True, slots=True)
class DetectorMeasure:
    """Finds the boxes of a picture and how sure the network is of the right ones."""

    head: Head
    fit: str

    def __call__(self, outputs: Sequence[NDArray[np.float32]], truth: str) -> dict[str, Any]:
        """Return ``found`` (mean score of the true boxes, 0 for missed ones) and ``boxes``.

        Boxes are rows of class, score, left, top, right, bottom in pixels of the picture.
        """
        known = json.loads(truth)
        rows = self.boxes(outputs, (known["size"][0], known["size"][1]))
        return {"found": _found(rows, known["boxes"]), "boxes": rows}

    def boxes(self, outputs: Sequence[NDArray[Any]], size: tuple[int, int]) -> list[list[float]]:
        """Return rows of class, score, left, top, right, bottom, best first.

        Parameters
        ----------
        outputs : sequence of ndarray
            Of the network, one picture.
        size : (height, width)
            Of the picture, whose pixels corners are given in.
        """
        boxes, scores = decode(outputs, self.head)
        return kept_boxes(self._in_picture(boxes, size), scores)

    def _in_picture(self, boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        place = placement(size, self.head.size, self.fit)
        offset = np.array([place.left, place.top] * 2)
        scale = np.array([size[1] / place.width, size[0] / place.height] * 2)
        ends = np.array([size[1], size[0]] * 2)
        found: NDArray[np.float64] = np.clip((boxes - offset) * scale, 0, ends)
        return found


def kept_boxes(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> list[list[float]]:
    """Return rows of class, score and corners after suppression class by class, best first."""
    places, classes = np.nonzero(scores > LEAST_SCORE)
    values = scores[places, classes]
    order = np.argsort(-values, kind="stable")[:CANDIDATES]
    places, classes, values = places[order], classes[order], values[order]
    corners = boxes[places].astype(np.float32)
    kept = [
        int(members[i])
        for label in np.unique(classes)
        if (members := np.flatnonzero(classes == label)).size
        for i in suppressed(corners[members], np.arange(members.size), OVERLAP)
    ]
    return [
        [int(classes[i]), float(values[i]), *(float(end) for end in corners[i])]
        for i in sorted(kept)[:KEPT]
    ]


def _found(rows: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> float:
    """Return the mean score of the true boxes; without any, 1 less the strongest false one."""
    wanted = [box for box in truth if not box[5]]
    if not wanted:
        return 1.0 - max((row[1] for row in rows), default=0.0)
    table = np.array(rows, np.float32).reshape(-1, 6)
    best = []
    for label, *corners, _ in wanted:
        own = table[table[:, 0] == label]
        hit = overlaps(np.array(corners, np.float32), own[:, 2:]) >= RIGHT
        best.append(float(own[hit, 1].max(initial=0.0)))
    return float(np.mean(best))


def average_precision(
    items: Iterable[Item], found: Mapping[int, Sequence[Sequence[float]]]
) -> dict[str, float]:
    """Return the mean average precision, by COCO's own code.

    Parameters
    ----------
    items : iterable of Item
        Pictures with their truth; those without an entry in ``found`` are left out.
    found : mapping
        Index of a picture -> rows of class, score, left, top, right, bottom.

    Raises
    ------
    MissingExtraError
        When pycocotools is not installed.
    """
    purpose = "mean average precision"
    coco = require("pycocotools.coco", extra="detection", purpose=purpose)
    evaluator = require("pycocotools.cocoeval", extra="detection", purpose=purpose)
    truths = {item.index: json.loads(item.truth) for item in items if item.index in found}
    rows = [(i, box) for i, known in truths.items() for box in known["boxes"]]
    labels = sorted({int(box[0]) for _, box in rows})
    if not any(not box[5] for _, box in rows):
        return {MAP50: 0.0, MAP: 0.0}
    notes = [
        {
            "id": n,
            "image_id": i,
            "category_id": int(box[0]),
            "iscrowd": int(box[5]),
            **_box(box[1:]),
        }
        for n, (i, box) in enumerate(rows, start=1)
    ]
    results = [
        {"image_id": i, "category_id": int(row[0]), "score": row[1], **_box(row[2:])}
        for i, boxes in found.items()
        for row in boxes
        if int(row[0]) in labels
    ]
    if not results:
        return {MAP50: 0.0, MAP: 0.0}
    with redirect_stdout(StringIO()):  # it prints its progress
        known = coco.COCO()
        known.dataset = {
            "info": {},
            "images": [
                {"id": i, "height": t["size"][0], "width": t["size"][1]} for i, t in truths.items()
            ],
            "annotations": notes,
            "categories": [{"id": label, "name": str(label)} for label in labels],
        }
        known.createIndex()
        run = evaluator.COCOeval(known, known.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
    # overlap thresholds, recalls, classes, sizes (0: all), numbers of boxes (last: 100)
    table = run.eval["precision"][:, :, :, 0, -1]
    return {MAP50: _mean(table[:1]), MAP: _mean(table)}


def _mean(table: NDArray[np.float64]) -> float:
    known = table[table > -1]  # classes without a box have none
    return float(known.mean()) if known.size else 0.0


def _box(corners: Sequence[float]) -> dict[str, Any]:
    left, top, right, bottom = corners[:4]
    return {
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
    }


def detector_of(
    decoder: str,
    *,
    anchors: str | Sequence[float] = (),
    priors: str | Path | Sequence[Sequence[float]] = (),
    offset: int = 0,
) -> Detector:
    """Return a detector from numbers, text or files.

    Parameters
    ----------
    decoder : str
    anchors : str or sequence of float
        Numbers, or text of numbers between commas.
    priors : path or sequence
        A npy or text file of (n, 4) or (4, n) numbers.
    offset : int

    Raises
    ------
    ConfigError
        When a word or a file cannot be used.
    """
    made = Detector(decoder=decoder)
    if isinstance(anchors, str):
        try:
            anchors = [float(word) for word in anchors.replace(",", " ").split()]
        except ValueError:
            raise ConfigError(
                f"value {anchors!r}", where=words.say("anchors"), rule="numbers, comma separated"
            ) from None
    if isinstance(priors, str | Path):
        table = _priors(Path(priors))
    else:
        try:
            table = np.asarray(priors, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"{error}", where=words.say("priors"), rule="(n, 4) or (4, n) numbers"
            ) from error
    rows = _rows(table, words.say("priors")) if table.size else ()
    return replace(
        made,
        anchors=tuple(float(number) for number in anchors),
        priors=tuple(tuple(float(number) for number in row) for row in rows),
        offset=offset,
    )


def _priors(path: Path) -> NDArray[np.float64]:
    try:
        if path.suffix == ".npy":
            table = arrays.read_npy(path, MOST_PRIORS)
        else:
            text = read_text(path, ConfigError, most=MOST_PRIORS, rule="rows of numbers")
            table = np.loadtxt(StringIO(text))
    except arrays.DAMAGE as error:
        raise ConfigError(
            f"priors cannot be read: {error}", where=str(path), remedy=UNREADABLE
        ) from error
    return _rows(table.astype(np.float64), str(path))


def _rows(table: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    table = np.atleast_2d(table)
    if table.ndim != 2 or 4 not in table.shape:
        raise ConfigError(
            f"an array of shape {table.shape}", where=where, rule="(n, 4) or (4, n) numbers"
        )
    return table if table.shape[1] == 4 else table.T


def _is_given(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.size)
    return value is not None and not (isinstance(value, Sized) and not len(value))


def refuse_boxes_elsewhere(task: str, **given: object) -> None:
    """Refuse what says how boxes are read where the task has none: it would have no effect.

    Parameters
    ----------
    task : str
    given : by parameter
        Empty where the user said nothing.

    Raises
    ------
    ConfigError
    """
    said = [words.say(name) for name, value in given.items() if _is_given(value)]
    if task != DETECTION and said:
        raise ConfigError(
            f"{' and '.join(said)} would have no effect",
            where=words.say("task"),
            rule=f"only {DETECTION} has boxes",
            remedy=f"leave it out, or give the task {DETECTION}",
        )
