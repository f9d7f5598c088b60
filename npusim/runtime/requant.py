"""Accumulator to stored integer: multiplier, shift and rounding of a node, from its tensors.

One place for the numbers that kernels use and dumps show.

Source: ARITHMETIC_NN.md sections 1.1, 1.2 (NN engine), 2 (fully connected on TP), 4 (average
pooling), 5 (TP stores), 7 (add); ARITHMETIC_OPS.md section 1 (tables).
"""

from math import floor, frexp, log2, prod

import numpy as np

from npusim.ir.attrs import Attrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import (
    Affine,
    AffinePerChannel,
    DynamicFixedPoint,
    Quant,
    Requant,
    Rounding,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec

# TP operators whose table already holds real values: only 1 / output scale is left to apply
_TABLE_OPS = frozenset(
    ("relu1", "relu6", "sigmoid", "tanh", "hard_swish", "swish", "square", "mish", "elu")
).union(("hard_sigmoid", "clip", "neg", "log"))


def truncated_multiplier(scale: float) -> tuple[int, int]:
    """Return (M, k) with scale ~ M * 2**-k, 2**15 <= M < 2**16, bits below M's cut off.

    Source: ARITHMETIC_NN.md section 1.1.
    """
    mantissa, exponent = frexp(scale)
    return floor(mantissa * 65536), 16 - exponent


def nearest_multiplier(scale: float) -> tuple[int, int]:
    """Return (M, k) with scale ~ M * 2**-k, 2**15 <= M < 2**16, nearest, ties to even.

    Source: ARITHMETIC_NN.md section 5.
    """
    mantissa, exponent = frexp(scale)
    multiplier = round(mantissa * 65536)  # Python rounds ties to even
    return (32768, 15 - exponent) if multiplier == 65536 else (multiplier, 16 - exponent)


def nn_scale(ifm: Quant, weights: Quant, ofm: Quant) -> float:
    """Return si * sw / so as the NN engine has it: float32 product, then float32 division."""
    product = np.float32(scale_of(ifm)) * np.float32(scale_of(weights))
    return float(np.float32(product) / np.float32(scale_of(ofm)))


def nn_requant(ifm: TensorSpec, weights: Quant, ofm: TensorSpec) -> Requant:
    """Return how the NN engine stores a sum of products.

    Parameters
    ----------
    ifm, ofm : TensorSpec
    weights : Quant
        Of the weights, whatever their type.

    Returns
    -------
    Requant
        Asymmetric on either side: 16-bit multiplier, cut off; dynamic fixed point: a shift.
    """
    if ifm.dtype is DType.F16:
        return Requant(rounding=Rounding.TRUNCATE_F16)
    if isinstance(ifm.quant, Affine) or isinstance(ofm.quant, Affine):
        multiplier, shift = truncated_multiplier(nn_scale(ifm.quant, weights, ofm.quant))
        return Requant(multiplier=multiplier, shift=shift, zero_point=zero_point_of(ofm.quant))
    return _fixed_point(ifm, weights, ofm)


def tp_requant(scale: float, ofm: TensorSpec) -> Requant:
    """Return how the TP engine stores a value times ``scale`` (float32) in units of ``ofm``."""
    multiplier, shift = nearest_multiplier(scale)
    if ofm.dtype is DType.F16:
        return Requant(multiplier=multiplier, shift=shift, rounding=Rounding.NEAREST_F16)
    return Requant(
        multiplier=multiplier,
        shift=shift,
        zero_point=zero_point_of(ofm.quant),
        rounding=Rounding.HALF_EVEN_AFTER_ZERO_POINT,
    )


def average_weight_quant(dtype: DType, pixels: int) -> Quant:
    """Return the quantization of the constant weight that stands for 1 / pixels.

    Source: ARITHMETIC_NN.md section 4.
    """
    if dtype is DType.U8:
        return Affine(scale=float(np.float32(1) / np.float32(255 * pixels)), zero_point=0)
    return DynamicFixedPoint(fl=6 + floor(log2(pixels)))


def requant_of(node: Node, graph: Graph) -> Requant | None:
    """Return the lowered requantization of a node.

    Parameters
    ----------
    node : Node
        With its engine assigned.
    graph : Graph

    Returns
    -------
    Requant or None
        None for shader and CPU nodes (float arithmetic), per-channel weights, and TP copies whose
        inputs or outputs do not share one quantization.
    """
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    if node.engine is Engine.NN:
        return _on_nn(node, graph, ifm, ofm)
    if node.engine is Engine.TP:
        return _on_tp(node, graph, ifm, ofm)
    return None


def _on_nn(node: Node, graph: Graph, ifm: TensorSpec, ofm: TensorSpec) -> Requant | None:
    match node.op:
        case "conv2d" | "deconv2d" | "fc":
            weights = graph.spec(node.inputs[1]).quant
            if isinstance(weights, AffinePerChannel):
                return None
            return nn_requant(ifm, weights, ofm)
        case "pool2d" | "global_pool" | "reduce_mean" if not _is_max(node.attrs):
            return nn_requant(ifm, average_weight_quant(ifm.dtype, _window(node, ifm)), ofm)
        case "add" if isinstance(ifm.quant, Affine):
            return nn_requant(ifm, add_weight_quant(ifm, graph.spec(node.inputs[1])), ofm)
    return Requant() if ifm.dtype is not DType.F16 else Requant(rounding=Rounding.TRUNCATE_F16)


def add_weight_quant(first: TensorSpec, second: TensorSpec) -> Affine:
    """Return the quantization of the two weights of an add on the NN engine.

    Source: ARITHMETIC_NN.md section 7.
    """
    ratio = np.float32(scale_of(second.quant)) / np.float32(scale_of(first.quant))
    return Affine(scale=float(np.float32(max(np.float32(1), ratio)) / np.float32(255)))


def _on_tp(node: Node, graph: Graph, ifm: TensorSpec, ofm: TensorSpec) -> Requant | None:
    tensors = [graph.spec(name) for name in (*graph.activations(node), *node.outputs)]
    ins, outs = tensors[: -len(node.outputs)], tensors[-len(node.outputs) :]
    if any((t.dtype, t.quant) != (ins[0].dtype, ins[0].quant) for t in ins) or any(
        (t.dtype, t.quant) != (outs[0].dtype, outs[0].quant) for t in outs
    ):
        return None
    match node.op:
        case "conv2d" | "fc":
            return _fully_connected(ifm, graph.spec(node.inputs[1]).quant, ofm)
        case "pool2d" | "global_pool" if not _is_max(node.attrs):
            return _fully_connected(ifm, average_weight_quant(ifm.dtype, _window(node, ifm)), ofm)
        case "reduce_mean":
            pixels = _window(node, ifm)
            fl = min(12, floor(log2(127.5 * pixels)))  # ARITHMETIC_OPS.md section 6
            return _fully_connected(ifm, DynamicFixedPoint(fl=fl), ofm)
        case op if op in _TABLE_OPS:
            return tp_requant(float(np.float32(1) / np.float32(scale_of(ofm.quant))), ofm)
    return tp_requant(float(np.float32(scale_of(ifm.quant)) / np.float32(scale_of(ofm.quant))), ofm)


def _fully_connected(ifm: TensorSpec, weights: Quant, ofm: TensorSpec) -> Requant:
    if ofm.dtype is DType.F16:
        return Requant(rounding=Rounding.NEAREST_F16)
    return _fixed_point(ifm, weights, ofm)


def _fixed_point(ifm: TensorSpec, weights: Quant, ofm: TensorSpec) -> Requant:
    shift = _fl(ifm.quant) + _fl(weights)
    if ofm.dtype is DType.F16:
        return Requant(shift=shift, rounding=Rounding.NEAREST_F16)
    return Requant(shift=shift - _fl(ofm.quant))


def _fl(quant: Quant) -> int:
    return quant.fl if isinstance(quant, DynamicFixedPoint) else 0


def _is_max(attrs: Attrs) -> bool:
    return getattr(attrs, "kind", None) is PoolKind.MAX


def _window(node: Node, ifm: TensorSpec) -> int:
    kernel = node.attrs.kernel if isinstance(node.attrs, Pool2dAttrs) else ifm.shape[2:]
    return prod(kernel)
