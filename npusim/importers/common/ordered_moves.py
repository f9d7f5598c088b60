"""Movement of elements in the source's axis order (``npusim.importers.common.ordered``)."""

from collections.abc import Mapping, Sequence

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm, check_elements
from npusim.importers.common.ordered import OrderedContext, SourceNode
from npusim.importers.common.orders import NHWC, plain
from npusim.ir.attrs import (
    AxisAttrs,
    BlockAttrs,
    PadAttrs,
    PadMode,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
)

Cut = tuple[int, int, int]


def concat(
    context: OrderedContext,
    node: SourceNode,
    parts: Sequence[str],
    axis: int,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Join tensors along a non-negative axis."""
    target = output or node.outputs[0]
    kept = [name for name in parts if 0 not in context.shape(name)]
    if len(kept) == 1:
        if part:
            return kept[0]
        context.alias(target, kept[0])
        return target
    order = context.common_order(kept, context.rank(kept[0]))
    operands = [context.at(context.real(node, name), order) for name in kept]
    attrs = AxisAttrs(axis=order.index(axis))
    return context.emit(node, "concat", operands, attrs, order=order, part=part, output=output)


def cut(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    cuts: Mapping[int, Cut],
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Take begin:end:step of some axes; begin and end are clamped already.

    With a negative step an end of -1 means through index 0, as ``slice.indices`` gives it.
    """
    shape = context.shape(source)
    whole = [cuts.get(axis, (0, size, 1)) for axis, size in enumerate(shape)]
    if any(not range(*bounds) for bounds in whole):
        raise UnsupportedForm("its result is empty", "remove it")
    if all(bounds == (0, size, 1) for bounds, size in zip(whole, shape, strict=True)):
        if part:
            return source
        context.alias(output or node.outputs[0], source)
        return output or node.outputs[0]
    order = context.order(source)
    begin, end, step = zip(*(whole[axis] for axis in order), strict=True)
    attrs = SliceAttrs(begin=begin, end=end, step=step)
    operands = (context.at(source, order),)
    return context.emit(node, "slice", operands, attrs, order=order, part=part, output=output)


def split(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    axis: int,
    sizes: Sequence[int],
    outputs: Sequence[str],
) -> None:
    """Cut a non-negative axis into parts."""
    if sum(sizes) != context.shape(source)[axis] or len(sizes) != len(outputs):
        raise ModelImportError(
            f"parts of {list(sizes)} from {context.shape(source)[axis]} elements",
            where=node.where,
            rule=f"{len(outputs)} parts that fill axis {axis}",
        )
    if len(outputs) == 1:
        context.alias(outputs[0], source)
        return
    order = context.order(source)
    attrs = SplitAttrs(axis=order.index(axis), sizes=tuple(sizes))
    context.emit(node, "split", (context.at(source, order),), attrs, order=order, outputs=outputs)


def pick(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    axis: int,
    indices: Sequence[int],
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Take known non-negative indices of an axis: a slice where they are evenly spaced."""
    wanted = [int(n) for n in indices]
    step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
    if step and wanted == [wanted[0] + i * step for i in range(len(wanted))]:
        end = wanted[-1] + (1 if step > 0 else -1)
        bounds = {axis: (wanted[0], end, step)}
        return cut(context, node, source, bounds, part=part, output=output)
    order = context.order(source)
    table = context.builder.add_constant(
        context.unused(f"{output or node.outputs[0]}/{part or 'taken'}_indices"),
        np.array(wanted, np.int32),
    )
    attrs = AxisAttrs(axis=order.index(axis))
    operands = (context.at(source, order), table)
    return context.emit(node, "gather", operands, attrs, order=order, part=part, output=output)


def gather(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    indices: str,
    axis: int,
    *,
    output: str = "",
) -> str:
    """Replace a non-negative axis by the axes of the indices."""
    known, shape = context.known(indices), context.shape(source)
    target = output or node.outputs[0]
    if known is None:
        if context.dtype(indices).is_float:
            raise UnsupportedForm("its indices are computed", "give them as an integer input")
        operands = (
            context.at(source, plain(len(shape))),
            context.at(indices, plain(context.rank(indices))),
        )
        rank = len(shape) - 1 + context.rank(indices)
        return context.emit(
            node, "gather", operands, AxisAttrs(axis=axis), order=plain(rank), output=target
        )
    wanted = known.astype(np.int64).reshape(-1)
    if wanted.size == 0:
        raise UnsupportedForm("its result is empty", "remove it")
    if wanted.min() < -shape[axis] or wanted.max() >= shape[axis]:
        raise ModelImportError(
            f"index {wanted.min()} or {wanted.max()}",
            where=node.where,
            rule=f"axis {axis} of {shape} has {shape[axis]} elements",
        )
    final = (*shape[:axis], *known.shape, *shape[axis + 1 :])
    flat = (*shape[:axis], wanted.size, *shape[axis + 1 :])
    if final == flat:
        return pick(context, node, source, axis, (wanted % shape[axis]).tolist(), output=target)
    taken = pick(context, node, source, axis, (wanted % shape[axis]).tolist(), part="taken")
    return context.reshape(node, taken, final, output=target)


def stack(
    context: OrderedContext, node: SourceNode, parts: Sequence[str], axis: int, *, output: str = ""
) -> str:
    """Join tensors along a new axis (counted in the result)."""
    pieces = []
    for index, name in enumerate(parts):
        shape = context.shape(name)
        wide = (*shape[:axis], 1, *shape[axis:])
        pieces.append(context.reshape(node, name, wide, part=f"part{index}"))
    return concat(context, node, pieces, axis, output=output)


def unstack(
    context: OrderedContext, node: SourceNode, source: str, axis: int, outputs: Sequence[str]
) -> None:
    """Give every index of an axis as a tensor without that axis."""
    shape = context.shape(source)
    rest = (*shape[:axis], *shape[axis + 1 :])
    if len(outputs) != shape[axis]:
        raise ModelImportError(
            f"{len(outputs)} outputs",
            where=node.where,
            rule=f"one for each of the {shape[axis]} elements of axis {axis}",
        )
    for index, target in enumerate(outputs):
        piece = cut(context, node, source, {axis: (index, index + 1, 1)}, part=f"index{index}")
        context.reshape(node, piece, rest, output=target)


def pad(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    pairs: Sequence[Sequence[int]],
    *,
    value: float = 0.0,
    mode: str = "constant",
    part: str = "",
    output: str = "",
) -> str:
    """Add elements before and behind every axis; negative numbers take some away.

    Parameters
    ----------
    mode : str
        "constant", "reflect" (without the border) or "symmetric" (with it).
    """
    shape = context.shape(source)
    if len(pairs) != len(shape):
        raise ModelImportError(
            f"padding {list(pairs)}", where=node.where, rule=f"a pair for each axis of {shape}"
        )
    grown = [(int(a), int(b)) for a, b in pairs]
    check_elements([n + a + b for n, (a, b) in zip(shape, grown, strict=True)], "it", node.where)
    if not any(a or b for a, b in grown):
        if part:
            return source
        context.alias(output or node.outputs[0], source)
        return output or node.outputs[0]
    if mode != "constant":
        limit = [n if mode == "symmetric" else n - 1 for n in shape]
        if any(not 0 <= n <= most for pair, most in zip(grown, limit, strict=True) for n in pair):
            raise ModelImportError(
                f"padding {grown} of {shape}", where=node.where, rule=f"at most {limit} elements"
            )
    if mode == "symmetric":
        return _symmetric(context, node, source, grown, part=part, output=output)
    order = context.order(source)
    attrs = PadAttrs(
        front=tuple(grown[axis][0] for axis in order),
        back=tuple(grown[axis][1] for axis in order),
        mode=PadMode.REFLECT if mode == "reflect" else PadMode.CONSTANT,
        value=value,
    )
    operands = (context.at(source, order),)
    return context.emit(node, "pad", operands, attrs, order=order, part=part, output=output)


def _symmetric(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    pairs: Sequence[tuple[int, int]],
    *,
    part: str,
    output: str,
) -> str:
    """Pick the mirrored indices of one axis after the other."""
    moving = [axis for axis, pair in enumerate(pairs) if any(pair)]
    for axis in moving:
        indices: Array = np.pad(np.arange(context.shape(source)[axis]), pairs[axis], "symmetric")
        last = axis == moving[-1]
        source = pick(
            context,
            node,
            source,
            axis,
            indices.tolist(),
            part=part if last else f"{part}axis{axis}",
            output=output if last else "",
        )
    return source


def tile(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    repeats: Sequence[int],
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Repeat along every axis."""
    shape = context.shape(source)
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise ModelImportError(
            f"repeats {list(repeats)}",
            where=node.where,
            rule=f"a positive number for each axis of {shape}",
        )
    check_elements([n * int(r) for n, r in zip(shape, repeats, strict=True)], "it", node.where)
    if set(repeats) <= {1}:
        if part:
            return source
        context.alias(output or node.outputs[0], source)
        return output or node.outputs[0]
    order = context.order(source)
    attrs = TileAttrs(repeats=tuple(int(repeats[axis]) for axis in order))
    operands = (context.at(source, order),)
    return context.emit(node, "tile", operands, attrs, order=order, part=part, output=output)


def broadcast(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    shape: Sequence[int],
    *,
    output: str = "",
) -> str:
    """Repeat axes of size 1 up to a shape."""
    wanted = tuple(int(n) for n in shape)
    check_elements(wanted, "its result", node.where)
    target = output or node.outputs[0]
    have = context.shape(source)
    wide = (1,) * (len(wanted) - len(have)) + have
    if len(have) > len(wanted) or any(a not in (1, b) for a, b in zip(wide, wanted, strict=True)):
        raise ModelImportError(f"{have} does not become {wanted}", where=node.where)
    value = context.known(source)
    if value is not None:
        context.values[target] = np.broadcast_to(value, wanted)
        return target
    full = context.reshape(node, source, wide, part="wide")
    repeats = [b // a for a, b in zip(wide, wanted, strict=True)]
    return tile(context, node, full, repeats, output=target)


def reverse(context: OrderedContext, node: SourceNode, source: str, axes: Sequence[int]) -> str:
    """Turn axes around."""
    shape = context.shape(source)
    return cut(context, node, source, {axis: (shape[axis] - 1, -1, -1) for axis in axes})


def space_to_batch(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    block: Sequence[int],
    pads: Sequence[Sequence[int]],
) -> str:
    """Pad axes 1, 2, .. and put every position of a block into an image of its own."""
    axes = len(block)
    rank = context.rank(source)
    around = [(0, 0), *(tuple(p) for p in pads), *[(0, 0)] * (rank - 1 - axes)]
    x = pad(context, node, source, around, part="padded")
    n, *shape = context.shape(x)
    if any(size % by for size, by in zip(shape[:axes], block, strict=True)):
        raise ModelImportError(
            f"{shape[:axes]} elements with the padding",
            where=node.where,
            rule=f"multiples of the blocks {list(block)}",
        )
    inner = [size // by for size, by in zip(shape[:axes], block, strict=True)]
    rest = shape[axes:]
    split_up = [n, *(k for pair in zip(inner, block, strict=True) for k in pair), *rest]
    x = context.reshape(node, x, split_up, part="cut")
    order = [2 + 2 * i for i in range(axes)] + [0] + [1 + 2 * i for i in range(axes)]
    order += [1 + 2 * axes + i for i in range(len(rest))]
    turned = context.unused(f"{node.outputs[0]}/turned")
    context.alias(turned, x, order)
    return context.reshape(node, turned, (n * int(np.prod(block)), *inner, *rest))


def batch_to_space(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    block: Sequence[int],
    crops: Sequence[Sequence[int]],
) -> str:
    """Undo ``space_to_batch``, then cut."""
    axes = len(block)
    images, *shape = context.shape(source)
    count = int(np.prod(block))
    if images % count:
        raise ModelImportError(
            f"{images} images", where=node.where, rule=f"a multiple of the blocks {list(block)}"
        )
    n, inner, rest = images // count, shape[:axes], shape[axes:]
    x = context.reshape(node, source, (*block, n, *inner, *rest), part="cut")
    order = [axes]
    for i in range(axes):
        order += [axes + 1 + i, i]
    order += [2 * axes + 1 + i for i in range(len(rest))]
    turned = context.unused(f"{node.outputs[0]}/turned")
    context.alias(turned, x, order)
    whole = [size * by for size, by in zip(inner, block, strict=True)]
    x = context.reshape(node, turned, (n, *whole, *rest), part="whole")
    cuts = {
        1 + i: (int(crop[0]), size - int(crop[1]), 1)
        for i, (crop, size) in enumerate(zip(crops, whole, strict=True))
    }
    return cut(context, node, x, cuts)


def blocks(
    context: OrderedContext, node: SourceNode, source: str, block: int, *, to_space: bool
) -> str:
    """Move channels of N, H, W, C into pixels or back, block positions outermost."""
    _, height, width, channels = context.shape(source)
    if block < 1 or (channels % block**2 if to_space else height % block or width % block):
        raise ModelImportError(
            f"blocks of {block} in {context.shape(source)}", where=node.where, rule="whole blocks"
        )
    op = "depth2space" if to_space else "space2depth"
    attrs = BlockAttrs(block=block)
    return context.emit(node, op, (context.at(source, NHWC),), attrs, order=NHWC)
