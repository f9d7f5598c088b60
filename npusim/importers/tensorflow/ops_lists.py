"""Lists and arrays of tensors, as loops keep them: what they hold is known while a graph is read.

A list is a value: every operator that changes one gives another. An array of version 1 is the
same, carried by its flow.
"""

from collections.abc import Sequence

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.made import check_made
from npusim.importers.common.ordered_moves import concat, split, stack, unstack
from npusim.importers.tensorflow.context import TensorList, TfContext, TfNode, converter, needs
from npusim.importers.tensorflow.file import TYPES

MAX_ITEMS = 1 << 16


# ---- making them
@converter("EmptyTensorList", "TensorListReserve")
def reserve(node: TfNode, context: TfContext) -> None:
    """Nothing yet, or a known number of items that nothing has written."""
    count = 0 if node.type == "EmptyTensorList" else _index(node, context, 1, "the number of items")
    shape = _sizes(node, context, 0)
    _keep(node, context, TensorList(_unwritten(node, count), shape, node.type_number(_KIND)))


@converter("TensorArrayV3")
def array(node: TfNode, context: TfContext) -> None:
    """Give a known number of items that nothing has written; handle and flow are the same."""
    count = _index(node, context, 0, "the number of items")
    made = TensorList(
        _unwritten(node, count), node.sizes("element_shape"), node.type_number("dtype")
    )
    for output in node.outputs:
        context.lists[output] = made


@converter("TensorListFromTensor")
def from_tensor(node: TfNode, context: TfContext) -> None:
    """Give the indices of the first axis."""
    items = _items_of(node, context, node.inputs[0])
    shape = context.shape(node.inputs[0])[1:]
    _keep(node, context, TensorList(items, shape, node.type_number(_KIND)))


@converter("TensorListScatter", "TensorListScatterV2", "TensorListScatterIntoExistingList")
def scatter(node: TfNode, context: TfContext) -> None:
    """Give the indices of the first axis to items in a known order."""
    source, places = (0, 1) if node.type != "TensorListScatterIntoExistingList" else (1, 2)
    wanted = context.ints(node, places, "the indices")
    if source:
        before = _list(node, context, 0)
    else:
        shape = context.shape(node.inputs[0])[1:]
        count = max(wanted, default=-1) + 1
        if node.type == "TensorListScatterV2":
            count = max(count, _number(node, context, 3, "the number of items"))
        before = TensorList(_unwritten(node, count), shape, node.type_number(_KIND))
    _keep(node, context, _scattered(node, context, before, node.inputs[source], wanted))


@converter("TensorArrayScatterV3")
def scatter_array(node: TfNode, context: TfContext) -> None:
    """Give the indices of the first axis to items in a known order."""
    wanted = context.ints(node, 1, "the indices")
    before = _list(node, context, 3)
    _keep(node, context, _scattered(node, context, before, node.inputs[2], wanted))


@converter("TensorListSplit", "TensorArraySplitV3")
def split_(node: TfNode, context: TfContext) -> None:
    """Parts of the first axis, of known sizes."""
    list_of = node.type == "TensorListSplit"
    source = node.inputs[0 if list_of else 1]
    sizes = context.ints(node, 2, "the sizes")
    names = tuple(context.unused(f"{node.outputs[0]}/item{i}") for i in range(len(sizes)))
    split(context, node, source, 0, sizes, names)
    kind = node.type_number(_KIND if list_of else "T")
    _keep(node, context, TensorList(names, (-1, *context.shape(source)[1:]), kind))


# ---- one item
@converter("TensorListGetItem", "TensorArrayReadV3")
def get_item(node: TfNode, context: TfContext) -> None:
    """Give the item at a known index."""
    of_list = node.type == "TensorListGetItem"
    found = _list(node, context, 0 if of_list else 2)
    place = _place(node, context, found)
    context.alias(node.outputs[0], _item(node, context, found, place, 2 if of_list else None))


@converter("TensorListSetItem", "TensorArrayWriteV3")
def set_item(node: TfNode, context: TfContext) -> None:
    """Another list, with a tensor at a known index."""
    before = _list(node, context, 0 if node.type == "TensorListSetItem" else 3)
    grows = node.flag("resize_if_index_out_of_bounds") or node.type == "TensorArrayWriteV3"
    place = _place(node, context, before, grows=grows)
    items = [*before.items, *_unwritten(node, max(0, place + 1 - len(before.items)))]
    items[place] = node.inputs[2]
    _keep(node, context, _with(before, items))


@converter("TensorListPushBack")
def push(node: TfNode, context: TfContext) -> None:
    """Another list, with a tensor at its end."""
    before = _list(node, context, 0)
    _keep(node, context, _with(before, (*before.items, node.inputs[1])))


@converter("TensorListPopBack")
def pop(node: TfNode, context: TfContext) -> None:
    """Another list without the last item, and that item."""
    before = _list(node, context, 0)
    if not before.items:
        raise ModelImportError("the list is empty", where=node.where, rule="at least one item")
    context.lists[node.outputs[0]] = _with(before, before.items[:-1])
    last = _item(node, context, before, len(before.items) - 1, 1)
    context.alias(node.outputs[1], last)


@converter("TensorListResize")
def resize(node: TfNode, context: TfContext) -> None:
    """Give a list a known number of items: cut, or with unwritten ones behind."""
    before, count = _list(node, context, 0), _index(node, context, 1, "the number of items")
    more = _unwritten(node, max(0, count - len(before.items)))
    _keep(node, context, _with(before, (*before.items[:count], *more)))


# ---- all items
@converter("TensorListStack", "TensorListGather", "TensorArrayGatherV3")
def stack_(node: TfNode, context: TfContext) -> None:
    """Join items along a new first axis: all, or those at known indices."""
    found = _list(node, context, 2 if node.type == "TensorArrayGatherV3" else 0)
    places: Sequence[int] = range(len(found.items))
    if node.type != "TensorListStack":
        places = context.ints(node, 1, "the indices")
        if any(not 0 <= place < len(found.items) for place in places):
            raise ModelImportError(
                f"indices {list(places)}", where=node.where, rule=f"{len(found.items)} items"
            )
    sizes_at = {"TensorListStack": 1, "TensorListGather": 2}.get(node.type)
    parts = [_item(node, context, found, place, sizes_at) for place in places]
    values = [context.known(name) for name in parts]
    if not parts:
        shape = _whole(found.shape)
        if shape is None:
            raise UnsupportedForm("its result is empty", "remove it")
        context.values[node.outputs[0]] = np.zeros((0, *shape), TYPES.get(found.kind, np.float32))
    elif all(value is not None for value in values):
        check_made((len(parts), *context.shape(parts[0])), "its result", node.where)
        context.values[node.outputs[0]] = np.stack([v for v in values if v is not None])
    else:
        _stacked(node, context, parts)


def _stacked(node: TfNode, context: TfContext, parts: Sequence[str]) -> None:
    """Join rows as they are and divide their axis; parts that are reshaped would be copied."""
    output, shape = node.outputs[0], context.shape(parts[0])
    if any(context.shape(name) != shape for name in parts):
        raise ModelImportError(
            f"items of the shapes {sorted({context.shape(name) for name in parts})}",
            where=node.where,
            rule="one shape for all",
        )
    if not shape:
        stack(context, node, parts, 0)
    else:
        rows = concat(context, node, parts, 0, part="rows")
        context.reshape(node, rows, (len(parts), *shape))
    context.stacked[context.held[output]] = tuple(parts)


@converter("TensorListConcat", "TensorListConcatV2", "TensorArrayConcatV3")
def concat_(node: TfNode, context: TfContext) -> None:
    """Join items along their first axis, and give their sizes on it."""
    found = _list(node, context, 1 if node.type == "TensorArrayConcatV3" else 0)
    parts = [_item(node, context, found, place, None) for place in range(len(found.items))]
    if not parts:
        raise UnsupportedForm("its result is empty", "remove it")
    sizes = [context.shape(name)[0] for name in parts]
    context.values[node.outputs[1]] = np.array(sizes, np.int64)
    values = [context.known(name) for name in parts]
    if all(value is not None for value in values):
        context.values[node.outputs[0]] = np.concatenate([v for v in values if v is not None])
    else:
        concat(context, node, parts, 0)


@converter("TensorListLength", "TensorArraySizeV3")
def length(node: TfNode, context: TfContext) -> None:
    """Give the number of items, which is known."""
    found = _list(node, context, len(node.inputs) - 1)
    context.values[node.outputs[0]] = np.array(len(found.items), np.int32)


@converter("TensorListElementShape")
def element_shape(node: TfNode, context: TfContext) -> None:
    """Give the shape of an item, -1 where it is open."""
    found = _list(node, context, 0)
    kind = np.int64 if node.type_number("shape_type", 3) == 9 else np.int32
    context.values[node.outputs[0]] = np.array(-1 if found.shape is None else found.shape, kind)


# ---- what they share
_KIND = "element_dtype"


def _keep(node: TfNode, context: TfContext, made: TensorList) -> None:
    context.lists[node.outputs[0]] = made


def _with(before: TensorList, items: Sequence[str | None]) -> TensorList:
    return TensorList(tuple(items), before.shape, before.kind)


def _list(node: TfNode, context: TfContext, position: int) -> TensorList:
    needs(node, position + 1, 8)
    found = context.lists.get(node.inputs[position])
    if found is None:
        raise ModelImportError(
            f"input {position} is no list of tensors",
            where=node.where,
            rule="lists and arrays are made in the graph",
            remedy="begin behind it with inputs=",
        )
    return found


def _number(node: TfNode, context: TfContext, position: int, what: str) -> int:
    return int(context.fixed(node, position, what).reshape(()))


def _index(node: TfNode, context: TfContext, position: int, what: str) -> int:
    """Return a known number that is not negative."""
    found = _number(node, context, position, what)
    if found < 0:
        raise ModelImportError(f"{what} is {found}", where=node.where, rule="not negative")
    return found


def _place(node: TfNode, context: TfContext, of: TensorList, *, grows: bool = False) -> int:
    """Return the known index of an item, which all these operators have as their second input."""
    place = _index(node, context, 1, "the index of an item")
    if place >= (MAX_ITEMS if grows else len(of.items)):
        raise ModelImportError(f"index {place}", where=node.where, rule=f"{len(of.items)} items")
    return place


def _unwritten(node: TfNode, count: int) -> tuple[None, ...]:
    if count > MAX_ITEMS:
        raise UnsupportedForm(f"a list of {count} items", f"at most {MAX_ITEMS}")
    return (None,) * count


def _sizes(node: TfNode, context: TfContext, position: int) -> tuple[int, ...] | None:
    """Return a shape that a node is given; a single -1 says nothing."""
    value = context.fixed(node, position, "the shape of an item")
    if value.ndim == 0:
        return None
    return tuple(int(n) for n in value.reshape(-1))


def _whole(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None or -1 in shape else shape


def _item(
    node: TfNode, context: TfContext, of: TensorList, place: int, sizes_at: int | None
) -> str:
    """Return an item; zeros for one that nothing has written.

    Parameters
    ----------
    sizes_at : int or None
        The input that holds the shape of an item.
    """
    name = of.items[place]
    if name is not None:
        return name
    shape = _whole(of.shape)
    if shape is None and sizes_at is not None:
        shape = _whole(_sizes(node, context, sizes_at))
    if shape is None:
        others = {context.shape(item) for item in of.items if item is not None}
        shape = others.pop() if len(others) == 1 else None
    if shape is None:
        raise UnsupportedForm(f"nothing has written item {place}", "write it, or give its shape")
    check_made(shape, "an item", node.where)
    zeros = np.zeros(shape, TYPES.get(of.kind, np.float32))
    return context.constant(f"{node.outputs[0]}/unwritten{place}", zeros)


def _items_of(node: TfNode, context: TfContext, source: str) -> tuple[str, ...]:
    """Return the indices of a tensor's first axis as tensors."""
    shape, value = context.shape(source), context.known(source)
    if not shape:
        raise ModelImportError("it has no axes", where=node.where, rule="at least one axis")
    _unwritten(node, shape[0])
    if context.held.get(source) in context.stacked:
        return context.stacked[context.held[source]]
    names = tuple(context.unused(f"{node.outputs[0]}/item{i}") for i in range(shape[0]))
    if value is not None:
        context.values.update(zip(names, value, strict=True))
    elif len(shape) == 1 or not names:
        unstack(context, node, source, 0, names)
    else:
        rows = context.reshape(node, source, (shape[0] * shape[1], *shape[2:]), part="rows")
        split(context, node, rows, 0, [shape[1]] * shape[0], names)
    return names


def _scattered(
    node: TfNode, context: TfContext, before: TensorList, source: str, places: Sequence[int]
) -> TensorList:
    items = list(before.items)
    items += _unwritten(node, max(0, max(places, default=-1) + 1 - len(items)))
    parts = _items_of(node, context, source)
    if len(parts) != len(places) or min(places, default=0) < 0:
        raise ModelImportError(
            f"{len(parts)} items for the places {list(places)}",
            where=node.where,
            rule="one place for each, not negative",
        )
    for place, part in zip(places, parts, strict=True):
        items[place] = part
    return _with(before, items)
