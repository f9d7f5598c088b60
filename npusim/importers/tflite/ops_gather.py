"""Elements chosen by indices."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.joined import parts_between
from npusim.importers.tflite.table import converter
from npusim.ir.attrs import AxisAttrs, ReshapeAttrs, TransposeAttrs


@converter("GATHER")
def gather(op: Operator, context: TfliteContext) -> None:
    """Take indices along an axis, known or computed; with batch_dims they must be known."""
    data, places = op.inputs[:2]
    shape, value = context.shape(data), context.value(places)
    axis = op.option("Axis", 0)
    axis += len(shape) if axis < 0 else 0
    batch = op.option("BatchDims", 0)
    batch += len(context.shape(places)) if batch < 0 else 0
    if not 0 <= batch <= axis < len(shape):
        raise ModelImportError(f"axis {axis} and batch_dims {batch} of {len(shape)} axes")
    if value is not None:
        value = _checked(value, shape[axis])
    if batch:
        _gather_in_batch(op, context, axis, batch)
        return
    count = len(context.shape(places))
    if value is not None and value.size == 1 and len(shape) != 4:
        (place,) = (int(n) for n in value.reshape(-1))
        found = parts_between(op, context, context.feature(data), axis, place, place + 1)
        if len(found) == 1:
            rest = (*shape[:axis], *value.shape, *shape[axis + 1 :])
            context.emit_reshape(op, found[0], rest)
            return
    name = context.in_source(places) if value is None else _indices(op, context, value)
    if count == 1:  # the number of axes stays
        attrs = AxisAttrs(axis=context.axis(data, axis))
        context.emit(op, "gather", (context.feature(data), name), attrs)
        return
    context.emit_source(op, "gather", (context.in_source(data), name), AxisAttrs(axis=axis))


@converter("EMBEDDING_LOOKUP")
def embedding_lookup(op: Operator, context: TfliteContext) -> None:
    """Rows of a table: indices come first."""
    places, table = op.inputs[:2]
    value = context.value(places)
    name = context.in_source(places)
    if value is not None:
        name = _indices(op, context, _checked(value, context.shape(table)[0]))
    context.emit_source(op, "gather", (context.in_source(table), name), AxisAttrs(axis=0))


@converter("GATHER_ND")
def gather_nd(op: Operator, context: TfliteContext) -> None:
    """Known indices into the first axes: they are counted through, then gathered."""
    data = op.inputs[0]
    shape = context.shape(data)
    indices = context.fixed(op, 1, "the indices")
    depth = indices.shape[-1] if indices.ndim else 0
    if not 1 <= depth <= len(shape):
        raise ModelImportError(f"indices {indices.shape} into {len(shape)} axes")
    lead, rest = tuple(shape[:depth]), tuple(shape[depth:])
    columns = [_checked(indices[..., i], size) for i, size in enumerate(lead)]
    flat = np.ravel_multi_index(columns, lead)
    name = context.in_source(data)
    if depth > 1:
        rows = ReshapeAttrs(shape=(prod(lead), *rest))
        name = context.part(op, "rows", "reshape", (name,), rows)
    context.emit_source(op, "gather", (name, _indices(op, context, flat)), AxisAttrs(axis=0))


def _gather_in_batch(op: Operator, context: TfliteContext, axis: int, batch: int) -> None:
    """Gather with indices of their own for every element of the first axes."""
    data = op.inputs[0]
    shape = tuple(context.shape(data))
    indices = context.fixed(op, 1, "the indices")
    if indices.shape[:batch] != shape[:batch]:
        raise ModelImportError(f"indices {indices.shape} for {shape} with batch_dims {batch}")
    name, between = context.in_source(data), list(range(batch, axis))
    if between:
        after = range(axis + 1, len(shape))
        perm = TransposeAttrs(perm=(*range(batch), axis, *between, *after))
        name = context.part(op, "first", "transpose", (name,), perm)
    turned = context.builder.tensors[name].shape
    count, size = prod(shape[:batch]), shape[axis]
    rows = ReshapeAttrs(shape=(count * size, *turned[batch + 1 :]))
    name = context.part(op, "rows", "reshape", (name,), rows)
    offsets = (np.arange(count) * size).reshape(*shape[:batch], *(1,) * (indices.ndim - batch))
    places = _indices(op, context, _checked(indices, size) + offsets)
    attrs = AxisAttrs(axis=0)
    if not between:
        context.emit_source(op, "gather", (name, places), attrs)
        return
    name = context.part(op, "gathered", "gather", (name, places), attrs)
    own = list(range(batch, indices.ndim))
    moved = list(range(indices.ndim, indices.ndim + len(between)))
    after = range(indices.ndim + len(between), indices.ndim + len(shape) - batch - 1)
    perm = TransposeAttrs(perm=(*range(batch), *moved, *own, *after))
    context.emit_source(op, "transpose", (name,), perm)


def _checked(indices: Array, size: int) -> Array:
    """Return indices that exist; the format counts from 0 only."""
    if indices.dtype.kind not in "iu":
        raise UnsupportedForm(f"indices of type {indices.dtype}", "use int32")
    if indices.size and not 0 <= indices.min() <= indices.max() < size:
        raise ModelImportError(
            f"indices {int(indices.min())} .. {int(indices.max())} of {size} elements",
            rule=f"0 .. {size - 1}",
        )
    return indices


def _indices(op: Operator, context: TfliteContext, value: Array) -> str:
    name = context.unused(f"{context.origin(op)}/indices")
    return context.builder.add_constant(name, np.asarray(value, np.int32))
