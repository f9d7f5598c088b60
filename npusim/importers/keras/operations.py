"""Operations on tensors among the layers: ``keras.ops`` and overloaded operators.

Constants stand among the arguments in the order of the call: ``1 - x`` has (1, tensor).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.index import strided_by
from npusim.importers.common.layers import Step, clipped, leaky
from npusim.importers.common.ordered_conv import einsum, matmul
from npusim.importers.common.ordered_math import (
    along,
    arg_extreme,
    ceiling,
    equal,
    greater,
    inverted,
    reduce,
    rounded,
    select,
    sign,
)
from npusim.importers.common.ordered_moves import (
    broadcast,
    concat,
    cut,
    gather,
    pad,
    reverse,
    split,
    stack,
    tile,
)
from npusim.importers.keras.activations import named
from npusim.importers.keras.context import KerasContext, KerasNode, Tensor, converter
from npusim.importers.keras.weights import snake
from npusim.ir.attrs import AlphaAttrs, EltwiseAttrs, HardSigmoidAttrs, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ops import ops_named_in


def _both(*words: str) -> tuple[str, ...]:
    """Return the names of an operation in Keras 3 and of TensorFlow functions in Keras 2."""
    names: list[str] = []
    for word in words:
        low = snake(word)
        names.append(f"ops.{word}")
        names += [f"tf.{low}", f"tf.math.{low}", f"tf.nn.{low}", f"tf.__operators__.{low}"]
    return tuple(dict.fromkeys(names))


def _word(node: KerasNode) -> str:
    """Return the operation without its module, in small letters with underscores."""
    return snake(node.type.rpartition(".")[2])


def argument(node: KerasNode, position: int, *names: str, default: Any = None) -> Any:
    """Return an argument by position or name, or a setting of the operation."""
    for name in names:
        if name in node.kwargs:
            return node.kwargs[name]
    if position < len(node.args):
        return node.args[position]
    for name in names:
        if name in node.config:
            return node.config[name]
    return default


def operand(node: KerasNode, context: KerasContext, position: int, *names: str) -> str:
    """Return a tensor argument; a number becomes a constant."""
    value = argument(node, position, *names)
    if isinstance(value, Tensor):
        return str(value)
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        array = np.zeros(0, np.float32)
    if value is None or (array.size == 0 and value != []):
        raise ModelImportError(
            f"argument {position} is {str(value)[:60]}",
            where=node.where,
            rule="a tensor or numbers",
        )
    return context.constant(f"{node.name}/argument{position}", array)


def _first(node: KerasNode) -> str:
    value = argument(node, 0, "x", "inputs", "input_tensor", "features", "logits", "tensor", "a")
    if not isinstance(value, Tensor):
        raise ModelImportError("it reads no tensor", where=node.where, rule="one tensor")
    return str(value)


def _axes(node: KerasNode, context: KerasContext, source: str, value: Any) -> list[int]:
    if value is None:
        return list(range(context.rank(source)))
    listed = value if isinstance(value, list | tuple) else [value]
    return [context.axis(node, source, int(axis)) for axis in listed]


_BINARY = {
    word: op
    for op, words in (
        ("add", ("Add",)), ("sub", ("Subtract", "Sub")), ("mul", ("Multiply", "Mul")),
        ("div", ("Divide", "TrueDivide", "Truediv", "Div")),
    )
    for word in words
}  # fmt: skip
_BINARY |= {"Maximum": "max", "Minimum": "min", "Power": "pow"}


@converter(*_both(*_BINARY), "tf.math.pow", "tf.pow")
def binary(node: KerasNode, context: KerasContext) -> None:
    """Two operands that broadcast, tensors or numbers."""
    word = _word(node)
    op = next((o for w, o in _BINARY.items() if snake(w) == word), "pow")
    first = operand(node, context, 0, "x", "x1", "a")
    second = operand(node, context, 1, "y", "x2", "b")
    context.binary(node, op, first, second)


_COMPARED = ("Greater", "Less", "GreaterEqual", "LessEqual", "Equal", "NotEqual")


@converter(*_both(*_COMPARED))
def compare(node: KerasNode, context: KerasContext) -> None:
    """Give one or zero."""
    first = operand(node, context, 0, "x", "x1")
    second = operand(node, context, 1, "y", "x2")
    word = _word(node)
    if word in ("equal", "not_equal"):
        made = equal(context, node, first, second, part="" if word == "equal" else "same")
    else:
        turned = word in ("less", "greater_equal")
        pair = (second, first) if turned else (first, second)
        strict = not word.endswith("_equal")
        made = greater(context, node, *pair, part="" if strict else "other")
    if made != node.outputs[0]:
        inverted(context, node, made)


@converter(*_both("Where"))
def where(node: KerasNode, context: KerasContext) -> None:
    """Condition times one plus the rest times the other."""
    names = [operand(node, context, i, w) for i, w in enumerate(("condition", "x1", "x2"))]
    select(context, node, *names)


_PLAIN = (
    "Relu", "Relu6", "Sigmoid", "Tanh", "Softplus", "Softsign", "Silu", "Swish", "HardSilu",
    "HardSwish", "LogSigmoid", "Selu", "Celu", "Exp", "Log", "Sqrt", "Rsqrt", "Square", "Abs",
    "Absolute", "Negative", "Neg", "Reciprocal", "Floor", "Erf", "HardTanh", "Mish", "TanhShrink",
)  # fmt: skip


@converter(*_both(*_PLAIN))
def function(node: KerasNode, context: KerasContext) -> None:
    """Functions of one tensor."""
    named(node, context, _first(node), _word(node))


@converter(*_both("HardSigmoid"))
def hard_sigmoid(node: KerasNode, context: KerasContext) -> None:
    """Compute clip(x / 6 + .5, 0, 1)."""
    attrs = HardSigmoidAttrs(alpha=1 / 6, beta=0.5)
    context.unary(node, "hard_sigmoid", _first(node), attrs)


@converter(*_both("LeakyRelu"))
def leaky_relu(node: KerasNode, context: KerasContext) -> None:
    """Slope below zero, .2 by default."""
    slope = argument(node, 1, "negative_slope", "alpha", default=0.2)
    context.chain(node, _first(node), [leaky(float(slope))])


@converter(*_both("Elu"))
def elu(node: KerasNode, context: KerasContext) -> None:
    """Compute alpha * (exp(x) - 1) below zero."""
    alpha = argument(node, 1, "alpha", default=1.0)
    context.unary(node, "elu", _first(node), AlphaAttrs(alpha=float(alpha)))


@converter(*_both("Gelu"))
def gelu(node: KerasNode, context: KerasContext) -> None:
    """Append the exact form, or the one with tanh."""
    source = _first(node)
    older = node.type.startswith("tf.")
    if not argument(node, 1, "approximate", default=not older):
        context.unary(node, "gelu", source)
        return
    # x / 2 * (1 + tanh(sqrt(2 / pi) * (x + .044715 x^3)))
    square = context.unary(node, "square", source, part="square")
    steps = [
        Step("part", "mul", EltwiseAttrs(), 0.044715),
        Step("one", "add", EltwiseAttrs(), 1.0),
        Step("inner", "mul", EltwiseAttrs(), source),
        Step("scaled", "mul", EltwiseAttrs(), float(np.sqrt(2 / np.pi))),
        Step("tanh", "tanh"),
        Step("gate", "add", EltwiseAttrs(), 1.0),
        Step("product", "mul", EltwiseAttrs(), source),
        Step("half", "mul", EltwiseAttrs(), 0.5),
    ]
    context.chain(node, square, steps)


@converter(*_both("Softmax", "LogSoftmax"))
def softmax(node: KerasNode, context: KerasContext) -> None:
    """Along one axis."""
    source = _first(node)
    axis = context.axis(node, source, int(argument(node, 1, "axis", default=-1)))
    along(context, node, _word(node), source, axis)


@converter(*_both("Clip", "ClipByValue"))
def clip(node: KerasNode, context: KerasContext) -> None:
    """Two limits."""
    low = argument(node, 1, "x_min", "clip_value_min")
    high = argument(node, 2, "x_max", "clip_value_max")
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        raise UnsupportedForm("computed limits", "use Maximum and Minimum")
    context.chain(node, _first(node), [clipped(float(low), float(high))])


@converter(*_both("Ceil", "Sign", "Round"))
def steps(node: KerasNode, context: KerasContext) -> None:
    """Append functions of whole numbers, from limits and floor."""
    make = {"ceil": ceiling, "sign": sign, "round": rounded}[_word(node)]
    make(context, node, _first(node))


# ---- over axes
_REDUCED = ops_named_in("tensorflow", lambda d: d.attrs is ReduceAttrs)


@converter(*_both(*_REDUCED, *(f"Reduce{word}" for word in _REDUCED)))
def reduce_(node: KerasNode, context: KerasContext) -> None:
    """Axes, all of them by default."""
    source = _first(node)
    axes = _axes(node, context, source, argument(node, 1, "axis"))
    word = _word(node).removeprefix("reduce_").capitalize()
    keep = bool(argument(node, 2, "keepdims", default=False))
    reduce(context, node, _REDUCED[word], source, axes, keep=keep)


@converter(*_both("Argmax", "Argmin"))
def arg_extreme_(node: KerasNode, context: KerasContext) -> None:
    """Index of the first extreme along one axis, which vanishes."""
    source = _first(node)
    axis = argument(node, 1, "axis")
    if axis is None or argument(node, 2, "keepdims", default=False):
        raise UnsupportedForm("no axis, or keepdims", "name one axis")
    place = context.axis(node, source, int(axis))
    arg_extreme(context, node, _word(node), source, place, DType.I32)


# ---- movement
@converter(*_both("Reshape"))
def reshape(node: KerasNode, context: KerasContext) -> None:
    """Sizes with the batch, where the first may be open; one may be -1."""
    source = _first(node)
    value = argument(node, 1, "newshape", "shape")
    sizes = [-1 if n is None else int(n) for n in _listed(node, value)]
    count = prod(context.shape(source))
    if sizes.count(-1) == 1:
        rest = -prod(sizes)
        sizes[sizes.index(-1)] = count // rest if rest else 0
    context.reshape(node, source, sizes)


def _listed(node: KerasNode, value: Any) -> Sequence[Any]:
    if isinstance(value, int):
        return [value]
    if not isinstance(value, list | tuple) or any(isinstance(n, Tensor) for n in value):
        raise UnsupportedForm(f"sizes {str(value)[:60]}", "give known sizes")
    return value


@converter(*_both("Transpose"))
def transpose(node: KerasNode, context: KerasContext) -> None:
    """Permute axes; without axes they are turned around."""
    source = _first(node)
    rank = context.rank(source)
    axes = argument(node, 1, "axes", "perm")
    order = list(range(rank))[::-1] if axes is None else [int(a) % rank for a in axes]
    if sorted(order) != list(range(rank)):
        raise ModelImportError(f"axes {axes}", where=node.where, rule="a permutation")
    context.alias(node.outputs[0], source, order)


@converter("ops.Moveaxis", "ops.Swapaxes")
def move_axes(node: KerasNode, context: KerasContext) -> None:
    """Permute some axes."""
    source = _first(node)
    order = list(range(context.rank(source)))
    if node.type == "ops.Swapaxes":
        a, b = (context.axis(node, source, int(argument(node, 1 + i, w)))
                for i, w in enumerate(("axis1", "axis2")))  # fmt: skip
        order[a], order[b] = order[b], order[a]
    else:
        order = _moved(order, node)
    context.alias(node.outputs[0], source, order)


def _moved(order: list[int], node: KerasNode) -> list[int]:
    sources, targets = argument(node, 1, "source"), argument(node, 2, "destination")
    sources = sources if isinstance(sources, list | tuple) else [sources]
    targets = targets if isinstance(targets, list | tuple) else [targets]
    rank = len(order)
    pairs = sorted((int(t) % rank, int(s) % rank) for s, t in zip(sources, targets, strict=True))
    rest = [axis for axis in order if axis not in {s for _, s in pairs}]
    for target, source in pairs:
        rest.insert(target, source)
    return rest


@converter(*_both("Concatenate", "Concat"))
def concatenate(node: KerasNode, context: KerasContext) -> None:
    """Join along an axis."""
    axis = int(argument(node, 1, "axis", default=0))
    concat(context, node, node.inputs, context.axis(node, node.inputs[0], axis))


@converter(*_both("Stack"))
def stack_(node: KerasNode, context: KerasContext) -> None:
    """Join along a new axis."""
    axis = int(argument(node, 1, "axis", default=0))
    stack(context, node, node.inputs, context.axis(node, node.inputs[0], axis, extra=1))


@converter(*_both("Split"))
def split_(node: KerasNode, context: KerasContext) -> None:
    """Equal parts, or parts that end at indices."""
    source = _first(node)
    value = argument(node, 1, "indices_or_sections", "num_or_size_splits")
    axis = context.axis(node, source, int(argument(node, 2, "axis", default=0)))
    size = context.shape(source)[axis]
    if isinstance(value, int):
        if not 1 <= value <= size:
            raise ModelImportError(
                f"{value} parts of {size}", where=node.where, rule="at least one element each"
            )
        sizes = [size // value] * value
    elif node.type.startswith("tf."):
        sizes = [int(n) for n in value]
    else:
        edges = [0, *(int(n) for n in value), size]
        sizes = [b - a for a, b in pairwise(edges)]
    names = [*node.outputs]
    names += [context.unused(f"{node.name}:{i}") for i in range(len(names), len(sizes))]
    split(context, node, source, axis, sizes, names)


@converter(*_both("Squeeze", "ExpandDims"))
def axis_of_one(node: KerasNode, context: KerasContext) -> None:
    """Remove or insert axes of size 1."""
    source = _first(node)
    shape, axis = context.shape(source), argument(node, 1, "axis")
    if _word(node) == "squeeze":
        gone = (
            {i for i, n in enumerate(shape) if n == 1}
            if axis is None
            else set(_axes(node, context, source, axis))
        )
        context.reshape(node, source, [n for i, n in enumerate(shape) if i not in gone])
        return
    place = context.axis(node, source, int(axis), extra=1)
    context.reshape(node, source, (*shape[:place], 1, *shape[place:]))


@converter("ops.GetItem", "tf.__operators__.getitem", "tf.strided_slice")
def get_item(node: KerasNode, context: KerasContext) -> None:
    """Index with numbers, slices, new axes and an ellipsis."""
    source = _first(node)
    key = argument(node, 1, "key", "slice_spec")
    parts = list(key) if isinstance(key, list | tuple) else [key]
    marks = [_key(node, part) for part in parts]
    found = strided_by(node, context.shape(source), marks)
    if 0 in found.shape:
        raise UnsupportedForm("its result is empty", "remove it")
    piece = cut(context, node, source, dict(enumerate(found.cuts)), part="piece")
    context.reshape(node, piece, found.shape)


def _key(node: KerasNode, part: Any) -> Any:
    if isinstance(part, Mapping) and {"start", "stop", "step"} & set(part):
        part = slice(part.get("start"), part.get("stop"), part.get("step"))
    if part is None or part is ... or isinstance(part, int | slice):
        return part
    raise UnsupportedForm(f"index {str(part)[:60]}", "index with known numbers")


@converter(*_both("Flip"))
def flip(node: KerasNode, context: KerasContext) -> None:
    """Turn axes around."""
    source = _first(node)
    reverse(context, node, source, _axes(node, context, source, argument(node, 1, "axis")))


@converter(*_both("Tile"))
def tile_(node: KerasNode, context: KerasContext) -> None:
    """Repeat along every axis."""
    source = _first(node)
    repeats = [int(n) for n in _listed(node, argument(node, 1, "repeats", "multiples"))]
    rank = max(len(repeats), context.rank(source))
    wide = context.widened(node, source, rank)
    tile(context, node, wide, [1] * (rank - len(repeats)) + repeats)


@converter(*_both("Pad"))
def pad_(node: KerasNode, context: KerasContext) -> None:
    """Constant, reflect and symmetric."""
    source = _first(node)
    pairs = argument(node, 1, "pad_width", "paddings")
    mode = str(argument(node, 2, "mode", default="constant")).lower()
    value = argument(node, 3, "constant_values", default=0.0)
    listed = np.broadcast_to(np.asarray(pairs, int), (context.rank(source), 2)).tolist()
    pad(context, node, source, listed, value=float(value or 0.0), mode=mode)


@converter(*_both("BroadcastTo"))
def broadcast_to(node: KerasNode, context: KerasContext) -> None:
    """Repeat axes of size 1 up to a shape."""
    sizes = [int(n) for n in _listed(node, argument(node, 1, "shape"))]
    broadcast(context, node, _first(node), sizes)


@converter("ops.Take")
def take(node: KerasNode, context: KerasContext) -> None:
    """Take known indices of an axis."""
    source = _first(node)
    value, axis = argument(node, 1, "indices"), argument(node, 2, "axis")
    if isinstance(value, Tensor) or axis is None:
        raise UnsupportedForm("computed indices, or no axis", "index with known numbers")
    name = context.unused(f"{node.name}/indices")
    context.values[name] = np.asarray(value, np.int64)
    gather(context, node, source, name, context.axis(node, source, int(axis)))


@converter(*_both("Cast", "StopGradient", "Identity", "ConvertToTensor"))
def nothing(node: KerasNode, context: KerasContext) -> None:
    """Give a real tensor on; casts to whole numbers are refused."""
    kind = argument(node, 1, "dtype", default="float32")
    if isinstance(kind, str) and "float" not in kind and _word(node) == "cast":
        raise UnsupportedForm(f"a cast to {kind}", "cast to float")
    context.alias(node.outputs[0], context.real(node, _first(node)))


# ---- products
@converter(*_both("Matmul"))
def matmul_(node: KerasNode, context: KerasContext) -> None:
    """Matrices in the last two axes."""
    first = operand(node, context, 0, "x1", "a")
    second = operand(node, context, 1, "x2", "b")
    turned = [bool(argument(node, 9, f"transpose_{w}", default=False)) for w in "ab"]
    matmul(context, node, first, second, turn_first=turned[0], turn_second=turned[1])


@converter(*_both("Einsum"))
def einsum_(node: KerasNode, context: KerasContext) -> None:
    """Sum products of two tensors by letters."""
    equation = argument(node, 9, "subscripts", "equation", default=None)
    if equation is None and node.args and not isinstance(node.args[0], Tensor):
        equation = node.args[0]
    if len(node.inputs) != 2 or not isinstance(equation, str):
        raise UnsupportedForm(f"{len(node.inputs)} tensors", "two tensors")
    einsum(context, node, equation, *node.inputs)
