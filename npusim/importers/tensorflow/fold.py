"""Operators on known values: computed while the graph is read, whoever made the values."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm, check_elements
from npusim.importers.common.index import strided
from npusim.importers.common.made import check_made
from npusim.importers.tensorflow.context import TfNode

Function = Callable[..., Any]
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def _quotient(a: Array, b: Array) -> Array:
    """Whole numbers are cut towards zero."""
    if np.result_type(a, b).kind == "f":
        return np.asarray(a / b)
    if not np.all(b):
        raise ModelImportError("a whole number is divided by 0")
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


_ELEMENTWISE: dict[str, Function] = {
    "Add": np.add, "AddV2": np.add, "BiasAdd": np.add, "Sub": np.subtract, "Mul": np.multiply,
    "Div": _quotient, "RealDiv": np.divide, "TruncateDiv": _quotient, "FloorDiv": np.floor_divide,
    "FloorMod": np.mod, "Mod": np.fmod, "TruncateMod": np.fmod, "Maximum": np.maximum,
    "Minimum": np.minimum, "Pow": np.power, "SquaredDifference": lambda a, b: (a - b) ** 2,
    "Neg": np.negative, "Abs": np.abs, "Square": np.square, "Sqrt": np.sqrt, "Exp": np.exp,
    "Rsqrt": lambda x: 1 / np.sqrt(x), "Log": np.log, "Log1p": np.log1p, "Expm1": np.expm1,
    "Reciprocal": lambda x: 1 / x, "Inv": lambda x: 1 / x, "Floor": np.floor, "Ceil": np.ceil,
    "Round": np.rint, "Rint": np.rint, "Sign": np.sign, "Sin": np.sin, "Cos": np.cos,
    "Tanh": np.tanh, "Sigmoid": _sigmoid, "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6), "Erf": _ERF, "Erfc": lambda x: 1 - _ERF(x),
    "Softplus": lambda x: np.logaddexp(x, 0), "Greater": np.greater, "Less": np.less,
    "GreaterEqual": np.greater_equal, "LessEqual": np.less_equal, "Equal": np.equal,
    "NotEqual": np.not_equal, "LogicalAnd": np.logical_and, "LogicalOr": np.logical_or,
    "LogicalNot": np.logical_not, "Select": np.where, "SelectV2": np.where,
    "ClipByValue": np.clip, "IsNan": np.isnan, "IsFinite": np.isfinite, "ZerosLike": np.zeros_like,
    "OnesLike": np.ones_like, "Tan": np.tan, "Atan": np.arctan, "DivNoNan": lambda a, b: np.where(
        b == 0, 0, a / np.where(b == 0, 1, b)), "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or, "LeftShift": np.left_shift, "RightShift": np.right_shift,
}  # fmt: skip
_REDUCED: dict[str, Function] = {
    "Sum": np.sum, "Mean": np.mean, "Prod": np.prod, "Max": np.max, "Min": np.min, "All": np.all,
    "Any": np.any,
}  # fmt: skip
_TRUTH = ("Greater", "Less", "Equal", "NotEqual", "Logical", "Is")


def _reduce(node: TfNode, x: Array, axes: Array) -> Array:
    keep = node.flag("keep_dims")
    wanted = tuple(int(a) for a in np.asarray(axes).reshape(-1))
    value = _REDUCED[node.type](x, axis=wanted, keepdims=keep)
    return np.asarray(value).astype(bool if node.type in ("All", "Any") else x.dtype)


def _cast(node: TfNode, x: Array) -> Array:
    return x.astype(np.float32 if node.type_number("DstT") == 14 else node.numpy_type("DstT"))


def _range(node: TfNode, start: Array, limit: Array, delta: Array) -> Array:
    if not delta:
        raise ModelImportError("a range with the step 0", where=node.where)
    count = max(0, math.ceil((float(limit) - float(start)) / float(delta)))
    check_made((count,), "its result", node.where)
    return np.asarray(start + np.arange(count) * delta).astype(start.dtype)


def _fill(node: TfNode, sizes: Array, value: Array) -> Array:
    shape = tuple(int(n) for n in sizes.reshape(-1))
    check_made(shape, "its result", node.where)
    return np.full(shape, value, value.dtype)


def _broadcast(node: TfNode, x: Array, sizes: Array) -> Array:
    shape = tuple(int(n) for n in sizes.reshape(-1))
    check_elements(shape, "its result", node.where)
    return np.broadcast_to(x, shape)


def _tile(node: TfNode, x: Array, repeats: Array) -> Array:
    shape = [a * int(b) for a, b in zip(x.shape, repeats.reshape(-1), strict=True)]
    check_made(shape, "its result", node.where, x.size)
    return np.tile(x, repeats.reshape(-1))


def _slice(node: TfNode, x: Array, begin: Array, size: Array) -> Array:
    bounds = zip(begin.reshape(-1), size.reshape(-1), x.shape, strict=True)
    return x[tuple(slice(int(b), int(n if s == -1 else b + s)) for b, s, n in bounds)]


def _one_hot(node: TfNode, index: Array, depth: Array, on: Array, off: Array) -> Array:
    count, axis = int(depth), node.integer("axis", -1)
    check_made((*index.shape, count), "its result", node.where)
    hot = np.where(index[..., None] == np.arange(count), on, off).astype(on.dtype)
    return hot if axis == -1 else np.moveaxis(hot, -1, axis)


def _gather(node: TfNode, x: Array, index: Array, axis: Array | int = 0) -> Array:
    if node.integer("batch_dims"):
        raise UnsupportedForm("batch_dims", "gather without it")
    place = int(axis)
    shape = (*x.shape[:place], *index.shape, *x.shape[place + 1 :])
    check_made(shape, "its result", node.where, x.size)
    return np.take(x, index, place)


def _where(node: TfNode, x: Array) -> Array:
    return np.argwhere(x).astype(np.int64)


def _matmul(node: TfNode, a: Array, b: Array) -> Array:
    first, second = ("transpose_a", "transpose_b") if node.type == "MatMul" else ("adj_x", "adj_y")
    left = np.swapaxes(a, -1, -2) if node.flag(first) else a
    right = np.swapaxes(b, -1, -2) if node.flag(second) else b
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    shape = (*lead, left.shape[-2], right.shape[-1])
    check_made(shape, "its result", node.where, max(a.size, b.size))
    return np.asarray(np.matmul(left, right))


def _pad(node: TfNode, x: Array, pairs: Array, value: Array | float = 0.0) -> Array:
    shape = [n + int(p.sum()) for n, p in zip(x.shape, pairs, strict=True)]
    check_made(shape, "its result", node.where, x.size)
    return np.pad(x, pairs, constant_values=value)


def _mirror(node: TfNode, x: Array, pairs: Array) -> Array:
    shape = [n + int(p.sum()) for n, p in zip(x.shape, pairs, strict=True)]
    check_made(shape, "its result", node.where, x.size)
    return np.pad(x, pairs, "reflect" if node.text("mode") == "REFLECT" else "symmetric")


def _linspace(node: TfNode, start: Array, stop: Array, count: Array) -> Array:
    check_made((int(count),), "its result", node.where)
    return np.linspace(start, stop, int(count), dtype=start.dtype)


def _squeeze(node: TfNode, x: Array) -> Array:
    axes = node.integers("squeeze_dims")
    return np.squeeze(x, tuple(axes) if axes else None)


def _diagonal(node: TfNode, x: Array) -> Array:
    check_made((x.size, x.size), "its result", node.where)
    return np.diag(x)


def _invert(node: TfNode, x: Array) -> Array:
    result = np.empty_like(x)
    result[x] = np.arange(x.size, dtype=x.dtype)
    return result


def _cumulated(node: TfNode, x: Array, axis: Array) -> Array:
    if node.flag("exclusive") or node.flag("reverse"):
        raise UnsupportedForm("exclusive or reverse", "write it with plain sums")
    return (np.cumsum if node.type == "Cumsum" else np.cumprod)(x, int(axis)).astype(x.dtype)


ONE: dict[str, Function] = {
    **dict.fromkeys(_REDUCED, _reduce),
    "Cast": _cast,
    "Range": _range,
    "Fill": _fill,
    "BroadcastTo": _broadcast,
    "BroadcastArgs": lambda n, a, b: np.array(np.broadcast_shapes(tuple(a), tuple(b)), a.dtype),
    "Tile": _tile,
    "Slice": _slice,
    "StridedSlice": lambda n, x, b, e, s: strided(n, x.shape, b, e, s, masks=n.mask).of(x),
    "OneHot": _one_hot,
    "Gather": _gather,
    "GatherV2": _gather,
    "GatherNd": lambda n, x, index: x[tuple(np.moveaxis(index, -1, 0))],
    "Where": _where,
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "Pad": _pad,
    "PadV2": _pad,
    "MirrorPad": _mirror,
    "LinSpace": _linspace,
    "Squeeze": _squeeze,
    "ExpandDims": lambda n, x, axis: np.expand_dims(x, int(axis.reshape(()))),
    "Reshape": lambda n, x, shape: x.reshape(tuple(shape.reshape(-1))),
    "Transpose": lambda n, x, perm: x.transpose(perm.reshape(-1)),
    "InvertPermutation": _invert,
    "Cumsum": _cumulated,
    "Cumprod": _cumulated,
    "AddN": lambda n, *xs: np.sum(xs, axis=0, dtype=xs[0].dtype),
    "Pack": lambda n, *xs: np.stack(xs, n.integer("axis")),
    "ConcatV2": lambda n, *xs: np.concatenate(xs[:-1], int(xs[-1])),
    "Concat": lambda n, *xs: np.concatenate(xs[1:], int(xs[0])),
    "ReverseV2": lambda n, x, axes: np.flip(x, tuple(axes.reshape(-1))),
    "ArgMax": lambda n, x, axis: x.argmax(int(axis)),
    "ArgMin": lambda n, x, axis: x.argmin(int(axis)),
    "Diag": _diagonal,
    "Size": lambda n, x: np.int32(x.size),
    "Rank": lambda n, x: np.int32(x.ndim),
    "Shape": lambda n, x: np.array(x.shape, np.int32),
}
"""Operator -> function of (node, values) with one result."""


def _split(node: TfNode, axis: Array, x: Array) -> Sequence[Array]:
    return np.split(x, node.integer("num_split"), int(axis))


def _split_v(node: TfNode, x: Array, sizes: Array, axis: Array) -> Sequence[Array]:
    place, parts = int(axis), [int(n) for n in sizes]
    if -1 in parts:
        parts[parts.index(-1)] = x.shape[place] - sum(parts) - 1
    return np.split(x, np.cumsum(parts)[:-1], place)


def _unpack(node: TfNode, x: Array) -> Sequence[Array]:
    axis = node.integer("axis")
    return [np.take(x, i, axis) for i in range(x.shape[axis])]


MANY: dict[str, Function] = {
    "Split": _split,
    "SplitV": _split_v,
    "Unpack": _unpack,
    "ShapeN": lambda n, *xs: [np.array(x.shape, np.int32) for x in xs],
}
"""Operator -> function with several results."""


def foldable_ops() -> tuple[str, ...]:
    """Return the operators that are computed when their inputs are known."""
    return (*_ELEMENTWISE, *ONE, *MANY)


def is_foldable(word: str) -> bool:
    """Tell whether an operator is computed when its inputs are known."""
    return word in _ELEMENTWISE or word in ONE or word in MANY


def folded(node: TfNode, values: Sequence[Array]) -> list[Array] | None:
    """Return the results of an operator on known values; None for operators not done here.

    Raises
    ------
    ModelImportError
        When the values do not fit the operator.
    """
    try:
        with np.errstate(all="ignore"):
            if node.type in _ELEMENTWISE:
                return [_elementwise(node, values)]
            if node.type in ONE:
                return [np.asarray(ONE[node.type](node, *values))]
            if node.type in MANY:
                return [np.asarray(value) for value in MANY[node.type](node, *values)]
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ModelImportError(
            f"its known operands do not fit: {error}",
            where=node.where,
            rule=f"{node.type} of {', '.join(f'{v.dtype}{list(v.shape)}' for v in values)}",
        ) from None
    return None


def _elementwise(node: TfNode, values: Sequence[Array]) -> Array:
    shape = np.broadcast_shapes(*(v.shape for v in values))
    check_made(shape, "its result", node.where, max(v.size for v in values))
    value = np.asarray(_ELEMENTWISE[node.type](*values))
    if node.type.startswith(_TRUTH):
        return value
    kind = values[-1].dtype if node.type.startswith("Select") else values[0].dtype
    return value.astype(kind, copy=False)
