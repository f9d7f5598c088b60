"""Operators of two tensors or of a tensor and a number; comparisons give ones and zeros."""

import math

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.layers import Step, plus, times
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.ops_unary import below_zero, powers
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import EltwiseAttrs, MatmulAttrs
from npusim.ops import ops_named_in

_OLD_WORDS = {"add": "plus", "sub": "minus"}


def _spellings(name: str) -> tuple[str, ...]:
    """Return the names of ``broadcast_<word>`` and of its forms for tensors of one shape."""
    word = name.removeprefix("broadcast_")
    words = (word, _OLD_WORDS.get(word, word))
    forms = [(f"broadcast_{w}", f"_{w}", f"_{w.capitalize()}") for w in words]
    return tuple(dict.fromkeys((*forms[0], *forms[1], f"elemwise_{word}")))


_OF_NAME = {
    spelt: op
    for name, op in ops_named_in("mxnet", lambda d: d.inputs == (2, 2)).items()
    for spelt in (*_spellings(name), *(("_grad_add",) if op == "add" else ()))
}


def _check_shapes(node: MxNode, context: MxContext) -> None:
    needs(node, 2)
    first, second = (context.shape(name) for name in node.inputs)
    if node.type.startswith("broadcast_"):
        if len(first) != len(second):
            raise ModelImportError(
                f"inputs {first} and {second}", where=node.where, rule="equally many axes"
            )
    elif first != second:
        raise ModelImportError(f"inputs {first} and {second}", where=node.where, rule="one shape")


@converter(*_OF_NAME)
def arithmetic(node: MxNode, context: MxContext) -> None:
    """Element by element; broadcast_ forms widen axes of size one."""
    _check_shapes(node, context)
    context.binary(node, _OF_NAME[node.type], *node.inputs)


def _number(node: MxNode) -> float:
    needs(node, 1)
    value = node.attributes.real("scalar", 1.0)
    if math.isnan(value):
        raise ModelImportError("scalar is no number", where=node.where, rule="a number")
    return value


def _own(name: str, old: str) -> tuple[str, str]:
    return f"_{name}_scalar", f"_{old}Scalar"


@converter(*_own("plus", "Plus"), "_scatter_plus_scalar")
def plus_scalar(node: MxNode, context: MxContext) -> None:
    """Add a number."""
    context.chain(node, node.inputs[0], plus(_number(node)))


@converter(*_own("minus", "Minus"), "_scatter_minus_scalar")
def minus_scalar(node: MxNode, context: MxContext) -> None:
    """Subtract a number."""
    context.chain(node, node.inputs[0], plus(-_number(node)))


@converter(*_own("mul", "Mul"))
def mul_scalar(node: MxNode, context: MxContext) -> None:
    """Multiply by a number."""
    context.chain(node, node.inputs[0], times(_number(node)))


_SCALAR = {
    "div": ("div", False),
    "rminus": ("sub", True),
    "rdiv": ("div", True),
    "maximum": ("max", False),
    "minimum": ("min", False),
    "rpower": ("pow", True),
}
_OLD = {"rminus": "RMinus", "rdiv": "RDiv", "rpower": "RPower"}
_SCALAR_OF_NAME = {
    spelt: how
    for word, how in _SCALAR.items()
    for spelt in _own(word, _OLD.get(word, word.capitalize()))
}


@converter(*_SCALAR_OF_NAME)
def with_scalar(node: MxNode, context: MxContext) -> None:
    """Divide, or put the number first, or take the larger or smaller of the two."""
    needs(node, 1)
    op, first = _SCALAR_OF_NAME[node.type]
    step = Step("result", op, EltwiseAttrs(), _number(node), first=first)
    context.chain(node, node.inputs[0], [step])


@converter(*_own("power", "Power"))
def power_scalar(node: MxNode, context: MxContext) -> None:
    """Raise to a power."""
    needs(node, 1)
    exponent = _number(node)
    if exponent == 0:
        shape = context.shape(node.inputs[0])
        context.values[node.outputs[0]] = np.broadcast_to(np.float32(1), shape)
        return
    named = powers(exponent)
    if named:
        context.emit(node, named[0], node.inputs, named[1])
    elif exponent == 1:
        context.alias(node.outputs[0], node.inputs[0])
    else:
        step = Step("power", "pow", EltwiseAttrs(), exponent)
        context.chain(node, node.inputs[0], [step])


def _operands(node: MxNode, context: MxContext) -> tuple[str, str]:
    """Return both operands; a number becomes a constant."""
    if "scalar" in node.type.lower():
        needs(node, 1)
        return node.inputs[0], context.constant(f"{node.outputs[0]}/number", _number(node))
    _check_shapes(node, context)
    return node.inputs[0], node.inputs[1]


def _spelt(word: str, old: str, *, scalar: str = "") -> tuple[str, ...]:
    """Return the names of an operator: of two tensors, widened, and of a tensor and a number."""
    scalars = (f"_{word}_scalar", f"_{scalar or old.replace('_', '')}Scalar")
    return (f"_{word}", f"_{old}", f"broadcast_{word}", *scalars)


def _less(
    node: MxNode, context: MxContext, first: str, second: str, part: str, *, end: str = ""
) -> str:
    """Return 1 where the first is less than the second; ``end`` names what is not the result."""
    apart = context.binary(node, "sub", first, second, part=f"{part}_apart")
    out = below_zero(node, context, apart, f"{part}_{end or 'is'}")
    return out


def _result(node: MxNode, context: MxContext, found: str, *, turned: bool) -> None:
    """Give ones and zeros as the result, or their opposite."""
    if not turned:
        context.alias(node.outputs[0], found)
        return
    step = Step("not", "sub", EltwiseAttrs(), 1.0, first=True)
    context.chain(node, found, [step])


_ORDERS = {
    **dict.fromkeys(_spelt("lesser", "Lesser"), (False, False)),
    **dict.fromkeys(_spelt("greater", "Greater"), (True, False)),
    **dict.fromkeys(_spelt("lesser_equal", "Lesser_Equal"), (True, True)),
    **dict.fromkeys(_spelt("greater_equal", "Greater_Equal"), (False, True)),
}


@converter(*_ORDERS)
def order(node: MxNode, context: MxContext) -> None:
    """Give 1 where the first is less or greater (or equal), else 0."""
    first, second = _operands(node, context)
    swapped, turned = _ORDERS[node.type]
    pair = (second, first) if swapped else (first, second)
    _result(node, context, _less(node, context, *pair, "less"), turned=turned)


def differs(node: MxNode, context: MxContext, first: str, second: str) -> str:
    """Return 1 where two tensors differ, else 0."""
    less = _less(node, context, first, second, "less")
    more = _less(node, context, second, first, "more")
    return context.binary(node, "add", less, more, part="differ")


_EQUALS = {
    **dict.fromkeys(_spelt("equal", "Equal"), True),
    **dict.fromkeys(_spelt("not_equal", "Not_Equal"), False),
}


@converter(*_EQUALS)
def equality(node: MxNode, context: MxContext) -> None:
    """Give 1 where the two are equal, or where they differ, else 0."""
    found = differs(node, context, *_operands(node, context))
    _result(node, context, found, turned=_EQUALS[node.type])


def is_not_zero(node: MxNode, context: MxContext, x: str, part: str) -> str:
    """Return 1 where a tensor is not zero, else 0."""
    turned = context.emit(node, "neg", (x,), part=f"{part}_turned")
    less = below_zero(node, context, x, f"{part}_less")
    more = below_zero(node, context, turned, f"{part}_more")
    return context.binary(node, "add", less, more, part=f"{part}_filled")


@converter("logical_not")
def logical_not(node: MxNode, context: MxContext) -> None:
    """Give 1 where the input is zero, else 0."""
    needs(node, 1)
    filled = is_not_zero(node, context, node.inputs[0], "x")
    _result(node, context, filled, turned=True)


_LOGIC = {
    **dict.fromkeys(_spelt("logical_and", "Logical_And"), "mul"),
    **dict.fromkeys(_spelt("logical_or", "Logical_Or"), "max"),
    **dict.fromkeys(_spelt("logical_xor", "Logical_Xor"), "sub"),
}


@converter(*_LOGIC)
def logic(node: MxNode, context: MxContext) -> None:
    """And, or, exclusive or of what is not zero."""
    first, second = _operands(node, context)
    left = is_not_zero(node, context, first, "left")
    right = is_not_zero(node, context, second, "right")  # of a number: folded
    op = _LOGIC[node.type]
    out = context.binary(node, op, left, right, part="apart" if op == "sub" else "")
    if op == "sub":
        context.emit(node, "abs", (out,))


@converter("where")
def where(node: MxNode, context: MxContext) -> None:
    """Take the second input where the first is not zero, else the third, by products."""
    needs(node, 3)
    condition, first, second = node.inputs
    shape, wanted = context.shape(condition), context.shape(first)
    if context.shape(second) != wanted or (shape != wanted and shape != wanted[:1]):
        raise ModelImportError(
            f"inputs {shape}, {wanted} and {context.shape(second)}",
            where=node.where,
            rule="one shape; the condition may have the first axis only",
        )
    if shape != wanted:
        wide = (*shape, *(1,) * (len(wanted) - 1))
        condition = context.reshape(node, condition, wide, part="wide")
    filled = is_not_zero(node, context, condition, "condition")
    empty = context.part(
        node, filled, [Step("empty", "sub", EltwiseAttrs(), 1.0, first=True)], "empty"
    )
    left = context.binary(node, "mul", filled, first, part="left")
    right = context.binary(node, "mul", empty, second, part="right")
    context.binary(node, "add", left, right)


@converter(*_spelt("mod", "Mod"), "_rmod_scalar", "_RModScalar")
def modulo(node: MxNode, context: MxContext) -> None:
    """Compute a - floor(a / b) * b."""
    first, second = _operands(node, context)
    if "rmod" in node.type.lower():
        first, second = second, first
    ratio = context.binary(node, "div", first, second, part="ratio")
    whole = context.emit(node, "floor", (ratio,), part="whole")
    product = context.binary(node, "mul", whole, second, part="product")
    context.binary(node, "sub", first, product)


@converter(*_spelt("hypot", "Hypot"))
def hypot(node: MxNode, context: MxContext) -> None:
    """Compute sqrt(a * a + b * b)."""
    first, second = _operands(node, context)
    left = context.emit(node, "square", (first,), part="left")
    right = context.emit(node, "square", (second,), part="right")
    total = context.binary(node, "add", left, right, part="total")
    context.emit(node, "sqrt", (total,))


@converter("add_n", "ElementWiseSum", "_sum")
def add_n(node: MxNode, context: MxContext) -> None:
    """Sum of all inputs, from the first on."""
    shapes = {context.shape(name) for name in node.inputs}
    if len(shapes) != 1:
        raise ModelImportError(f"inputs {sorted(shapes)}", where=node.where, rule="one shape")
    out = node.inputs[0]
    if len(node.inputs) == 1:
        context.alias(node.outputs[0], out)
    for index, name in enumerate(node.inputs[1:], start=1):
        part = "" if index == len(node.inputs) - 1 else f"sum_{index}"
        out = context.binary(node, "add", out, name, part=part)


@converter("dot")
def dot(node: MxNode, context: MxContext) -> None:
    """Product of the first's last axis with the second's first; transposed by flags."""
    needs(node, 2)
    sides = []
    for name, flag in zip(node.inputs, ("transpose_a", "transpose_b"), strict=True):
        turned, shape = node.attributes.flag(flag), context.shape(name)
        if turned and len(shape) > 1:  # the first axis becomes the last, the last the first
            axes = tuple(range(len(shape)))
            front = name == node.inputs[0] and flag == "transpose_a"
            perm = (*axes[1:], 0) if front else (axes[-1], *axes[:-1])
            name = context.transposed(node, name, perm, part=f"{flag}d")
        sides.append(name)
    left, right = (context.shape(name) for name in sides)
    inner = left[-1]
    if inner != right[0]:
        raise ModelImportError(
            f"inputs {left} and {right}", where=node.where, rule="last axis and first axis agree"
        )
    rows = context.reshape(node, sides[0], (-(-_count(left) // inner), inner), part="rows")
    columns = context.reshape(node, sides[1], (inner, _count(right) // inner), part="columns")
    wanted = (*left[:-1], *right[1:]) or (1,)
    flat = (context.shape(rows)[0], context.shape(columns)[1])
    part = "" if flat == wanted else "product"
    out = context.emit(node, "matmul", (rows, columns), MatmulAttrs(), part=part)
    if part:
        context.reshape(node, out, wanted)


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


@converter("batch_dot", "_linalg_gemm2", "linalg_gemm2")
def batch_dot(node: MxNode, context: MxContext) -> None:
    """Products of matrices, batch by batch."""
    needs(node, 2)
    attrs = MatmulAttrs(
        transpose_a=node.attributes.flag("transpose_a"),
        transpose_b=node.attributes.flag("transpose_b"),
    )
    alpha = node.attributes.real("alpha", 1.0)
    if node.attributes.whole("axis", -2) != -2:
        raise ModelImportError("axis is given", where=node.where, rule="matrices are last")
    out = context.emit(node, "matmul", node.inputs, attrs, part="" if alpha == 1 else "product")
    if alpha != 1:
        context.chain(node, out, times(alpha))
