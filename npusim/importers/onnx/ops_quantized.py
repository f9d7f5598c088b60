"""QuantizeLinear and DequantizeLinear: a ``convert``, or stored integers for known values."""

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Stored
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.importers.onnx.quantized import claim, columns, parameters
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine

EIGHT_BIT = (DType.U8, DType.I8)


@converter("QuantizeLinear")
def quantize_linear(node: OnnxNode, context: Context) -> None:
    """saturate(round(x / scale) + zero_point), ties to even."""
    x, out = node.inputs[0], node.outputs[0]
    shape = context.shape(x)
    axis = node.integer("axis", 1)
    dtype, quant = parameters(node, context, 1, 2, axis=axis, ndim=len(shape))
    value = context.known(x)
    if value is not None:
        scales, zeros = columns(quant, value.ndim)
        codes = np.rint(value.astype(np.float32) / scales) + zeros
        context.values[out] = np.clip(codes, dtype.min, dtype.max).astype(dtype.numpy)
        return
    context.emit(node, "convert", (x,), dtype=dtype, quant=_of_activation(dtype, quant))


@converter("DequantizeLinear")
def dequantize_linear(node: OnnxNode, context: Context) -> None:
    """(q - zero_point) * scale in float32."""
    x, out = node.inputs[0], node.outputs[0]
    axis = node.integer("axis", 1)
    dtype, quant = parameters(node, context, 1, 2, axis=axis, ndim=len(context.shape(x)))
    codes = context.known(x)
    own = context.dtype(x).numpy if codes is None else codes.dtype
    if node.input(2) and dtype.numpy != own:
        raise ModelImportError(
            f"codes are {own}, their zero point is {dtype.numpy}",
            where=node.where,
            rule="a zero point has the type of its codes",
            remedy="the quantizer failed: quantize the model again",
        )
    if codes is not None:
        scales, zeros = columns(quant, codes.ndim)
        context.values[out] = (codes.astype(np.int64) - zeros).astype(np.float32) * scales
        context.builder.stored[out] = Stored(codes, quant)
        return
    dtype = context.dtype(x)
    quant = _of_activation(dtype, quant)
    claim(context, x, quant)
    context.emit(node, "convert", (x,), dtype=DType.F32)


def _of_activation(dtype: DType, quant: object) -> Affine:
    if dtype not in EIGHT_BIT:
        raise UnsupportedForm(
            f"activations of type {dtype.value}",
            "quantize to 8 bits, or quantize the float model here as dynamic_fixed_point-i16",
        )
    if not isinstance(quant, Affine):
        raise UnsupportedForm(
            "activations with one scale per channel", "use one scale for the whole tensor"
        )
    return quant
