"""Operators that move elements."""

from math import prod

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.index import strided
from npusim.importers.common.ordered_conv import linear, resize, resized
from npusim.importers.common.ordered_moves import (
    blocks,
    broadcast,
    concat,
    cut,
    gather,
    pad,
    reverse,
    split,
    stack,
    tile,
    unstack,
)
from npusim.importers.common.resize_weights import area_matrix, cubic_matrix
from npusim.importers.tensorflow.boxes import crop
from npusim.importers.tensorflow.context import TfContext, TfNode, converter, needs
from npusim.ir.attrs import Coordinates, ResizeMode


@converter(
    "Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "EnsureShape",
    "Print", "PrintV2", "PlaceholderWithDefault", "RefIdentity", "Exit", "RefExit",
)  # fmt: skip
def nothing(node: TfNode, context: TfContext) -> None:
    """Give the first input on."""
    context.alias(node.outputs[0], node.inputs[0])


@converter("IdentityN")
def several(node: TfNode, context: TfContext) -> None:
    """Give every input on."""
    for output, source in zip(node.outputs, node.inputs, strict=True):
        context.alias(output, source)


@converter("Reshape")
def reshape(node: TfNode, context: TfContext) -> None:
    """Known sizes, one of which may be -1."""
    needs(node, 2)
    source = node.inputs[0]
    sizes = list(context.ints(node, 1, "the shape"))
    count = prod(context.shape(source))
    if sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise ModelImportError(f"shape {sizes}", where=node.where, rule="sizes, at most one -1")
    if -1 in sizes:
        rest = -prod(sizes)
        if not rest or count % rest:
            raise ModelImportError(
                f"{count} elements {context.shape(source)} do not fill {sizes}", where=node.where
            )
        sizes[sizes.index(-1)] = count // rest
    context.reshape(node, source, sizes)


@converter("Squeeze")
def squeeze(node: TfNode, context: TfContext) -> None:
    """Remove axes of size 1: those listed, or all."""
    source = node.inputs[0]
    shape = context.shape(source)
    listed = node.integers("squeeze_dims") or node.integers("axis")
    axes = {context.axis(node, source, axis) for axis in listed}
    if any(shape[axis] != 1 for axis in axes):
        raise ModelImportError(f"axes {sorted(axes)} of {shape}", where=node.where, rule="size 1")
    axes = axes or {i for i, n in enumerate(shape) if n == 1}
    context.reshape(node, source, [n for i, n in enumerate(shape) if i not in axes])


@converter("ExpandDims")
def expand_dims(node: TfNode, context: TfContext) -> None:
    """Insert an axis of size 1."""
    source = node.inputs[0]
    (axis,) = context.ints(node, 1, "the axis")
    place = context.axis(node, source, axis, extra=1)
    shape = context.shape(source)
    context.reshape(node, source, (*shape[:place], 1, *shape[place:]))


@converter("Transpose", "ConjugateTranspose")
def transpose(node: TfNode, context: TfContext) -> None:
    """Known permutation; it moves nothing until an operator needs another order."""
    source = node.inputs[0]
    perm = context.ints(node, 1, "the permutation")
    if sorted(perm) != list(range(context.rank(source))):
        raise ModelImportError(
            f"{perm} is no permutation of {context.shape(source)}", where=node.where
        )
    context.alias(node.outputs[0], source, perm)


@converter("ConcatV2", "Concat")
def concat_(node: TfNode, context: TfContext) -> None:
    """Join along a known axis."""
    last = node.type == "ConcatV2"
    parts = node.inputs[:-1] if last else node.inputs[1:]
    (axis,) = context.ints(node, len(node.inputs) - 1 if last else 0, "the axis")
    concat(context, node, parts, context.axis(node, parts[0], axis))


@converter("Pack")
def pack(node: TfNode, context: TfContext) -> None:
    """Join along a new axis."""
    axis = context.axis(node, node.inputs[0], node.integer("axis"), extra=1)
    stack(context, node, node.inputs, axis)


@converter("Unpack")
def unpack(node: TfNode, context: TfContext) -> None:
    """Cut an axis into its indices; the axis vanishes."""
    axis = context.axis(node, node.inputs[0], node.integer("axis"))
    unstack(context, node, node.inputs[0], axis, node.outputs)


@converter("Split")
def split_(node: TfNode, context: TfContext) -> None:
    """Equal parts; the axis comes first."""
    (axis,) = context.ints(node, 0, "the axis")
    source, count = node.inputs[1], len(node.outputs)
    place = context.axis(node, source, axis)
    size = context.shape(source)[place]
    if size % count:
        raise ModelImportError(f"{size} elements in {count} equal parts", where=node.where)
    split(context, node, source, place, [size // count] * count, node.outputs)


@converter("SplitV")
def split_v(node: TfNode, context: TfContext) -> None:
    """Parts of given sizes, one of which may be -1."""
    source = node.inputs[0]
    sizes = list(context.ints(node, 1, "the sizes"))
    (axis,) = context.ints(node, 2, "the axis")
    place = context.axis(node, source, axis)
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = context.shape(source)[place] - sum(sizes) - 1
    if min(sizes, default=0) < 1:
        raise UnsupportedForm(f"parts of {sizes}", "parts that are not empty")
    split(context, node, source, place, sizes, node.outputs)


@converter("Slice")
def slice_(node: TfNode, context: TfContext) -> None:
    """Begin and size per axis; -1 means to the end."""
    source = node.inputs[0]
    begin, size = context.ints(node, 1, "begin"), context.ints(node, 2, "size")
    shape = context.shape(source)
    if not len(begin) == len(size) == len(shape):
        raise ModelImportError(f"begin {begin}, size {size} of {shape}", where=node.where)
    cuts = {
        i: (b, shape[i] if n == -1 else b + n, 1)
        for i, (b, n) in enumerate(zip(begin, size, strict=True))
    }
    if any(not 0 <= b <= e <= shape[i] for i, (b, e, _) in cuts.items()):
        raise ModelImportError(
            f"begin {begin}, size {size} of {shape}", where=node.where, rule="inside the tensor"
        )
    cut(context, node, source, cuts)


@converter("StridedSlice")
def strided_slice(node: TfNode, context: TfContext) -> None:
    """Begin, end, step and the five masks."""
    needs(node, 4)
    source = node.inputs[0]
    parts = [context.fixed(node, i, word) for i, word in ((1, "begin"), (2, "end"), (3, "step"))]
    found = strided(node, context.shape(source), *parts, masks=node.mask)
    if 0 in found.shape:
        raise UnsupportedForm("its result is empty", "remove it")
    piece = cut(context, node, source, dict(enumerate(found.cuts)), part="piece")
    context.reshape(node, piece, found.shape)


@converter("Pad", "PadV2", "MirrorPad")
def pad_(node: TfNode, context: TfContext) -> None:
    """Known pairs of (before, behind) per axis; reflect and symmetric as well."""
    pairs = context.fixed(node, 1, "the padding").reshape(-1, 2)
    value, mode = 0.0, "constant"
    if node.type == "PadV2":
        value = float(context.fixed(node, 2, "the value").reshape(()))
    elif node.type == "MirrorPad":
        mode = node.text("mode", "REFLECT").lower()
    pad(context, node, node.inputs[0], pairs.tolist(), value=value, mode=mode)


@converter("Tile")
def tile_(node: TfNode, context: TfContext) -> None:
    """Known repeats per axis."""
    tile(context, node, node.inputs[0], context.ints(node, 1, "the repeats"))


@converter("BroadcastTo")
def broadcast_to(node: TfNode, context: TfContext) -> None:
    """Repeat axes of size 1 up to a known shape."""
    broadcast(context, node, node.inputs[0], context.ints(node, 1, "the shape"))


@converter("Gather", "GatherV2", "ResourceGather")
def gather_(node: TfNode, context: TfContext) -> None:
    """Known indices, or a known table."""
    source, indices = node.inputs[:2]
    if node.integer("batch_dims"):
        raise UnsupportedForm("batch_dims", "gather without it")
    axis = context.ints(node, 2, "the axis")[0] if len(node.inputs) > 2 else 0
    gather(context, node, source, indices, context.axis(node, source, axis))


@converter("ReverseV2")
def reverse_(node: TfNode, context: TfContext) -> None:
    """Turn known axes around."""
    source = node.inputs[0]
    axes = [context.axis(node, source, axis) for axis in context.ints(node, 1, "the axes")]
    reverse(context, node, source, axes)


@converter("SpaceToDepth", "DepthToSpace")
def blocks_(node: TfNode, context: TfContext) -> None:
    """Channels to pixels and back, block positions outermost in the channels."""
    source = node.inputs[0]
    context.map_order(node, source)
    if node.text("data_format", "NHWC") != "NHWC":
        raise UnsupportedForm("data format NCHW", "use NHWC")
    to_space = node.type == "DepthToSpace"
    blocks(context, node, source, node.integer("block_size", 2), to_space=to_space)


@converter("ResizeBilinear", "ResizeNearestNeighbor")
def resize_(node: TfNode, context: TfContext) -> None:
    """Known height and width; all three rules of positions."""
    size = context.ints(node, 1, "the size")
    mode = ResizeMode.BILINEAR if node.type == "ResizeBilinear" else ResizeMode.NEAREST
    resize(context, node, node.inputs[0], size, mode, _rule(node))


def _rule(node: TfNode) -> Coordinates:
    if node.flag("align_corners") and node.flag("half_pixel_centers"):
        raise ModelImportError(
            "align_corners and half_pixel_centers", where=node.where, rule="one of them"
        )
    if node.flag("align_corners"):
        return Coordinates.ALIGN_CORNERS
    half = node.flag("half_pixel_centers")
    return Coordinates.HALF_PIXEL if half else Coordinates.ASYMMETRIC


@converter("ResizeArea", "ResizeBicubic")
def resize_by_sums(node: TfNode, context: TfContext) -> None:
    """Add rows and columns with known weights."""
    source = node.inputs[0]
    shape = context.shape(source)
    size = resized(node, shape, context.ints(node, 1, "the size"))
    rule = _rule(node)
    make = area_matrix if node.type == "ResizeArea" else cubic_matrix
    rows, columns = (make(n, out, rule) for n, out in zip(shape[1:3], size, strict=True))
    middle = linear(context, node, source, 1, rows, part="rows")
    linear(context, node, middle, 2, columns)


@converter("CropAndResize")
def crop_and_resize(node: TfNode, context: TfContext) -> None:
    """Known boxes: sums of rows and columns with known weights."""
    needs(node, 4)
    crop(node, context)
