"""Operators that move elements."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm, check_elements
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.reshaping import reshaped
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import (
    BlockAttrs,
    PadAttrs,
    PadMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)


@converter("Reshape", "reshape")
def reshape(node: MxNode, context: MxContext) -> None:
    """Give another shape, with the special numbers 0 and -1 to -4."""
    needs(node, 1)
    shape, attributes = context.shape(node.inputs[0]), node.attributes
    codes = attributes.wholes("shape")
    if not codes:  # before 0.9
        codes = attributes.wholes("target_shape")
        if not codes:
            raise attributes.missing("shape")
        if attributes.flag("keep_highest"):
            codes = (shape[0], *codes[1:])
        codes = tuple(n or -1 for n in codes)
    target = reshaped(shape, codes, node.where, reverse=attributes.flag("reverse"))
    context.reshape(node, node.inputs[0], target)


@converter("Flatten", "flatten")
def flatten(node: MxNode, context: MxContext) -> None:
    """All axes but the first become one."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    context.reshape(node, node.inputs[0], (shape[0], prod(shape[1:])))


@converter("reshape_like")
def reshape_like(node: MxNode, context: MxContext) -> None:
    """Take the shape, or some axes of the shape, of the second input."""
    needs(node, 2)
    shape, other = (context.shape(name) for name in node.inputs)
    spans = []
    for side, axes in (("lhs", shape), ("rhs", other)):
        begin = node.attributes.whole(f"{side}_begin", 0)
        end = node.attributes.whole(f"{side}_end", len(axes))
        spans.append((begin % (len(axes) + 1 or 1), end if end >= 0 else end + len(axes)))
    (begin, end), (from_, to) = spans
    context.reshape(node, node.inputs[0], (*shape[:begin], *other[from_:to], *shape[end:]))


@converter("transpose")
def transpose(node: MxNode, context: MxContext) -> None:
    """Permute axes; reversed by default."""
    needs(node, 1)
    rank = len(context.shape(node.inputs[0]))
    axes = node.attributes.wholes("axes") or tuple(range(rank))[::-1]
    perm = [context.axis(node, axis, rank) for axis in axes]
    if sorted(perm) != list(range(rank)):
        raise ModelImportError(
            f"axes {axes}", where=node.where, rule=f"each of the {rank} axes once"
        )
    context.transposed(node, node.inputs[0], perm)


@converter("SwapAxis", "swapaxes")
def swap_axes(node: MxNode, context: MxContext) -> None:
    """Exchange two axes."""
    needs(node, 1)
    rank = len(context.shape(node.inputs[0]))
    perm = list(range(rank))
    one, two = (
        context.axis(node, node.attributes.whole(name, 0), rank) for name in ("dim1", "dim2")
    )
    perm[one], perm[two] = two, one
    context.transposed(node, node.inputs[0], perm)


@converter("expand_dims")
def expand_dims(node: MxNode, context: MxContext) -> None:
    """Insert an axis of size one."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis"), len(shape), extra=1)
    context.reshape(node, node.inputs[0], (*shape[:axis], 1, *shape[axis:]))


@converter("squeeze")
def squeeze(node: MxNode, context: MxContext) -> None:
    """Drop axes of size one: those given, or all."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    given = node.attributes.wholes("axis")
    axes = {context.axis(node, axis, len(shape)) for axis in given}
    if any(shape[axis] != 1 for axis in axes):
        raise ModelImportError(
            f"axis {given} of {shape}", where=node.where, rule="only axes of size one vanish"
        )
    axes = axes or {axis for axis, size in enumerate(shape) if size == 1}
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    context.reshape(node, node.inputs[0], kept or (1,))


@converter("Concat", "concat", "_rnn_param_concat")
def concat(node: MxNode, context: MxContext) -> None:
    """Join along ``dim``, by default channels."""
    rank = len(context.shape(node.inputs[0])) if node.inputs else 0
    axis = context.axis(node, node.attributes.whole("dim", 1), rank)
    if len(node.inputs) == 1:
        context.alias(node.outputs[0], node.inputs[0])
        return
    context.joined(node, node.inputs, axis=axis)


@converter("stack")
def stack(node: MxNode, context: MxContext) -> None:
    """Join along a new axis."""
    if not node.inputs:
        raise ModelImportError("it has no inputs", where=node.where, rule="at least one")
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis", 0), len(shape), extra=1)
    parts = []
    for index, name in enumerate(node.inputs):
        wide = context.shape(name)
        wide = (*wide[:axis], 1, *wide[axis:])
        last = len(node.inputs) == 1
        parts.append(context.reshape(node, name, wide, part="" if last else f"wide_{index}"))
    if len(parts) > 1:
        context.joined(node, parts, axis=axis)


@converter("SliceChannel", "split")
def slice_channel(node: MxNode, context: MxContext) -> None:
    """Cut an axis into equal parts."""
    needs(node, 1)
    shape, count = context.shape(node.inputs[0]), node.attributes.whole("num_outputs")
    axis = context.axis(node, node.attributes.whole("axis", 1), len(shape))
    if count < 1 or shape[axis] % count:
        raise ModelImportError(
            f"{count} parts of axis {axis} of {shape}", where=node.where, rule="equal parts"
        )
    _split(node, context, axis, [shape[axis] // count] * count)


@converter("_split_v2")
def split_v2(node: MxNode, context: MxContext) -> None:
    """Cut an axis at given places, or into equal parts."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis", 0), len(shape))
    sections = node.attributes.whole("sections", 0)
    if sections:
        if sections < 1 or shape[axis] % sections:
            raise ModelImportError(
                f"{sections} parts of axis {axis} of {shape}", where=node.where, rule="equal parts"
            )
        sizes = [shape[axis] // sections] * sections
    else:
        places = [*node.attributes.wholes("indices"), shape[axis]]
        sizes = [end - begin for begin, end in pairwise(places)]
        if places[0] != 0 or min(sizes, default=0) < 1:
            raise ModelImportError(
                f"indices {places[:-1]} of axis {axis} of {shape}",
                where=node.where,
                rule="0 and rising places inside the axis",
            )
    _split(node, context, axis, sizes)


def _split(node: MxNode, context: MxContext, axis: int, sizes: Sequence[int]) -> None:
    source, squeezed = node.inputs[0], node.attributes.flag("squeeze_axis")
    if squeezed and any(size != 1 for size in sizes):
        raise ModelImportError(
            f"parts of {sizes[0]} are squeezed", where=node.where, rule="only axes of size one"
        )
    names = [context.unused(f"{name}/part") for name in node.outputs] if squeezed else node.outputs
    if len(sizes) == 1:
        context.alias(names[0], source)
    else:
        attrs = SplitAttrs(axis=axis, sizes=tuple(sizes))
        part = "parts" if squeezed else ""
        context.emit(node, "split", (source,), attrs, outputs=names, part=part)
    if squeezed:
        for name, output in zip(names, node.outputs, strict=True):
            shape = context.shape(name)
            context.reshape(node, name, (*shape[:axis], *shape[axis + 1 :]), output=output)


def _slice(
    node: MxNode, context: MxContext, spans: Sequence[tuple[int | None, int | None, int | None]]
) -> None:
    """Cut axes as numpy does."""
    shape = context.shape(node.inputs[0])
    spans = [*spans, *[(None, None, None)] * (len(shape) - len(spans))]
    if len(spans) != len(shape) or any(step == 0 for _, _, step in spans):
        raise ModelImportError(
            f"begin, end and step {spans} of {shape}", where=node.where, rule="one per axis, no 0"
        )
    found = [slice(*span).indices(size) for span, size in zip(spans, shape, strict=True)]
    begin, end, step = zip(*found, strict=True)
    if any(not len(range(*span)) for span in found):
        raise ModelImportError(
            f"begin {begin} and end {end} of {shape}", where=node.where, rule="something is left"
        )
    if not any(begin) and end == shape and set(step) == {1}:
        context.alias(node.outputs[0], node.inputs[0])
        return
    attrs = SliceAttrs(begin=begin, end=end, step=step)
    context.emit(node, "slice", node.inputs[:1], attrs)


@converter("slice", "crop")
def slice_(node: MxNode, context: MxContext) -> None:
    """Cut the first axes, with steps."""
    needs(node, 1)
    for name in ("begin", "end"):
        if name not in node.attributes.texts:
            raise node.attributes.missing(name)
    begin, end = node.attributes.maybe_wholes("begin"), node.attributes.maybe_wholes("end")
    step = node.attributes.maybe_wholes("step") if node.attributes.has("step") else ()
    step = step or (None,) * len(begin)
    if not len(begin) == len(end) == len(step):
        raise ModelImportError(
            f"begin {begin}, end {end}, step {step}", where=node.where, rule="one length"
        )
    _slice(node, context, list(zip(begin, end, step, strict=True)))


@converter("slice_axis")
def slice_axis(node: MxNode, context: MxContext) -> None:
    """Cut one axis."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis"), len(shape))
    begin = node.attributes.whole("begin")
    end = node.attributes.whole("end") if node.attributes.has("end") else None
    spans: list[tuple[int | None, int | None, int | None]] = [(None, None, None)] * axis
    _slice(node, context, [*spans, (begin, end, None)])


@converter("slice_like")
def slice_like(node: MxNode, context: MxContext) -> None:
    """Cut axes to the sizes of the second input."""
    needs(node, 2)
    shape, other = (context.shape(name) for name in node.inputs)
    axes = node.attributes.wholes("axes")
    chosen = {context.axis(node, a, len(shape)) for a in axes} if axes else set(range(len(shape)))
    if any(axis >= len(other) or other[axis] > shape[axis] for axis in chosen):
        raise ModelImportError(
            f"inputs {shape} and {other}", where=node.where, rule="the second is not larger"
        )
    end = tuple(other[a] if a in chosen else n for a, n in enumerate(shape))
    context.cut(node, node.inputs[0], (0,) * len(shape), end)


@converter("Crop")
def crop(node: MxNode, context: MxContext) -> None:
    """Cut height and width to a size, or to the second input's."""
    needs(node, (1, 2))
    shape = context.shape(node.inputs[0])
    size: Sequence[int] = node.attributes.wholes("h_w")
    if len(node.inputs) == 2:
        size = context.shape(node.inputs[1])[2:4]
    offset = node.attributes.wholes("offset") or (0, 0)
    if len(shape) != 4 or len(size) != 2 or len(offset) != 2:
        raise ModelImportError(
            f"size {tuple(size)}, offset {offset} of {shape}", where=node.where, rule="two each"
        )
    if node.attributes.flag("center_crop"):
        offset = ((shape[2] - size[0]) // 2, (shape[3] - size[1]) // 2)
    end = (*shape[:2], offset[0] + size[0], offset[1] + size[1])
    if min(offset) < 0 or min(size) < 1 or any(e > n for e, n in zip(end, shape, strict=True)):
        raise ModelImportError(
            f"size {tuple(size)} at {offset} of {shape}", where=node.where, rule="inside the input"
        )
    context.cut(node, node.inputs[0], (0, 0, *offset), end)


@converter("repeat")
def repeat(node: MxNode, context: MxContext) -> None:
    """Repeat each entry of an axis, or of all elements in a row."""
    needs(node, 1)
    shape, source = context.shape(node.inputs[0]), node.inputs[0]
    count = node.attributes.whole("repeats")
    if count < 1:
        raise ModelImportError(f"repeats is {count}", where=node.where, rule="positive")
    if node.attributes.has("axis"):
        axis = context.axis(node, node.attributes.whole("axis"), len(shape))
    else:
        shape, axis = (prod(shape),), 0
        source = context.reshape(node, source, shape, part="row")
    if count == 1:
        context.alias(node.outputs[0], source)
        return
    wide = (*shape[: axis + 1], 1, *shape[axis + 1 :])
    out = context.reshape(node, source, wide, part="wide")
    repeats = tuple(count if a == axis + 1 else 1 for a in range(len(wide)))
    out = context.emit(node, "tile", (out,), TileAttrs(repeats=repeats), part="tiled")
    context.reshape(node, out, (*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))


@converter("tile")
def tile(node: MxNode, context: MxContext) -> None:
    """Repeat along axes from the last on."""
    needs(node, 1)
    shape, reps = context.shape(node.inputs[0]), node.attributes.wholes("reps")
    if not reps or min(reps) < 1:
        raise ModelImportError(f"reps is {reps}", where=node.where, rule="positive numbers")
    rank = max(len(shape), len(reps))
    reps = (*(1,) * (rank - len(reps)), *reps)
    wide = (*(1,) * (rank - len(shape)), *shape)
    _widen(node, context, node.inputs[0], wide, reps)


def _widen(
    node: MxNode, context: MxContext, source: str, wide: Sequence[int], repeats: Sequence[int]
) -> None:
    check_elements([w * r for w, r in zip(wide, repeats, strict=True)], "its result", node.where)
    if set(repeats) <= {1}:
        context.reshape(node, source, wide)
        return
    source = context.reshape(node, source, wide, part="wide")
    context.emit(node, "tile", (source,), TileAttrs(repeats=tuple(repeats)))


def _stretch(node: MxNode, context: MxContext, target: Sequence[int]) -> None:
    shape = context.shape(node.inputs[0])
    if len(shape) != len(target) or any(
        n not in (1, t) for n, t in zip(shape, target, strict=True)
    ):
        raise ModelImportError(
            f"{shape} becomes {tuple(target)}", where=node.where, rule="only axes of size one widen"
        )
    by = [t // n for n, t in zip(shape, target, strict=True)]
    _widen(node, context, node.inputs[0], shape, by)


@converter("broadcast_to")
def broadcast_to(node: MxNode, context: MxContext) -> None:
    """Widen axes of size one to a shape; 0 keeps an axis."""
    needs(node, 1)
    shape, wanted = context.shape(node.inputs[0]), node.attributes.wholes("shape")
    if len(wanted) != len(shape):
        raise ModelImportError(f"shape {wanted} of {shape}", where=node.where, rule="equal rank")
    _stretch(node, context, [w or n for w, n in zip(wanted, shape, strict=True)])


@converter("broadcast_axis", "broadcast_axes")
def broadcast_axis(node: MxNode, context: MxContext) -> None:
    """Widen given axes of size one."""
    needs(node, 1)
    target = list(context.shape(node.inputs[0]))
    axes, sizes = node.attributes.wholes("axis"), node.attributes.wholes("size")
    if len(axes) != len(sizes):
        raise ModelImportError(f"axis {axes}, size {sizes}", where=node.where, rule="one length")
    for axis, size in zip(axes, sizes, strict=True):
        target[context.axis(node, axis, len(target))] = size
    _stretch(node, context, target)


@converter("broadcast_like")
def broadcast_like(node: MxNode, context: MxContext) -> None:
    """Widen axes of size one to those of the second input."""
    needs(node, 2)
    shape, other = (context.shape(name) for name in node.inputs)
    mine, theirs = (node.attributes.wholes(f"{side}_axes") for side in ("lhs", "rhs"))
    target = list(other)
    if mine or theirs:
        target = list(shape)
        if len(mine) != len(theirs):
            raise ModelImportError(f"{mine} and {theirs}", where=node.where, rule="one length")
        for one, two in zip(mine, theirs, strict=True):
            own = context.axis(node, one, len(shape))
            target[own] = other[context.axis(node, two, len(other))]
    _stretch(node, context, target)


@converter("reverse", "flip")
def reverse(node: MxNode, context: MxContext) -> None:
    """Turn axes round."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    axes = {context.axis(node, axis, len(shape)) for axis in node.attributes.wholes("axis")}
    if not axes:
        raise node.attributes.missing("axis")
    _slice(node, context, [(None, None, -1 if a in axes else 1) for a in range(len(shape))])


_MODES = {"constant": PadMode.CONSTANT, "edge": PadMode.EDGE, "reflect": PadMode.REFLECT}


@converter("Pad", "pad")
def pad(node: MxNode, context: MxContext) -> None:
    """Add constants, edges or mirrored elements."""
    needs(node, 1)
    shape, widths = context.shape(node.inputs[0]), node.attributes.wholes("pad_width")
    mode = node.attributes.text("mode")
    if len(widths) != 2 * len(shape) or min(widths, default=-1) < 0 or mode not in _MODES:
        raise ModelImportError(
            f"pad_width {widths}, mode {mode!r} of {shape}",
            where=node.where,
            rule=f"two numbers per axis; {', '.join(_MODES)}",
        )
    if mode == "reflect" and any(
        max(widths[2 * a], widths[2 * a + 1]) >= n for a, n in enumerate(shape)
    ):
        raise ModelImportError(
            f"pad_width {widths} of {shape}", where=node.where, rule="mirrored: below the size"
        )
    attrs = PadAttrs(
        front=widths[::2],
        back=widths[1::2],
        mode=_MODES[mode],
        value=node.attributes.real("constant_value", 0.0),
    )
    context.emit(node, "pad", node.inputs, attrs)


@converter("depth_to_space", "space_to_depth")
def blocks(node: MxNode, context: MxContext) -> None:
    """Blocks of pixels from channels, or channels from blocks of pixels."""
    needs(node, 1)
    shape, size = context.shape(node.inputs[0]), node.attributes.whole("block_size")
    deep = node.type == "depth_to_space"
    fits = size > 0 and len(shape) == 4
    if fits:
        fits = not shape[1] % size**2 if deep else not (shape[2] % size or shape[3] % size)
    if not fits:
        raise ModelImportError(
            f"block_size {size} of {shape}", where=node.where, rule="blocks fill the input"
        )
    op = "depth2space" if deep else "space2depth"
    context.emit(node, op, node.inputs, BlockAttrs(block=size))


@converter("shape_array", "size_array")
def shape_array(node: MxNode, context: MxContext) -> None:
    """Give the shape or the number of elements, which are known."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    found = list(shape) if node.type == "shape_array" else [prod(shape)]
    context.values[node.outputs[0]] = np.array(found, np.int64)


_FILLS = {"_zeros": 0.0, "_zeros_without_dtype": 0.0, "_ones": 1.0}


@converter(*_FILLS, "_full")
def filled(node: MxNode, context: MxContext) -> None:
    """Give one number in a shape."""
    shape = node.attributes.wholes("shape")
    check_elements(shape, "its result", node.where)
    if 0 in shape or not shape:
        raise UnsupportedForm(f"its shape {shape} is unknown", "write the whole shape")
    value = _FILLS.get(node.type, node.attributes.real("value", 0.0))
    context.values[node.outputs[0]] = np.full(shape, value, np.float32)


@converter("zeros_like", "ones_like")
def filled_like(node: MxNode, context: MxContext) -> None:
    """Give one number in the shape of the input."""
    needs(node, 1)
    value = float(node.type == "ones_like")
    context.values[node.outputs[0]] = np.full(context.shape(node.inputs[0]), value, np.float32)


@converter("_arange", "_contrib_arange_like", "_eye")
def counted(node: MxNode, context: MxContext) -> None:
    """Give rising numbers, or a matrix with ones on a diagonal."""
    if node.type == "_eye":
        rows = node.attributes.whole("N")
        columns = node.attributes.whole("M", 0) or rows
        check_elements((rows, columns), "its result", node.where)
        context.values[node.outputs[0]] = np.eye(
            rows, columns, node.attributes.whole("k", 0), np.float32
        )
        return
    start, step = node.attributes.real("start", 0.0), node.attributes.real("step", 1.0)
    repeats = node.attributes.whole("repeat", 1)
    shape: tuple[int, ...] = ()
    if node.type == "_arange":
        if not node.attributes.has("stop"):
            start, stop = 0.0, start
        else:
            stop = node.attributes.real("stop", 0.0)
        count = max(0, int(np.ceil((stop - start) / step))) if step else 0
    else:
        shape = context.shape(node.inputs[0])
        if node.attributes.has("axis"):
            shape = (shape[context.axis(node, node.attributes.whole("axis"), len(shape))],)
        count = -(-prod(shape) // max(repeats, 1))
    if count < 1 or repeats < 1:
        raise ModelImportError("it gives no numbers", where=node.where, rule="at least one")
    check_elements((count, repeats), "its result", node.where)
    row = np.repeat(start + step * np.arange(count), repeats).astype(np.float32)
    row = row[: prod(shape)].reshape(shape) if shape else row
    context.values[node.outputs[0]] = row
