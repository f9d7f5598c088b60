"""Element-wise operators, comparisons, reductions."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, clipped, leaky, plus, times
from npusim.importers.common.ordered_conv import add_bias, linear
from npusim.importers.common.ordered_math import (
    along,
    arg_extreme,
    ceiling,
    equal,
    floored_quotient,
    greater,
    inverted,
    one_hot,
    reduce,
    remainder,
    rounded,
    select,
    sign,
    top_k,
    truncated,
)
from npusim.importers.tensorflow.context import TfContext, TfNode, converter, needs
from npusim.ir.attrs import AlphaAttrs, EltwiseAttrs, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ops import is_function, ops_named_in

UNARY = ops_named_in("tensorflow", is_function)
BINARY = ops_named_in("tensorflow", lambda d: d.attrs is EltwiseAttrs)
REDUCE = ops_named_in("tensorflow", lambda d: d.attrs is ReduceAttrs)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@converter(*UNARY, "Inv")
def unary(node: TfNode, context: TfContext) -> None:
    """Functions without attributes."""
    needs(node, 1)
    word = "Reciprocal" if node.type == "Inv" else node.type
    context.unary(node, UNARY[word], node.inputs[0])


@converter(*BINARY, "Add", "Div")
def binary(node: TfNode, context: TfContext) -> None:
    """Two operands that broadcast from their last axes."""
    needs(node, 2)
    words = {"Add": "AddV2", "Div": "RealDiv"}
    op = BINARY[words.get(node.type, node.type)]
    first, second = node.inputs
    if op == "add":
        for source, other in ((first, second), (second, first)):
            value = context.known(other)
            rank = 0 if source in context.values else context.rank(source)
            if (
                value is not None
                and rank > 1
                and value.ndim
                and value.shape[-1] == value.size == context.shape(source)[-1]
                and value.ndim <= rank
                and add_bias(context, node, source, value.reshape(-1), rank - 1)
            ):
                return
    context.binary(node, op, first, second)


@converter("AddN")
def add_n(node: TfNode, context: TfContext) -> None:
    """One sum behind the other."""
    first, *rest = node.inputs
    if not rest:
        context.alias(node.outputs[0], first)
    for index, name in enumerate(rest):
        part = "" if name is rest[-1] and index == len(rest) - 1 else f"sum{index}"
        first = context.binary(node, "add", first, name, part=part)


@converter("SquaredDifference")
def squared_difference(node: TfNode, context: TfContext) -> None:
    """Compute (a - b) squared."""
    needs(node, 2)
    difference = context.binary(node, "sub", *node.inputs, part="difference")
    context.unary(node, "square", difference)


@converter("FloorDiv")
def floor_div(node: TfNode, context: TfContext) -> None:
    """Compute floor(a / b)."""
    floored_quotient(context, node, *node.inputs)


@converter("TruncateDiv")
def truncate_div(node: TfNode, context: TfContext) -> None:
    """Compute a / b, cut towards zero."""
    quotient = context.binary(node, "div", *node.inputs, part="quotient")
    truncated(context, node, quotient)


@converter("FloorMod")
def floor_mod(node: TfNode, context: TfContext) -> None:
    """Compute a - floor(a / b) * b."""
    remainder(context, node, *node.inputs)


@converter("DivNoNan")
def div_no_nan(node: TfNode, context: TfContext) -> None:
    """Divide by what is known and nowhere 0."""
    if not np.all(context.fixed(node, 1, "the divisor")):
        raise UnsupportedForm("its divisor holds zeros", "use RealDiv")
    context.binary(node, "div", *node.inputs)


@converter("LeakyRelu")
def leaky_relu(node: TfNode, context: TfContext) -> None:
    """Slope ``alpha`` below zero, .2 by default."""
    context.chain(node, node.inputs[0], [leaky(node.real("alpha", 0.2))])


@converter("Elu")
def elu(node: TfNode, context: TfContext) -> None:
    """Compute exp(x) - 1 below zero."""
    context.unary(node, "elu", node.inputs[0], AlphaAttrs(alpha=1.0))


@converter("Selu")
def selu(node: TfNode, context: TfContext) -> None:
    """Compute elu with fixed factors."""
    steps = [Step("elu", "elu", AlphaAttrs(alpha=_SELU_ALPHA)), *times(_SELU_SCALE)]
    context.chain(node, node.inputs[0], steps)


@converter("Erfc")
def erfc(node: TfNode, context: TfContext) -> None:
    """Compute 1 - erf(x)."""
    inverted(context, node, context.unary(node, "erf", node.inputs[0], part="erf"))


@converter("Log1p", "Expm1")
def near_one(node: TfNode, context: TfContext) -> None:
    """Compute log(1 + x) or exp(x) - 1."""
    steps = (
        [*plus(1.0), Step("log", "log")]
        if node.type == "Log1p"
        else [Step("exp", "exp"), *plus(-1.0)]
    )
    context.chain(node, node.inputs[0], steps)


@converter("ClipByValue")
def clip_by_value(node: TfNode, context: TfContext) -> None:
    """Two known limits."""
    low, high = (context.fixed(node, i, "a limit") for i in (1, 2))
    if low.size != 1 or high.size != 1:
        lower = context.binary(node, "max", node.inputs[0], node.inputs[1], part="lower")
        context.binary(node, "min", lower, node.inputs[2])
        return
    limits = float(low.reshape(-1)[0]), float(high.reshape(-1)[0])
    context.chain(node, node.inputs[0], [clipped(*limits)])


@converter("Ceil")
def ceil(node: TfNode, context: TfContext) -> None:
    """Compute -floor(-x)."""
    ceiling(context, node, node.inputs[0])


@converter("Sign")
def sign_(node: TfNode, context: TfContext) -> None:
    """Give -1, 0 or 1, from limits and floor."""
    sign(context, node, node.inputs[0])


@converter("Round", "Rint")
def round_(node: TfNode, context: TfContext) -> None:
    """Round halves to the even number."""
    rounded(context, node, node.inputs[0])


# ---- conditions are 1.0 and 0.0
@converter("Greater", "Less")
def greater_(node: TfNode, context: TfContext) -> None:
    """One or zero, from limits and floor."""
    first, second = node.inputs if node.type == "Greater" else node.inputs[::-1]
    greater(context, node, first, second)


@converter("GreaterEqual", "LessEqual")
def not_less(node: TfNode, context: TfContext) -> None:
    """One or zero: not less, not greater."""
    first, second = node.inputs if node.type == "LessEqual" else node.inputs[::-1]
    inverted(context, node, greater(context, node, first, second, part="other"))


@converter("Equal", "NotEqual")
def equal_(node: TfNode, context: TfContext) -> None:
    """One or zero, from the distance."""
    if node.type == "Equal":
        equal(context, node, *node.inputs)
    else:
        inverted(context, node, equal(context, node, *node.inputs, part="same"))


@converter("LogicalAnd", "LogicalOr")
def logical(node: TfNode, context: TfContext) -> None:
    """Minimum or maximum of conditions."""
    context.binary(node, "min" if node.type == "LogicalAnd" else "max", *node.inputs)


@converter("LogicalNot")
def logical_not(node: TfNode, context: TfContext) -> None:
    """One for zero and zero for one."""
    inverted(context, node, node.inputs[0])


@converter("Select", "SelectV2")
def select_(node: TfNode, context: TfContext) -> None:
    """Condition times one plus the rest times the other."""
    condition, yes, no = node.inputs
    rank = context.rank(yes)
    if node.type == "Select" and 0 < context.rank(condition) < rank:  # rows, not columns
        wide = (*context.shape(condition), *(1,) * (rank - context.rank(condition)))
        condition = context.reshape(node, condition, wide, part="rows")
    known = context.known(condition)
    if known is not None and known.all() != known.any():
        condition = context.constant(f"{node.name}/condition", known.astype(np.float32))
    elif known is not None and context.shape(yes) == context.shape(no):
        context.alias(node.outputs[0], yes if known.all() else no)
        return
    select(context, node, condition, yes, no)


@converter("Cast")
def cast(node: TfNode, context: TfContext) -> None:
    """Whole numbers are real ones here; a cast to them cuts towards zero."""
    source, number = node.inputs[0], node.type_number("DstT")
    before = node.type_number("SrcT")
    if number in (1, 2, 14, 19) or number == before:
        context.alias(node.outputs[0], context.real(node, source))
    elif number == 10:
        zero = context.constant(f"{node.name}/zero", 0.0)
        inverted(context, node, equal(context, node, source, zero, part="none"))
    elif not context.dtype(source).is_float or before not in (1, 2, 14, 19):
        context.alias(node.outputs[0], source)
    elif number in (3, 9):
        truncated(context, node, source)
    else:
        raise UnsupportedForm("a cast to narrow integers", "cast to float or int32")


# ---- over axes
@converter(*REDUCE)
def reduce_(node: TfNode, context: TfContext) -> None:
    """Known axes, which vanish without ``keep_dims``."""
    needs(node, 2)
    source = node.inputs[0]
    wanted = context.ints(node, 1, "the axes")
    axes = [context.axis(node, source, axis) for axis in wanted]
    reduce(context, node, REDUCE[node.type], source, axes, keep=node.flag("keep_dims"))


@converter("All", "Any")
def reduce_truth(node: TfNode, context: TfContext) -> None:
    """Minimum or maximum of conditions."""
    source = node.inputs[0]
    axes = [context.axis(node, source, axis) for axis in context.ints(node, 1, "the axes")]
    op = "reduce_min" if node.type == "All" else "reduce_max"
    reduce(context, node, op, source, axes, keep=node.flag("keep_dims"))


@converter("ArgMax", "ArgMin")
def arg_extreme_(node: TfNode, context: TfContext) -> None:
    """Index of the first extreme along a known axis, which vanishes."""
    needs(node, 2)
    source = node.inputs[0]
    (axis,) = context.ints(node, 1, "the axis")
    dtype = DType.I32 if node.type_number("output_type", 9) == 3 else DType.I64
    place = context.axis(node, source, axis)
    arg_extreme(context, node, node.type.lower(), source, place, dtype)


@converter("TopKV2", "TopK")
def top_k_(node: TfNode, context: TfContext) -> None:
    """Give the largest elements of the last axis and their indices, a search each."""
    count = context.ints(node, 1, "the number")[0] if len(node.inputs) > 1 else node.integer("k")
    top_k(context, node, node.inputs[0], count, node.outputs)


@converter("Softmax", "LogSoftmax")
def softmax(node: TfNode, context: TfContext) -> None:
    """Over the last axis."""
    source = node.inputs[0]
    if not context.rank(source):
        raise ModelImportError("its input has no axes", where=node.where, rule="at least one")
    op = "softmax" if node.type == "Softmax" else "log_softmax"
    along(context, node, op, source, context.rank(source) - 1)


@converter("OneHot")
def one_hot_(node: TfNode, context: TfContext) -> None:
    """Compare the index with every place."""
    depth, on, off = (context.fixed(node, i, "the depth or a value") for i in (1, 2, 3))
    axis = node.integer("axis", -1)
    rank = context.rank(node.inputs[0]) + 1
    source, place = node.inputs[0], axis % rank
    one_hot(context, node, source, int(depth), place, float(on), float(off))


@converter("Cumsum")
def cumulated(node: TfNode, context: TfContext) -> None:
    """Multiply with a triangle of ones."""
    (axis,) = context.ints(node, 1, "the axis")
    place = context.axis(node, node.inputs[0], axis)
    size = context.shape(node.inputs[0])[place]
    if size > 4096:
        raise UnsupportedForm(f"{size} elements", "at most 4096")
    ones = np.tri(size, k=-1 if node.flag("exclusive") else 0, dtype=np.float32)
    linear(context, node, node.inputs[0], place, ones.T if node.flag("reverse") else ones)
