"""What the network gave, float beside quantized, and the pictures it saw."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npusim.analysis.analyze import AnalysedLayer
from npusim.ir.graph import Graph, Preprocess
from npusim.report.page.boxes import boxes_of, picture_name
from npusim.report.page.contents import Contents
from npusim.report.page.numbers import class_name, cosine, decibel, short

Array = NDArray[Any]
CLASSES = 5
LARGEST_PICTURE = 320  # pixels of the longer side


def outputs_of(contents: Contents) -> list[dict[str, Any]]:
    """Return every output by its parts, with its first classes where it is a vector of scores."""
    analysis, graph = contents.analysis, contents.network
    if analysis is None or not isinstance(graph, Graph):
        return []
    given = {output.tensor: output for output in analysis.entire.layers}
    rows = {row.tensor: row for row in analysis.layers}
    found: list[dict[str, Any]] = []
    for name in graph.outputs:
        output, known = given.get(name), analysis.values.get(name)
        if output is None or known is None:
            continue
        found.append(
            {
                "name": name,
                "parts": parts_of(rows[name]),
                "classes": classes_of(known, output.real, contents.labels),
                "boxes": None,
            }
        )
    if contents.detector is not None and len(found) == len(graph.outputs):
        # they are of all outputs together
        boxes, counts = boxes_of(contents, [given[name].real for name in graph.outputs])
        found[0] |= {"boxes": boxes, "found": counts}
    return found


def parts_of(row: AnalysedLayer) -> list[dict[str, Any]]:
    """Return what an output is made of, measured apart; one part where all has one unit."""
    parts = [(part.name, part.difference) for part in row.parts]
    if not parts and row.entire is not None:
        parts = [(row.tensor, row.entire)]
    return [
        {
            "name": name,
            "channels": None,
            "sqnr_db": decibel(found.sqnr_db),
            "cosine": cosine(found.cosine),
            "max_error": short(found.max_abs),
        }
        for name, found in parts
    ]


def classes_of(known: Array, real: Array, labels: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the first classes of float and quantized; None for what is no vector of scores."""
    if known.size != max(known.shape, default=0) or known.size < 2 or known.ndim < 2:
        return None
    left, right = known.reshape(-1), real.reshape(-1)
    if not np.isfinite(left).all():
        return None
    first = np.argsort(-left, kind="stable")[:CLASSES]
    also = [i for i in np.argsort(-right, kind="stable")[:CLASSES] if i not in first]
    return [
        {
            "name": class_name(labels, int(i)),
            "float": short(float(left[i])),
            "quantized": short(float(right[i])),
        }
        for i in (*first, *also)
    ]


def pictures_of(contents: Contents) -> list[dict[str, Any]]:
    """Return what went into the inputs that are pictures, as the network sees it.

    Means, stds and the order of channels are taken back; data that is no picture (npy files of
    other values) is stretched from its smallest to its largest value.
    """
    graph = contents.network
    how: Mapping[str, Preprocess] = graph.preprocess if isinstance(graph, Graph) else {}
    found = []
    for name, value in contents.feeds.items():
        pixels = pixels_of(np.asarray(value), how.get(name))
        if pixels is not None:
            found.append(_shown(picture_name(contents, name), pixels))
    if contents.detector is not None and contents.picture is not None:
        found.append(_shown(picture_name(contents), contents.picture))
    return found


def _shown(name: str, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """Return a picture as the page holds it; ``pixels`` is the (width, height) it is made from."""
    picture = Image.fromarray(pixels)
    size = [picture.width, picture.height]
    picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    data, kind = _encoded(picture)
    return {
        "name": name,
        "data": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        "width": picture.width,
        "height": picture.height,
        "pixels": size,
    }


def _encoded(picture: Image.Image) -> tuple[bytes, str]:
    """Return the smaller of PNG and JPEG."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    picture.save(jpeg, "JPEG", quality=85)
    small = jpeg.tell() < png.tell()
    return (jpeg if small else png).getvalue(), "jpeg" if small else "png"


def pixels_of(value: Array, how: Preprocess | None) -> NDArray[np.uint8] | None:
    """Return (H, W, 3) or (H, W) pixels of an input N, C, H, W; None for other shapes."""
    if value.ndim != 4 or value.shape[1] not in (1, 3) or not value.size:
        return None
    real = value[0].astype(np.float64)
    if not np.isfinite(real).all():
        return None
    count = len(real)
    if how is not None:
        std = np.asarray(how.std or (1.0,), np.float64).reshape(-1, 1, 1)
        mean = np.asarray(how.mean or (0.0,), np.float64).reshape(-1, 1, 1)
        real = real * std + mean
        if len(how.reorder) == count:
            back = np.empty_like(real)
            back[list(how.reorder)] = real
            real = back
    low, high = float(real.min()), float(real.max())
    if low < -1.0 or high > 256.0 or high - low < 4.0:
        real = (real - low) * (255.0 / (high - low)) if high > low else np.zeros_like(real)
    pixels: NDArray[np.uint8] = real.round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[0] if count == 1 else pixels.transpose(1, 2, 0))
