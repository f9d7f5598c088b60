"""Reductions, searches and picks."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.made import check_made
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.ops_conv import rows
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import ArgAttrs, EltwiseAttrs, ReduceAttrs
from npusim.ir.dtypes import DType


def _axes(node: MxNode, context: MxContext) -> tuple[tuple[int, ...], bool]:
    """Return the axes to reduce, and whether they stay with size one."""
    rank = len(context.shape(node.inputs[0]))
    given = node.attributes.wholes("axis")
    axes = {context.axis(node, axis, rank) for axis in given}
    if node.attributes.flag("exclude"):
        axes = set(range(rank)) - axes if given else set()
        if not axes:
            raise UnsupportedForm("exclude leaves no axis to reduce", "name the axes themselves")
    axes = axes or set(range(rank))
    return tuple(sorted(axes)), node.attributes.flag("keepdims")


def _reduce(node: MxNode, context: MxContext, op: str, source: str, *, part: str = "") -> str:
    axes, keep = _axes(node, context)
    shape = context.shape(source)
    if len(axes) == len(shape) and not keep:  # the result is (1,), never a scalar
        attrs = ReduceAttrs(axes=axes, keepdims=True)
        if len(shape) == 1:
            return context.emit(node, op, (source,), attrs, part=part)
        out = context.emit(node, op, (source,), attrs, part=f"{part or 'all'}_kept")
        return context.reshape(node, out, (1,), part=part)
    attrs = ReduceAttrs(axes=axes, keepdims=keep)
    return context.emit(node, op, (source,), attrs, part=part)


_KINDS = {"sum_axis": "sum", "max_axis": "max", "min_axis": "min"}


@converter("sum", "mean", "max", "min", "prod", *_KINDS)
def reduction(node: MxNode, context: MxContext) -> None:
    """Sum, mean, extreme or product over axes, or over all but these with ``exclude``."""
    needs(node, 1)
    kind = _KINDS.get(node.type, node.type)
    _reduce(node, context, f"reduce_{kind}", node.inputs[0])


@converter("moments")
def moments(node: MxNode, context: MxContext) -> None:
    """Mean and variance over axes."""
    needs(node, 1)
    rank = len(context.shape(node.inputs[0]))
    axes = {context.axis(node, axis, rank) for axis in node.attributes.wholes("axes")}
    over = tuple(sorted(axes or range(rank)))
    x, keep = node.inputs[0], node.attributes.flag("keepdims")
    wide = context.emit(
        node, "reduce_mean", (x,), ReduceAttrs(axes=over, keepdims=True), part="mean"
    )
    apart = context.binary(node, "sub", x, wide, part="apart")
    squares = context.emit(node, "square", (apart,), part="squares")
    for source, output in ((x, node.outputs[0]), (squares, node.outputs[1])):
        if len(over) == rank and not keep:  # the result is (1,), never a scalar
            attrs = ReduceAttrs(axes=over, keepdims=True)
            out = context.emit(node, "reduce_mean", (source,), attrs, part=f"{output}_kept")
            context.reshape(node, out, (1,), output=output)
        else:
            attrs = ReduceAttrs(axes=over, keepdims=keep)
            context.emit(node, "reduce_mean", (source,), attrs, output=output)


@converter("norm")
def norm(node: MxNode, context: MxContext) -> None:
    """Length of rows (``ord`` 2) or sum of sizes (1)."""
    needs(node, 1)
    order = node.attributes.whole("ord", 2)
    if order not in (1, 2):
        raise ModelImportError(f"ord is {order}", where=node.where, rule="1 or 2")
    front = "square" if order == 2 else "abs"
    x = context.emit(node, front, node.inputs, part="sizes")
    out = _reduce(node, context, "reduce_sum", x, part="total" if order == 2 else "")
    if order == 2:
        context.emit(node, "sqrt", (out,))


@converter("argmax", "argmin", "argmax_channel")
def argmax(node: MxNode, context: MxContext) -> None:
    """Index of the first extreme as a real number, along an axis or of all elements."""
    needs(node, 1)
    shape, source = context.shape(node.inputs[0]), node.inputs[0]
    keep = node.attributes.flag("keepdims")
    if node.type == "argmax_channel" or node.attributes.has("axis"):
        axis = context.axis(node, node.attributes.whole("axis", 1), len(shape))
        wanted = tuple(n for a, n in enumerate(shape) if a != axis) or (1,)
        if keep:
            wanted = tuple(1 if a == axis else n for a, n in enumerate(shape))
    else:
        wanted, axis = (1,) * len(shape) if keep else (1,), 0
        source = context.reshape(node, source, (prod(shape),), part="row")
    op = "argmin" if node.type == "argmin" else "argmax"
    attrs = ArgAttrs(axis=axis, keepdims=True)
    out = context.emit(node, op, (source,), attrs, part="index", dtype=DType.I64)
    same = context.shape(out) == wanted
    out = context.emit(node, "convert", (out,), part="" if same else "real", dtype=DType.F32)
    if not same:
        context.reshape(node, out, wanted)


@converter("take")
def take(node: MxNode, context: MxContext) -> None:
    """Entries of an axis by indices, which are an input of the network or known."""
    needs(node, 2)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis", 0), len(shape))
    rows(node, context, node.inputs[0], node.inputs[1], axis, shape[axis])


def _one_hot(node: MxNode, context: MxContext, source: str, size: int, *, part: str) -> str:
    """Return rows of ones where a real index says so: max(1 - abs(place - index), 0)."""
    shape = context.shape(source)
    wide = context.reshape(node, source, (*shape, 1), part=f"{part}_wide")
    places = context.constant(f"{node.name}/places", np.arange(size, dtype=np.float32))
    apart = context.emit(node, "sub", (places, wide), EltwiseAttrs(), part=f"{part}_apart")
    apart = context.emit(node, "abs", (apart,), part=f"{part}_distance")
    one = context.constant(f"{node.name}/one", 1.0)
    near = context.emit(node, "sub", (one, apart), EltwiseAttrs(), part=f"{part}_near")
    return context.emit(node, "relu", (near,), part=part)


@converter("one_hot")
def one_hot(node: MxNode, context: MxContext) -> None:
    """Rows with one number where the index says so, else another."""
    needs(node, 1)
    depth = node.attributes.whole("depth")
    if depth < 1:
        raise ModelImportError(f"depth is {depth}", where=node.where, rule="positive")
    on, off = node.attributes.real("on_value", 1.0), node.attributes.real("off_value", 0.0)
    shape, source = context.shape(node.inputs[0]), node.inputs[0]
    check_made((*shape, depth), "its result", node.where)
    check_made((depth, depth), "its table", node.where)
    table = np.full((depth, depth), off, np.float32)
    np.fill_diagonal(table, on)
    if source in context.values:
        found = context.values[source].astype(np.int64)
        inside = ((found >= 0) & (found < depth))[..., None]
        hot = table[np.clip(found, 0, depth - 1)]
        context.values[node.outputs[0]] = np.where(inside, hot, np.float32(off))
        return
    name = context.constant(f"{node.name}/table", table)
    rows(node, context, name, source, 0, depth)


@converter("pick", "choose_element_0index")
def pick(node: MxNode, context: MxContext) -> None:
    """One element of an axis by an index per row."""
    needs(node, 2)
    shape = context.shape(node.inputs[0])
    axis = context.axis(node, node.attributes.whole("axis", -1), len(shape))
    if node.attributes.text("mode", "clip") != "clip":
        raise UnsupportedForm("mode is wrap", "keep indices in range and use clip")
    own = tuple(n for a, n in enumerate(shape) if a != axis)
    index = node.inputs[1]
    if prod(context.shape(index)) != prod(own):
        raise ModelImportError(
            f"{context.shape(index)} indices for {shape}", where=node.where, rule=f"{own}"
        )
    if index not in context.values:
        low = context.constant(f"{node.name}/first", 0.0)
        high = context.constant(f"{node.name}/last", float(shape[axis] - 1))
        index = context.binary(node, "max", index, low, part="above")
        index = context.binary(node, "min", index, high, part="inside")
    else:
        clipped = np.clip(context.values[index], 0, shape[axis] - 1)
        index = context.constant(f"{node.name}/indices", clipped)
    flat = context.reshape(node, index, own or (1,), part="indices_flat")
    hot = _one_hot(node, context, flat, shape[axis], part="hot")
    perm = [a for a in range(len(shape)) if a != axis] + [axis]
    x = context.transposed(node, node.inputs[0], perm, part="rows")
    x = context.reshape(node, x, context.shape(hot), part="all_rows")
    product = context.binary(node, "mul", x, hot, part="picked")
    keep = node.attributes.flag("keepdims")
    last = len(context.shape(product)) - 1
    wanted = tuple(1 if a == axis else n for a, n in enumerate(shape)) if keep else own or (1,)
    total = ReduceAttrs(axes=(last,), keepdims=not own)
    same = context.shape(product)[:-1] == wanted or not own
    out = context.emit(node, "reduce_sum", (product,), total, part="" if same else "sum")
    if not same:
        context.reshape(node, out, wanted)


@converter("topk", "sort", "argsort")
def topk(node: MxNode, context: MxContext) -> None:
    """Sort an axis and give the first: on the CPU, at the end of a network only."""
    needs(node, 1)
    attributes = node.attributes
    shape = context.shape(node.inputs[0])
    descending = node.type == "topk"
    attrs = {
        "k": attributes.whole("k", 1) if node.type == "topk" else 0,
        "ascending": int(attributes.flag("is_ascend", not descending)),
        "returns": attributes.text("ret_typ", "indices"),
        "flat": int(
            attributes.text("axis", "-1") == "None" or attributes.texts.get("axis") == "None"
        ),
        "axis": 0,
    }
    if not attrs["flat"]:
        attrs["axis"] = context.axis(node, attributes.whole("axis", -1), len(shape))
    if node.type != "topk":
        attrs["returns"] = "value" if node.type == "sort" else "indices"
    if attrs["returns"] not in ("value", "indices", "both", "mask"):
        raise ModelImportError(
            f"ret_typ is {attrs['returns']!r}",
            where=node.where,
            rule="value, indices, both or mask",
        )
    context.host(node, "MxTopK", node.inputs, node.outputs, attrs)
