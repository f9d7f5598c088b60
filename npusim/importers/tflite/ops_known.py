"""Values that do not depend on the input data, and choices between tensors by such values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.tflite.context import TfliteContext
from npusim.importers.tflite.file import Operator
from npusim.importers.tflite.ops_math import operands_of
from npusim.importers.tflite.table import converter, substitute
from npusim.ir.attrs import EltwiseAttrs
from npusim.ops import ops_named_in

_TYPES = {"INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32, "BOOL": np.bool_}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "LOGICAL_AND": np.logical_and,
    "LOGICAL_OR": np.logical_or,
    "LOGICAL_NOT": np.logical_not,
    "SIN": np.sin,
    "COS": np.cos,
    "ROUND": np.rint,
    "SIGN": np.sign,
    "WHERE": np.argwhere,
    "RANGE": lambda start, limit, step: np.arange(start, limit, step),
}
"""Of known values only; what an operator of the chip stands for is not among them."""
_WHOLE: dict[str, Callable[..., Any]] = {
    "ABS": np.abs,
    "FLOOR_DIV": np.floor_divide,
    "FLOOR_MOD": np.mod,
    "NEG": np.negative,
    "POW": np.power,
    "SQUARE": np.square,
}
"""Of known whole numbers; the chip's operators that stand for them compute with real ones."""
_ADVICE = (
    "the chip has no such operator: use Maximum, Minimum or a product with a constant mask, or cut "
    "the model before it and run the rest on the CPU"
)


COMPARED = ops_named_in("tflite", lambda definition: definition.truth)


@converter(*COMPARED)
def compared(op: Operator, context: TfliteContext) -> None:
    """Compare two tensors."""
    if all(context.value(index) is not None for index in op.inputs):
        known_function(op, context)
    else:
        context.emit(op, COMPARED[op.type], operands_of(op, context))


@substitute(*_FUNCTIONS)
def known_function(op: Operator, context: TfliteContext) -> None:
    """Compute at once, of values that do not depend on the input data."""
    values = [context.value(index) for index in op.inputs]
    given = [value for value in values if value is not None]
    if len(given) != len(values):
        raise UnsupportedForm("it depends on the input data", _ADVICE)
    if op.type == "RANGE":
        start, limit, step = (float(value.reshape(())) for value in given)
        if not step or not np.isfinite([start, limit, step]).all():
            raise ModelImportError(f"a range from {start:g} to {limit:g} in steps of {step:g}")
        context.check_size((max(0, int((limit - start) / step) + 1),))
    else:
        context.check_size(np.broadcast_shapes(*(value.shape for value in given)))
    _keep(op, context, _FUNCTIONS[op.type](*given))


def folds_whole_numbers(op: Operator, context: TfliteContext) -> bool:
    """Compute an operator of known whole numbers at once; False for all others."""
    if op.type not in _WHOLE or any(map(context.is_quantized, op.inputs)):
        return False
    values = [context.value(index) for index in op.inputs]
    given = [value for value in values if value is not None and value.dtype.kind in "iu"]
    if len(given) != len(values):
        return False
    if op.type.startswith("FLOOR") and not np.all(given[1]):
        raise ModelImportError("a whole number is divided by 0")
    _keep(op, context, _WHOLE[op.type](*given))
    return True


def _keep(op: Operator, context: TfliteContext, value: Any) -> None:
    word = context.tensor(op.outputs[0]).type
    if word not in _TYPES:
        raise UnsupportedForm(f"a result of type {word}")
    context.values[op.outputs[0]] = np.asarray(value).astype(_TYPES[word])


@converter("RANK")
def rank_of(op: Operator, context: TfliteContext) -> None:
    """Known: shapes are concrete."""
    _keep(op, context, len(context.shape(op.inputs[0])))


@converter("ZEROS_LIKE")
def zeros_like(op: Operator, context: TfliteContext) -> None:
    """Known: shapes are concrete."""
    shape = context.shape(op.inputs[0])
    context.check_size(shape)
    _keep(op, context, np.zeros(shape))


@converter("FILL")
def fill(op: Operator, context: TfliteContext) -> None:
    """Repeat a known value in a known shape."""
    shape = context.fixed_ints(op, 0, "the shape")
    context.check_size(shape)
    _keep(op, context, np.full(shape, context.fixed(op, 1, "the value").reshape(())))


@converter("ONE_HOT")
def one_hot(op: Operator, context: TfliteContext) -> None:
    """Known indices: value ``on`` where the index is the place along a new axis."""
    indices = context.fixed(op, 0, "the indices")
    (depth,) = context.fixed_ints(op, 1, "the depth")
    on, off = (context.fixed(op, i, "its value").reshape(()) for i in (2, 3))
    context.check_size((*indices.shape, depth))
    axis = op.needed("Axis")
    hits = indices[..., None] == np.arange(depth)
    _keep(op, context, np.where(np.moveaxis(hits, -1, axis), on, off))


@converter("SELECT", "SELECT_V2")
def select(op: Operator, context: TfliteContext) -> None:
    """Choose by a known condition: products with masks of 0 and 1, or nothing at all."""
    condition = context.fixed(op, 0, "the condition").astype(bool)
    first, second = op.inputs[1:3]
    shape = np.broadcast_shapes(*(tuple(context.shape(i)) for i in op.inputs))
    if op.type == "SELECT" and condition.ndim == 1 and len(shape) > 1:
        condition = condition.reshape(-1, *(1,) * (len(context.shape(first)) - 1))
        shape = np.broadcast_shapes(condition.shape, tuple(context.shape(first)))
    for index, chosen in ((first, condition.all()), (second, not condition.any())):
        if chosen and tuple(context.shape(index)) == shape:
            context.alias(op, context.feature(index))
            return
    values = [context.value(index) for index in (first, second)]
    if values[0] is not None and values[1] is not None:
        _keep(op, context, np.where(condition, values[0], values[1]))
        return
    if any(context.is_quantized(index) for index in (first, second)):
        raise UnsupportedForm("it is quantized", "use a product with a constant mask")
    parts = [
        _masked(op, context, position, mask, len(shape))
        for position, mask in ((1, condition), (2, ~condition))
    ]
    context.emit(op, "add", parts, EltwiseAttrs())


def _masked(op: Operator, context: TfliteContext, position: int, mask: Array, rank: int) -> str:
    """Return an operand where the mask is set, 0 elsewhere."""
    value = context.value(op.inputs[position])
    label = f"{context.origin(op)}/choice{position}"
    if value is not None:  # exact also for infinities
        return context.constant(label, np.where(mask, value, np.float32(0)), rank)
    operand = context.widened(op, position, rank)
    factor = context.constant(f"{label}/mask", mask.astype(np.float32), rank)
    return context.part(op, f"choice{position}", "mul", (operand, factor), EltwiseAttrs())


@converter("DENSIFY")
def densify(op: Operator, context: TfliteContext) -> None:
    """Constant sparse weights, which the reader has made whole."""
    value = context.value(op.inputs[0])
    if value is None:
        raise ModelImportError("its input is no constant", rule="sparse tensors are constants")
    context.values[op.outputs[0]] = value
