"""Operators that move elements: reshape, transpose, concat, split, slice, pad, resize, .."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from npusim.errors import GraphError
from npusim.ir.attrs import (
    Attrs,
    AxisAttrs,
    BlockAttrs,
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
from npusim.ops.checks import require_axes, require_map
from npusim.ops.registry import register
from npusim.ops.traits import Traits, always, kind_is

_MOVE = Traits(moves=True, tp_copy=True, keeps_codes=always, keeps_sign=True)
_VIEW = replace(_MOVE, view=True)
_SHADER_MOVE = replace(_MOVE, tp_copy=False)


@register(
    "identity",
    Attrs,
    "copy",
    replace(_VIEW, homogeneous=True, onnx="Identity", toolkit="NOOP"),
)
def identity(attrs: Attrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Output shape is the input's."""
    return (ins[0],)


@register("reshape", ReshapeAttrs, "same elements in order, another shape", _VIEW)
def reshape(attrs: ReshapeAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Keep the number of elements."""
    if prod(ins[0]) != prod(attrs.shape):
        raise GraphError(
            f"{ins[0]} has {prod(ins[0])} elements, target {attrs.shape} has {prod(attrs.shape)}"
        )
    return (attrs.shape,)


@register(
    "transpose",
    TransposeAttrs,
    "permutation of the axes",
    replace(
        _MOVE,
        toolkit="PERMUTE",
        layer_class="TensorTranspose",
        kernel="openvx.tensor_transpose",
    ),
)
def transpose(attrs: TransposeAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Output axis i is input axis perm[i]."""
    if sorted(attrs.perm) != list(range(len(ins[0]))):
        raise GraphError(f"perm {attrs.perm} is no permutation of the axes of {ins[0]}")
    return (tuple(ins[0][p] for p in attrs.perm),)


@register(
    "concat",
    AxisAttrs,
    "joins tensors along an axis",
    Traits(moves=True, tp_copy=True, keeps_sign=True, layer_class="ConcatLayer"),
    inputs=(1, 4096),
)
def concat(attrs: AxisAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """All other axes agree."""
    axis, first = attrs.axis, ins[0]
    require_axes(first, (axis,))
    for shape in ins:
        if len(shape) != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != axis
        ):
            raise GraphError(f"{shape} and {first} differ outside axis {axis}")
    return ((*first[:axis], sum(s[axis] for s in ins), *first[axis + 1 :]),)


@register("split", SplitAttrs, "cuts a tensor along an axis", _MOVE)
def split(attrs: SplitAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Sizes add up to the axis."""
    (ifm,) = ins
    require_axes(ifm, (attrs.axis,))
    if sum(attrs.sizes) != ifm[attrs.axis] or min(attrs.sizes) < 1:
        raise GraphError(f"sizes {attrs.sizes} do not add up to axis {attrs.axis} of {ifm}")
    return tuple((*ifm[: attrs.axis], n, *ifm[attrs.axis + 1 :]) for n in attrs.sizes)


@register("slice", SliceAttrs, "part of a tensor, steps and reversal included", _MOVE)
def slice_(attrs: SliceAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """begin:end:step on every axis."""
    (ifm,) = ins
    if not len(ifm) == len(attrs.begin) == len(attrs.end) == len(attrs.step):
        raise GraphError(f"begin, end and step must name every axis of {ifm}")
    out = tuple(
        len(range(b, e, s)) for b, e, s in zip(attrs.begin, attrs.end, attrs.step, strict=True)
    )
    if 0 in out:
        raise GraphError(f"slice {attrs.begin}:{attrs.end}:{attrs.step} of {ifm} is empty")
    for size, count, first, step in zip(ifm, out, attrs.begin, attrs.step, strict=True):
        if not (0 <= first < size and 0 <= first + (count - 1) * step < size):
            raise GraphError(
                f"slice {attrs.begin}:{attrs.end}:{attrs.step} of {ifm} reaches beyond it"
            )
    return (out,)


@register(
    "pad",
    PadAttrs,
    "adds constant, edge or mirrored elements",
    replace(_MOVE, homogeneous=True, keeps_channels=True),
)
def pad(attrs: PadAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Give front + size + back on every axis."""
    (ifm,) = ins
    if not len(ifm) == len(attrs.front) == len(attrs.back):
        raise GraphError(f"front {attrs.front} and back {attrs.back} must name every axis of {ifm}")
    out = tuple(n + f + b for n, f, b in zip(ifm, attrs.front, attrs.back, strict=True))
    if min(out, default=1) < 1:
        raise GraphError(f"pad {attrs.front}/{attrs.back} of {ifm} leaves nothing")
    return (out,)


@register(
    "resize",
    ResizeAttrs,
    "nearest or bilinear resize of height and width",
    Traits(
        keeps_codes=kind_is("mode", ResizeMode.NEAREST),
        on_codes=True,
        keeps_sign=True,
        keeps_channels=True,
    ),
)
def resize(attrs: ResizeAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W) -> (N,C,*size)."""
    (ifm,) = ins
    if len(ifm) != 4 or min(attrs.size) < 1:
        raise GraphError(f"resize of {ifm} to {attrs.size}: four axes and a positive size needed")
    return ((ifm[0], ifm[1], *attrs.size),)


@register("depth2space", BlockAttrs, "channels to blocks of pixels", _MOVE)
def depth2space(attrs: BlockAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W) -> (N,C/b/b,H*b,W*b)."""
    n, c, h, w = require_map(ins[0])
    block = attrs.block
    if c % (block * block):
        raise GraphError(f"{c} channels are no multiple of block {block} squared")
    return ((n, c // block // block, h * block, w * block),)


@register("space2depth", BlockAttrs, "blocks of pixels to channels", _MOVE)
def space2depth(attrs: BlockAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """(N,C,H,W) -> (N,C*b*b,H/b,W/b)."""
    n, c, h, w = require_map(ins[0])
    block = attrs.block
    if h % block or w % block:
        raise GraphError(f"{h}x{w} is no multiple of block {block}")
    return ((n, c * block * block, h // block, w // block),)


@register(
    "channel_shuffle",
    GroupAttrs,
    "interleaves groups of channels",
    replace(_MOVE, keeps_channels=True, golden="shuffle", toolkit="SHUFFLECHANNEL"),
)
def channel_shuffle(attrs: GroupAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Shape is kept."""
    require_axes(ins[0], (1,))
    if ins[0][1] % attrs.group:
        raise GraphError(f"{ins[0][1]} channels are no multiple of group {attrs.group}")
    return (ins[0],)


@register("tile", TileAttrs, "repeats a tensor along its axes", _SHADER_MOVE)
def tile(attrs: TileAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Give size * repeats on every axis."""
    if len(attrs.repeats) != len(ins[0]):
        raise GraphError(f"repeats {attrs.repeats} must name every axis of {ins[0]}")
    return (tuple(n * r for n, r in zip(ins[0], attrs.repeats, strict=True)),)


@register("gather", AxisAttrs, "picks entries along an axis by index", _SHADER_MOVE, inputs=2)
def gather(attrs: AxisAttrs, ins: Sequence[Shape]) -> tuple[Shape, ...]:
    """Replace the axis of the data by the axes of the indices."""
    data, indices = ins
    require_axes(data, (attrs.axis,))
    return ((*data[: attrs.axis], *indices, *data[attrs.axis + 1 :]),)
