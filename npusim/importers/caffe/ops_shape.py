"""Layers that move elements, pick them or reduce axes."""

from collections.abc import Sequence
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, times
from npusim.ir.attrs import (
    ArgAttrs,
    Attrs,
    EltwiseAttrs,
    GroupAttrs,
    ReduceAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType


@converter("Flatten")
def flatten(layer: CaffeLayer, context: CaffeContext) -> None:
    """Make the axes from ``axis`` to ``end_axis`` one."""
    needs(layer, 1)
    record = layer.parameters("flatten_param")
    shape = context.shape(layer.inputs[0])
    first = context.axis(layer, record.whole("axis", 1), len(shape))
    last = context.axis(layer, record.whole("end_axis", -1), len(shape))
    if last < first:
        raise ModelImportError(f"axes {first} to {last}", where=layer.where, rule="in order")
    target = (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])
    context.reshape(layer, layer.inputs[0], target)


@converter("Reshape")
def reshape(layer: CaffeLayer, context: CaffeContext) -> None:
    """Replace axes by others; 0 copies a size, -1 takes what is left."""
    needs(layer, 1)
    record = layer.parameters("reshape_param")
    shape, wanted = context.shape(layer.inputs[0]), record.record("shape").wholes("dim")
    start = context.axis(layer, record.whole("axis"), len(shape), extra=1)
    count = record.whole("num_axes", -1)
    end = len(shape) if count == -1 else start + count
    if not start <= end <= len(shape):
        raise ModelImportError(
            f"{count} axes from axis {start}", where=layer.where, rule=f"axes of {shape}"
        )
    middle = list(wanted)
    for index, size in enumerate(middle):
        if size == 0:
            if start + index >= len(shape):
                raise ModelImportError(
                    f"size {index} copies an axis that {shape} does not have", where=layer.where
                )
            middle[index] = shape[start + index]
    if middle.count(-1) > 1 or min(middle, default=0) < -1:
        raise ModelImportError(
            f"the sizes are {list(wanted)}", where=layer.where, rule="sizes, and at most one -1"
        )
    target = [*shape[:start], *middle, *shape[end:]]
    if -1 in target:
        rest = prod(n for n in target if n != -1)
        target[target.index(-1)] = prod(shape) // rest if rest else 0
    context.reshape(layer, layer.inputs[0], target)


@converter("Permute")
def permute(layer: CaffeLayer, context: CaffeContext) -> None:
    """Axes in another order; those not named follow as they are."""
    needs(layer, 1)
    rank = len(context.shape(layer.inputs[0]))
    order = layer.parameters("permute_param").wholes("order")
    if len(set(order)) != len(order) or any(not 0 <= axis < rank for axis in order):
        raise ModelImportError(
            f"order is {list(order)}", where=layer.where, rule=f"different axes below {rank}"
        )
    perm = (*order, *(axis for axis in range(rank) if axis not in order))
    if perm == tuple(range(rank)):
        context.alias(layer.outputs[0], layer.inputs[0])
    else:
        context.emit(layer, "transpose", layer.inputs, TransposeAttrs(perm=perm))


@converter("Slice")
def slice_(layer: CaffeLayer, context: CaffeContext) -> None:
    """Cut along an axis, at points or into equal parts."""
    needs(layer, 1, (1, 4096))
    record = layer.parameters("slice_param")
    shape, tops = context.shape(layer.inputs[0]), len(layer.outputs)
    key = "slice_dim" if record.has("slice_dim") else "axis"
    axis = context.axis(layer, record.whole(key, 1), len(shape))
    points = record.wholes("slice_point")
    if points and len(points) != tops - 1:
        raise ModelImportError(
            f"{len(points)} slice points for {tops} tops", where=layer.where, rule="one less"
        )
    if not points and shape[axis] % tops:
        raise ModelImportError(
            f"{shape[axis]} entries for {tops} tops", where=layer.where, rule="equal parts"
        )
    edges = (0, *(points or range(shape[axis] // tops, shape[axis], shape[axis] // tops)))
    sizes = tuple(b - a for a, b in zip(edges, (*edges[1:], shape[axis]), strict=True))
    if min(sizes) < 1:
        raise ModelImportError(
            f"slice points {list(points)} of {shape[axis]}", where=layer.where, rule="increasing"
        )
    if tops == 1:
        context.alias(layer.outputs[0], layer.inputs[0])
        return
    attrs = SplitAttrs(axis=axis, sizes=sizes)
    context.emit(layer, "split", layer.inputs, attrs, outputs=layer.outputs)


@converter("Crop")
def crop(layer: CaffeLayer, context: CaffeContext) -> None:
    """Cut to the sizes of the second bottom, from ``axis`` on."""
    needs(layer, 2)
    record = layer.parameters("crop_param")
    shape, reference = context.shape(layer.inputs[0]), context.shape(layer.inputs[1])
    axis = context.axis(layer, record.whole("axis", 2), len(shape))
    offsets = record.wholes("offset")
    moved = range(axis, len(shape))
    if len(reference) != len(shape) or len(offsets) not in (0, 1, len(moved)):
        raise ModelImportError(
            f"{len(offsets)} offsets, inputs {shape} and {reference}",
            where=layer.where,
            rule="inputs with as many axes; none, one or one offset per cropped axis",
        )
    begin, end = [0] * len(shape), list(shape)
    for index, a in enumerate(moved):
        begin[a] = offsets[index if len(offsets) > 1 else 0] if offsets else 0
        end[a] = begin[a] + reference[a]
        if begin[a] < 0 or end[a] > shape[a]:
            raise ModelImportError(
                f"offset {begin[a]} and size {reference[a]} leave axis {a} of {shape}",
                where=layer.where,
                rule="the part lies inside the first input",
            )
    cut(layer, context, begin, end)


def cut(layer: CaffeLayer, context: CaffeContext, begin: Sequence[int], end: Sequence[int]) -> None:
    """Give a part of the first input."""
    shape = context.shape(layer.inputs[0])
    if tuple(end) == shape and not any(begin):
        context.alias(layer.outputs[0], layer.inputs[0])
        return
    attrs = SliceAttrs(begin=tuple(begin), end=tuple(end), step=(1,) * len(shape))
    context.emit(layer, "slice", layer.inputs[:1], attrs)


@converter("Tile")
def tile(layer: CaffeLayer, context: CaffeContext) -> None:
    """Repeat along an axis."""
    needs(layer, 1)
    record = layer.parameters("tile_param")
    rank, tiles = len(context.shape(layer.inputs[0])), record.whole("tiles")
    axis = context.axis(layer, record.whole("axis", 1), rank)
    if tiles < 1:
        raise ModelImportError(f"tiles is {tiles}", where=layer.where, rule="positive")
    repeats = tuple(tiles if a == axis else 1 for a in range(rank))
    context.emit(layer, "tile", layer.inputs, TileAttrs(repeats=repeats))


@converter("ShuffleChannel")
def shuffle(layer: CaffeLayer, context: CaffeContext) -> None:
    """Interleave groups of channels."""
    needs(layer, 1)
    group = layer.parameters("shuffle_channel_param").whole("group", 1)
    if group < 1:
        raise ModelImportError(f"group is {group}", where=layer.where, rule="positive")
    context.emit(layer, "channel_shuffle", layer.inputs, GroupAttrs(group=group))


@converter("Reduction")
def reduction(layer: CaffeLayer, context: CaffeContext) -> None:
    """Sum, sum of absolute values or squares, or mean of all axes from ``axis`` on."""
    needs(layer, 1)
    record = layer.parameters("reduction_param")
    shape, kind = context.shape(layer.inputs[0]), record.text("operation", "SUM")
    axis = context.axis(layer, record.whole("axis"), len(shape))
    front = {"ASUM": [Step("abs", "abs")], "SUMSQ": [Step("squares", "square")]}.get(kind, [])
    attrs: Attrs = ReduceAttrs(axes=tuple(range(axis, len(shape))), keepdims=False)
    op = "reduce_mean" if kind == "MEAN" else "reduce_sum"
    steps = [*front, Step("reduced", op, attrs), *times(record.real("coeff", 1.0))]
    context.chain(layer, layer.inputs[0], steps)


_MOST, _MASK = 16, 65504.0
"""Largest top_k, as every rank is a search of its own; what found values are lowered by."""


@converter("ArgMax")
def argmax(layer: CaffeLayer, context: CaffeContext) -> None:
    """Give indices of the ``top_k`` largest as real numbers; of equal ones the last comes first.

    Without ``axis`` a sample is one row, and the result (N, 1 or 2, top_k, 1, ..).
    """
    needs(layer, 1)
    record = layer.parameters("argmax_param")
    shape, with_value = context.shape(layer.inputs[0]), record.flag("out_max_val")
    ranks = record.whole("top_k", 1)
    if record.has("axis"):
        axis, x = context.axis(layer, record.whole("axis"), len(shape)), layer.inputs[0]
    else:
        axis, row = 1, (shape[0], prod(shape[1:]))
        x = context.reshape(layer, layer.inputs[0], row, part="row")
    size = context.shape(x)[axis]
    if not 1 <= ranks <= size:
        raise ModelImportError(f"top_k is {ranks}", where=layer.where, rule=f"1 to {size}")
    if ranks > _MOST:
        raise UnsupportedForm(f"top_k is {ranks}", f"at most {_MOST}; sort on the CPU")
    over, indices, values = ReduceAttrs(axes=(axis,)), [], []
    for rank in range(ranks):
        tag = f"_{rank}" if ranks > 1 else ""
        if with_value:
            values.append(context.emit(layer, "reduce_max", (x,), over, part=f"value{tag}"))
        if not (with_value and record.has("axis")) or rank < ranks - 1:
            indices.append(_last_largest(layer, context, x, axis, tag))
        if rank < ranks - 1:
            x = _without(layer, context, x, indices[-1], axis, tag)
    wanted = [values] if with_value and record.has("axis") else [indices, *([values] * with_value)]
    parts = [
        context.joined(layer, names, axis=axis, part=f"ranked_{i}") if ranks > 1 else names[0]
        for i, names in enumerate(wanted)
    ]
    if record.has("axis"):
        context.alias(layer.outputs[0], parts[0])
        return
    target = (shape[0], 1, ranks, *(1,) * (max(len(shape), 3) - 3))
    last = len(parts) == 1
    parts = [
        context.reshape(layer, name, target, part="" if last else f"rows_{i}")
        for i, name in enumerate(parts)
    ]
    if not last:
        context.joined(layer, parts)


def _without(
    layer: CaffeLayer, context: CaffeContext, x: str, index: str, axis: int, tag: str
) -> str:
    """Lower the value at an index: x - 65504 * max(1 - abs(place - index), 0)."""
    shape = context.shape(x)
    along = tuple(n if a == axis else 1 for a, n in enumerate(shape))
    places = context.constant(f"{layer.name}/places", np.arange(shape[axis]).reshape(along))
    apart = context.emit(layer, "sub", (places, index), EltwiseAttrs(), part=f"apart{tag}")
    apart = context.emit(layer, "abs", (apart,), part=f"distance{tag}")
    one = context.constant(f"{layer.name}/one", 1.0)
    here = context.emit(layer, "sub", (one, apart), EltwiseAttrs(), part=f"near{tag}")
    here = context.emit(layer, "relu", (here,), part=f"here{tag}")
    mask = context.constant(f"{layer.name}/mask", _MASK)
    drop = context.emit(layer, "mul", (here, mask), EltwiseAttrs(), part=f"drop{tag}")
    return context.binary(layer, "sub", x, drop, part=f"without{tag}")


def _last_largest(layer: CaffeLayer, context: CaffeContext, x: str, axis: int, tag: str) -> str:
    """Search the reversed axis, as the chip's operator takes the first of equal values."""
    shape = context.shape(x)
    begin = tuple(n - 1 if a == axis else 0 for a, n in enumerate(shape))
    end = tuple(-1 if a == axis else n for a, n in enumerate(shape))
    step = tuple(-1 if a == axis else 1 for a in range(len(shape)))
    attrs = SliceAttrs(begin=begin, end=end, step=step)
    turned = context.emit(layer, "slice", (x,), attrs, part=f"reversed{tag}")
    found = context.emit(
        layer, "argmax", (turned,), ArgAttrs(axis=axis), part=f"from_end{tag}", dtype=DType.I64
    )
    real = context.emit(layer, "convert", (found,), part=f"real{tag}", dtype=DType.F32)
    last = context.constant(f"{layer.name}/last", float(shape[axis] - 1))
    return context.emit(layer, "sub", (last, real), EltwiseAttrs(), part=f"from_begin{tag}")
