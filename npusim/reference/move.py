"""Reference of the operators that move elements; all but resize and pad work on any type."""

import numpy as np

from npusim.errors import InputError
from npusim.ir.attrs import (
    AxisAttrs,
    BlockAttrs,
    Coordinates,
    GroupAttrs,
    PadAttrs,
    PadMode,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.graph import Graph, Node
from npusim.ops.resize_positions import nearest_indices, positions
from npusim.reference.table import Array, Step, Workers, attributes, is_channels_last, reference
from npusim.runtime.memory_order import from_channels_last


@reference("identity", integers=True)
def prepare_identity(node: Node, graph: Graph, workers: Workers) -> Step:
    """Return the same values."""
    return lambda x: (x,)


@reference("reshape", integers=True)
def prepare_reshape(node: Node, graph: Graph, workers: Workers) -> Step:
    """Keep the elements in their logical order."""
    attrs = attributes(node, ReshapeAttrs)
    shape = attrs.shape
    return lambda x: (x.reshape(shape),)


@reference("transpose", integers=True)
def prepare_transpose(node: Node, graph: Graph, workers: Workers) -> Step:
    """Change strides only; no element moves."""
    attrs = attributes(node, TransposeAttrs)
    perm = attrs.perm
    return lambda x: (x.transpose(perm),)


@reference("concat", integers=True)
def prepare_concat(node: Node, graph: Graph, workers: Workers) -> Step:
    """Join in memory order when all inputs have channels innermost."""
    attrs = attributes(node, AxisAttrs)
    axis = attrs.axis

    def step(*values: Array) -> tuple[Array, ...]:
        if all(is_channels_last(value) for value in values):
            moved = [value.transpose(0, 2, 3, 1) for value in values]
            return (from_channels_last(np.concatenate(moved, axis=(0, 3, 1, 2)[axis])),)
        return (np.concatenate(values, axis=axis),)

    return step


@reference("split", integers=True)
def prepare_split(node: Node, graph: Graph, workers: Workers) -> Step:
    """Cut into views."""
    attrs = attributes(node, SplitAttrs)
    axis, edges = attrs.axis, np.cumsum(attrs.sizes)[:-1]
    return lambda x: tuple(np.split(x, edges, axis=axis))


@reference("slice", integers=True)
def prepare_slice(node: Node, graph: Graph, workers: Workers) -> Step:
    """begin:end:step per axis; an end of -1 with a negative step includes index 0."""
    attrs = attributes(node, SliceAttrs)
    index = tuple(
        slice(begin, None if step < 0 and end < 0 else end, step)
        for begin, end, step in zip(attrs.begin, attrs.end, attrs.step, strict=True)
    )
    return lambda x: (x[index],)


@reference("pad", integers=True)
def prepare_pad(node: Node, graph: Graph, workers: Workers) -> Step:
    """Negative amounts crop."""
    attrs = attributes(node, PadAttrs)
    spec, shape = graph.spec(node.inputs[0]), graph.spec(node.outputs[0]).shape
    source, target, indices = [], [], []
    for size, front, back in zip(spec.shape, attrs.front, attrs.back, strict=True):
        source.append(slice(max(0, -front), size - max(0, -back)))
        target.append(slice(max(0, front), max(0, front) + size - max(0, -front) - max(0, -back)))
        kept = np.arange(size)[source[-1]]
        extra = (max(0, front), max(0, back))
        if attrs.mode is not PadMode.CONSTANT:
            indices.append(np.pad(kept, extra, mode=attrs.mode.value))

    def constant(x: Array) -> tuple[Array, ...]:
        ofm = np.full(shape, attrs.value, spec.dtype.numpy)
        ofm[tuple(target)] = x[tuple(source)]
        return (ofm,)

    return constant if attrs.mode is PadMode.CONSTANT else lambda x: (x[np.ix_(*indices)],)


def _lerp(value: Array, axis: int, target: int, coordinates: Coordinates) -> Array:
    size = value.shape[axis]
    position = np.clip(positions(size, target, coordinates, centred=True), 0, size - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    fraction = (position - low.astype(np.float32)).reshape(
        [-1 if i == axis else 1 for i in range(value.ndim)]
    )
    first, second = value.take(low, axis), value.take(high, axis)
    return np.asarray(first * (1 - fraction) + second * fraction)


@reference("resize")
def prepare_resize(node: Node, graph: Graph, workers: Workers) -> Step:
    """Nearest picks elements; bilinear interpolates along x, then along y."""
    attrs = attributes(node, ResizeAttrs)
    _, _, in_h, in_w = graph.spec(node.inputs[0]).shape
    height, width = attrs.size
    coordinates = attrs.coordinates
    rows = nearest_indices(in_h, height, coordinates)
    columns = nearest_indices(in_w, width, coordinates)

    def step(ifm: Array) -> tuple[Array, ...]:
        moved = np.asarray(ifm.transpose(0, 2, 3, 1), order="C")
        if attrs.mode is ResizeMode.NEAREST:
            return (from_channels_last(moved.take(rows, 1).take(columns, 2)),)
        return (
            from_channels_last(_lerp(_lerp(moved, 2, width, coordinates), 1, height, coordinates)),
        )

    return step


@reference("depth2space", integers=True)
def prepare_depth2space(node: Node, graph: Graph, workers: Workers) -> Step:
    """Mode dcr: the block is the slow part of the channel; crd: the fast part."""
    attrs = attributes(node, BlockAttrs)
    block, deep = attrs.block, attrs.mode == "dcr"

    def step(x: Array) -> tuple[Array, ...]:
        n, c, h, w = x.shape
        kept = c // block // block
        if deep:
            moved = x.reshape(n, block, block, kept, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            moved = x.reshape(n, kept, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
        return (moved.reshape(n, kept, h * block, w * block),)

    return step


@reference("space2depth", integers=True)
def prepare_space2depth(node: Node, graph: Graph, workers: Workers) -> Step:
    """Inverse of depth2space in mode dcr."""
    attrs = attributes(node, BlockAttrs)
    block = attrs.block

    def step(x: Array) -> tuple[Array, ...]:
        n, c, h, w = x.shape
        moved = x.reshape(n, c, h // block, block, w // block, block).transpose(0, 3, 5, 1, 2, 4)
        return (moved.reshape(n, c * block * block, h // block, w // block),)

    return step


@reference("channel_shuffle", integers=True)
def prepare_channel_shuffle(node: Node, graph: Graph, workers: Workers) -> Step:
    """Transpose (group, C / group)."""
    attrs = attributes(node, GroupAttrs)
    group = attrs.group

    def step(x: Array) -> tuple[Array, ...]:
        n, c, *rest = x.shape
        return (x.reshape(n, group, c // group, *rest).swapaxes(1, 2).reshape(x.shape),)

    return step


@reference("tile", integers=True)
def prepare_tile(node: Node, graph: Graph, workers: Workers) -> Step:
    """Repeat along every axis."""
    attrs = attributes(node, TileAttrs)
    repeats = attrs.repeats
    return lambda x: (np.tile(x, repeats),)


@reference("gather", integers=True)
def prepare_gather(node: Node, graph: Graph, workers: Workers) -> Step:
    """Negative indices count from the end."""
    attrs = attributes(node, AxisAttrs)
    axis = attrs.axis
    size = graph.spec(node.inputs[0]).shape[axis]

    def step(data: Array, indices: Array) -> tuple[Array, ...]:
        whole = indices.astype(np.int64)
        if whole.size and (whole.min() < -size or whole.max() >= size):
            raise InputError(
                f"index {whole.min()} or {whole.max()} is outside axis {axis} of size {size}",
                where=f"layer {node.name!r} (gather)",
                rule=f"indices lie in [{-size}, {size - 1}]",
                remedy="check the indices fed to this layer",
            )
        return (data.take(whole, axis),)

    return step
