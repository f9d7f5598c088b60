"""Preprocessed inputs for the models of the list, and how two classifications agree."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # npusim in a bare checkout

from npusim import assets

Feeds = dict[str, NDArray[np.float32]]


def photographs() -> list[Image.Image]:
    """Return photographs of two Python packages, in a fixed order."""
    import matplotlib
    import skimage.data

    scikit = Path(skimage.data.__file__).parent
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
    names += ("retina.jpg", "motorcycle_left.png", "motorcycle_right.png", "ihc.png")
    paths = [scikit / name for name in names]
    paths.append(Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg")
    return [Image.open(path).convert("RGB") for path in paths]


def pages() -> list[Image.Image]:
    """Return crops of a photographed page of print, with text of several sizes."""
    import skimage.data

    page = Image.open(Path(skimage.data.__file__).parent / "page.png").convert("RGB")
    width, height = page.size
    boxes = [(0, 0, width, height), (0, 0, width // 2, height), (width // 2, 0, width, height)]
    boxes += [(x, 0, x + 240, height) for x in range(0, width - 240, 48)]
    return [page.crop(box) for box in boxes]


def text_lines(width: int, height: int) -> list[Image.Image]:
    """Return the bundled upright text lines on a grey ground of the wanted size."""
    paths = [path for path, label in assets.test_images() if label == 0]
    paths += [path for path in assets.calibration_images() if "180" not in path.name]
    lines = []
    for path in paths:
        line = Image.new("RGB", (width, height), (127, 127, 127))
        line.paste(Image.open(path).convert("RGB"))
        lines.append(line)
    return lines


def samples(model: Any) -> tuple[list[Feeds], list[Feeds]]:
    """Return (calibration, test) feeds of a model of the list."""
    height, width = model.shape[2:] if model.layout == "NCHW" else model.shape[1:3]
    if "_cls_" in model.file:
        cut = [Image.open(p) for p in assets.calibration_images()]
        test = [Image.open(p) for p, _ in assets.test_images()]
        return [feed(model, i) for i in cut], [feed(model, i) for i in test]
    if "_rec_" in model.file:
        images = text_lines(width, height)
    elif "_det_" in model.file:
        images = [page.resize((width, height), Image.Resampling.BILINEAR) for page in pages()]
    else:
        images = [p.resize((width, height), Image.Resampling.BILINEAR) for p in photographs()]
    feeds = [feed(model, image) for image in images]
    return feeds[1::2], feeds[0::2]


def feed(model: Any, image: Image.Image) -> Feeds:
    """Return one preprocessed input, N, C, H, W as every graph takes pictures."""
    order = [int(word) for word in model.reorder_channel.split()]
    pixels = np.asarray(image.convert("RGB"), np.float32)[..., order]
    pixels = (pixels - np.float32(model.mean)) / np.float32(model.std)
    return {model.input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def top1_agreement(actual: NDArray[Any], expected: NDArray[Any]) -> Iterator[bool]:
    """Yield, per position, whether the largest class is the same; nothing for maps.

    Float16 can hold several classes at the same largest value: any of them agrees.
    """
    if actual.ndim == 4 and actual.shape[2:] != (1, 1):
        return
    classes = actual.shape[1] if actual.ndim == 4 else actual.shape[-1]
    for got, wanted in zip(actual.reshape(-1, classes), expected.reshape(-1, classes), strict=True):
        best = wanted == wanted.max()
        yield bool(got[best].max() == got.max())
