"""Values that are known before a run: movement and simple arithmetic of constants."""

from collections.abc import Callable, Sequence

import numpy as np

from npusim.importers.common.builder import Array
from npusim.importers.common.made import check_made
from npusim.ir.attrs import (
    Attrs,
    AxisAttrs,
    ClipAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)

_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "reciprocal": np.reciprocal,
    "neg": np.negative,
    "floor": np.floor,
}
_REDUCTIONS: dict[str, Callable[..., Array]] = {
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_sum": np.sum,
    "reduce_prod": np.prod,
    "reduce_mean": np.mean,
}


def folded(op: str, values: Sequence[Array], attrs: Attrs) -> list[Array] | None:
    """Return the outputs of an operator on known values; None for operators not done here."""
    first = values[0]
    if op == "identity":
        return [first]
    if op in _ARITHMETIC:
        shape = np.broadcast_shapes(*(value.shape for value in values))
        check_made(shape, f"a computed {op}", "", max(value.size for value in values))
        with np.errstate(all="ignore"):
            return [np.asarray(_ARITHMETIC[op](*values))]
    if op == "relu":
        return [np.maximum(first, 0)]
    match attrs:
        case ClipAttrs(minimum=low, maximum=high):
            return [np.clip(first, low, high).astype(first.dtype)]
        case ReduceAttrs(axes=axes, keepdims=keep) if op in _REDUCTIONS:
            return [np.asarray(_REDUCTIONS[op](first, axis=axes, keepdims=keep), first.dtype)]
        case ReshapeAttrs(shape=shape):
            return [first.reshape(shape)]
        case TransposeAttrs(perm=perm):
            return [np.asarray(first.transpose(perm), order="C")]
        case TileAttrs(repeats=repeats):
            shape = tuple(n * r for n, r in zip(first.shape, repeats, strict=True))
            check_made(shape, "a computed tile", "", first.size)
            return [np.tile(first, repeats)]
        case SplitAttrs(axis=axis, sizes=sizes):
            return np.split(first, np.cumsum(sizes)[:-1], axis)
        case SliceAttrs(begin=begin, end=end, step=step):
            for axis, (b, e, s) in enumerate(zip(begin, end, step, strict=True)):
                first = first.take(range(b, e, s), axis)
            return [first]
        case AxisAttrs(axis=axis) if op == "concat":
            return [np.concatenate(values, axis)]
        case AxisAttrs(axis=axis) if op == "gather":
            return [np.take(first, values[1], axis)]
    return None
