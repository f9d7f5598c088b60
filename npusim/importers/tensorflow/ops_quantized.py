"""FakeQuant: what training with quantization in mind leaves in a graph."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, Stored
from npusim.importers.common.layers import Step, plus, times
from npusim.importers.tensorflow.context import TfContext, TfNode, converter
from npusim.ir.attrs import EltwiseAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, AffinePerChannel

_FLOAT = np.float32


def nudged(low: Array, high: Array, bits: int, narrow: bool) -> tuple[Array, Array, Array, Array]:
    """Return the range that holds 0 as a code: lowest, highest, scale and zero point.

    The zero point is rounded with ties away from zero; a range on one side of 0 moves.
    Source: measured, TensorFlow 2.21.
    """
    first, last = _FLOAT(1 if narrow else 0), _FLOAT(2**bits - 1)
    scale = (high - low) / (last - first)
    zero = first - low / scale
    middle: Array = np.where(zero < first, first, np.where(zero > last, last, _away(zero)))
    return (first - middle) * scale, (last - middle) * scale, scale, middle


def _away(x: Array) -> Array:
    away: Array = np.sign(x) * np.floor(np.abs(x) + _FLOAT(0.5))
    return away


def faked(x: Array, low: Array, high: Array, scale: Array) -> Array:
    """Return values rounded as FakeQuant does it."""
    inverse = _FLOAT(1) / scale
    zero = np.floor(-low * inverse + _FLOAT(0.5))
    shifted = np.clip(x, low, high) - low
    real: Array = np.floor(shifted * inverse - zero + _FLOAT(0.5)) * scale
    return real.astype(_FLOAT)


@converter(
    "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel"
)
def fake_quant(node: TfNode, context: TfContext) -> None:
    """8 bits of one range: the tensor has codes; else the arithmetic is written out."""
    if node.type == "FakeQuantWithMinMaxArgs":
        low: Array = np.array(node.real("min", -6.0), _FLOAT)
        high: Array = np.array(node.real("max", 6.0), _FLOAT)
    else:
        low, high = (context.fixed(node, i, "the range").astype(_FLOAT) for i in (1, 2))
    bits, narrow = node.integer("num_bits", 8), node.flag("narrow_range")
    if not 2 <= bits <= 16:
        raise ModelImportError(f"num_bits {bits}", where=node.where, rule="2 to 16")
    with np.errstate(all="ignore"):
        steps = (high - low) / _FLOAT(2**bits)
        sound = np.isfinite(steps) & (low <= high) & (np.isfinite(1 / steps) | (low == high))
    if not np.all(sound):
        raise ModelImportError(
            f"range {low} .. {high}",
            where=node.where,
            rule="finite numbers, the lower first, not too near",
        )
    if np.any(low == high):
        if not np.all((low == 0) & (high == 0)):
            raise ModelImportError(f"range {low} .. {high}", where=node.where, rule="not empty")
        low = low - _FLOAT(1e-6)
        high = high + _FLOAT(1e-6)
    with np.errstate(all="ignore"):
        low, high, scale, zero = nudged(low, high, bits, narrow)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        raise ModelImportError(
            f"range {low} .. {high}", where=node.where, rule="finite numbers with 0 among them"
        )
    value = context.known(node.inputs[0])
    if value is not None:
        with np.errstate(all="ignore"):
            context.values[node.outputs[0]] = faked(value, low, high, scale)
        if np.isfinite(context.values[node.outputs[0]]).all():
            _keep_codes(node, context, scale, zero, bits)
    elif context.codes and bits == 8 and not narrow and np.ndim(scale) == 0:
        _codes(node, context, float(scale), int(zero))
    else:
        _written_out(node, context, low, high, scale)


def _keep_codes(node: TfNode, context: TfContext, scale: Array, zero: Array, bits: int) -> None:
    if not context.codes or bits != 8:
        return
    value = context.values[node.outputs[0]]
    zeros = np.asarray(zero).reshape(-1).astype(int).tolist()
    scales = [float(s) for s in np.asarray(scale).reshape(-1)]
    codes = np.rint(value / scale) + zero
    quant = (
        Affine(scale=scales[0], zero_point=zeros[0])
        if np.ndim(scale) == 0
        else AffinePerChannel(scales=tuple(scales), zero_points=tuple(zeros), axis=value.ndim - 1)
    )
    context.stored[node.outputs[0]] = Stored(np.clip(codes, 0, 255).astype(np.uint8), quant)


def _codes(node: TfNode, context: TfContext, scale: float, zero: int) -> None:
    source = context.real(node, node.inputs[0])
    order = context.order(source)
    quant = Affine(scale=scale, zero_point=zero)
    operands = (context.at(source, order),)
    inner = context.emit(
        node, "convert", operands, order=order, part="codes", dtype=DType.U8, quant=quant
    )
    operands = (context.at(inner, order),)
    context.emit(node, "convert", operands, order=order, dtype=DType.F32)


def _written_out(node: TfNode, context: TfContext, low: Array, high: Array, scale: Array) -> None:
    inverse = _FLOAT(1) / scale
    shift = _FLOAT(0.5) - np.floor(-low * inverse + _FLOAT(0.5))
    steps = [
        Step("lowest", "max", EltwiseAttrs(), low),
        Step("highest", "min", EltwiseAttrs(), high),
        Step("from_lowest", "sub", EltwiseAttrs(), low),
        *times(inverse, "steps"),
        *plus(shift, "half"),
        Step("floor", "floor"),
        *times(scale, "real"),
    ]
    context.chain(node, node.inputs[0], steps)
