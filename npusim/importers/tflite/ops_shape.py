"""Views, permutations, repeats, blocks of pixels, resizes, and what follows from shapes."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.layout import TO_NCHW, TO_NHWC
from npusim.importers.tflite.table import converter
from npusim.ir.attrs import (
    Attrs,
    BlockAttrs,
    Coordinates,
    PadAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.tensor import Shape

_NUMBERS = {"INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32, "BOOL": np.bool_}


def _reshape_to(op: Operator, context: TfliteContext, shape: Shape) -> None:
    """Give the first input another shape, in source order."""
    data = op.inputs[0]
    value = context.value(data)
    if value is not None:
        context.values[op.outputs[0]] = value.reshape(shape)
        return
    if tuple(shape) == context.shape(data):
        context.alias(op, context.feature(data))
        return
    context.emit_reshape(op, context.ordered(data), tuple(shape))


@converter("RESHAPE")
def reshape(op: Operator, context: TfliteContext) -> None:
    """Target shape from the second input, or else from the options.

    A converter leaves the shape of a scalar out: the second input is empty then, and has no data.
    """
    count = prod(context.shape(op.inputs[0]))
    sizes: list[int] = []
    given = op.inputs[1] if len(op.inputs) > 1 else -1
    if given < 0:
        stated = op.option("NewShapeAsNumpy", None)
        sizes = [int(n) for n in stated] if isinstance(stated, np.ndarray) else []
    elif context.value(given) is not None or context.tensor(given).shape != (0,):
        sizes = list(context.fixed_ints(op, 1, "the target shape"))
    if sizes.count(-1) > 1 or min(sizes, default=1) < -1:
        raise ModelImportError(f"target shape {sizes}", rule="sizes, and at most one -1")
    if -1 in sizes:
        rest = prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = count // rest if rest else 0
    _reshape_to(op, context, tuple(sizes))


@converter("SQUEEZE")
def squeeze(op: Operator, context: TfliteContext) -> None:
    """Remove axes of size 1: those listed, or all."""
    shape = context.shape(op.inputs[0])
    listed = op.option("SqueezeDimsAsNumpy", None)
    axes = {int(a) % len(shape) for a in listed} if isinstance(listed, np.ndarray) else set()
    axes = axes or {i for i, n in enumerate(shape) if n == 1}
    _reshape_to(op, context, tuple(n for i, n in enumerate(shape) if i not in axes))


@converter("EXPAND_DIMS")
def expand_dims(op: Operator, context: TfliteContext) -> None:
    """Insert an axis of size 1."""
    shape = list(context.shape(op.inputs[0]))
    (axis,) = context.fixed_ints(op, 1, "the axis")
    shape.insert(axis % (len(shape) + 1), 1)
    _reshape_to(op, context, tuple(shape))


@converter("TRANSPOSE")
def transpose(op: Operator, context: TfliteContext) -> None:
    """Permutation in source order."""
    data = op.inputs[0]
    perm = context.fixed_ints(op, 1, "the permutation")
    shape = context.shape(data)
    if sorted(perm) != list(range(len(shape))):
        raise ModelImportError(f"{perm} is no permutation of {len(shape)} axes")
    value = context.value(data)
    if value is not None:
        context.values[op.outputs[0]] = value.transpose(perm)
        return
    ours = tuple(TO_NHWC[perm[i]] for i in TO_NCHW) if len(perm) == 4 else perm
    context.emit(op, "transpose", (context.feature(data),), TransposeAttrs(perm=ours))


@converter("TILE")
def tile(op: Operator, context: TfliteContext) -> None:
    """Repeats per axis."""
    data = op.inputs[0]
    repeats = context.fixed_ints(op, 1, "the repeats")
    _tiled(op, context, context.feature(data), repeats)


def _tiled(op: Operator, context: TfliteContext, name: str, repeats: tuple[int, ...]) -> None:
    """Give an output as repeats, per axis in source order, of a tensor in the graph's order."""
    if set(repeats) <= {1}:
        context.alias(op, name)
        return
    ours = tuple(repeats[i] for i in TO_NCHW) if len(repeats) == 4 else repeats
    context.emit(op, "tile", (name,), TileAttrs(repeats=ours))


@converter("BROADCAST_TO")
def broadcast_to(op: Operator, context: TfliteContext) -> None:
    """Repeat axes of size 1 up to a known shape; axes may come in front."""
    target = context.fixed_ints(op, 1, "the target shape")
    shape = context.shape(op.inputs[0])
    wide = (1,) * (len(target) - len(shape)) + tuple(shape)
    if len(wide) != len(target) or any(n not in (1, t) for n, t in zip(wide, target, strict=True)):
        raise ModelImportError(f"{shape} does not broadcast to {target}")
    repeats = tuple(t // n for n, t in zip(wide, target, strict=True))
    name = context.widened(op, 0, len(target))
    if len(context.builder.tensors[name].shape) != len(target):
        name = context.part(op, "wide", "reshape", (name,), ReshapeAttrs(shape=wide))
    _tiled(op, context, name, repeats)


@converter("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def blocks(op: Operator, context: TfliteContext) -> None:
    """Channels to pixels and back, block positions outermost in the channels."""
    attrs = BlockAttrs(block=op.needed("BlockSize"))
    kind = "depth2space" if op.type == "DEPTH_TO_SPACE" else "space2depth"
    context.emit(op, kind, (context.feature(op.inputs[0]),), attrs)


@converter("SPACE_TO_BATCH_ND")
def space_to_batch(op: Operator, context: TfliteContext) -> None:
    """Pad, then put every block position's pixels into an image of its own."""
    data = op.inputs[0]
    block = context.fixed_ints(op, 1, "the block")
    pads = context.fixed(op, 2, "the padding").reshape(-1, 2)
    _check_blocks(block, pads, context.shape(data))
    if len(block) == 1:
        _rows_to_batch(op, context, block[0], pads[0])
        return
    name = context.feature(data)
    if pads.any():
        front, back = ((0, 0, *(int(p[side]) for p in pads)) for side in (0, 1))
        name = context.part(op, "padded", "pad", (name,), PadAttrs(front=front, back=back))
    n, c, h, w = context.builder.tensors[name].shape
    if h % block[0] or w % block[1]:
        raise ModelImportError(f"{h}x{w} is no multiple of blocks {block}")
    cut = (n, c, h // block[0], block[0], w // block[1], block[1])
    name = context.part(op, "cut", "reshape", (name,), ReshapeAttrs(shape=cut))
    turned = TransposeAttrs(perm=(3, 5, 0, 1, 2, 4))
    name = context.part(op, "turned", "transpose", (name,), turned)
    shape = (n * block[0] * block[1], c, cut[2], cut[4])
    context.emit(op, "reshape", (name,), ReshapeAttrs(shape=shape))


@converter("BATCH_TO_SPACE_ND")
def batch_to_space(op: Operator, context: TfliteContext) -> None:
    """Undo SPACE_TO_BATCH_ND, then crop."""
    data = op.inputs[0]
    block = context.fixed_ints(op, 1, "the block")
    crops = context.fixed(op, 2, "the crops").reshape(-1, 2)
    _check_blocks(block, crops, context.shape(data))
    if len(block) == 1:
        _batch_to_rows(op, context, block[0], crops[0])
        return
    name = context.feature(data)
    images, c, h, w = context.builder.tensors[name].shape
    n = images // (block[0] * block[1])
    if n * block[0] * block[1] != images:
        raise ModelImportError(f"{images} images are no multiple of blocks {block}")
    cut = (*block, n, c, h, w)
    name = context.part(op, "cut", "reshape", (name,), ReshapeAttrs(shape=cut))
    turned = TransposeAttrs(perm=(2, 3, 4, 0, 5, 1))
    name = context.part(op, "turned", "transpose", (name,), turned)
    whole = (n, c, h * block[0], w * block[1])
    if not crops.any():
        context.emit(op, "reshape", (name,), ReshapeAttrs(shape=whole))
        return
    name = context.part(op, "whole", "reshape", (name,), ReshapeAttrs(shape=whole))
    begin = (0, 0, *(int(crop[0]) for crop in crops))
    end = (n, c, *(size - int(crop[1]) for size, crop in zip(whole[2:], crops, strict=True)))
    context.emit(op, "slice", (name,), SliceAttrs(begin=begin, end=end, step=(1, 1, 1, 1)))


@converter("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(op: Operator, context: TfliteContext) -> None:
    """Resize height and width to a known size."""
    height, width = context.fixed_ints(op, 1, "the size")
    if op.option("AlignCorners", False) and op.option("HalfPixelCenters", False):
        raise ModelImportError("align_corners and half_pixel_centers", rule="one of them")
    if op.option("AlignCorners", False):
        coordinates = Coordinates.ALIGN_CORNERS
    elif op.option("HalfPixelCenters", False):
        coordinates = Coordinates.HALF_PIXEL
    else:
        coordinates = Coordinates.ASYMMETRIC
    mode = ResizeMode.BILINEAR if op.type == "RESIZE_BILINEAR" else ResizeMode.NEAREST
    attrs = ResizeAttrs(size=(height, width), mode=mode, coordinates=coordinates)
    context.emit(op, "resize", (context.feature(op.inputs[0]),), attrs)


@converter("SHAPE")
def shape_of(op: Operator, context: TfliteContext) -> None:
    """Known: shapes are concrete."""
    dtype = np.int64 if context.tensor(op.outputs[0]).type == "INT64" else np.int32
    context.values[op.outputs[0]] = np.array(context.shape(op.inputs[0]), dtype)


@converter("CAST")
def cast(op: Operator, context: TfliteContext) -> None:
    """Known values, and integers to real numbers."""
    data, index = op.inputs[0], op.outputs[0]
    value = context.value(data)
    target = context.tensor(index).type
    if value is not None and target in _NUMBERS:
        context.values[index] = value.astype(_NUMBERS[target])
        return
    name = context.feature(data)
    dtype, _ = context.spec(index)
    attrs: Attrs = Attrs()
    if context.builder.tensors[name].dtype is dtype:
        context.alias(op, name)
    elif dtype.is_float and not context.is_quantized(data):
        context.emit(op, "convert", (name,), attrs)
    else:
        raise UnsupportedForm(f"to {target}", "cast to float only")


def _check_blocks(block: tuple[int, ...], pairs: Array, shape: Shape) -> None:
    if len(block) not in (1, 2) or len(shape) != len(block) + 2:
        raise UnsupportedForm(f"blocks {block} of {shape}", "use height and width")
    if len(pairs) != len(block) or min(block) < 1 or pairs.min() < 0:
        raise ModelImportError(f"blocks {block} with {pairs.tolist()} of {shape}")


def _rows_to_batch(op: Operator, context: TfliteContext, block: int, pads: Array) -> None:
    """Space to batch of (N, rows, C)."""
    name = context.feature(op.inputs[0])
    if pads.any():
        attrs = PadAttrs(front=(0, int(pads[0]), 0), back=(0, int(pads[1]), 0))
        name = context.part(op, "padded", "pad", (name,), attrs)
    n, rows, c = context.builder.tensors[name].shape
    if rows % block:
        raise ModelImportError(f"{rows} rows are no multiple of block {block}")
    cut = ReshapeAttrs(shape=(n, rows // block, block, c))
    name = context.part(op, "cut", "reshape", (name,), cut)
    name = context.part(op, "turned", "transpose", (name,), TransposeAttrs(perm=(2, 0, 1, 3)))
    context.emit(op, "reshape", (name,), ReshapeAttrs(shape=(n * block, rows // block, c)))


def _batch_to_rows(op: Operator, context: TfliteContext, block: int, crops: Array) -> None:
    """Undo ``_rows_to_batch``, then crop."""
    name = context.feature(op.inputs[0])
    images, rows, c = context.builder.tensors[name].shape
    if images % block:
        raise ModelImportError(f"{images} images are no multiple of block {block}")
    n = images // block
    cut = ReshapeAttrs(shape=(block, n, rows, c))
    name = context.part(op, "cut", "reshape", (name,), cut)
    name = context.part(op, "turned", "transpose", (name,), TransposeAttrs(perm=(1, 2, 0, 3)))
    whole = ReshapeAttrs(shape=(n, rows * block, c))
    if not crops.any():
        context.emit(op, "reshape", (name,), whole)
        return
    name = context.part(op, "whole", "reshape", (name,), whole)
    begin, end = (0, int(crops[0]), 0), (n, rows * block - int(crops[1]), c)
    context.emit(op, "slice", (name,), SliceAttrs(begin=begin, end=end, step=(1, 1, 1)))
