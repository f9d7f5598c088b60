"""Layers of vendor files that move elements."""

from math import prod

from npusim.errors import ContainerError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.vendor.context import VendorContext, axis_of, converter
from npusim.importers.vendor.network import VendorLayer
from npusim.importers.vendor.ops_weighted import pair
from npusim.ir.attrs import (
    AxisAttrs,
    BlockAttrs,
    Coordinates,
    GroupAttrs,
    PadAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.tensor import Shape


@converter("VARIABLE")
def variable(layer: VendorLayer, context: VendorContext) -> None:
    """Give a constant a layer's name."""
    context.need(layer, 1)
    context.aliases[layer.outputs[0]] = context.name(layer.inputs[0])


@converter("NOOP")
def nothing(layer: VendorLayer, context: VendorContext) -> None:
    """Copy."""
    context.need(layer, 1)
    context.emit(layer, "identity", layer.inputs)


@converter("DATACONVERT")
def convert(layer: VendorLayer, context: VendorContext) -> None:
    """Give numbers another format."""
    context.need(layer, 1)
    context.emit(layer, "convert", layer.inputs)


def target_shape(layer: VendorLayer, shape: Shape, sizes: tuple[int, ...]) -> Shape:
    """Return a shape in numpy's order: 0 copies a size, -1 takes what is left."""
    known = list(reversed(shape))
    target = [known[i] if n == 0 and i < len(known) else n for i, n in enumerate(sizes)]
    if target.count(-1) > 1 or min(target, default=1) < -1 or 0 in target:
        raise ContainerError(
            f"size is {list(sizes)}", where=layer.where, rule="sizes, and at most one -1"
        )
    if -1 in target:
        target[target.index(-1)] = prod(shape) // prod(n for n in target if n != -1)
    if prod(target) != prod(shape):
        raise ContainerError(
            f"{shape} does not fill {target[::-1]}",
            where=layer.where,
            rule="the number of elements stays",
        )
    return tuple(reversed(target))


@converter("RESHAPE", "RESHAPE2", "SQUEEZE")
def reshape(layer: VendorLayer, context: VendorContext) -> None:
    """Give another shape."""
    context.need(layer, 1)
    shape = context.shape(layer.inputs[0])
    if layer.type == "SQUEEZE":
        axes = {axis_of(layer, a, len(shape)) for a in layer.wholes("axis")}
        target: Shape = tuple(n for i, n in enumerate(shape) if i not in axes)
    else:
        target = target_shape(layer, shape, layer.wholes("size"))
    context.emit(layer, "reshape", layer.inputs, ReshapeAttrs(shape=target))


@converter("PERMUTE")
def permute(layer: VendorLayer, context: VendorContext) -> None:
    """Order the axes anew."""
    context.need(layer, 1)
    rank, order = len(context.shape(layer.inputs[0])), layer.wholes("perm")
    if sorted(order) != list(range(rank)):
        raise ContainerError(
            f"perm is {list(order)}", where=layer.where, rule=f"an order of {rank} axes"
        )
    perm = tuple(rank - 1 - order[rank - 1 - i] for i in range(rank))
    context.emit(layer, "transpose", layer.inputs, TransposeAttrs(perm=perm))


@converter("CONCAT")
def concat(layer: VendorLayer, context: VendorContext) -> None:
    """Join along an axis."""
    context.need(layer, (1, 4096))
    axis = axis_of(layer, layer.whole("axis"), len(context.shape(layer.inputs[0])))
    context.emit(layer, "concat", layer.inputs, AxisAttrs(axis=axis))


@converter("SPLIT")
def split(layer: VendorLayer, context: VendorContext) -> None:
    """Cut along an axis, into equal parts when the file names no sizes."""
    context.need(layer, 1, len(layer.outputs))
    shape, count = context.shape(layer.inputs[0]), len(layer.outputs)
    axis = axis_of(layer, layer.whole("axis"), len(shape))
    sizes = layer.wholes("slices", ()) or (shape[axis] // max(count, 1),) * count
    context.emit(layer, "split", layer.inputs, SplitAttrs(axis=axis, sizes=sizes))


@converter("SLICE")
def slice_(layer: VendorLayer, context: VendorContext) -> None:
    """Take a part: begin and length of every axis."""
    context.need(layer, 1)
    shape = context.shape(layer.inputs[0])
    start, length = (layer.wholes(key)[::-1] for key in ("start", "length"))
    if not len(start) == len(length) == len(shape):
        raise ContainerError(
            f"start {list(start)}, length {list(length)}", where=layer.where, rule=f"as {shape}"
        )
    end = tuple(b + n for b, n in zip(start, length, strict=True))
    if any(e > n or b < 0 for b, e, n in zip(start, end, shape, strict=True)):
        raise ContainerError(f"it cuts {list(start)} to {list(end)} of {shape}", where=layer.where)
    step = (1,) * len(shape)
    context.emit(layer, "slice", layer.inputs, SliceAttrs(begin=start, end=end, step=step))


@converter("STRIDED_SLICE")
def strided_slice(layer: VendorLayer, context: VendorContext) -> None:
    """Take every n-th entry; bits of the masks leave a begin or an end out or drop the axis."""
    context.need(layer, 1)
    shape = context.shape(layer.inputs[0])
    rank = len(shape)
    begin, end, step = (layer.wholes(f"{w}_dims")[::-1] for w in ("begin", "end", "stride"))
    if not len(begin) == len(end) == len(step) == rank:
        raise ContainerError(f"{len(begin)} begins", where=layer.where, rule=f"{rank} axes")
    masks = [layer.whole(f"{word}_mask", 0) for word in ("begin", "end", "shrink_axis")]
    found = []
    for axis, size in enumerate(shape):
        first, last, shrink = (mask >> (rank - 1 - axis) & 1 for mask in masks)
        b, e = None if first else begin[axis], None if last else end[axis]
        if shrink:
            b, e = begin[axis], begin[axis] + 1 or None
        found.append(slice(b, e, step[axis]).indices(size))
    attrs = SliceAttrs(
        begin=tuple(f[0] for f in found),
        end=tuple(f[1] for f in found),
        step=tuple(f[2] for f in found),
    )
    kept = tuple(
        len(range(*f)) for axis, f in enumerate(found) if not masks[2] >> (rank - 1 - axis) & 1
    )
    if not masks[2]:
        context.emit(layer, "slice", layer.inputs, attrs)
        return
    part = context.emit(layer, "slice", layer.inputs, attrs, part="cut")
    context.emit(layer, "reshape", (part,), ReshapeAttrs(shape=kept))


@converter("PAD")
def pad(layer: VendorLayer, context: VendorContext) -> None:
    """Add a constant round a tensor."""
    context.need(layer, 1)
    mode = str(layer.get("mode", "CONSTANT"))
    if "CONSTANT" not in mode.upper():
        raise UnsupportedForm(f"its mode is {mode}", "no file was seen with it")
    front, back = (layer.wholes(key)[::-1] for key in ("front_size", "back_size"))
    attrs = PadAttrs(front=front, back=back, value=layer.real("const_val", 0.0))
    context.emit(layer, "pad", layer.inputs, attrs)


@converter("SHUFFLECHANNEL")
def shuffle(layer: VendorLayer, context: VendorContext) -> None:
    """Interleave groups of channels."""
    context.need(layer, 1)
    group = layer.whole("group_number")
    context.emit(layer, "channel_shuffle", layer.inputs, GroupAttrs(group=group))


@converter("DEPTH2SPACE", "SPACE2DEPTH")
def blocks(layer: VendorLayer, context: VendorContext) -> None:
    """Move blocks of pixels to channels or back."""
    context.need(layer, 1)
    size = layer.get("block_size")
    both = size if isinstance(size, list) else [size, size]
    if len(set(both)) != 1 or not isinstance(both[0], int):
        raise UnsupportedForm(f"its block is {both}", "blocks are square")
    op = "depth2space" if layer.type == "DEPTH2SPACE" else "space2depth"
    context.emit(layer, op, layer.inputs, BlockAttrs(block=both[0]))


@converter("TILE")
def tile(layer: VendorLayer, context: VendorContext) -> None:
    """Repeat along the axes."""
    context.need(layer, 1)
    repeats = layer.wholes("multiples")[::-1]
    context.emit(layer, "tile", layer.inputs, TileAttrs(repeats=repeats))


@converter("GATHER")
def gather(layer: VendorLayer, context: VendorContext) -> None:
    """Pick entries along an axis."""
    context.need(layer, 2)
    axis = axis_of(layer, layer.whole("axis"), len(context.shape(layer.inputs[0])))
    context.emit(layer, "gather", layer.inputs, AxisAttrs(axis=axis))


@converter("RESIZE")
def resize(layer: VendorLayer, context: VendorContext) -> None:
    """Enlarge or shrink height and width."""
    context.need(layer, 1)
    word = str(layer.get("type"))
    modes = {"NEAREST_NEIGHBOR": ResizeMode.NEAREST, "BILINEAR": ResizeMode.BILINEAR}
    mode = next((m for name, m in modes.items() if word.endswith(name)), None)
    if mode is None:
        raise UnsupportedForm(f"its interpolation is {word}", "nearest and bilinear are known")
    factor = layer.real("factor", 0.0)
    if factor:
        height, width = context.shape(layer.inputs[0])[2:]
        size = (int(height * factor), int(width * factor))
    else:
        size = pair(layer, "size")
    coordinates = Coordinates.ASYMMETRIC
    if layer.whole("align_corners", 0):
        coordinates = Coordinates.ALIGN_CORNERS
    elif layer.whole("half_pixel_centers", 0):
        coordinates = Coordinates.HALF_PIXEL
    context.emit(
        layer, "resize", layer.inputs, ResizeAttrs(size=size, mode=mode, coordinates=coordinates)
    )
