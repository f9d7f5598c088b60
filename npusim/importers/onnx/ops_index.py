"""Concat, Split, Slice, Pad and Gather."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.made import check_made
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import (
    Context,
    OnnxNode,
    checked_axis,
    converter,
)
from npusim.importers.onnx.pick import pick
from npusim.ir.attrs import (
    AxisAttrs,
    PadAttrs,
    PadMode,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
)


@converter("Concat")
def concat(node: OnnxNode, context: Context) -> None:
    """Along ``axis``; constants may take part."""
    axis = checked_axis(node, node.integer("axis"), len(context.shape(node.inputs[0])))
    names = [name for name in node.inputs if context.shape(name)[axis]]
    if len(names) == 1:
        context.alias(node.outputs[0], names[0])
        return
    context.emit(node, "concat", names, AxisAttrs(axis=axis))


@converter("Split", several_outputs=True)
def split(node: OnnxNode, context: Context) -> None:
    """Sizes as attribute (opset < 13) or input; equal parts without."""
    shape = context.shape(node.inputs[0])
    axis = checked_axis(node, node.integer("axis", 0), len(shape))
    parts = len(node.outputs)
    if node.version < 13:
        sizes = node.integers("split")
    else:
        sizes = context.fixed_ints(node, 1, "the sizes")
    if sizes is None:
        size = -(-shape[axis] // parts)  # from opset 18 on the last part may be smaller
        sizes = (*(size,) * (parts - 1), shape[axis] - size * (parts - 1))
        if node.version < 18 and sizes[-1] != size:
            raise ModelImportError(
                f"axis {axis} of input {shape} does not divide into {parts} equal parts",
                where=node.where,
            )
    if len(sizes) != parts or sum(sizes) != shape[axis] or min(sizes) < 0:
        raise ModelImportError(
            f"sizes {sizes} for {parts} outputs of axis {axis} of {shape}", where=node.where
        )
    full = []
    for name, size in zip(node.outputs, sizes, strict=True):
        if size:
            full.append((name or context.unused(f"{node.name}/part"), size))
        else:
            _empty(context, name, (*shape[:axis], 0, *shape[axis + 1 :]))
    if len(full) == 1:
        context.alias(full[0][0], node.inputs[0])
        return
    outs = [name for name, _ in full]
    attrs = SplitAttrs(axis=axis, sizes=tuple(size for _, size in full))
    context.emit(node, "split", node.inputs[:1], attrs, outputs=outs)


def _empty(context: Context, name: str, shape: tuple[int, ...]) -> None:
    """Make a result without elements known: only a Concat can read it, which leaves it out."""
    if name:
        context.values[name] = np.zeros(shape, np.float32)


def slice_attrs(shape: tuple[int, ...], cuts: dict[int, tuple[int, int, int]]) -> SliceAttrs:
    """Return attributes for axis -> (start, end, step) as ONNX and numpy clamp them."""
    begin, end, step = [0] * len(shape), list(shape), [1] * len(shape)
    for axis, cut in cuts.items():
        begin[axis], end[axis], step[axis] = slice(
            cut[0], cut[1] if not (cut[2] < 0 and cut[1] < -shape[axis]) else None, cut[2]
        ).indices(shape[axis])
    return SliceAttrs(begin=tuple(begin), end=tuple(end), step=tuple(step))


@converter("Slice")
def slice_(node: OnnxNode, context: Context) -> None:
    """Read starts and ends from attributes (opset < 10) or inputs, steps of either sign."""
    shape = context.shape(node.inputs[0])
    if node.version < 10:
        starts, ends, axes, steps = (
            node.integers("starts"),
            node.integers("ends"),
            node.integers("axes"),
            None,
        )
    else:
        starts, ends, axes, steps = (
            context.fixed_ints(node, index, what)
            for index, what in enumerate(("the starts", "the ends", "the axes", "the steps"), 1)
        )
    if starts is None or ends is None:
        raise ModelImportError("starts or ends are missing", where=node.where)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ModelImportError(
            f"starts {starts}, ends {ends}, axes {axes}, steps {steps}",
            where=node.where,
            rule="of one length, no step is 0",
        )
    cuts = {
        checked_axis(node, axis, len(shape)): (start, end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }
    attrs = slice_attrs(shape, cuts)
    counts = [
        len(range(b, e, s)) for b, e, s in zip(attrs.begin, attrs.end, attrs.step, strict=True)
    ]
    if 0 in counts:
        _empty(context, node.outputs[0], tuple(counts))
    elif attrs == slice_attrs(shape, {}):
        context.alias(node.outputs[0], node.inputs[0])
    else:
        context.emit(node, "slice", node.inputs[:1], attrs)


_PAD_MODES = {"constant": PadMode.CONSTANT, "edge": PadMode.EDGE, "reflect": PadMode.REFLECT}


@converter("Pad")
def pad(node: OnnxNode, context: Context) -> None:
    """Read pads from the attribute (opset < 11) or input; negative ones become a slice."""
    shape = context.shape(node.inputs[0])
    value: float | None = 0.0
    axes: tuple[int, ...] | None = None
    if node.version < 11:
        pads = node.integers("pads") or node.integers("paddings")
        value = node.real("value", 0.0)
    else:
        pads = context.fixed_ints(node, 1, "the pads")
        value = context.fixed_scalar(node, 2, "the value")
        axes = context.fixed_ints(node, 3, "the axes")
    axes = tuple(range(len(shape))) if axes is None else axes
    axes = tuple(checked_axis(node, axis, len(shape)) for axis in axes)
    if pads is None or len(pads) != 2 * len(axes):
        raise ModelImportError(
            f"pads {pads} for axes {axes}", where=node.where, rule="two numbers per axis"
        )
    text = node.text("mode", "constant")
    if text != "wrap" and text not in _PAD_MODES:
        raise ModelImportError(
            f"mode {text!r}", where=node.where, rule="constant, edge, reflect or wrap"
        )
    front, back = [0] * len(shape), [0] * len(shape)
    for position, axis in enumerate(axes):
        front[axis], back[axis] = pads[position], pads[position + len(axes)]
    name = node.inputs[0]
    grows = max(front + back, default=0) > 0
    if min(front + back, default=0) < 0:
        cuts = {
            axis: (max(-front[axis], 0), shape[axis] - max(-back[axis], 0), 1)
            for axis in range(len(shape))
        }
        name = context.emit(
            node, "slice", (name,), slice_attrs(shape, cuts), part="cut" if grows else ""
        )
    elif not grows:
        context.alias(node.outputs[0], name)
    if grows and text == "wrap":
        grown = [
            n + max(a, 0) + max(b, 0)
            for n, a, b in zip(context.shape(name), front, back, strict=True)
        ]
        check_made(grown, "the padded indices", node.where)
        _wrap(Chain(node, context, name), front, back)
    elif grows:
        attrs = PadAttrs(
            front=tuple(max(n, 0) for n in front),
            back=tuple(max(n, 0) for n in back),
            mode=_PAD_MODES[text],
            value=0.0 if value is None else value,
        )
        context.emit(node, "pad", (name,), attrs)


def _wrap(chain: Chain, front: list[int], back: list[int]) -> None:
    """Put the other end's elements in front and behind, as often as it takes."""
    for axis, size in enumerate(chain.shape):
        if max(front[axis], back[axis]) > 0:
            index = np.arange(-max(front[axis], 0), size + max(back[axis], 0)) % size
            rows = [index if i == axis else np.arange(n) for i, n in enumerate(chain.shape)]
            pick(chain, np.ravel_multi_index(np.ix_(*rows), chain.shape))
    chain.end()


@converter("Gather")
def gather(node: OnnxNode, context: Context) -> None:
    """Known single or consecutive indices become a slice, others a gather."""
    data, indices = node.inputs[:2]
    shape = context.shape(data)
    axis = checked_axis(node, node.integer("axis", 0), len(shape))
    value = context.known(indices)
    if value is None:
        context.emit(node, "gather", (data, indices), AxisAttrs(axis=axis))
        return
    if value.size and not (-shape[axis] <= value.min() and value.max() < shape[axis]):
        raise ModelImportError(
            f"index {value.min()} to {value.max()} into axis {axis} of {shape}", where=node.where
        )
    positive = value % shape[axis]
    flat = [int(i) for i in positive.reshape(-1)]
    if not flat:
        _empty(context, node.outputs[0], (*shape[:axis], *value.shape, *shape[axis + 1 :]))
        return
    if flat != list(range(flat[0], flat[0] + len(flat))):
        name = context.constant(f"{node.outputs[0]}/indices", positive)
        context.emit(node, "gather", (data, name), AxisAttrs(axis=axis))
        return
    result = (*shape[:axis], *value.shape, *shape[axis + 1 :])
    direct = value.ndim == 1
    out = data
    attrs = slice_attrs(shape, {axis: (flat[0], flat[-1] + 1, 1)})
    if len(flat) < shape[axis]:
        out = context.emit(node, "slice", (data,), attrs, part="" if direct else "picked")
    elif direct:
        context.alias(node.outputs[0], data)
    if not direct:
        context.emit(node, "reshape", (out,), ReshapeAttrs(shape=result))
