"""Which engine runs an operator: per operator an ordered table of rules; the first match wins.

The reasons are what users read in ``npusim ops``, in dumps and in docs/supported-ops.md.

Source: ARITHMETIC_NN.md sections 2 to 7 and ARITHMETIC_OPS.md sections 1 to 7 (what the driver of
the measured chip configuration runs).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from npusim.ir.attrs import (
    Conv2dAttrs,
    Coordinates,
    GlobalPoolAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Node
from npusim.ir.quant import Affine, AffinePerChannel, scale_of
from npusim.passes.engine_view import GraphView

Predicate = Callable[[Node, GraphView], bool]
ENGINE_TYPES = (DType.U8, DType.I8, DType.I16, DType.F16)
NN_TYPE_PAIRS = (
    (DType.U8, DType.U8),
    (DType.U8, DType.I8),
    (DType.I8, DType.I8),
    (DType.I8, DType.F16),
    (DType.I16, DType.I16),
    (DType.F16, DType.F16),
)


@dataclass(frozen=True, slots=True)
class EngineRule:
    """One line of the table: the engine, when it applies and why, in words for the user."""

    engine: Engine
    when: Predicate
    reason: str


# ---- predicates --------------------------------------------------------------------------------
def always(node: Node, view: GraphView) -> bool:
    """Match every node."""
    return True


def engine_types(node: Node, view: GraphView) -> bool:
    """Match u8, i8, i16 and f16 in and out."""
    specs = (view.ifm(node), *(view.graph.spec(name) for name in node.outputs))
    return all(spec.dtype in ENGINE_TYPES for spec in specs)


def eight_bit_asymmetric_signed(node: Node, view: GraphView) -> bool:
    """Match i8 with a scale and zero point on either side of a conversion."""
    return any(
        spec.dtype is DType.I8 and isinstance(spec.quant, Affine)
        for spec in (view.ifm(node), view.ofm(node))
    )


def per_channel_weights(node: Node, view: GraphView) -> bool:
    """Match weights with one scale per channel."""
    return isinstance(view.ifm(node, 1).quant, AffinePerChannel)


def large_kernel(node: Node, view: GraphView) -> bool:
    """Match kernels of 15 rows or columns and more."""
    return max(view.ifm(node, 1).shape[2:]) >= 15


def nn_types(node: Node, view: GraphView) -> bool:
    """Match the pairs of input and output type that the NN engine can do."""
    return (view.ifm(node).dtype, view.ofm(node).dtype) in NN_TYPE_PAIRS


def wide_output(node: Node, view: GraphView) -> bool:
    """Match u8 with i16, i32 or f32 output and i8 with i16 output."""
    pair = (view.ifm(node).dtype, view.ofm(node).dtype)
    return pair == (DType.I8, DType.I16) or (
        pair[0] is DType.U8 and pair[1] in (DType.I16, DType.I32, DType.F32)
    )


def tp_fully_connected_types(node: Node, view: GraphView) -> bool:
    """Match i8 and i16 dynamic fixed point and f16, output of the same type."""
    ifm, ofm = view.ifm(node), view.ofm(node)
    return (
        ifm.dtype in (DType.I8, DType.I16, DType.F16)
        and ofm.dtype is ifm.dtype
        and not isinstance(ifm.quant, Affine)
    )


def bias_in_32_bits(node: Node, view: GraphView) -> bool:
    """Match biases within the signed 32-bit range, and every float bias."""
    if view.ifm(node).dtype is not DType.I16:
        return True
    bias = view.graph.constants.get(node.inputs[2])
    return bias is None or bool(np.all(np.abs(bias.astype(np.float64)) < 2.0**31))


def fc_on_tp(node: Node, view: GraphView) -> bool:
    """Match a fully connected layer of batch 1 that the TP engine takes."""
    return (
        prod(view.ifm(node).shape[:-1]) == 1
        and tp_fully_connected_types(node, view)
        and bias_in_32_bits(node, view)
    )


def conv_is_fc_on_tp(node: Node, view: GraphView) -> bool:
    """Match a convolution whose kernel covers the whole unpadded input, batch 1, same types."""
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, weights = view.ifm(node).shape, view.ifm(node, 1).shape
    return (
        ifm[0] == 1
        and view.ofm(node).shape[2:] == (1, 1)
        and weights[2:] == ifm[2:]
        and not any(attrs.pad)
        and attrs.group in (1, ifm[1])
        and tp_fully_connected_types(node, view)
        and bias_in_32_bits(node, view)
    )


def _pool(node: Node) -> Pool2dAttrs:
    assert isinstance(node.attrs, Pool2dAttrs)
    return node.attrs


def max_pool_fused(node: Node, view: GraphView) -> bool:
    """Match a 2x2 max pool of stride 2 that alone reads a convolution of the NN engine."""
    attrs, ifm, ofm = _pool(node), view.ifm(node), view.ofm(node)
    before = view.producers.get(ifm.name)
    return (
        attrs.kind is PoolKind.MAX
        and attrs.kernel == attrs.stride == (2, 2)
        and not any(attrs.pad)
        and ifm.dtype in (DType.U8, DType.I8, DType.F16)
        and (ifm.dtype, ifm.quant) == (ofm.dtype, ofm.quant)
        and before is not None
        and before.op == "conv2d"
        and view.engine_of(ifm.name) is Engine.NN
        and view.only_consumer(ifm.name)
    )


def max_pool_on_shader(node: Node, view: GraphView) -> bool:
    """Match max pools with stride above 2 and a small window, or a large window and padding."""
    attrs = _pool(node)
    small = max(attrs.kernel) <= 3
    return attrs.kind is PoolKind.MAX and (max(attrs.stride) > 2 if small else any(attrs.pad))


def max_pool(node: Node, view: GraphView) -> bool:
    """Match every max pool."""
    return _pool(node).kind is PoolKind.MAX


def average_without_padding(node: Node, view: GraphView) -> bool:
    """Match average pools with padding that does not count in the divisor."""
    attrs = _pool(node)
    return any(attrs.pad) and not attrs.count_include_pad


def pool_stride_above_two(node: Node, view: GraphView) -> bool:
    """Match strides above 2."""
    return max(_pool(node).stride) > 2


def average_is_fc_on_tp(node: Node, view: GraphView) -> bool:
    """Match an unpadded average over the whole input, batch 1, i8, i16 or f16."""
    attrs, ifm = _pool(node), view.ifm(node)
    return (
        ifm.shape[0] == 1
        and attrs.kernel == ifm.shape[2:]
        and not any(attrs.pad)
        and tp_fully_connected_types(node, view)
    )


def global_average_on_nn(node: Node, view: GraphView) -> bool:
    """Match global averages of u8 and f16 over 12x12 to 15x15 pixels."""
    assert isinstance(node.attrs, GlobalPoolAttrs)
    ifm = view.ifm(node)
    return (
        node.attrs.kind is PoolKind.AVG
        and ifm.dtype in (DType.U8, DType.F16)
        and min(ifm.shape[2:]) >= 12
        and max(ifm.shape[2:]) <= 15
    )


def small_spatial_mean(node: Node, view: GraphView) -> bool:
    """Match a mean over height and width, both below 12."""
    assert isinstance(node.attrs, ReduceAttrs)
    shape = view.ifm(node).shape
    return len(shape) == 4 and sorted(node.attrs.axes) == [2, 3] and max(shape[2:]) < 12


def small_spatial_mean_u8(node: Node, view: GraphView) -> bool:
    """Match a u8 mean over height and width, both below 12."""
    return view.ifm(node).dtype is DType.U8 and small_spatial_mean(node, view)


def _resize(node: Node) -> ResizeAttrs:
    assert isinstance(node.attrs, ResizeAttrs)
    return node.attrs


def nearest_doubling(node: Node, view: GraphView) -> bool:
    """Match nearest-neighbour doubling of u8 and i16 in both directions, same quantization."""
    attrs, ifm, ofm = _resize(node), view.ifm(node), view.ofm(node)
    return (
        attrs.mode is ResizeMode.NEAREST
        and attrs.coordinates is Coordinates.ASYMMETRIC
        and ifm.dtype in (DType.U8, DType.I16)
        and ifm.quant == ofm.quant
        and attrs.size == (2 * ifm.shape[2], 2 * ifm.shape[3])
    )


def nearest_whole_shrink(node: Node, view: GraphView) -> bool:
    """Match nearest-neighbour shrinking of u8 and i16 by one whole factor, no align_corners."""
    attrs, ifm = _resize(node), view.ifm(node)
    (in_h, in_w), (out_h, out_w) = ifm.shape[2:], attrs.size
    return (
        attrs.mode is ResizeMode.NEAREST
        and attrs.coordinates is not Coordinates.ALIGN_CORNERS
        and ifm.dtype in (DType.U8, DType.I16)
        and in_h % out_h == 0
        and in_h > out_h
        and in_h * out_w == in_w * out_h
    )


SUMMAND_OPS = frozenset(
    ("conv2d", "deconv2d", "add", "sub", "pool2d", "relu", "relu1", "relu6", "leaky_relu")
).union(("sigmoid", "tanh", "hard_swish", "swish", "mish", "elu", "hard_sigmoid", "clip"))


def summand(name: str, view: GraphView) -> bool:
    """Match a hidden tensor written by a convolution, NN sum, max pool or TP activation."""
    node = view.producers.get(name)
    return (
        node is not None
        and node.op in SUMMAND_OPS
        and view.engine_of(name) in (Engine.NN, Engine.TP)
        and not view.exposed(name)
    )


def sum_scales_fit(node: Node, view: GraphView) -> bool:
    """Match f16, and u8 scales within a factor of 2, or of 20 when neither is above 1."""
    if view.ifm(node).dtype is DType.F16:
        return True
    scales = [scale_of(view.ifm(node, i).quant) for i in (0, 1)]
    ratio = max(scales) / min(scales)
    return ratio < 2 or (max(scales) <= 1 and ratio <= 20)


def sum_on_nn(node: Node, view: GraphView) -> bool:
    """Match an add or sub of two hidden results of one shape, u8 or f16, scales not far apart."""
    a, b, ofm = view.ifm(node), view.ifm(node, 1), view.ofm(node)
    return (
        a.dtype is b.dtype is ofm.dtype
        and a.dtype in (DType.U8, DType.F16)
        and a.shape == b.shape
        and all(summand(name, view) for name in node.inputs)
        and sum_scales_fit(node, view)
    )


def sum_of_one_pixel_f16(node: Node, view: GraphView) -> bool:
    """Match a sum on the NN engine whose operands are f16 with a single pixel, batch 1."""
    ifm = view.ifm(node)
    one_pixel = len(ifm.shape) == 4 and ifm.elements == ifm.shape[1]
    return ifm.dtype is DType.F16 and one_pixel and sum_on_nn(node, view)


# ---- the table ---------------------------------------------------------------------------------
NN, TP, SHADER, CPU = Engine.NN, Engine.TP, Engine.SHADER, Engine.CPU
_SHADER_ONLY = "always a shader program"

RULES: dict[str, tuple[EngineRule, ...]] = {
    "conv2d": (
        EngineRule(SHADER, per_channel_weights, "weights with one scale per channel"),
        EngineRule(TP, conv_is_fc_on_tp, "kernel covers the whole input, batch 1: fully connected"),
        EngineRule(SHADER, large_kernel, "kernel of 15 rows or columns or more"),
        EngineRule(CPU, wide_output, "output type wider than the NN engine stores"),
        EngineRule(NN, nn_types, "convolution"),
    ),
    "deconv2d": (
        EngineRule(SHADER, per_channel_weights, "weights with one scale per channel"),
        EngineRule(NN, nn_types, "convolutions whose results TP interleaves"),
    ),
    "fc": (
        EngineRule(SHADER, per_channel_weights, "weights with one scale per channel"),
        EngineRule(TP, fc_on_tp, "fully connected, batch 1, i8, i16 or f16"),
        EngineRule(NN, nn_types, "fully connected as a convolution (u8, batch, or wide bias)"),
    ),
    "pool2d": (
        EngineRule(NN, max_pool_fused, "2x2 max pool of stride 2 fused into the convolution"),
        EngineRule(SHADER, max_pool_on_shader, "stride above 2, or window above 3x3 with padding"),
        EngineRule(TP, max_pool, "max pooling"),
        EngineRule(SHADER, average_without_padding, "padding does not count in the divisor"),
        EngineRule(SHADER, pool_stride_above_two, "average with stride above 2"),
        EngineRule(TP, average_is_fc_on_tp, "average of the whole input, batch 1: fully connected"),
        EngineRule(NN, engine_types, "average as a depthwise convolution with a constant weight"),
    ),
    "global_pool": (
        EngineRule(NN, global_average_on_nn, "12x12 to 15x15 pixels of u8 or f16"),
        EngineRule(SHADER, engine_types, _SHADER_ONLY),
    ),
    "reduce_mean": (
        EngineRule(
            NN, small_spatial_mean_u8, "mean over height and width below 12: u8 convolution"
        ),
        EngineRule(TP, small_spatial_mean, "mean over height and width below 12: fully connected"),
        EngineRule(SHADER, engine_types, "mean over other axes or sizes"),
    ),
    "add": (
        EngineRule(TP, sum_of_one_pixel_f16, "f16 sum of one pixel each: fully connected"),
        EngineRule(NN, sum_on_nn, "both operands are hidden NN or TP results of near scales"),
        EngineRule(SHADER, engine_types, "an operand is exposed, constant, moved or far in scale"),
    ),
    "resize": (
        EngineRule(NN, nearest_doubling, "nearest x2 of u8 or i16: convolution and TP reorg"),
        EngineRule(TP, nearest_whole_shrink, "nearest, shrinking by a whole factor: TP copies"),
        EngineRule(SHADER, engine_types, "bilinear, or nearest by other factors or types"),
    ),
    "convert": (
        EngineRule(SHADER, eight_bit_asymmetric_signed, "i8 with a zero point"),
        EngineRule(TP, engine_types, "conversion is a TP copy"),
        EngineRule(SHADER, always, "to or from 32 bits"),
    ),
    "lrn": (EngineRule(TP, engine_types, "TP normalization"),),
    "argmax": (EngineRule(SHADER, always, _SHADER_ONLY),),
    "argmin": (EngineRule(SHADER, always, _SHADER_ONLY),),
}


def _add(ops: str, *rules: EngineRule) -> None:
    RULES.update(dict.fromkeys(ops.split(), rules))


_add(
    "relu relu1 relu6 leaky_relu sigmoid tanh hard_swish swish abs square",
    EngineRule(TP, engine_types, "TP activation"),
)
_add(
    "mish elu hard_sigmoid clip neg log gelu reciprocal",
    EngineRule(TP, engine_types, "TP table lookup"),
)
_add(
    "identity reshape transpose concat split slice pad depth2space space2depth channel_shuffle",
    EngineRule(TP, engine_types, "data movement is a TP copy"),
    EngineRule(SHADER, always, "types beyond u8, i8, i16, f16 are copied by the shader"),
)
RULES["sub"] = RULES["add"]
_add(
    "mul div max min pow prelu softplus exp sqrt rsqrt floor erf softmax "
    "log_softmax l2norm batch_norm instance_norm layer_norm matmul gather tile reduce_sum "
    "reduce_max reduce_min reduce_prod",
    EngineRule(SHADER, engine_types, _SHADER_ONLY),
)
