"""A small detector whose class scores u8 kills: they share an output with boxes of 0..320."""

import numpy as np

from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, ReshapeAttrs, TransposeAttrs
from npusim.testing import GraphBuilder

BOXES, SCORES = "boxes", "scores"


def detector(*, size: int = 16, classes: int = 3, body: int = 6):
    """Convolutions, a head of boxes and one of scores, joined, and moved to (1, places, 4 + n)."""
    rng = np.random.default_rng(5)
    b = GraphBuilder(name="detector")
    last = b.input("image", 1, 3, size, size)

    def conv(source, name, out, scale, bias, kernel=3):
        read = b.shape(source)[1]
        weights = rng.normal(size=(out, read, kernel, kernel)) * scale / np.sqrt(read * kernel**2)
        inputs = [source, b.constant(f"{name}.w", weights), b.constant(f"{name}.b", bias)]
        pad = (kernel // 2,) * 4
        return b.node("conv2d", inputs, name, Conv2dAttrs(pad=pad))

    for i in range(body):
        made = conv(last, f"body{i}", 8, 1.4 if i else 1.4 / 80, np.full(8, 0.1))
        last = b.node("relu", [made], f"act{i}")
    far = conv(last, "far", 4, 60.0, np.full(4, 120.0), 1)
    boxes = b.node("relu", [far], BOXES)
    logits = conv(last, "logits", classes, 1.5, np.full(classes, -3.0), 1)
    scores = b.node("sigmoid", [logits], SCORES)
    joined = b.node("concat", [boxes, scores], "joined", AxisAttrs(axis=1))
    places = size * size
    flat = b.node("reshape", [joined], "flat", ReshapeAttrs(shape=(1, 4 + classes, places)))
    return b.done(b.node("transpose", [flat], "output", TransposeAttrs(perm=(0, 2, 1))))


def pictures(count: int = 3, *, size: int = 16):
    """Return samples of pixels 0..255 with blobs in them."""
    rng = np.random.default_rng(6)
    rows, columns = np.mgrid[:size, :size]
    found = []
    for i in range(count):
        picture = rng.uniform(0, 40, (1, 3, size, size))
        y, x = rng.uniform(3, size - 3, 2)
        picture += 200 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
        found.append((f"s{i}", {"image": picture.astype(np.float32)}))
    return found
