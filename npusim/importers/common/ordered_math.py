"""Functions, comparisons, reductions and normalisations in the source's axis order."""

from collections.abc import Sequence

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.layers import Step, clipped, plus, times
from npusim.importers.common.ordered import OrderedContext, SourceNode
from npusim.importers.common.ordered_moves import concat
from npusim.importers.common.orders import NHWC, Order, plain, same_memory, usual
from npusim.ir.attrs import (
    ArgAttrs,
    AxisAttrs,
    ClipAttrs,
    EltwiseAttrs,
    LrnAttrs,
    NormAttrs,
    ReduceAttrs,
)
from npusim.ir.dtypes import DType

_MINUS_ONE_TO_ZERO = Step("cut", "clip", ClipAttrs(minimum=-1.0, maximum=0.0))
_MOST_SEARCHES = 16
_FLOOR, _NEGATIVE = Step("floor", "floor"), Step("negative", "neg")


# ---- conditions are 1.0 and 0.0
def greater(
    context: OrderedContext,
    node: SourceNode,
    first: str,
    second: str,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """One where first > second, else zero: -floor(clip(second - first, -1, 0))."""
    below = context.binary(node, "sub", second, first, part=f"{part}below")
    steps = [_MINUS_ONE_TO_ZERO, _FLOOR, _NEGATIVE]
    return context.chain(node, below, steps, part=part, output=output)


def equal(
    context: OrderedContext,
    node: SourceNode,
    first: str,
    second: str,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """One where first = second, else zero: 1 + floor(max(-abs(first - second), -1))."""
    apart = context.binary(node, "sub", first, second, part=f"{part}apart")
    steps = [Step("distance", "abs"), _NEGATIVE, _MINUS_ONE_TO_ZERO, _FLOOR, *plus(1.0, "equal")]
    return context.chain(node, apart, steps, part=part, output=output)


def inverted(
    context: OrderedContext, node: SourceNode, source: str, *, part: str = "", output: str = ""
) -> str:
    """One for zero and zero for one."""
    step = Step("inverted", "sub", EltwiseAttrs(), 1.0, first=True)
    return context.chain(node, source, [step], part=part, output=output)


def select(context: OrderedContext, node: SourceNode, condition: str, yes: str, no: str) -> str:
    """Take one tensor where the condition is 1 and the other where it is 0."""
    for name in (yes, no):
        value = context.known(name)
        if value is not None and not np.isfinite(value.astype(np.float64)).all():
            raise UnsupportedForm(
                "one of its operands is infinite", "use a large finite number instead"
            )
    against = inverted(context, node, condition, part="against")
    first = context.binary(node, "mul", condition, yes, part="yes")
    second = context.binary(node, "mul", against, no, part="no")
    return context.binary(node, "add", first, second)


def truncated(
    context: OrderedContext, node: SourceNode, source: str, *, part: str = "", output: str = ""
) -> str:
    """Round to zero: floor(max(x, 0)) - floor(max(-x, 0))."""
    up = context.chain(node, source, [Step("high", "relu"), _FLOOR], part=f"{part}above")
    steps = [_NEGATIVE, Step("low", "relu"), _FLOOR]
    down = context.chain(node, source, steps, part=f"{part}below")
    return context.binary(node, "sub", up, down, part=part, output=output)


def ceiling(context: OrderedContext, node: SourceNode, source: str) -> str:
    """Round up: -floor(-x)."""
    return context.chain(node, source, [_NEGATIVE, _FLOOR, Step("up", "neg")])


def sign(context: OrderedContext, node: SourceNode, source: str) -> str:
    """Give -1, 0 or 1."""
    low = context.chain(node, source, [_MINUS_ONE_TO_ZERO, _FLOOR], part="low")
    steps = [_NEGATIVE, _MINUS_ONE_TO_ZERO, _FLOOR]
    high = context.chain(node, source, steps, part="high")
    return context.binary(node, "sub", low, high)


def rounded(context: OrderedContext, node: SourceNode, source: str) -> str:
    """Round to the nearest whole number, of two equally near ones to the even."""
    up = context.chain(node, source, [*plus(0.5, "half"), _FLOOR], part="up")
    gap = context.binary(node, "sub", up, source, part="gap")
    tie = equal(context, node, gap, context.constant(f"{node.name}/half", 0.5), part="tie")
    steps = [*times(0.5, "halved"), _FLOOR, *times(2.0, "doubled")]
    even = context.chain(node, up, steps, part="even")
    odd = context.binary(node, "sub", up, even, part="odd")
    less = context.binary(node, "mul", tie, odd, part="less")
    return context.binary(node, "sub", up, less)


def floored_quotient(
    context: OrderedContext, node: SourceNode, first: str, second: str, *, part: str = ""
) -> str:
    """Compute floor(first / second)."""
    quotient = context.binary(node, "div", first, second, part=f"{part}quotient")
    return context.chain(node, quotient, [_FLOOR], part=part)


def remainder(context: OrderedContext, node: SourceNode, first: str, second: str) -> str:
    """Compute first - floor(first / second) * second."""
    whole = floored_quotient(context, node, first, second, part="whole")
    product = context.binary(node, "mul", whole, second, part="product")
    return context.binary(node, "sub", first, product)


def one_hot(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    depth: int,
    axis: int,
    on: float,
    off: float,
) -> str:
    """Give a new axis that is ``on`` at the index and ``off`` elsewhere.

    It is max(1 - abs(index - place), 0): a floor would make a whole one of an index that is off by
    a rounding of its number format.
    """
    shape = context.shape(source)
    wide = (*shape[:axis], 1, *shape[axis:])
    index = context.reshape(node, context.real(node, source), wide, part="index")
    places = np.arange(depth, dtype=np.float32).reshape(
        [-1 if i == axis else 1 for i in range(len(wide))]
    )
    known = context.constant(f"{node.name}/places", places)
    apart = context.binary(node, "sub", index, known, part="apart")
    scaled = [*times(on - off, "range"), *plus(off, "off")]
    near = [Step("near", "sub", EltwiseAttrs(), 1.0, first=True), Step("hot", "relu")]
    return context.chain(node, apart, [Step("distance", "abs"), *near, *scaled])


# ---- over axes
def reduce(
    context: OrderedContext,
    node: SourceNode,
    op: str,
    source: str,
    axes: Sequence[int],
    *,
    keep: bool = False,
    part: str = "",
    output: str = "",
) -> str:
    """Reduce non-negative axes; without ``keep`` they vanish."""
    target = output or node.outputs[0]
    gone = sorted(set(axes))
    if not gone:
        if part:
            return source
        context.alias(target, source)
        return target
    source = context.real(node, source)
    order, rank = context.order(source), context.rank(source)
    attrs = ReduceAttrs(axes=tuple(sorted(order.index(axis) for axis in gone)), keepdims=keep)
    operands = (context.at(source, order),)
    after = order
    if not keep:
        left = [axis for axis in range(rank) if axis not in gone]
        after = tuple(left.index(axis) for axis in order if axis in left)
        shape = tuple(context.shape(source)[axis] for axis in left)
        return _settled(context, node, op, operands, attrs, after, shape, part, output)
    return context.emit(node, op, operands, attrs, order=after, part=part, output=output)


def _settled(
    context: OrderedContext,
    node: SourceNode,
    op: str,
    operands: Sequence[str],
    attrs: ReduceAttrs | ArgAttrs,
    order: Order,
    shape: tuple[int, ...],
    part: str,
    output: str,
    dtype: DType | None = None,
) -> str:
    """Emit what drops axes; a result that lies like the usual order is called so."""
    for likely in (plain(len(shape)), usual(len(shape))):
        if likely != order and same_memory(shape, likely, order):
            inner = context.emit(
                node, op, operands, attrs, order=order, part=f"{part or 'dropped'}", dtype=dtype
            )
            return context.reshape(node, inner, shape, part=part, output=output)
    return context.emit(
        node, op, operands, attrs, order=order, part=part, output=output, dtype=dtype
    )


def arg_extreme(
    context: OrderedContext, node: SourceNode, op: str, source: str, axis: int, dtype: DType
) -> str:
    """Index of the first extreme along a non-negative axis, which vanishes."""
    source = context.real(node, source)
    order, shape = context.order(source), context.shape(source)
    left = [other for other in range(len(shape)) if other != axis]
    after = tuple(left.index(other) for other in order if other != axis)
    attrs = ArgAttrs(axis=order.index(axis), keepdims=False)
    operands = (context.at(source, order),)
    return context.emit(node, op, operands, attrs, order=after, dtype=dtype)


def top_k(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    count: int,
    outputs: Sequence[str],
) -> None:
    """Give the largest elements of the last axis and their indices, of equal ones the first.

    A search each; what was found is lowered by more than the whole range.
    """
    source = context.real(node, source)
    axis = context.rank(source) - 1
    size = context.shape(source)[axis]
    if not 1 <= count <= min(size, _MOST_SEARCHES):
        raise UnsupportedForm(
            f"the {count} largest of {size}", f"at most {_MOST_SEARCHES}; sort on the CPU"
        )
    highest = reduce(context, node, "reduce_max", source, [axis], keep=True, part="highest")
    lowest = reduce(context, node, "reduce_min", source, [axis], keep=True, part="lowest")
    spread = context.binary(node, "sub", highest, lowest, part="spread")
    spread = context.chain(node, spread, plus(1.0), part="above")
    places = context.constant(f"{node.name}/places", np.arange(size, dtype=np.float32))
    values, indices = [], []
    for rank in range(count):
        best = reduce(context, node, "reduce_max", source, [axis], keep=True, part=f"value{rank}")
        values.append(best)
        order = context.order(source)
        attrs = ArgAttrs(axis=order.index(axis), keepdims=True)
        operands = (context.at(source, order),)
        found = context.emit(
            node, "argmax", operands, attrs, order=order, part=f"index{rank}", dtype=DType.I32
        )
        indices.append(context.real(node, found))
        if rank + 1 < count:
            here = equal(context, node, places, indices[-1], part=f"here{rank}")
            less = context.binary(node, "mul", here, spread, part=f"less{rank}")
            source = context.binary(node, "sub", source, less, part=f"rest{rank}")
    for pieces, output in zip((values, indices), outputs, strict=True):
        concat(context, node, pieces, axis, output=output)


def along(
    context: OrderedContext,
    node: SourceNode,
    op: str,
    source: str,
    axis: int,
    *,
    part: str = "",
    output: str = "",
) -> str:
    """Append softmax, log_softmax or l2norm along a non-negative axis."""
    source = context.real(node, source)
    order = context.order(source)
    attrs = AxisAttrs(axis=order.index(axis))
    operands = (context.at(source, order),)
    return context.emit(node, op, operands, attrs, order=order, part=part, output=output)


def channels_second(context: OrderedContext, source: str, axis: int) -> Order:
    """Return the order whose second axis is the channels', near to how the tensor lies."""
    order = context.order(source)
    if len(order) > 1 and order[1] == axis:
        return order
    if len(order) == 4 and axis == 3:
        return NHWC
    rest = [other for other in range(len(order)) if other != axis]
    return (rest[0], axis, *rest[1:])


def batch_norm(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    parameters: Sequence[Array],
    epsilon: float,
    *,
    axis: int,
    part: str = "",
    output: str = "",
) -> str:
    """Normalise the channels of a non-negative axis by gamma, beta, mean and variance."""
    channels = context.shape(source)[axis]
    target = output or node.outputs[0]
    for value in parameters:
        if value.shape != (channels,):
            raise ModelImportError(
                f"parameters of shape {value.shape}",
                where=node.where,
                rule=f"one value for each of the {channels} channels",
            )
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in parameters)
    if axis == 0:
        factor = gamma / np.sqrt(variance + epsilon)
        wide = (-1, *(1,) * (context.rank(source) - 1))
        steps = [*times(factor.reshape(wide)), *plus((beta - mean * factor).reshape(wide))]
        return context.chain(node, source, steps, part=part, output=output)
    order = channels_second(context, source, axis)
    words = ("gamma", "beta", "mean", "variance")
    operands = [context.at(context.real(node, source), order)]
    for word, value in zip(words, parameters, strict=True):
        name = context.constant(f"{target}/{word}", np.asarray(value, np.float32))
        operands.append(context.at(name, (0,)))
    attrs = NormAttrs(epsilon=epsilon)
    return context.emit(node, "batch_norm", operands, attrs, order=order, part=part, output=output)


def across_channels(
    context: OrderedContext, node: SourceNode, source: str, radius: int, alpha: float, beta: float,
    bias: float,
) -> str:  # fmt: skip
    """Local response normalisation of N, H, W, C over 2 * radius + 1 channels."""
    size = 2 * radius + 1
    attrs = LrnAttrs(size=size, alpha=alpha * size, beta=beta, bias=bias)
    return context.emit(node, "lrn", (context.at(source, NHWC),), attrs, order=NHWC)


def limited(
    context: OrderedContext,
    node: SourceNode,
    source: str,
    low: float,
    high: float,
    *,
    part: str = "",
) -> str:
    """Append two limits."""
    return context.chain(node, source, [clipped(low, high)], part=part)
