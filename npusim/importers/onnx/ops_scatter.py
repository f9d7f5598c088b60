"""GatherND, GatherElements, ScatterND and ScatterElements with known indices."""

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.importers.onnx.chain import Chain
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.importers.onnx.fold import evaluated
from npusim.importers.onnx.pick import pick
from npusim.ir.attrs import AxisAttrs
from npusim.ir.tensor import Shape


def _positions(node: OnnxNode, shape: Shape) -> Array:
    check_made(shape, "the positions of all elements", node.where)
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)


@converter("GatherND", "GatherElements")
def gather_known(node: OnnxNode, context: Context) -> None:
    """Known indices: the operator itself, applied to positions, says what comes from where."""
    data, indices = node.inputs[:2]
    context.fixed(node, 1, "the indices")
    sources = evaluated(node, [_positions(node, context.shape(data)), context.values[indices]])
    if not sources.size:
        raise UnsupportedForm("no indices: an empty result")
    pick(Chain(node, context, data), sources).end()


@converter("ScatterND", "ScatterElements", "Scatter")
def scatter_known(node: OnnxNode, context: Context) -> None:
    """Known indices: elements of data and updates joined, in the order of the result."""
    data, _, updates = node.inputs[:3]
    context.fixed(node, 1, "the indices")
    indices = context.values[node.inputs[1]]
    if node.text("reduction", "none") != "none":
        raise UnsupportedForm(
            f"reduction {node.text('reduction')!r}", "add, multiply or compare behind a Concat"
        )
    shape, new = context.shape(data), context.shape(updates)
    size = int(np.prod(shape, dtype=np.int64))
    sources = evaluated(node, [_positions(node, shape), indices, _positions(node, new) + size])
    if (sources < size).all():
        context.alias(node.outputs[0], data)
        return
    if (sources >= size).all():
        pick(Chain(node, context, updates), sources - size).end()
        return
    rows = _row_width(sources, shape, size)
    chain = Chain(node, context, data)
    chain.reshape((size // rows, rows) if rows > 1 else (size,), "rows")
    more = Chain(node, context, updates)
    count = int(np.prod(new, dtype=np.int64))
    more.reshape((count // rows, rows) if rows > 1 else (count,), "update_rows")
    chain.then("concat", AxisAttrs(axis=0), more.tensor(), part="joined")
    chosen = sources.reshape(-1, rows)[:, 0] // rows
    wide = chosen[:, None] * rows + np.arange(rows) if rows > 1 else chosen
    pick(chain, wide).reshape(shape).end()


def _row_width(sources: Array, shape: Shape, size: int) -> int:
    """Return how many elements at the end always come together, aligned on both sides."""
    for axis in range(len(shape)):
        width = int(np.prod(shape[axis + 1 :], dtype=np.int64))
        lines = sources.reshape(-1, width)
        together = (np.diff(lines, axis=1) == 1).all() and (lines[:, 0] % width == 0).all()
        if together and size % width == 0:
            return width
    return 1
