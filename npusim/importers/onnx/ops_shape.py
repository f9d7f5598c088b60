"""Operators that change shapes or the order of elements, but no values."""

from math import prod

from npusim.errors import ModelImportError
from npusim.importers.onnx.context import (
    Context,
    OnnxNode,
    UnsupportedForm,
    checked_axis,
    converter,
)
from npusim.ir.attrs import BlockAttrs, ReshapeAttrs, TileAttrs, TransposeAttrs


def reshape_to(node: OnnxNode, context: Context, shape: tuple[int, ...]) -> None:
    """Give the node's output as its first input in another shape."""
    context.emit(node, "reshape", node.inputs[:1], ReshapeAttrs(shape=shape))


@converter("Reshape")
def reshape(node: OnnxNode, context: Context) -> None:
    """0 copies the input's size (unless allowzero), -1 takes what is left."""
    source = context.shape(node.inputs[0])
    wanted = context.fixed_ints(node, 1, "the target shape")
    if wanted is None:
        raise ModelImportError("the target shape is missing", where=node.where)
    sizes = list(wanted)
    for axis, size in enumerate(sizes):
        if size == 0 and not node.integer("allowzero", 0):
            if axis >= len(source):
                raise ModelImportError(
                    f"target {wanted} copies axis {axis} of input {source}", where=node.where
                )
            sizes[axis] = source[axis]
    if sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise ModelImportError(
            f"target shape {wanted}", where=node.where, rule="sizes, and at most one -1"
        )
    if -1 in sizes:
        rest = prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = prod(source) // rest if rest else 0
    reshape_to(node, context, tuple(sizes))


@converter("Flatten")
def flatten(node: OnnxNode, context: Context) -> None:
    """Two axes: all before ``axis`` and the rest."""
    shape = context.shape(node.inputs[0])
    axis = node.integer("axis", 1)
    if axis != len(shape):
        axis = checked_axis(node, axis, len(shape))
    reshape_to(node, context, (prod(shape[:axis]), prod(shape[axis:])))


def _axes(node: OnnxNode, context: Context) -> tuple[int, ...] | None:
    if node.version < 13:
        return node.integers("axes")
    return context.fixed_ints(node, 1, "axes")


def squeezed_shape(node: OnnxNode, context: Context) -> tuple[int, ...]:
    """Return the output shape of Squeeze (without axes: all of size 1) and Unsqueeze."""
    shape = context.shape(node.inputs[0])
    given = _axes(node, context)
    if node.op_type == "Unsqueeze":
        rank = len(shape) + len(given or ())
        axes = {checked_axis(node, axis, rank) for axis in given or ()}
        if not given or len(axes) != len(given):
            raise ModelImportError(f"axes {given}", where=node.where, rule="different axes")
        sizes = iter(shape)
        return tuple(1 if i in axes else next(sizes) for i in range(rank))
    if given is None:
        axes = {i for i, n in enumerate(shape) if n == 1}
    else:
        axes = {checked_axis(node, axis, len(shape)) for axis in given}
    if any(shape[i] != 1 for i in axes):
        raise ModelImportError(
            f"axes {sorted(axes)} of input {shape} are not all 1", where=node.where
        )
    return tuple(n for i, n in enumerate(shape) if i not in axes)


@converter("Squeeze", "Unsqueeze")
def squeeze(node: OnnxNode, context: Context) -> None:
    """Remove or insert axes of size 1."""
    reshape_to(node, context, squeezed_shape(node, context))


@converter("Transpose")
def transpose(node: OnnxNode, context: Context) -> None:
    """Without perm: axes reversed."""
    rank = len(context.shape(node.inputs[0]))
    perm = node.integers("perm") or tuple(reversed(range(rank)))
    context.emit(node, "transpose", node.inputs[:1], TransposeAttrs(perm=perm))


@converter("DepthToSpace", "SpaceToDepth")
def blocks(node: OnnxNode, context: Context) -> None:
    """Channels to pixels and back."""
    if len(context.shape(node.inputs[0])) != 4:
        raise UnsupportedForm(
            f"input {context.shape(node.inputs[0])}", "use four axes (N, C, H, W)"
        )
    block, mode = node.integer("blocksize"), node.text("mode", "DCR").lower()
    if node.op_type == "DepthToSpace":
        context.emit(node, "depth2space", node.inputs[:1], BlockAttrs(block=block, mode=mode))
    elif mode != "dcr":
        raise UnsupportedForm(
            f"mode {mode.upper()}", "use DCR, and permute the channels of the next weights"
        )
    else:
        context.emit(node, "space2depth", node.inputs[:1], BlockAttrs(block=block))


@converter("Tile")
def tile(node: OnnxNode, context: Context) -> None:
    """Repeats per axis."""
    repeats = context.fixed_ints(node, 1, "the repeats") or ()
    if len(repeats) != len(context.shape(node.inputs[0])) or min(repeats, default=1) < 1:
        raise ModelImportError(
            f"repeats {repeats} of input {context.shape(node.inputs[0])}",
            where=node.where,
            rule="one positive number per axis",
        )
    _repeat(node, context, node.inputs[0], repeats)


@converter("Expand")
def expand(node: OnnxNode, context: Context) -> None:
    """Two-way broadcast to a shape, as a tile."""
    source = context.shape(node.inputs[0])
    wanted = context.fixed_ints(node, 1, "the target shape") or ()
    rank = max(len(source), len(wanted))
    padded = (1,) * (rank - len(source)) + source
    target = (1,) * (rank - len(wanted)) + wanted
    if any(a != b and 1 not in (a, b) for a, b in zip(padded, target, strict=True)):
        raise ModelImportError(f"input {source} does not broadcast to {wanted}", where=node.where)
    repeats = tuple(b if a == 1 else 1 for a, b in zip(padded, target, strict=True))
    name = node.inputs[0]
    if rank != len(source):
        if all(n == 1 for n in repeats):
            reshape_to(node, context, padded)
            return
        name = context.emit(node, "reshape", (name,), ReshapeAttrs(shape=padded), part="ranked")
    _repeat(node, context, name, repeats)


def _repeat(node: OnnxNode, context: Context, name: str, repeats: tuple[int, ...]) -> None:
    if all(n == 1 for n in repeats):
        context.alias(node.outputs[0], name)
    else:
        context.emit(node, "tile", (name,), TileAttrs(repeats=repeats))
