"""Gemm and MatMul."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.onnx.context import Context, OnnxNode, converter
from npusim.ir.attrs import FcAttrs, MatmulAttrs, ReshapeAttrs, TransposeAttrs


@converter("Gemm")
def gemm(node: OnnxNode, context: Context) -> None:
    """Compute alpha * A' B' + beta * C; an ``fc`` when B is known, else a ``matmul``."""
    a, b = node.inputs[:2]
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    transposed_a, transposed_b = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))
    if len(context.shape(a)) != 2 or len(context.shape(b)) != 2:
        raise ModelImportError(
            f"operands {context.shape(a)} and {context.shape(b)}",
            where=node.where,
            rule="both have two axes",
            remedy="put a Flatten before the node",
        )
    c = node.input(2) if beta != 0.0 else ""
    weights = context.known(b)
    if weights is None:
        attrs = MatmulAttrs(transpose_a=transposed_a, transpose_b=transposed_b)
        steps = (alpha != 1.0) + bool(c)
        out = context.emit(node, "matmul", (a, b), attrs, part="product" if steps else "")
        if alpha != 1.0:
            factor = context.scalar(node, "alpha", alpha)
            out = context.emit_binary(node, "mul", out, factor, "scaled" if c else "")
        if c:
            _add_c(node, context, out, c, beta)
        return
    if transposed_a:
        a = context.emit(node, "transpose", (a,), TransposeAttrs(perm=(1, 0)), part="transposed")
    ours = weights if transposed_b else weights.T
    if alpha != 1.0:
        ours = ours * np.asarray(alpha, ours.dtype)
    changed = alpha != 1.0 or not transposed_b
    weights_name = context.constant(f"{b}/out_first", ours, of=b) if changed else b
    bias = _row(context.known(c), beta, int(ours.shape[0])) if c else None
    apart = bool(c) and bias is None
    if bias is None:
        bias = np.zeros(int(ours.shape[0]), np.float32)
    same = c if bool(c) and not apart and bias is context.known(c) else ""
    bias_name = same or context.constant(f"{node.outputs[0]}/bias", bias)
    out = context.emit(
        node, "fc", (a, weights_name, bias_name), FcAttrs(), part="product" if apart else ""
    )
    if apart:
        _add_c(node, context, out, c, beta)


def _row(value: Array | None, beta: float, out_c: int) -> Array | None:
    """Return beta * C as one value per output, None when C differs between rows or is unknown."""
    if (
        value is None
        or value.size not in (1, out_c)
        or (value.ndim and value.shape[-1] == 1 < value.size)
    ):
        return None
    row = value if value.shape == (out_c,) else np.broadcast_to(value.reshape(-1), (out_c,))
    return row if beta == 1.0 else row * np.asarray(beta, row.dtype)


def _add_c(node: OnnxNode, context: Context, out: str, c: str, beta: float) -> None:
    value = context.known(c)
    if beta != 1.0 and value is not None:
        c = context.constant(f"{c}/scaled", value * np.asarray(beta, value.dtype))
    elif beta != 1.0:
        c = context.emit_binary(node, "mul", c, context.scalar(node, "beta", beta), "beta")
    context.emit_binary(node, "add", out, c)


@converter("MatMul")
def matmul(node: OnnxNode, context: Context) -> None:
    """numpy.matmul; an ``fc`` when the second operand is a known matrix."""
    a, b = node.inputs[:2]
    shape_a, shape_b = context.shape(a), context.shape(b)
    if not shape_a or not shape_b:
        raise ModelImportError("an operand is a scalar", where=node.where, rule="one axis or more")
    result = _result_shape(node, shape_a, shape_b)
    if len(shape_a) == 1:
        a = context.emit(node, "reshape", (a,), ReshapeAttrs(shape=(1, *shape_a)), part="row")
    weights = context.known(b)
    natural = (*_lead(shape_a, shape_b), *((shape_a[-2],) if len(shape_a) > 1 else (1,)))
    as_fc = weights is not None and (weights.ndim <= 2 or prod(weights.shape[:-2]) == 1)
    if as_fc and weights is not None:
        matrix = weights.reshape(weights.shape[-2:]) if weights.ndim > 1 else weights[:, None]
        out_c = int(matrix.shape[1])
        lead = context.shape(a)[:-1]
        attrs: FcAttrs | MatmulAttrs = FcAttrs()
        operands = (
            a,
            context.constant(f"{b}/out_first", matrix.T, of=b),
            context.constant(f"{node.outputs[0]}/bias", np.zeros(out_c, np.float32)),
        )
        direct = (*lead, out_c) == result
    else:
        if len(shape_b) == 1:
            b = context.emit(
                node, "reshape", (b,), ReshapeAttrs(shape=(*shape_b, 1)), part="column"
            )
        operands = (a, b)  # type: ignore[assignment]
        attrs = MatmulAttrs()
        direct = (*natural, 1 if len(shape_b) == 1 else shape_b[-1]) == result
    out = context.emit(
        node, "fc" if as_fc else "matmul", operands, attrs, part="" if direct else "product"
    )
    if not direct:
        context.emit(node, "reshape", (out,), ReshapeAttrs(shape=result))


def _lead(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(a[:-2], b[:-2]))


def _result_shape(node: OnnxNode, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that numpy.matmul gives."""
    inner = b[-2] if len(b) > 1 else b[0]
    try:
        lead = _lead(a, b)
    except ValueError:
        lead = None
    if lead is None or a[-1] != inner:
        raise ModelImportError(f"operands {a} and {b} do not fit", where=node.where)
    rows = (a[-2],) if len(a) > 1 else ()
    cols = (b[-1],) if len(b) > 1 else ()
    return (*lead, *rows, *cols)
