"""CropAndResize of known boxes."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.made import check_made
from npusim.importers.common.ordered_conv import linear, resized
from npusim.importers.common.ordered_moves import concat, cut
from npusim.importers.tensorflow.context import TfContext, TfNode

_MOST = 256


def crop(node: TfNode, context: TfContext) -> None:
    """Interpolate each box; what lies outside of the image has the extrapolation value."""
    source = node.inputs[0]
    context.map_order(node, source)
    images, height, width, channels = context.shape(source)
    boxes = context.fixed(node, 1, "the boxes").astype(np.float32)
    index = context.ints(node, 2, "the images of the boxes")
    size = resized(node, (1, height, width, channels), context.ints(node, 3, "the size"))
    if boxes.shape != (len(index), 4) or not all(0 <= i < images for i in index):
        raise ModelImportError(
            f"boxes {boxes.shape} of images {index}", where=node.where, rule="four numbers each"
        )
    if not 0 < len(index) <= _MOST:
        raise UnsupportedForm(f"{len(index)} boxes", f"1 to {_MOST}")
    nearest = node.text("method", "bilinear") == "nearest"
    value = node.real("extrapolation_value", 0.0)
    parts = []
    for number, (box, image) in enumerate(zip(boxes, index, strict=True)):
        word = f"box{number}"
        rows, outer_rows = _weights(height, size[0], box[0], box[2], nearest)
        columns, outer_columns = _weights(width, size[1], box[1], box[3], nearest)
        piece = cut(context, node, source, {0: (image, image + 1, 1)}, part=f"{word}_image")
        piece = linear(context, node, piece, 1, rows, part=f"{word}_rows")
        piece = linear(context, node, piece, 2, columns, part=f"{word}_columns")
        outer = outer_rows[:, None] | outer_columns[None, :]
        if value and outer.any():
            fill = np.where(outer, np.float32(value), 0)[None, :, :, None]
            filled = context.constant(f"{node.name}/{word}_outside", fill)
            piece = context.binary(node, "add", piece, filled, part=word)
        parts.append(piece)
    concat(context, node, parts, 0)


def _weights(
    size: int, out: int, low: np.float32, high: np.float32, nearest: bool
) -> tuple[Array, Array]:
    """Return (out, size) weights and which output elements lie outside."""
    last = np.float32(size - 1)
    if out > 1:
        scale = (high - low) * last / np.float32(out - 1)
        places = low * last + np.arange(out, dtype=np.float32) * scale
    else:
        places = np.array([np.float32(0.5) * (low + high) * last], np.float32)
    outside = (places < 0) | (places > last)
    check_made((out, size), "the weights of a box", "")
    matrix = np.zeros((out, size), np.float32)
    for o, place in enumerate(places):
        if outside[o]:
            continue
        if nearest:
            matrix[o, int(np.floor(place + np.float32(0.5)))] = 1
            continue
        below = int(np.floor(place))
        part = np.float32(place) - np.float32(below)
        matrix[o, below] += 1 - part
        matrix[o, int(np.ceil(place))] += part
    return matrix, outside
