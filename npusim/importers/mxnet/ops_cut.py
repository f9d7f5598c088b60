"""Operators that take parts of a tensor."""

from collections.abc import Sequence
from itertools import pairwise

from npusim.errors import ModelImportError
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import SliceAttrs, SplitAttrs


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


@converter("reverse", "flip")
def reverse(node: MxNode, context: MxContext) -> None:
    """Turn axes round."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    axes = {context.axis(node, axis, len(shape)) for axis in node.attributes.wholes("axis")}
    if not axes:
        raise node.attributes.missing("axis")
    _slice(node, context, [(None, None, -1 if a in axes else 1) for a in range(len(shape))])
