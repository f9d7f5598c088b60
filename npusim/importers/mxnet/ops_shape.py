"""Operators that move elements."""

from collections.abc import Sequence
from math import prod

from npusim.errors import ModelImportError
from npusim.importers.common.builder import check_elements
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.reshaping import reshaped
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import (
    BlockAttrs,
    PadAttrs,
    PadMode,
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
