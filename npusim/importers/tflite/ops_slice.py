"""Cuts, reversals and pads."""

from collections.abc import Mapping

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.strided import MASKS, Strided, index_of
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.joined import join, parts_between
from npusim.importers.tflite.layout import TO_NCHW, same_memory
from npusim.importers.tflite.table import converter
from npusim.ir.attrs import AxisAttrs, PadAttrs, PadMode, SliceAttrs


def slice_attrs(
    context: TfliteContext, data: int, bounds: dict[int, tuple[int, int, int]]
) -> SliceAttrs:
    """Return a slice from (begin, end, step) by source axis; other axes stay whole."""
    shape = context.shape(data)
    whole = [bounds.get(i, (0, n, 1)) for i, n in enumerate(shape)]
    ours = [whole[i] for i in TO_NCHW] if len(shape) == 4 else whole
    begin, end, step = zip(*ours, strict=True) if ours else ((), (), ())
    return SliceAttrs(begin=tuple(begin), end=tuple(end), step=tuple(step))


@converter("SLICE")
def slice_(op: Operator, context: TfliteContext) -> None:
    """Begin and size per axis; -1 means to the end."""
    data = op.inputs[0]
    begin = context.fixed_ints(op, 1, "begin")
    size = context.fixed_ints(op, 2, "size")
    shape = context.shape(data)
    if not len(begin) == len(size) == len(shape):
        raise ModelImportError(f"begin {begin} and size {size} for {len(shape)} axes")
    bounds = {
        i: (b, shape[i] if s == -1 else b + s, 1)
        for i, (b, s) in enumerate(zip(begin, size, strict=True))
    }
    least = 0 if context.whole.depth else 1  # loops write the first item behind nothing
    for i, (b, e, _) in bounds.items():
        if not 0 <= b <= e - least <= shape[i] - least:
            raise ModelImportError(f"slice {b}:{e} of axis {i} with {shape[i]} elements")
    sizes = [e - b for b, e, _ in bounds.values()]
    if 0 in sizes:
        context.values[op.outputs[0]] = np.zeros(sizes, context.spec(data)[0].numpy)
        return
    cut = [i for i, n in enumerate(sizes) if n != shape[i]]
    if len(cut) == 1 and context.whole.depth:
        axis, (b, e, _) = context.axis(data, cut[0]), bounds[cut[0]]
        if parts := parts_between(op, context, context.feature(data), axis, b, e):
            join(op, context, parts, axis)
            return
    context.emit(op, "slice", (context.feature(data),), slice_attrs(context, data, bounds))


@converter("STRIDED_SLICE")
def strided_slice(op: Operator, context: TfliteContext) -> None:
    """Begin, end, step per axis with numpy's meaning, and the masks of TensorFlow."""
    data = op.inputs[0]
    shape = context.shape(data)
    begin, end, step = (
        context.fixed_ints(op, i, what) for i, what in ((1, "begin"), (2, "end"), (3, "step"))
    )
    offset, masks = bool(op.option("Offset", False)), {w: op.option(f"{w}Mask", 0) for w in MASKS}
    _check_masks(masks, offset, len(begin))
    cut = index_of(shape, Strided(begin, end, step, offset=offset), masks)
    if min(cut.shape, default=1) < 1:
        value = context.value(data)
        if value is None:
            raise UnsupportedForm("an empty result")
        context.values[op.outputs[0]] = np.zeros(cut.shape, value.dtype)
        return
    attrs = slice_attrs(context, data, dict(enumerate(cut.bounds)))
    name = context.feature(data)
    if cut.shape == cut.whole:
        context.emit(op, "slice", (name,), attrs)
        return
    piece = context.part(op, "piece", "slice", (name,), attrs)
    if not same_memory(context.builder.tensors[piece].shape):
        piece = context.turned(piece, context.origin(op))
    context.emit_reshape(op, piece, cut.shape)


def _check_masks(masks: Mapping[str, int], offset: bool, count: int) -> None:
    """Refuse entries of which two settings say different things.

    TensorFlow takes a masked begin of a removed axis as it is written (``index_of``), LiteRT takes
    0; with an offset and masks LiteRT gives shapes that its values do not fill. Source: run on
    LiteRT.
    """
    entries = ~(masks["Ellipsis"] | masks["NewAxis"]) & ((1 << count) - 1)
    begin, end, removed = (masks[word] & entries for word in ("Begin", "End", "ShrinkAxis"))
    shaped = any(masks[word] & ((1 << count) - 1) for word in ("Ellipsis", "NewAxis"))
    if begin & removed or (offset and (begin | end | removed or shaped)):
        raise UnsupportedForm(
            f"masks of begins {begin:#b}, ends {end:#b} and removed axes {removed:#b}"
            + (", new axes or an ellipsis" if shaped else "")
            + (" with an offset" if offset else ""),
            "write begins and ends as numbers: runtimes read it differently",
        )


@converter("REVERSE_V2")
def reverse(op: Operator, context: TfliteContext) -> None:
    """Turn axes round: slices with step -1."""
    data = op.inputs[0]
    shape = context.shape(data)
    axes = {axis % len(shape) for axis in context.fixed_ints(op, 1, "the axes")}
    bounds = {axis: (shape[axis] - 1, -1, -1) for axis in axes}
    attrs = slice_attrs(context, data, bounds)
    context.emit(op, "slice", (context.feature(data),), attrs)


@converter("PAD", "PADV2", "MIRROR_PAD")
def pad(op: Operator, context: TfliteContext) -> None:
    """Pairs of (before, after) per axis; quantized tensors are filled with their zero."""
    data = op.inputs[0]
    pairs = context.fixed(op, 1, "the padding").reshape(-1, 2)
    rank = len(context.shape(data))
    if len(pairs) != rank or pairs.min(initial=0) < 0:
        raise ModelImportError(f"padding {pairs.tolist()} of {rank} axes")
    order = TO_NCHW if rank == 4 else tuple(range(rank))
    value, mode = 0.0, PadMode.CONSTANT
    if op.type == "PADV2":
        fill = context.fixed(op, 2, "the value").reshape(-1)[0]
        quant = context.tensor(op.inputs[2]).quant
        scale, zero = getattr(quant, "scale", 1.0), getattr(quant, "zero_point", 0)
        value = (float(fill) - zero) * scale
    if op.type == "MIRROR_PAD":
        mode = PadMode.REFLECT
        mirror = op.option("Mode", 0)
        if mirror not in (0, 1):
            raise ModelImportError(f"mode {mirror}", rule="0 (reflect) or 1 (symmetric)")
        if mirror:
            _symmetric(op, context, [(int(p[0]), int(p[1])) for p in pairs])
            return
    name = context.feature(data)
    if value != 0.0 and context.is_quantized(data):
        raise UnsupportedForm(f"padding with {value:g} in a quantized model", "pad with 0")
    attrs = PadAttrs(
        front=tuple(int(pairs[i][0]) for i in order),
        back=tuple(int(pairs[i][1]) for i in order),
        mode=mode,
        value=value,
    )
    context.emit(op, "pad", (name,), attrs)


def _symmetric(op: Operator, context: TfliteContext, pairs: list[tuple[int, int]]) -> None:
    """Pad with the elements at the border first: a gather per padded axis."""
    data = op.inputs[0]
    name, shape = context.feature(data), context.shape(data)
    padded = [axis for axis, pair in enumerate(pairs) if any(pair)]
    for axis in padded:
        (front, back), size = pairs[axis], shape[axis]
        if max(front, back) > size:
            raise ModelImportError(f"symmetric padding {pairs[axis]} of {size} elements")
        whole = list(range(size))
        order = [*whole[:front][::-1], *whole, *whole[::-1][:back]]
        label = f"{context.origin(op)}/axis{axis}"
        indices = context.builder.add_constant(
            context.unused(f"{label}/indices"), np.array(order, np.int32)
        )
        attrs = AxisAttrs(axis=context.axis(data, axis))
        if axis == padded[-1]:
            context.emit(op, "gather", (name, indices), attrs)
        else:
            name = context.part(op, f"axis{axis}", "gather", (name, indices), attrs)
    if not padded:
        context.alias(op, name)
