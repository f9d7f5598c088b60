"""Joining and cutting along an axis."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.joined import join, parts_between
from npusim.importers.tflite.layout import same_memory
from npusim.importers.tflite.ops_slice import slice_attrs
from npusim.importers.tflite.table import converter
from npusim.ir.attrs import AxisAttrs, ReshapeAttrs, SplitAttrs


@converter("CONCATENATION")
def concatenation(op: Operator, context: TfliteContext) -> None:
    """Join along an axis; every part has its own quantization."""
    first = op.inputs[0]
    axis = context.axis(first, op.option("Axis", 0))
    filled = [index for index in op.inputs if 0 not in context.shape(index)]
    parts = [context.feature(index) for index in filled]
    join(op, context, parts, axis, op.option("FusedActivationFunction", 0))


@converter("DYNAMIC_UPDATE_SLICE")
def update_slice(op: Operator, context: TfliteContext) -> None:
    """Put a tensor at a known place of one axis; the place is moved so that it fits."""
    data, update = op.inputs[:2]
    shape, own = context.shape(data), context.shape(update)
    begin = context.fixed_ints(op, 2, "the place")
    if not len(shape) == len(own) == len(begin) or any(
        a > b for a, b in zip(own, shape, strict=False)
    ):
        raise ModelImportError(f"{own} at {begin} of {shape}", rule="a part of the tensor")
    axes = [i for i, n in enumerate(own) if n != shape[i]]
    if len(axes) > 1:
        raise UnsupportedForm(f"{own} of {shape}", "write along one axis at a time")
    if not axes:
        context.alias(op, context.feature(update))
        return
    (axis,) = axes
    place = min(max(begin[axis], 0), shape[axis] - own[axis])
    parts = [
        *_between(op, context, axis, 0, place, "front"),
        context.feature(update),
        *_between(op, context, axis, place + own[axis], shape[axis], "behind"),
    ]
    join(op, context, parts, context.axis(data, axis))


def _between(
    op: Operator, context: TfliteContext, axis: int, begin: int, end: int, word: str
) -> list[str]:
    """Return what fills a range of the first operand's axis."""
    if begin >= end:
        return []
    data, name = op.inputs[0], context.feature(op.inputs[0])
    parts = parts_between(op, context, name, context.axis(data, axis), begin, end)
    attrs = slice_attrs(context, data, {axis: (begin, end, 1)})
    return parts or [context.part(op, word, "slice", (name,), attrs)]


@converter("PACK")
def pack(op: Operator, context: TfliteContext) -> None:
    """Join along a new axis."""
    shape = context.shape(op.inputs[0])
    axis = op.option("Axis", 0) % (len(shape) + 1)
    attrs = ReshapeAttrs(shape=(*shape[:axis], 1, *shape[axis:]))
    parts = [
        context.part(op, f"part{i}", "reshape", (context.ordered(index),), attrs)
        for i, index in enumerate(op.inputs)
    ]
    context.emit_source(op, "concat", parts, AxisAttrs(axis=axis))


def _split(
    op: Operator, context: TfliteContext, data: int, axis: int, sizes: tuple[int, ...]
) -> None:
    attrs = SplitAttrs(axis=context.axis(data, axis), sizes=sizes)
    if len(sizes) != len(op.outputs):
        raise ModelImportError(f"{len(sizes)} sizes for {len(op.outputs)} outputs")
    value = context.value(data)
    if value is not None and not context.is_quantized(data):
        parts = np.split(value, np.cumsum(sizes)[:-1], axis)
        context.values.update(zip(op.outputs, parts, strict=True))
        return
    rank = len(context.shape(data))
    outputs = [context.output_name(index, rank) for index in op.outputs]
    dtype, quant = context.spec(op.outputs[0])
    label = context.labels[op.outputs[0]]
    context.builder.add_node(
        label, "split", (context.feature(data),), outputs, attrs, origin=(label,),
        dtype=dtype, quant=quant,
    )  # fmt: skip
    context.names.update(zip(op.outputs, outputs, strict=True))


@converter("SPLIT")
def split(op: Operator, context: TfliteContext) -> None:
    """Equal parts; the axis comes first."""
    (axis,) = context.fixed_ints(op, 0, "the axis")
    data, count = op.inputs[1], len(op.outputs)
    size = context.shape(data)[axis]
    if size % count:
        raise ModelImportError(f"{size} elements in {count} equal parts")
    _split(op, context, data, axis, (size // count,) * count)


@converter("SPLIT_V")
def split_v(op: Operator, context: TfliteContext) -> None:
    """Parts of given sizes, one of which may be -1."""
    sizes = list(context.fixed_ints(op, 1, "the sizes"))
    (axis,) = context.fixed_ints(op, 2, "the axis")
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = context.shape(op.inputs[0])[axis] - sum(sizes) - 1
    _split(op, context, op.inputs[0], axis, tuple(sizes))


@converter("UNPACK")
def unpack(op: Operator, context: TfliteContext) -> None:
    """Cut an axis into its indices; the axis vanishes."""
    data = op.inputs[0]
    shape = context.shape(data)
    axis = op.option("Axis", 0) % len(shape)
    if len(op.outputs) != shape[axis]:
        raise ModelImportError(f"{len(op.outputs)} results of an axis of {shape[axis]}")
    rest = (*shape[:axis], *shape[axis + 1 :])
    for position, _ in enumerate(op.outputs):
        part = f"index{position}"
        bounds = {axis: (position, position + 1, 1)}
        attrs = slice_attrs(context, data, bounds)
        piece = context.part(op, part, "slice", (context.feature(data),), attrs)
        if not same_memory(context.builder.tensors[piece].shape):
            piece = context.turned(piece, context.origin(op))
        context.emit_reshape(op, piece, rest, output=position)
