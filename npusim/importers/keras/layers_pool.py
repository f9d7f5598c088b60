"""Pooling, resizing, padding and cropping."""

from collections.abc import Sequence
from typing import Any

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.ordered_conv import linear, padding, pool2d, resize
from npusim.importers.common.ordered_math import reduce
from npusim.importers.common.ordered_moves import cut, pad
from npusim.importers.common.resize_weights import area_matrix, cubic_matrix
from npusim.importers.keras.context import (
    KerasContext,
    KerasNode,
    converter,
    needs_rank,
    one_input,
)
from npusim.importers.keras.maps import FeatureMap
from npusim.ir.attrs import Coordinates, PoolKind, ResizeMode


@converter("MaxPooling2D", "AveragePooling2D", "MaxPooling1D", "AveragePooling1D")
def pool(node: KerasNode, context: KerasContext) -> None:
    """Window and stride; padding never wins and does not count."""
    image = FeatureMap(node, context)
    kernel = image.across(node.pair("pool_size", (2, 2)))
    stride = kernel if node.config.get("strides") is None else image.across(node.pair("strides"))
    if min(*kernel, *stride) < 1:
        raise ModelImportError(f"window {kernel}, strides {stride}", where=node.where, rule="1 up")
    pads = padding(node.text("padding", "valid").upper(), image.sizes, kernel, stride)
    kind = PoolKind.MAX if node.type.startswith("Max") else PoolKind.AVG
    part = {"part": "row_pooled"} if image.one else {}
    made = pool2d(
        context, node, image.source, kind, kernel, stride, pads, order=image.order, **part
    )
    image.back(made)


@converter(
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
)  # fmt: skip
def global_pool(node: KerasNode, context: KerasContext) -> None:
    """Reduce all axes between batch and channels, or behind the channels."""
    source = one_input(node)
    rank = context.rank(source)
    first = not context.channels_last(node, source)
    axes = list(range(2, rank)) if first else list(range(1, rank - 1))
    op = "reduce_mean" if "Average" in node.type else "reduce_max"
    reduce(context, node, op, source, axes, keep=node.flag("keepdims", False))


def _pairs(node: KerasNode, word: str, default: int, axes: int) -> list[tuple[int, int]]:
    """Return (before, behind) of each spatial axis."""
    value: Any = node.config.get(word, default)
    if isinstance(value, int):
        return [(value, value)] * axes
    if isinstance(value, list | tuple) and len(value) == axes:
        found = [(v, v) if isinstance(v, int) else tuple(v) for v in value]
        if axes == 1 and isinstance(value[0], int):
            found = [(value[0], value[0])]
        if all(len(p) == 2 and min(p) >= 0 for p in found):
            return [(int(a), int(b)) for a, b in found]
    if axes == 1 and isinstance(value, list | tuple) and len(value) == 2:
        return [(int(value[0]), int(value[1]))]
    raise node.wrong(word, "a number, a number per axis, or a pair per axis")


def _spatial(node: KerasNode, context: KerasContext, source: str) -> list[int]:
    """Return the axes between batch and channels."""
    count = int(node.type[-2])
    needs_rank(node, context, source, count + 2)
    start = 1 if context.channels_last(node, source) else 2
    return list(range(start, start + count))


@converter("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def zero_padding(node: KerasNode, context: KerasContext) -> None:
    """Zeros around."""
    source = one_input(node)
    axes = _spatial(node, context, source)
    pairs = dict(zip(axes, _pairs(node, "padding", 1, len(axes)), strict=True))
    pad(context, node, source, [pairs.get(i, (0, 0)) for i in range(context.rank(source))])


@converter("Cropping1D", "Cropping2D", "Cropping3D")
def cropping(node: KerasNode, context: KerasContext) -> None:
    """Cut off borders."""
    source = one_input(node)
    shape, axes = context.shape(source), _spatial(node, context, source)
    pairs = _pairs(node, "cropping", 0 if len(axes) > 1 else 1, len(axes))
    cuts = {a: (p[0], shape[a] - p[1], 1) for a, p in zip(axes, pairs, strict=True)}
    cut(context, node, source, cuts)


@converter("CenterCrop")
def center_crop(node: KerasNode, context: KerasContext) -> None:
    """Cut out the middle; pictures that are too small are refused."""
    source = one_input(node)
    needs_rank(node, context, source, 4)
    shape = context.shape(source)
    size = node.whole("height"), node.whole("width")
    if not all(0 < n <= have for n, have in zip(size, shape[1:3], strict=True)):
        raise UnsupportedForm(f"{size} of {shape}", "resize in front")
    cuts = {
        axis: ((shape[axis] - n) // 2, (shape[axis] - n) // 2 + n, 1)
        for axis, n in zip((1, 2), size, strict=True)
    }
    cut(context, node, source, cuts)


@converter("UpSampling2D", "UpSampling1D")
def upsampling(node: KerasNode, context: KerasContext) -> None:
    """Repeat every cell, or interpolate with half pixel centres."""
    source = one_input(node)
    if node.type == "UpSampling1D":
        needs_rank(node, context, source, 3)
        factor = node.whole("size", 2)
        batch, steps, channels = context.shape(source)
        wide = context.reshape(node, source, (batch, steps, 1, channels), part="wide")
        out = _sized(node, context, wide, (steps * factor, 1), "nearest", part="repeated")
        context.reshape(node, out, (batch, steps * factor, channels))
        return
    needs_rank(node, context, source, 4)
    factors = node.pair("size", (2, 2))
    if min(factors) < 1:
        raise node.wrong("size", "positive factors")
    mode = node.text("interpolation", "nearest")
    if context.channels_last(node, source):
        sizes = [n * f for n, f in zip(context.shape(source)[1:3], factors, strict=True)]
        _sized(node, context, source, sizes, mode)
        return
    turned = context.unused(f"{node.outputs[0]}/turned")
    context.alias(turned, source, (0, 2, 3, 1))
    sizes = [n * f for n, f in zip(context.shape(turned)[1:3], factors, strict=True)]
    out = _sized(node, context, turned, sizes, mode, part="resized")
    context.alias(node.outputs[0], out, (0, 3, 1, 2))


def _sized(
    node: KerasNode,
    context: KerasContext,
    source: str,
    size: Sequence[int],
    mode: str,
    *,
    part: str = "",
) -> str:
    half = Coordinates.HALF_PIXEL
    if mode in ("nearest", "bilinear"):
        kind = ResizeMode.NEAREST if mode == "nearest" else ResizeMode.BILINEAR
        return resize(context, node, source, size, kind, half, part=part)
    if mode not in ("bicubic", "area"):
        raise UnsupportedForm(f"interpolation {mode!r}", "use nearest, bilinear or bicubic")
    make = cubic_matrix if mode == "bicubic" else area_matrix
    shape = context.shape(source)
    rows, columns = (make(n, int(out), half) for n, out in zip(shape[1:3], size, strict=True))
    middle = linear(context, node, source, 1, rows, part=f"{part}rows")
    return linear(context, node, middle, 2, columns, part=part)


@converter("Resizing")
def resizing(node: KerasNode, context: KerasContext) -> None:
    """Resize to a height and width with half pixel centres."""
    source = one_input(node)
    needs_rank(node, context, source, 4)
    if node.flag("crop_to_aspect_ratio", False) or node.flag("pad_to_aspect_ratio", False):
        raise UnsupportedForm("it keeps the aspect ratio", "crop in front")
    if node.flag("antialias", False):
        raise UnsupportedForm("antialias", "resize without it")
    size = node.whole("height"), node.whole("width")
    _sized(node, context, source, size, node.text("interpolation", "bilinear"))
