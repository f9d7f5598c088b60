"""Data movement: exact copies, with a conversion when the quantization changes.

Feature maps are cut and joined in the order in which they lie in memory (usually N, H, W, C), so a
move costs one copy at most.

Source: measured, docs/arithmetic/tp.md section 2.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from npusim.errors import GraphError, InputError
from npusim.ir.attrs import (
    AxisAttrs,
    BlockAttrs,
    GroupAttrs,
    PadAttrs,
    PadMode,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.codes import quantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.limits import LARGEST_F16, SMALLEST_NORMAL_F16
from npusim.ir.quant import Float
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_def
from npusim.runtime.binding import Bind, Step, binding
from npusim.runtime.bindings.convert import shader_copy, tp_copy
from npusim.runtime.calls import Calls, KernelFunction, KernelStep, composed, step_of
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.memory_order import inverse, memory_order, same_order
from npusim.runtime.tables import Array, Function

Move = Callable[[Any, Array], Array]
_TP_OR_SHADER = (Engine.TP, Engine.SHADER)


def _copy(node: Node, ifm: TensorSpec, ofm: TensorSpec) -> Function:
    """Return the conversion that the node's engine applies on the way."""
    return tp_copy(ifm, ofm) if node.engine is Engine.TP else shader_copy(ifm, ofm)


# ---- one tensor in, one out --------------------------------------------------------------------
def reshape(attrs: ReshapeAttrs, calls: Calls, value: Array) -> Array:
    """Return the same elements in another shape; a view unless their order does not allow it."""
    view = value.reshape(attrs.shape)
    if value.size and not np.may_share_memory(view, value):  # numpy has copied
        return calls.in_order(value, range(value.ndim)).reshape(attrs.shape)
    return view


def transpose(attrs: TransposeAttrs, calls: Calls, value: Array) -> Array:
    """Return a view with permuted axes."""
    return value.transpose(attrs.perm)


def slice_(attrs: SliceAttrs, calls: Calls, value: Array) -> Array:
    """Return a view of begin:end:step; with a negative step an end of -1 means through index 0."""
    cuts = [
        slice(b, None if s < 0 and e < 0 else e, s)
        for b, e, s in zip(attrs.begin, attrs.end, attrs.step, strict=True)
    ]
    return value[(*cuts, ...)]  # without axes, value[()] would be a copy of the number


def tile(attrs: TileAttrs, value: Array) -> Array:
    """Return the value repeated along its axes."""
    return np.tile(value, attrs.repeats)


def _pixels(value: Array) -> Array:
    """Return (N, C, H, W) as (N, H, W, C)."""
    return value.transpose(0, 2, 3, 1)


def _maps(pixels: Array) -> Array:
    """Return (N, H, W, C) as (N, C, H, W)."""
    return pixels.transpose(0, 3, 1, 2)


def depth2space(attrs: BlockAttrs, value: Array) -> Array:
    """Return blocks of channels spread over blocks of pixels; channel order by ``mode``."""
    n, c, h, w = value.shape
    block, depth = attrs.block, c // attrs.block**2
    if attrs.mode == "crd":
        parts = _pixels(value).reshape(n, h, w, depth, block, block).transpose(0, 1, 4, 2, 5, 3)
    else:
        parts = _pixels(value).reshape(n, h, w, block, block, depth).transpose(0, 1, 3, 2, 4, 5)
    return _maps(parts.reshape(n, h * block, w * block, depth))


def space2depth(attrs: BlockAttrs, value: Array) -> Array:
    """Return blocks of pixels stacked as channels: (dy * block + dx) * C + c."""
    n, c, h, w = value.shape
    block = attrs.block
    parts = _pixels(value).reshape(n, h // block, block, w // block, block, c)
    return _maps(
        parts.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, block * block * c)
    )


def channel_shuffle(attrs: GroupAttrs, value: Array) -> Array:
    """Return channels (group, C / group) transposed."""
    last = np.moveaxis(value, 1, -1)
    shape = last.shape
    parts = last.reshape(*shape[:-1], attrs.group, shape[-1] // attrs.group)
    return np.moveaxis(parts.swapaxes(-1, -2).reshape(shape), -1, 1)


def identity(attrs: Any, calls: Calls, value: Array) -> Array:
    """Return the value."""
    return value


VIEWS: dict[str, Callable[[Any, Calls, Array], Array]] = {
    "identity": identity,
    "reshape": reshape,
    "transpose": transpose,
    "slice": slice_,
}
MOVES: dict[str, Move] = {
    "depth2space": depth2space,
    "space2depth": space2depth,
    "channel_shuffle": channel_shuffle,
    "tile": tile,
}


def bind_move(node: Node, graph: Graph) -> Step:
    """Bind a move of ``MOVES`` and the conversion it implies."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    copy, attrs = _copy(node, ifm, ofm), node.attrs
    if node.op in VIEWS:
        view = VIEWS[node.op]
        move = KernelFunction(lambda calls, value: view(attrs, calls, value))
        return step_of(composed(move, copy))
    other = MOVES[node.op]
    return lambda value: (copy(other(attrs, value)),)


def bind_split(node: Node, graph: Graph) -> Step:
    """Bind a split; every part may have a quantization of its own."""
    attrs = cast(SplitAttrs, node.attrs)
    ifm = graph.spec(node.inputs[0])
    copies = [_copy(node, ifm, graph.spec(name)) for name in node.outputs]
    cuts = np.cumsum(attrs.sizes)[:-1].tolist()

    lays = [copy.lay for copy in copies if isinstance(copy, KernelFunction)]
    if len(lays) == len(copies):

        def lay(calls: Calls, value: Array) -> tuple[Array, ...]:
            parts = np.split(value, cuts, axis=attrs.axis)
            return tuple(one(calls, part) for one, part in zip(lays, parts, strict=True))

        return KernelStep(lay)

    def step(value: Array) -> tuple[Array, ...]:
        parts = np.split(value, cuts, axis=attrs.axis)
        return tuple(copy(part) for copy, part in zip(copies, parts, strict=True))

    return step


def bind_concat(node: Node, graph: Graph) -> Step:
    """Bind a concat; every part is converted on its own."""
    axis, ofm = cast(AxisAttrs, node.attrs).axis, graph.spec(node.outputs[0])
    specs = [graph.spec(name) for name in node.inputs]
    copies = [_copy(node, spec, ofm) for spec in specs]
    constants = [graph.constants.get(name) for name in node.inputs]

    copy_runs = choose(Work.COPY, DType.U8, DType.U8)  # bytes of whatever type

    def join(calls: Calls, parts: Sequence[Array]) -> Array:
        order = memory_order(max(parts, key=lambda part: part.size))
        memory = calls.empty([ofm.shape[axis] for axis in order], ofm.dtype.numpy)
        target, at = memory.reshape(-1).view(np.uint8), order.index(axis)
        step = memory[(0,) * at].nbytes  # from one run of a part to the next
        begin = 0
        for part in parts:
            source = calls.in_order(part, order)
            length = source[(0,) * at].nbytes
            runs = source.nbytes // length if length else 0
            arguments = source.reshape(-1).view(np.uint8), length, target, begin, step, length
            calls.add(copy_runs, arguments, runs, source.nbytes)
            begin += length
        return memory.transpose(inverse(order))

    def operands(activations: Sequence[Array]) -> Iterator[Array]:
        feed = iter(activations)
        return (next(feed) if value is None else value for value in constants)

    lays = [copy.lay for copy in copies if isinstance(copy, KernelFunction)]
    if len(lays) == len(copies):

        def lay(calls: Calls, *activations: Array) -> tuple[Array, ...]:
            parts = zip(lays, operands(activations), strict=True)
            return (join(calls, [one(calls, part) for one, part in parts]),)

        return KernelStep(lay)
    joined = KernelFunction(lambda calls, *parts: join(calls, parts))

    def step(*activations: Array) -> tuple[Array, ...]:
        parts = zip(copies, operands(activations), strict=True)
        return (joined(*[copy(part) for copy, part in parts]),)

    return step


def half_fill(value: float) -> np.float16:
    """Return the float16 that TP writes around a map: nearest, ties to even, saturating.

    What is below the smallest normal number before it is rounded is 0 with its sign. Source:
    measured, docs/arithmetic/tp.md rule 2.3.
    """
    if abs(value) < SMALLEST_NORMAL_F16:
        return np.float16(np.copysign(0.0, value))
    return np.float16(np.clip(value, -LARGEST_F16, LARGEST_F16))


def bind_pad(node: Node, graph: Graph) -> Step:
    """Bind a pad. The fill value is a real number; edge and mirrored elements are copies."""
    attrs = cast(PadAttrs, node.attrs)
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    copy = _copy(node, ifm, ofm)
    if isinstance(ofm.quant, Float) and not ofm.dtype.is_float:
        fill = np.asarray(attrs.value).astype(ofm.dtype.numpy)
    elif ofm.dtype is DType.F16:
        fill = np.asarray(half_fill(attrs.value))
    else:
        fill = quantize(attrs.value, ofm.dtype, ofm.quant)
    grown = [(max(f, 0), max(b, 0)) for f, b in zip(attrs.front, attrs.back, strict=True)]
    cut = tuple(
        slice(max(-f, 0), n + min(b, 0))
        for n, f, b in zip(ifm.shape, attrs.front, attrs.back, strict=True)
    )
    inside = tuple(slice(f, f + s.stop - s.start) for (f, _), s in zip(grown, cut, strict=True))

    def step(value: Array) -> tuple[Array, ...]:
        kept = copy(value[cut])
        if attrs.mode is not PadMode.CONSTANT:
            order = memory_order(kept)
            memory = np.pad(
                kept.transpose(order), [grown[axis] for axis in order], mode=attrs.mode.value
            )
            return (memory.transpose(np.argsort(order)),)
        padded = same_order(ofm.shape, kept, ofm.dtype.numpy)
        padded.fill(fill)
        padded[inside] = kept
        return (padded,)

    return step


def bind_gather(node: Node, graph: Graph) -> Step:
    """Bind a gather; negative indices count from the end."""
    axis = cast(AxisAttrs, node.attrs).axis
    data, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    copy = _copy(node, data, ofm)
    constants = [graph.constants.get(name) for name in node.inputs]
    length = data.shape[axis]
    places = graph.spec(node.inputs[1])
    if places.dtype.is_float:
        raise GraphError(
            f"indices {places.name!r} of layer {node.name!r} (gather) are {places.dtype.value}",
            rule="integers choose entries",
        )

    def step(*activations: Array) -> tuple[Array, ...]:
        feed = iter(activations)
        operands: list[Array] = [next(feed) if value is None else value for value in constants]
        values, indices = operands
        if indices.size and not -length <= indices.min() <= indices.max() < length:
            raise InputError(
                f"index {indices.min()} or {indices.max()} is outside the axis",
                where=f"layer {node.name!r} (gather)",
                rule=f"indices from {-length} to {length - 1}",
            )
        return (copy(np.take(values, indices, axis=axis)),)

    return step


_JOINS: dict[str, Bind] = {"concat": bind_concat, "gather": bind_gather}


def _register() -> None:
    moves: dict[str, Bind] = dict.fromkeys((*VIEWS, *MOVES), bind_move)
    moves |= {"split": bind_split, "pad": bind_pad, **_JOINS}
    for op, bind in moves.items():
        for engine in _TP_OR_SHADER if op_def(op).tp_copy else (Engine.SHADER,):
            binding(op, engine=engine, operands=op in _JOINS)(bind)


_register()
