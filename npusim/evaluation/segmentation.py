"""Segmentation: the class of every pixel, and the mean intersection over union of the classes."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ConfigError, InputError
from npusim.ir.graph import Graph
from npusim.quantization.images import placement
from npusim.quantization.input_text import fit_of
from npusim.reading.pictures import DECODE_ERRORS, open_picture

SEGMENTATION = "segmentation"
MIOU = "mIoU"
IGNORED = 255


@dataclass(frozen=True, slots=True)
class SegmentationMeasure:
    """Compares the class of every pixel with a mask.

    Parameters
    ----------
    size : (height, width)
        Of the network's input.
    fit : str
        How pictures get it.
    classes : int
        Score maps of the first output; 0 where it holds class numbers.
    offset : int
        Added to the mask's numbers.
    """

    size: tuple[int, int]
    fit: str
    classes: int
    offset: int = 0

    def __call__(self, outputs: Sequence[NDArray[np.float32]], truth: str) -> dict[str, Any]:
        """Return ``iou`` (mean over the classes in picture or mask) and ``counts``.

        Counts are class -> pixels in both, pixels in either.
        """
        mask = _mask(truth)
        value = outputs[0]
        labels = value[0].argmax(0) if self.classes else value.reshape(value.shape[-2:])
        labels = self._in_picture(labels.astype(np.int64), mask.shape)
        seen = mask != IGNORED
        found, wanted = labels[seen], mask[seen].astype(np.int64) + self.offset
        if self.classes and wanted.size and wanted.max() >= self.classes:
            raise InputError(
                f"the mask holds class {int(wanted.max())}",
                rule=f"the network has {self.classes} classes, numbered from 0; {IGNORED} is left "
                "out",
                remedy=f"check {words.say('label_offset')}",
            )
        counts = {}
        for label in np.union1d(found, wanted):
            here, there = found == label, wanted == label
            counts[str(int(label))] = [int((here & there).sum()), int((here | there).sum())]
        shares = [both / either for both, either in counts.values()]
        return {"iou": float(np.mean(shares)) if shares else 1.0, "counts": counts}

    def _in_picture(self, labels: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the nearest label of every pixel of the mask."""
        place = placement((shape[0], shape[1]), self.size, self.fit)
        axes = []
        for pixels, length, first, inside, cells in zip(
            shape,
            (place.height, place.width),
            (place.top, place.left),
            self.size,
            labels.shape,
            strict=True,
        ):
            at = first + (np.arange(pixels) + 0.5) * length / pixels  # in pixels of the input
            axes.append(np.clip((at * cells / inside).astype(np.int64), 0, cells - 1))
        found: NDArray[np.int64] = labels[np.ix_(*axes)]
        return found


def segmentation_measure(graph: Graph, offset: int) -> SegmentationMeasure:
    """Return what is measured on each picture.

    Raises
    ------
    ConfigError
        When the first output is neither score maps (1, classes, H, W) nor a map of class numbers.
    """
    spec = graph.spec(graph.outputs[0])
    shape = spec.shape
    maps = len(shape) == 4 and shape[1] > 1
    numbers = len(shape) >= 2 and all(size == 1 for size in shape[:-2]) and not maps
    picture = len(graph.inputs) == 1 and len(graph.spec(graph.inputs[0]).shape) == 4
    if not picture or not (maps or (numbers and min(shape[-2:]) > 1)):
        raise ConfigError(
            f"the first output {graph.outputs[0]!r} has shape {shape}",
            where=f"{words.say('task')} {SEGMENTATION}",
            rule="a picture in; score maps (1, classes, height, width) or a map of class numbers "
            "out",
            remedy=f"choose another {words.say('task')}, or end the model at its score maps",
        )
    height, width = graph.spec(graph.inputs[0]).shape[2:]
    fit = fit_of(graph.preprocess.get(graph.inputs[0]))
    return SegmentationMeasure((height, width), fit, shape[1] if maps else 0, offset)


def mean_iou(counts: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, float]:
    """Return the mean over classes of the set's pixels in both over those in either."""
    both: dict[str, int] = {}
    either: dict[str, int] = {}
    for row in counts:
        for label, (here, all_) in row.items():
            both[label] = both.get(label, 0) + here
            either[label] = either.get(label, 0) + all_
    shares = [both[label] / either[label] for label in both if either[label]]
    return {MIOU: float(np.mean(shares)) if shares else 0.0}


def _mask(truth: str) -> NDArray[np.uint8]:
    try:
        with open_picture(BytesIO(b64decode(truth)), ("PNG",)) as image:
            if image.mode not in ("P", "L", "1"):
                raise InputError(
                    f"a mask of mode {image.mode}",
                    rule="one number per pixel: grey or palette",
                )
            return np.array(image, np.uint8)
    except DECODE_ERRORS as error:
        raise InputError(f"the mask cannot be read: {error}") from error
