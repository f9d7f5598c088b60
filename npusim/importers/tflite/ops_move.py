"""Operators that move elements, and those whose values follow from shapes."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.tflite.context import (
    TO_NCHW,
    TO_NHWC,
    TfliteContext,
    converter,
    physical,
    same_memory,
)
from npusim.importers.tflite.file import Operator
from npusim.ir.attrs import (
    Attrs,
    AxisAttrs,
    BlockAttrs,
    Coordinates,
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
from npusim.ir.tensor import Shape

_NUMBERS = {"INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32, "BOOL": np.bool_}


def known_inputs(op: Operator, context: TfliteContext) -> list[Array] | None:
    """Return the values of all inputs when they are known and small: arithmetic on shapes."""
    values = []
    for index in op.inputs:
        value = None if index in context.names or index < 0 else context.value(index)
        if value is None:
            return None
        values.append(value)
    return values


def _reshape_to(op: Operator, context: TfliteContext, shape: Shape) -> None:
    """Give the first input another shape, in source order."""
    data = op.inputs[0]
    value = context.value(data) if data not in context.names else None
    if value is not None:
        context.values[op.outputs[0]] = value.reshape(shape)
        return
    if tuple(shape) == context.shape(data):
        context.alias(op, context.feature(data))
        return
    context.emit_reshape(op, context.ordered(data), tuple(shape))


@converter("RESHAPE")
def reshape(op: Operator, context: TfliteContext) -> None:
    """Target shape from the second input, or else from the options."""
    count = prod(context.shape(op.inputs[0]))
    if len(op.inputs) > 1 and op.inputs[1] >= 0:
        sizes = list(context.fixed_ints(op, 1, "the target shape"))
    else:
        stated = op.option("NewShapeAsNumpy", None)
        sizes = [int(n) for n in stated] if isinstance(stated, np.ndarray) else []
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
    value = context.value(data) if data not in context.names else None
    if value is not None:
        context.values[op.outputs[0]] = value.transpose(perm)
        return
    ours = tuple(TO_NHWC[perm[i]] for i in TO_NCHW) if len(perm) == 4 else perm
    context.emit(op, "transpose", (context.feature(data),), TransposeAttrs(perm=ours))


@converter("CONCATENATION")
def concatenation(op: Operator, context: TfliteContext) -> None:
    """Join along an axis; every part has its own quantization."""
    first = op.inputs[0]
    axis = context.axis(first, op.option("Axis", 0))
    parts = [context.feature(index) for index in op.inputs]
    activation = op.option("FusedActivationFunction", 0)
    context.emit(op, "concat", parts, AxisAttrs(axis=axis), activation=activation)


@converter("PACK")
def pack(op: Operator, context: TfliteContext) -> None:
    """Join along a new axis."""
    values = known_inputs(op, context)
    rank = len(context.shape(op.inputs[0])) + 1
    axis = op.option("Axis", 0) % rank
    if values is not None:
        context.values[op.outputs[0]] = np.stack(values, axis)
        return
    shape = context.shape(op.inputs[0])
    wide = (*shape[:axis], 1, *shape[axis:])
    if not same_memory(physical(wide)):
        raise UnsupportedForm(f"a new axis in {shape}", "write it as Reshape and Concatenation")
    attrs = ReshapeAttrs(shape=physical(wide))
    parts = [
        context.part(op, f"part{i}", "reshape", (context.ordered(index),), attrs)
        for i, index in enumerate(op.inputs)
    ]
    ours = TO_NHWC[axis] if rank == 4 else axis
    context.emit(op, "concat", parts, AxisAttrs(axis=ours))


def _split(
    op: Operator, context: TfliteContext, data: int, axis: int, sizes: tuple[int, ...]
) -> None:
    attrs = SplitAttrs(axis=context.axis(data, axis), sizes=sizes)
    outputs = [context.output_name(index) for index in op.outputs]
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
    rest = (*shape[:axis], *shape[axis + 1 :])
    for position, _ in enumerate(op.outputs):
        part = f"index{position}"
        bounds = {axis: (position, position + 1, 1)}
        attrs = _slice_attrs(context, data, bounds)
        piece = context.part(op, part, "slice", (context.feature(data),), attrs)
        one = context.builder.tensors[piece].shape
        if not same_memory(one):
            piece = context.part(
                op, f"{part}/nhwc", "transpose", (piece,), TransposeAttrs(perm=TO_NHWC)
            )
        context.emit_reshape(op, piece, rest, output=position)


def _slice_attrs(
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
    for i, (b, e, _) in bounds.items():
        if not 0 <= b < e <= shape[i]:
            raise ModelImportError(f"slice {b}:{e} of axis {i} with {shape[i]} elements")
    context.emit(op, "slice", (context.feature(data),), _slice_attrs(context, data, bounds))


@converter("STRIDED_SLICE")
def strided_slice(op: Operator, context: TfliteContext) -> None:
    """Begin, end, step per axis with numpy's meaning, and the masks of TensorFlow."""
    data = op.inputs[0]
    shape = context.shape(data)
    parts = [context.fixed_ints(op, i, what) for i, what in ((1, "begin"), (2, "end"), (3, "step"))]
    if op.option("EllipsisMask", 0) or op.option("NewAxisMask", 0) or op.option("Offset", False):
        raise UnsupportedForm("an ellipsis, new axis or offset mask", "index with plain numbers")
    if len({len(p) for p in parts}) != 1 or len(parts[0]) > len(shape):
        raise ModelImportError(f"begin, end and step {parts} for {len(shape)} axes")
    begin_mask, end_mask, shrink = (
        op.option(name, 0) for name in ("BeginMask", "EndMask", "ShrinkAxisMask")
    )
    bounds: dict[int, tuple[int, int, int]] = {}
    gone = set()
    for i, (begin, end, step) in enumerate(zip(*parts, strict=True)):
        if shrink >> i & 1:
            start = begin + shape[i] if begin < 0 else begin
            bounds[i] = (start, start + 1, 1)
            gone.add(i)
            continue
        taken = slice(
            None if begin_mask >> i & 1 else begin, None if end_mask >> i & 1 else end, step
        )
        if step == 0:
            raise ModelImportError("step 0")
        bounds[i] = taken.indices(shape[i])
    rest = tuple(
        len(range(*bounds[i])) if i in bounds else n for i, n in enumerate(shape) if i not in gone
    )
    value = context.value(data) if data not in context.names else None
    if value is not None:
        index = tuple(slice(*bounds[i]) if i in bounds else slice(None) for i in range(value.ndim))
        context.values[op.outputs[0]] = value[index].reshape(rest)
        return
    if min(rest, default=1) < 1:
        raise UnsupportedForm("an empty result")
    attrs = _slice_attrs(context, data, bounds)
    name = context.feature(data)
    if not gone:
        context.emit(op, "slice", (name,), attrs)
        return
    piece = context.part(op, "piece", "slice", (name,), attrs)
    if not same_memory(context.builder.tensors[piece].shape):
        piece = context.part(op, "nhwc", "transpose", (piece,), TransposeAttrs(perm=TO_NHWC))
    context.emit_reshape(op, piece, rest)


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
        if op.option("Mode", 0) != 0:
            raise UnsupportedForm("symmetric padding", "use reflect padding")
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


@converter("TILE")
def tile(op: Operator, context: TfliteContext) -> None:
    """Repeats per axis."""
    data = op.inputs[0]
    repeats = context.fixed_ints(op, 1, "the repeats")
    ours = tuple(repeats[i] for i in TO_NCHW) if len(repeats) == 4 else repeats
    context.emit(op, "tile", (context.feature(data),), TileAttrs(repeats=ours))


@converter("GATHER")
def gather(op: Operator, context: TfliteContext) -> None:
    """Known indices along an axis."""
    data = op.inputs[0]
    indices = context.fixed(op, 1, "the indices")
    if op.option("BatchDims", 0):
        raise UnsupportedForm("batch_dims", "gather without it")
    values = known_inputs(op, context)
    axis = op.option("Axis", 0)
    if values is not None:
        context.values[op.outputs[0]] = np.take(values[0], indices, axis)
        return
    rank = len(context.shape(data))
    if (rank == 4 and indices.ndim != 1) or (rank - 1 + indices.ndim == 4 and rank != 4):
        raise UnsupportedForm("indices that change the number of axes", "gather one axis as a list")
    name = context.builder.add_constant(
        context.unused(f"{context.labels[op.outputs[0]]}/indices"), indices
    )
    attrs = AxisAttrs(axis=context.axis(data, axis))
    context.emit(op, "gather", (context.feature(data), name), attrs)


@converter("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def blocks(op: Operator, context: TfliteContext) -> None:
    """Channels to pixels and back, block positions outermost in the channels."""
    attrs = BlockAttrs(block=op.option("BlockSize", 1))
    kind = "depth2space" if op.type == "DEPTH_TO_SPACE" else "space2depth"
    context.emit(op, kind, (context.feature(op.inputs[0]),), attrs)


@converter("SPACE_TO_BATCH_ND")
def space_to_batch(op: Operator, context: TfliteContext) -> None:
    """Pad, then put every block position's pixels into an image of its own."""
    data = op.inputs[0]
    block = context.fixed_ints(op, 1, "the block")
    pads = context.fixed(op, 2, "the padding").reshape(-1, 2)
    if len(context.shape(data)) != 4 or len(block) != 2 or len(pads) != 2 or min(block) < 1:
        raise UnsupportedForm(f"blocks {block} of {context.shape(data)}", "use height and width")
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
    if len(context.shape(data)) != 4 or len(block) != 2 or len(crops) != 2 or min(block) < 1:
        raise UnsupportedForm(f"blocks {block} of {context.shape(data)}", "use height and width")
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
    value = context.value(data) if data not in context.names else None
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
