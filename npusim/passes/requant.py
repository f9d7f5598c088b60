"""Accumulator -> output parameters of the NN engine and of its relatives on TP.

Pure functions of quantization parameters: the pass ``lower_requant`` writes their result into the
graph, where the bindings read it.

Source: measured, docs/arithmetic/nn.md sections 2 to 4 and docs/arithmetic/tp.md section 5.
"""

from dataclasses import dataclass
from math import floor, frexp, log2, prod

import numpy as np

from npusim.errors import QuantizationError
from npusim.ir.attrs import Pool2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import (
    Affine,
    DynamicFixedPoint,
    Float,
    Quant,
    Requant,
    Rounding,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec
from npusim.ops import averages, op_def


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageWeight:
    """The one weight of an average pool: its stored value and quantization."""

    value: float
    quant: Quant


@dataclass(frozen=True, slots=True, kw_only=True)
class AddWeights:
    """The 1x1 convolution that adds or subtracts two hidden results: first*a + second*b + bias.

    Both operands are centred on the zero point of the first; ``scale`` is that of the sum.
    """

    first: int
    second: int
    bias: int
    scale: float


def split_scale(scale: np.float32) -> tuple[int, int]:
    """Return (multiplier, shift): scale = multiplier * 2**-shift, cut to 16 significant bits.

    >>> split_scale(np.float32(0.75))
    (49152, 16)
    """
    mantissa, exponent = frexp(float(scale))
    return floor(mantissa * 65536), 16 - exponent


def nearest_scale(scale: np.float32) -> tuple[int, int]:
    """Return (multiplier, shift): scale to the nearest 16 significant bits, ties to even.

    >>> nearest_scale(np.float32(0.75))
    (49152, 16)
    """
    mantissa, exponent = frexp(float(scale))
    return round(mantissa * 65536), 16 - exponent


def _float32_scale(ifm: Quant, weights: Quant, ofm: TensorSpec) -> np.float32:
    """Return si * sw / so as the driver has it: float32 product, then float32 division."""
    product = np.float32(scale_of(ifm)) * np.float32(scale_of(weights))
    return _over(product, ofm)


def _over(scale: np.float32, ofm: TensorSpec) -> np.float32:
    """Return a scale of sums over that of the codes to store, by float32 division."""
    with np.errstate(over="ignore"):
        found = np.float32(scale / np.float32(scale_of(ofm.quant)))
    if not np.isfinite(found):
        raise QuantizationError(
            f"the sums of {ofm.name!r} have the scale {scale:g}, its codes {scale_of(ofm.quant):g}",
            rule="the one over the other is a float32 number",
        )
    return found


def tp_requant(ifm: Quant, weights: Quant, ofm: TensorSpec) -> Requant:
    """Return how the TP engine's fully connected layer stores ``sum x * w`` in ``ofm``.

    Asymmetric (input zero point 0): scale to the nearest 16 bits, ties broken after the zero point
    is added. Dynamic fixed point: a shift, as on NN. float16: nearest.
    """
    if isinstance(ifm, Float):
        return Requant(rounding=Rounding.NEAREST_F16)
    if not isinstance(ifm, Affine):
        return nn_requant(ifm, weights, ofm)
    return _tp_affine(_float32_scale(ifm, weights, ofm), ofm)


def _tp_affine(scale: np.float32, ofm: TensorSpec) -> Requant:
    multiplier, shift = nearest_scale(scale)
    return Requant(
        multiplier=multiplier,
        shift=shift,
        zero_point=zero_point_of(ofm.quant),
        rounding=Rounding.HALF_EVEN_AFTER_ZERO_POINT,
    )


def nn_requant(ifm: Quant, weights: Quant, ofm: TensorSpec) -> Requant:
    """Return how the NN engine stores ``sum x * w`` in ``ofm``.

    Asymmetric: float32 product of the two input scales, float32 division by the output scale, cut
    to 16 bits. Dynamic fixed point: a shift. float16: see ``Rounding``.
    """
    if isinstance(ifm, Float):
        return Requant(rounding=Rounding.TRUNCATE_F16)
    if ofm.dtype is DType.F16:
        shift = _fraction_bits(ifm) + _fraction_bits(weights)
        return Requant(shift=shift, rounding=Rounding.NEAREST_F16)
    if isinstance(ifm, Affine) or isinstance(ofm.quant, Affine):
        multiplier, shift = split_scale(_float32_scale(ifm, weights, ofm))
        return Requant(multiplier=multiplier, shift=shift, zero_point=zero_point_of(ofm.quant))
    shift = _fraction_bits(ifm) + _fraction_bits(weights) - _fraction_bits(ofm.quant)
    return Requant(shift=shift)


def average_weight(dtype: DType, taps: int) -> AverageWeight:
    """Return the constant weight with which the NN engine averages ``taps`` values.

    Eight bits even for i16, whose averages are therefore off by up to about 1 %. A power of two is
    the weight 1 with that many fraction bits (measured, docs/arithmetic/nn.md rule 3.2).
    """
    if dtype is DType.U8:
        scale = np.float32(1) / np.float32(255 * taps)
        return AverageWeight(value=255, quant=Affine(scale=float(scale), zero_point=0))
    if dtype is DType.F16:
        return AverageWeight(value=float(np.float16(1 / taps)), quant=Float())
    if taps & (taps - 1) == 0:
        return AverageWeight(value=1, quant=DynamicFixedPoint(fl=taps.bit_length() - 1))
    fl = min(12, floor(log2(127.5 * taps)))  # the most fraction bits with which it fits 8 bits
    return AverageWeight(value=round(2.0**fl / taps), quant=DynamicFixedPoint(fl=fl))


def add_weights(first: TensorSpec, second: TensorSpec, *, subtract: bool = False) -> AddWeights:
    """Return the weights of the NN engine's add or sub of two tensors.

    u8: steps are float32. Dynamic fixed point: powers of two up to half the type's range, which
    wraps when positive (measured, docs/arithmetic/nn.md rule 4.2).
    """
    if isinstance(first.quant, DynamicFixedPoint):
        bits = [_fraction_bits(spec.quant) for spec in (first, second)]
        finest, half = max(bits), 1 << (first.dtype.bits - 1)
        weights = [1 << (finest - fl) for fl in bits]
        if subtract:
            weights[1] = -weights[1]
        left, right = (-half if weight == half else weight for weight in weights)
        return AddWeights(first=left, second=right, bias=0, scale=2.0**-finest)
    scale_1, scale_2 = np.float32(scale_of(first.quant)), np.float32(scale_of(second.quant))
    zero_1, zero_2 = zero_point_of(first.quant), zero_point_of(second.quant)
    ratio = scale_2 / scale_1
    one = np.float32(1)
    step = (one + ratio if subtract else np.maximum(one, ratio)) / np.float32(255)
    scale = scale_1 * step
    sign = -1 if subtract else 1
    return AddWeights(
        first=int(np.rint(one / step)),
        second=sign * int(np.rint(ratio / step)),
        bias=sign * int(np.rint(np.float32(zero_1 - zero_2) * scale_2 / scale)),
        scale=float(scale),
    )


def requant_of(node: Node, graph: Graph) -> Requant | None:
    """Return the lowered requantization of a node that accumulates on NN or TP; None for others."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    if node.engine not in (Engine.NN, Engine.TP):
        return None
    on_nn = node.engine is Engine.NN
    stored = nn_requant if on_nn else tp_requant
    if op_def(node.op).weighted:
        return stored(ifm.quant, graph.spec(node.inputs[1]).quant, ofm)
    if averages(node):
        return stored(ifm.quant, average_weight(ifm.dtype, _taps(node, ifm)).quant, ofm)
    if op_def(node.op).accumulates:
        if isinstance(ifm.quant, Float):
            return Requant(rounding=Rounding.TRUNCATE_F16 if on_nn else Rounding.NEAREST_F16)
        if isinstance(ifm.quant, DynamicFixedPoint):
            operands = [graph.spec(name).quant for name in node.inputs]
            return Requant(shift=max(map(_fraction_bits, operands)) - _fraction_bits(ofm.quant))
        weights = add_weights(ifm, graph.spec(node.inputs[1]), subtract=node.op == "sub")
        scale = _over(np.float32(weights.scale), ofm)
        if not on_nn:
            return _tp_affine(scale, ofm)
        multiplier, shift = split_scale(scale)
        return Requant(multiplier=multiplier, shift=shift, zero_point=zero_point_of(ofm.quant))
    return None


def excess_fraction_bits(node: Node, graph: Graph) -> int:
    """Return how many more fraction bits an i16 result of the NN engine has than its sums; or 0.

    The engine then stores -32768 for every negative sum. Source: measured, docs/arithmetic/nn.md
    rule 2.4.
    """
    if node.engine is not Engine.NN or graph.spec(node.outputs[0]).dtype is not DType.I16:
        return 0
    requant = requant_of(node, graph)
    return max(0, -requant.shift) if requant is not None else 0


def _taps(node: Node, ifm: TensorSpec) -> int:
    return prod(node.attrs.kernel if isinstance(node.attrs, Pool2dAttrs) else ifm.shape[2:])


def _fraction_bits(quant: Quant) -> int:
    if isinstance(quant, DynamicFixedPoint):
        return quant.fl
    raise QuantizationError(
        f"{quant} where dynamic fixed point is needed",
        rule="the NN engine mixes dynamic fixed point with asymmetric only as ifm or ofm",
    )
