"""Operators that enlarge maps."""

import math

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import Coordinates, Deconv2dAttrs, ResizeAttrs, ResizeMode
from npusim.ir.tensor import Shape


def _map(node: MxNode, context: MxContext, name: str) -> Shape:
    shape = context.shape(name)
    if len(shape) != 4:
        raise UnsupportedForm(f"input {shape} has {len(shape)} axes", "give (N, C, H, W)")
    return shape


@converter("UpSampling")
def upsampling(node: MxNode, context: MxContext) -> None:
    """Repeat cells, of several inputs to one size, or interpolate with a stored kernel."""
    if not node.inputs:
        raise ModelImportError("it has no input", where=node.where, rule="at least one")
    shape, scale = _map(node, context, node.inputs[0]), node.attributes.whole("scale")
    kind = node.attributes.text("sample_type")
    if scale < 1 or kind not in ("nearest", "bilinear"):
        raise ModelImportError(
            f"scale {scale}, sample_type {kind!r}",
            where=node.where,
            rule="a positive scale; nearest or bilinear",
        )
    if kind == "bilinear":
        _with_kernel(node, context, shape, scale)
        return
    target = (shape[2] * scale, shape[3] * scale)
    alone, parts = len(node.inputs) == 1, []
    for index, name in enumerate(node.inputs):
        own = _map(node, context, name)
        if target[0] % own[2] or target[1] % own[3]:
            raise ModelImportError(
                f"input {own} becomes {target}", where=node.where, rule="a whole factor"
            )
        part = "" if alone else f"large_{index}"
        parts.append(_resize(node, context, name, target, ResizeMode.NEAREST, part=part))
    mode = node.attributes.text("multi_input_mode", "concat")
    if alone:
        return
    if mode == "concat":
        context.joined(node, parts)
        return
    out = parts[0]
    for index, name in enumerate(parts[1:], start=1):
        part = "" if index == len(parts) - 1 else f"sum_{index}"
        out = context.binary(node, "add", out, name, part=part)


def _with_kernel(node: MxNode, context: MxContext, shape: Shape, scale: int) -> None:
    """Convolve each channel transposed."""
    needs(node, 2)
    size, pad = 2 * scale - scale % 2, math.ceil((scale - 1) / 2)
    filters = node.attributes.whole("num_filter", shape[1])
    if filters != shape[1]:
        raise ModelImportError(
            f"num_filter is {filters} for {shape[1]} channels", where=node.where, rule="one each"
        )
    kernel = context.parameter(node, 1, (filters, 1, size, size))
    zeros = context.constant(f"{node.name}/bias", kernel[:, 0, 0, 0] * 0)
    weights = context.constant(f"{node.name}/weights", kernel)
    attrs = Deconv2dAttrs(stride=(scale, scale), pad=(pad,) * 4, group=filters)
    context.emit(node, "deconv2d", (node.inputs[0], weights, zeros), attrs)


def _resize(
    node: MxNode,
    context: MxContext,
    source: str,
    target: tuple[int, int],
    mode: ResizeMode,
    rule: Coordinates = Coordinates.ASYMMETRIC,
    *,
    part: str = "",
) -> str:
    if target == context.shape(source)[2:]:
        if part:
            return source
        context.alias(node.outputs[0], source)
        return node.outputs[0]
    attrs = ResizeAttrs(size=target, mode=mode, coordinates=rule)
    return context.emit(node, "resize", (source,), attrs, part=part)


def _target(node: MxNode, context: MxContext, shape: Shape) -> tuple[int, int]:
    """Return the size that a mode gives."""
    attributes, (height, width) = node.attributes, shape[2:]
    mode = attributes.text("mode", "size")
    if mode == "like":
        needs(node, 2)
        tall, wide = _map(node, context, node.inputs[1])[2:]
        return tall, wide
    needs(node, 1)
    if mode in ("size", "odd_scale") and attributes.has("scale_height"):
        by = (attributes.real("scale_height", 1.0), attributes.real("scale_width", 1.0))
        if mode == "odd_scale":
            sizes = [
                int(n * s) if n % 2 == 0 else int((n - 1) * s) + 1
                for n, s in zip((height, width), by, strict=True)
            ]
        else:
            sizes = [int(n * s) for n, s in zip((height, width), by, strict=True)]
        return sizes[0], sizes[1]
    if mode == "size":
        return attributes.whole("height", 1), attributes.whole("width", 1)
    parity, _, direction = mode.removeprefix("to_").partition("_")
    if not mode.startswith("to_") or parity not in ("even", "odd"):
        raise ModelImportError(
            f"mode is {mode!r}", where=node.where, rule="a mode of this operator"
        )
    step = 1 if direction == "up" else -1
    fits = 0 if parity == "even" else 1
    tall, wide = (n if n % 2 == fits else n + step for n in (height, width))
    return tall, wide


@converter("_contrib_BilinearResize2D")
def bilinear_resize(node: MxNode, context: MxContext) -> None:
    """Interpolate to a size or by a factor; corners are aligned unless the file says otherwise."""
    shape = _map(node, context, node.inputs[0])
    target = _target(node, context, shape)
    if min(target) < 1:
        raise ModelImportError(f"its size is {target}", where=node.where, rule="positive")
    aligned = node.attributes.flag("align_corners", True)
    rule = Coordinates.ALIGN_CORNERS if aligned else Coordinates.HALF_PIXEL
    source = node.inputs[0]
    if not aligned:  # an axis that becomes one cell is its first cell
        end = tuple(1 if t == 1 else n for n, t in zip(shape, (0, 0, *target), strict=True))
        part = "" if target == end[2:] else "first"
        source = context.cut(node, source, (0,) * 4, end, part=part)
        if not part:
            return
    _resize(node, context, source, target, ResizeMode.BILINEAR, rule)
