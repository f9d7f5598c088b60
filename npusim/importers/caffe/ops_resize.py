"""Prior boxes, which are constants, and layers that enlarge maps."""

import math

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.caffe.ops_conv import image_shape
from npusim.importers.caffe.schema import Record
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.made import check_made
from npusim.ir.attrs import Coordinates, ResizeAttrs, ResizeMode, SliceAttrs


@converter("PriorBox")
def prior_box(layer: CaffeLayer, context: CaffeContext) -> None:
    """Boxes around every cell and their variances, (1, 2, cells * boxes * 4)."""
    needs(layer, 2)
    record = layer.parameters("prior_box_param")
    cells = image_shape(layer, context, layer.inputs[0])[2:]
    image = image_shape(layer, context, layer.inputs[1])[2:]
    if record.has("img_h") or record.has("img_w"):
        image = (record.whole("img_h"), record.whole("img_w"))
    elif record.whole("img_size"):
        image = (record.whole("img_size"),) * 2
    sizes = _sizes(layer, record)
    check_made((*cells, len(sizes), 4), "the boxes", layer.where)
    boxes = _boxes(record, cells, image, sizes)
    variance = record.reals("variance") or (0.1,)
    if len(variance) not in (1, 4) or min(variance) <= 0:
        raise ModelImportError(
            f"variance is {list(variance)}", where=layer.where, rule="one or four, positive"
        )
    rows = np.resize(np.array(variance, np.float32), boxes.size)
    context.values[layer.outputs[0]] = np.stack([boxes, rows])[None]


def _sizes(layer: CaffeLayer, record: Record) -> list[tuple[float, float]]:
    """Return width and height of the boxes of a cell in the order of Caffe."""
    given = (*record.reals("min_size"), *record.reals("max_size"))
    if not all(map(math.isfinite, given)):
        raise ModelImportError(f"sizes {given}", where=layer.where, rule="finite numbers")
    # Caffe keeps min_size and max_size in whole numbers while it makes boxes (measured)
    small = [np.float32(int(size)) for size in record.reals("min_size")]
    large = [np.float32(int(size)) for size in record.reals("max_size")]
    if not small or min(record.reals("min_size")) <= 0:
        raise ModelImportError("min_size is missing", where=layer.where, rule="positive sizes")
    pairs = zip(record.reals("min_size"), record.reals("max_size"), strict=False)
    if large and (len(large) != len(small) or any(b <= a for a, b in pairs)):
        raise ModelImportError(
            f"min_size {record.reals('min_size')} and max_size {record.reals('max_size')}",
            where=layer.where,
            rule="one maximum above each minimum, or none",
        )
    ratios: list[float] = []
    for ratio in record.reals("aspect_ratio"):
        if ratio <= 0:
            raise ModelImportError(f"aspect_ratio {ratio}", where=layer.where, rule="positive")
        if any(abs(ratio - known) < 1e-6 for known in (1.0, *ratios)):
            continue
        ratios.append(ratio)
        if record.flag("flip", True):
            ratios.append(1.0 / ratio)
    sizes = []
    for index, size in enumerate(small):
        sizes.append((float(size), float(size)))
        if large:
            middle = np.sqrt(size * large[index])
            sizes.append((float(middle), float(middle)))
        roots = [np.sqrt(np.float32(ratio)) for ratio in ratios]
        sizes += [(float(size * root), float(size / root)) for root in roots]
    return sizes


def _boxes(
    record: Record,
    cells: tuple[int, ...],
    image: tuple[int, ...],
    sizes: list[tuple[float, float]],
) -> Array:
    (rows, columns), (height, width) = cells, (np.float32(n) for n in image)
    step_h, step_w = record.real("step_h"), record.real("step_w")
    if not (record.has("step_h") or record.has("step_w")):
        step_h = step_w = record.real("step")
    if step_h == 0 or step_w == 0:
        step_h, step_w = float(height / np.float32(rows)), float(width / np.float32(columns))
    offset = np.float32(record.real("offset", 0.5))
    y = (np.arange(rows, dtype=np.float32) + offset) * np.float32(step_h)
    x = (np.arange(columns, dtype=np.float32) + offset) * np.float32(step_w)
    half = np.array(sizes, np.float32) / 2
    boxes = np.empty((rows, columns, len(sizes), 4), np.float32)
    boxes[..., 0] = (x[None, :, None] - half[:, 0]) / width
    boxes[..., 1] = (y[:, None, None] - half[:, 1]) / height
    boxes[..., 2] = (x[None, :, None] + half[:, 0]) / width
    boxes[..., 3] = (y[:, None, None] + half[:, 1]) / height
    return (np.clip(boxes, 0, 1) if record.flag("clip") else boxes).reshape(-1)


@converter("Interp")
def interp(layer: CaffeLayer, context: CaffeContext) -> None:
    """Bilinear resize with equal corners, after cutting negative pads."""
    needs(layer, (1, 2))
    record = layer.parameters("interp_param")
    n, channels, *sizes = image_shape(layer, context, layer.inputs[0])
    front, back = record.whole("pad_beg"), record.whole("pad_end")
    if front > 0 or back > 0 or min(sizes) + front + back < 1:
        raise ModelImportError(
            f"pad_beg {front} and pad_end {back}", where=layer.where, rule="cuts: zero or negative"
        )
    source = layer.inputs[0]
    if front or back:
        begin, end = (0, 0, -front, -front), (n, channels, *(size + back for size in sizes))
        attrs = SliceAttrs(begin=begin, end=end, step=(1, 1, 1, 1))
        source = context.emit(layer, "slice", (source,), attrs, part="cut")
    target = [size + front + back for size in sizes]
    shrink, zoom = record.whole("shrink_factor", 1), record.whole("zoom_factor", 1)
    if len(layer.inputs) == 2:
        target = list(image_shape(layer, context, layer.inputs[1])[2:])
    elif record.has("height") and record.has("width"):
        target = [record.whole("height"), record.whole("width")]
    elif record.has("shrink_factor") or record.has("zoom_factor"):
        target = [(size - 1) // max(shrink, 1) + 1 for size in target]
        target = [size + (size - 1) * (zoom - 1) for size in target]
    else:
        raise ModelImportError(
            "it has no size", where=layer.where, rule="height and width, or a factor"
        )
    _resize(layer, context, source, target, ResizeMode.BILINEAR, Coordinates.ALIGN_CORNERS)


@converter("Upsample")
def upsample(layer: CaffeLayer, context: CaffeContext) -> None:
    """Repeat every cell; the form with a mask (unpooling) is not there."""
    if len(layer.inputs) == 2:
        raise UnsupportedForm("it unpools by a mask", "use Upsample with one bottom and scale")
    needs(layer, 1)
    record = layer.parameters("upsample_param")
    sizes = image_shape(layer, context, layer.inputs[0])[2:]
    factor = record.whole("scale", 2)
    factors = (record.whole("scale_h", factor), record.whole("scale_w", factor))
    target = [size * by for size, by in zip(sizes, factors, strict=True)]
    if record.has("upsample_h") and record.has("upsample_w"):
        target = [record.whole("upsample_h"), record.whole("upsample_w")]
    _resize(layer, context, layer.inputs[0], target, ResizeMode.NEAREST, Coordinates.ASYMMETRIC)


def _resize(
    layer: CaffeLayer,
    context: CaffeContext,
    source: str,
    target: list[int],
    mode: ResizeMode,
    rule: Coordinates,
) -> None:
    if tuple(target) == context.shape(source)[2:]:
        context.alias(layer.outputs[0], source)
        return
    attrs = ResizeAttrs(size=(target[0], target[1]), mode=mode, coordinates=rule)
    context.emit(layer, "resize", (source,), attrs)
