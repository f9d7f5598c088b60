"""Layers on several blobs, and products and sums with learned blobs."""

from collections.abc import Sequence
from math import prod

from npusim.errors import ModelImportError
from npusim.importers.caffe.blobs import Wanted
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.caffe.schema import Record
from npusim.importers.common.builder import Array
from npusim.importers.common.layers import Step, plus
from npusim.ir.attrs import AxisAttrs, EltwiseAttrs

_ELTWISE = {"SUM": "add", "PROD": "mul", "MAX": "max"}


@converter("Eltwise")
def eltwise(layer: CaffeLayer, context: CaffeContext) -> None:
    """Sum (with coefficients), product or maximum of blobs of one shape."""
    needs(layer, (2, 4096))
    record = layer.parameters("eltwise_param")
    op, coefficients = _ELTWISE[record.text("operation", "SUM")], record.reals("coeff")
    if coefficients and len(coefficients) != len(layer.inputs):
        raise ModelImportError(
            f"{len(coefficients)} coefficients for {len(layer.inputs)} bottoms",
            where=layer.where,
            rule="none, or one per bottom",
        )
    if coefficients and op != "add":
        raise ModelImportError("coeff is given", where=layer.where, rule="for SUM only")
    shapes = {context.shape(name) for name in layer.inputs}
    if len(shapes) > 1:
        raise ModelImportError(
            f"inputs {sorted(shapes)} differ", where=layer.where, rule="blobs of one shape"
        )
    terms = []
    for index, name in enumerate(layer.inputs):
        factor = coefficients[index] if coefficients else 1.0
        subtracted = factor == -1.0 and index > 0
        if factor != 1.0 and not subtracted:
            by = context.constant(f"{layer.name}/coeff_{index}", factor)
            name = context.emit(layer, "mul", (name, by), EltwiseAttrs(), part=f"term_{index}")
        terms.append(("sub" if subtracted else op, name))
    total = terms[0][1]
    for index, (kind, name) in enumerate(terms[1:], start=1):
        part = "" if index == len(terms) - 1 else f"first_{index + 1}"
        total = context.binary(layer, kind, total, name, part=part)


@converter("Concat")
def concat(layer: CaffeLayer, context: CaffeContext) -> None:
    """Join along an axis."""
    needs(layer, (1, 4096))
    record = layer.parameters("concat_param")
    key = "concat_dim" if record.has("concat_dim") else "axis"
    rank = len(context.shape(layer.inputs[0]))
    axis = context.axis(layer, record.whole(key, 1), rank)
    if len(layer.inputs) == 1:
        context.alias(layer.outputs[0], layer.inputs[0])
        return
    context.emit(layer, "concat", layer.inputs, AxisAttrs(axis=axis))


def _operand(
    layer: CaffeLayer, context: CaffeContext, record: Record, words: Sequence[tuple[str, float]]
) -> tuple[str | Array, list[Array]]:
    """Return the second operand of a Scale or Bias in a shape that broadcasts, and other blobs."""
    shape = context.shape(layer.inputs[0])
    axis = context.axis(layer, record.whole("axis", 1), len(shape))
    if len(layer.inputs) == 2:
        second = context.shape(layer.inputs[1])
        if not second and not record.has("axis"):
            axis = 0
        _check_fit(layer, shape, axis, second)
        wide = (*second, *(1,) * (len(shape) - axis - len(second)))
        name = layer.inputs[1]
        if wide != second:
            name = context.reshape(layer, name, (*(1,) * axis, *wide), part="wide")
        rest = context.blobs.of(layer, [_blob(record, w, v, second) for w, v in words[1:]])
        return name, [value.reshape(wide) for value in rest]
    count = record.whole("num_axes", 1)
    if count < -1 or axis + count > len(shape):
        raise ModelImportError(
            f"{count} axes from axis {axis} of {shape}", where=layer.where, rule="axes of the input"
        )
    inner = shape[axis:] if count == -1 else shape[axis : axis + count]
    wide = (*inner, *(1,) * (len(shape) - axis - len(inner)))
    values = context.blobs.of(layer, [_blob(record, w, v, inner) for w, v in words])
    first, *rest = (value.reshape(wide) for value in values)
    return first, rest


def _blob(record: Record, what: str, value: float, shape: tuple[int, ...]) -> Wanted:
    field = "bias_filler" if what == "bias" and record.message == "scale_param" else "filler"
    return Wanted(what, shape, record.record(field), value=value)


def _check_fit(
    layer: CaffeLayer, shape: tuple[int, ...], axis: int, second: tuple[int, ...]
) -> None:
    if shape[axis : axis + len(second)] != second:
        raise ModelImportError(
            f"inputs {shape} and {second} do not fit",
            where=layer.where,
            rule=f"the second has sizes of the first from axis {axis} on",
        )


@converter("Scale")
def scale(layer: CaffeLayer, context: CaffeContext) -> None:
    """Product with a blob or a second input, and a sum."""
    needs(layer, (1, 2))
    record = layer.parameters("scale_param")
    words = [("scale", 1.0), ("bias", 0.0)][: 1 + record.flag("bias_term")]
    factor, rest = _operand(layer, context, record, words)
    steps = [Step("scaled", "mul", EltwiseAttrs(), factor)]
    context.chain(layer, layer.inputs[0], [*steps, *(s for b in rest for s in plus(b, "bias"))])


@converter("Bias")
def bias(layer: CaffeLayer, context: CaffeContext) -> None:
    """Sum with a blob or a second input."""
    needs(layer, (1, 2))
    term, _ = _operand(layer, context, layer.parameters("bias_param"), [("bias", 0.0)])
    context.chain(layer, layer.inputs[0], [Step("bias", "add", EltwiseAttrs(), term)])


@converter("Axpy")
def axpy(layer: CaffeLayer, context: CaffeContext) -> None:
    """Compute a * x + y with one factor per channel (squeeze-and-excitation)."""
    needs(layer, 3)
    factor, x, y = layer.inputs
    shape = context.shape(x)
    if prod(context.shape(factor)) != prod(shape[:2]):
        raise ModelImportError(
            f"factors {context.shape(factor)} for {shape}",
            where=layer.where,
            rule="one per channel",
        )
    wide = (*shape[:2], *(1,) * (len(shape) - 2))
    factor = context.reshape(layer, factor, wide, part="wide")
    product = context.binary(layer, "mul", x, factor, part="product")
    context.binary(layer, "add", product, y)
