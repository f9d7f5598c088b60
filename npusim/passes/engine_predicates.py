"""The conditions of the engine rules: small functions of a node and its neighbours.

Source: measured, docs/arithmetic/placement.md.
"""

from math import prod

import numpy as np

from npusim.ir.attrs import (
    Conv2dAttrs,
    Coordinates,
    GlobalPoolAttrs,
    LrnAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Node
from npusim.ir.quant import (
    Affine,
    AffinePerChannel,
    DynamicFixedPoint,
    scale_of,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec
from npusim.passes.engine_view import GraphView

ENGINE_TYPES = (DType.U8, DType.I8, DType.I16, DType.F16)
NN_TYPE_PAIRS = (
    (DType.U8, DType.U8),
    (DType.U8, DType.I8),
    (DType.I8, DType.I8),
    (DType.I8, DType.F16),
    (DType.I16, DType.I16),
    (DType.F16, DType.F16),
)
LARGEST_NN_KERNEL = 11
FINEST_OF_TABLES = 15  # fraction bits that TP's activation tables reach


# ---- types -------------------------------------------------------------------------------------
def always(node: Node, view: GraphView) -> bool:
    """Match every node."""
    return True


def engine_types(node: Node, view: GraphView) -> bool:
    """Match u8, i8, i16 and f16 in and out."""
    specs = (view.ifm(node), *(view.graph.spec(name) for name in node.outputs))
    return all(spec.dtype in ENGINE_TYPES for spec in specs)


def finer_than_tables(node: Node, view: GraphView) -> bool:
    """Match inputs in dynamic fixed point with more than 15 fraction bits."""
    quant = view.ifm(node).quant
    return (
        isinstance(quant, DynamicFixedPoint)
        and quant.fl > FINEST_OF_TABLES
        and engine_types(node, view)
    )


def signed_with_zero_point(node: Node, view: GraphView) -> bool:
    """Match i8 with a scale and zero point on either side of a conversion."""
    return any(
        spec.dtype is DType.I8 and isinstance(spec.quant, Affine)
        for spec in (view.ifm(node), view.ofm(node))
    )


def nn_types(node: Node, view: GraphView) -> bool:
    """Match u8 to u8 or i8, i8 to i8 or f16, i16 to i16 and f16 to f16."""
    return (view.ifm(node).dtype, view.ofm(node).dtype) in NN_TYPE_PAIRS


def wide_output(node: Node, view: GraphView) -> bool:
    """Match u8 with i16, i32 or f32 output and i8 with i16 output."""
    pair = (view.ifm(node).dtype, view.ofm(node).dtype)
    return pair == (DType.I8, DType.I16) or (
        pair[0] is DType.U8 and pair[1] in (DType.I16, DType.I32, DType.F32)
    )


def _same(first: TensorSpec, second: TensorSpec) -> bool:
    return (first.dtype, first.quant) == (second.dtype, second.quant)


# ---- fully connected ---------------------------------------------------------------------------
def _fully_connected_types(ifm: TensorSpec, ofm: TensorSpec) -> bool:
    """Tell whether TP's fully connected layer takes the types: no change, no input zero point."""
    signed_affine = ifm.dtype is DType.I8 and isinstance(ifm.quant, Affine)  # done as u8
    return (
        ifm.dtype in ENGINE_TYPES
        and ofm.dtype is ifm.dtype
        and not signed_affine
        and zero_point_of(ifm.quant) == 0
    )


def _bias_in_32_bits(node: Node, view: GraphView) -> bool:
    if view.ifm(node).dtype is not DType.I16:
        return True
    bias = view.graph.constants.get(node.inputs[2])
    return bias is None or bool(np.all(np.abs(bias.astype(np.float64)) < 2.0**31))


def fc_on_tp(node: Node, view: GraphView) -> bool:
    """Match batch 1 with no input zero point, several results and a bias within 32 bits."""
    ifm, ofm = view.ifm(node), view.ofm(node)
    return (
        prod(ifm.shape[:-1]) == 1
        and ofm.shape[-1] > 1
        and _fully_connected_types(ifm, ofm)
        and _bias_in_32_bits(node, view)
    )


def conv_is_fc_on_tp(node: Node, view: GraphView) -> bool:
    """Match a kernel over the whole unpadded input with stride 1, ungrouped or depthwise.

    Batch 1, no input zero point, several results and a bias within 32 bits.
    """
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, weights, ofm = view.ifm(node), view.ifm(node, 1), view.ofm(node)
    return (
        ifm.shape[0] == 1
        and ofm.shape[2:] == (1, 1)
        and ofm.shape[1] > 1
        and weights.shape[2:] == ifm.shape[2:]
        and attrs.stride == (1, 1)
        and not any(attrs.pad)
        and attrs.group in (1, ifm.shape[1])
        and _fully_connected_types(ifm, ofm)
        and _bias_in_32_bits(node, view)
    )


# ---- convolution -------------------------------------------------------------------------------
def per_channel_weights(node: Node, view: GraphView) -> bool:
    """Match weights with one scale per channel."""
    return isinstance(view.ifm(node, 1).quant, AffinePerChannel)


def large_kernel(node: Node, view: GraphView) -> bool:
    """Match kernels of 12 rows or columns and more."""
    return max(view.ifm(node, 1).shape[2:]) > LARGEST_NN_KERNEL


def wide_dilated_kernel(node: Node, view: GraphView) -> bool:
    """Match a dilated kernel that spans 12 pixels or more and that the driver leaves to the shader.

    Depthwise: i8 and i16, and every type with several results per channel. Otherwise: kernels that
    are neither square nor one column. (The rest is cut into convolutions without dilation.)
    """
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, (rows, columns) = view.ifm(node), view.ifm(node, 1).shape[2:]
    if not spans_too_far(attrs, (rows, columns)):
        return False
    if 1 < attrs.group == ifm.shape[1]:
        several = view.ofm(node).shape[1] > attrs.group
        return several or ifm.dtype in (DType.I8, DType.I16)
    return columns not in (rows, 1)


def spans_too_far(attrs: Conv2dAttrs, kernel: tuple[int, ...]) -> bool:
    """Tell whether a kernel covers more than 11 rows or columns because of its dilation."""
    spans = [(n - 1) * step + 1 for n, step in zip(kernel, attrs.dilation, strict=True)]
    return max(kernel) <= LARGEST_NN_KERNEL < max(spans)


# ---- pooling -----------------------------------------------------------------------------------
def _pool(node: Node) -> Pool2dAttrs:
    assert isinstance(node.attrs, Pool2dAttrs)  # by the operator's definition
    return node.attrs


def max_pool(node: Node, view: GraphView) -> bool:
    """Match every max pool."""
    return _pool(node).kind is PoolKind.MAX


def max_pool_fused(node: Node, view: GraphView) -> bool:
    """Match an unpadded 2x2 max pool of stride 2 that alone reads a sum or convolution on NN.

    u8, i8 or f16; the quantization is kept.
    """
    attrs, ifm = _pool(node), view.ifm(node)
    before = view.producers.get(ifm.name)
    return (
        attrs.kind is PoolKind.MAX
        and attrs.kernel == attrs.stride == (2, 2)
        and not any(attrs.pad)
        and ifm.dtype in (DType.U8, DType.I8, DType.F16)
        and _same(ifm, view.ofm(node))
        and before is not None
        and before.op in ("conv2d", "add", "sub")
        and view.engine_of(ifm.name) is Engine.NN
        and view.only_consumer(ifm.name)
    )


def max_pool_on_tp(node: Node, view: GraphView) -> bool:
    """Match 2x2 and 3x3 with stride 1 or 2, and larger squares that a chain of those can do.

    A chain needs a power of two as stride and at most one row and column of padding in front.
    """
    attrs = _pool(node)
    (kernel, width), (stride, stride_w) = attrs.kernel, attrs.stride
    if attrs.kind is not PoolKind.MAX or kernel != width or stride != stride_w or kernel < 2:
        return False
    if kernel <= 3:
        return stride <= 2
    return stride & (stride - 1) == 0 and max(attrs.pad[0], attrs.pad[2]) <= 1


def average_without_padding(node: Node, view: GraphView) -> bool:
    """Match average pools with padding that does not count in the divisor."""
    attrs = _pool(node)
    return any(attrs.pad) and not attrs.count_include_pad


def average_window_on_nn(node: Node, view: GraphView) -> bool:
    """Match windows of up to 11x11 (but not 1x1) with equal strides of 1 or 2."""
    attrs = _pool(node)
    return (
        attrs.stride in ((1, 1), (2, 2))
        and max(attrs.kernel) <= LARGEST_NN_KERNEL
        and attrs.kernel != (1, 1)
    )


def average_is_fc_on_tp(node: Node, view: GraphView) -> bool:
    """Match stride 1 over the whole input, batch 1, several channels, no input zero point."""
    attrs, ifm = _pool(node), view.ifm(node)
    return (
        ifm.shape[0] == 1
        and ifm.shape[1] > 1
        and attrs.kernel == ifm.shape[2:]
        and attrs.stride == (1, 1)
        and not any(attrs.pad)
        and average_window_on_nn(node, view)
        and _fully_connected_types(ifm, view.ofm(node))
    )


def _averaged_like_global(ifm: TensorSpec, ofm: TensorSpec) -> bool:
    in_h, in_w = ifm.shape[2:]
    small = in_h == in_w == 2
    return (
        ifm.dtype in (DType.U8, DType.F16)
        and ofm.dtype is ifm.dtype
        and (small or (min(in_h, in_w) >= 12 and in_h * in_w <= 255))
    )


def whole_average_on_nn(node: Node, view: GraphView) -> bool:
    """Match a window over the whole unpadded input where a global average would run on NN."""
    attrs, ifm = _pool(node), view.ifm(node)
    return (
        attrs.kind is PoolKind.AVG
        and attrs.kernel == ifm.shape[2:]
        and not any(attrs.pad)
        and _averaged_like_global(ifm, view.ofm(node))
    )


def global_average_on_nn(node: Node, view: GraphView) -> bool:
    """Match u8 and f16 averages of 2x2, or of 12 rows and columns or more and up to 255 pixels."""
    assert isinstance(node.attrs, GlobalPoolAttrs)  # by the operator's definition
    return node.attrs.kind is PoolKind.AVG and _averaged_like_global(view.ifm(node), view.ofm(node))


# ---- reductions --------------------------------------------------------------------------------
def small_spatial_mean(node: Node, view: GraphView) -> bool:
    """Match a mean over height and width whose pixels the driver can arrange within 11x11.

    Neither height nor width is 1, and their product is one of two numbers up to 11.
    """
    assert isinstance(node.attrs, ReduceAttrs)  # by the operator's definition
    shape = view.ifm(node).shape
    if len(shape) != 4 or sorted(node.attrs.axes) != [2, 3] or min(shape[2:]) < 2:
        return False
    pixels = shape[2] * shape[3]
    return any(pixels % n == 0 and pixels // n <= LARGEST_NN_KERNEL for n in range(2, 12))


def small_spatial_mean_on_tp(node: Node, view: GraphView) -> bool:
    """Match such a mean with batch 1, several channels and no input zero point."""
    ifm = view.ifm(node)
    return (
        small_spatial_mean(node, view)
        and ifm.shape[0] == 1
        and ifm.shape[1] > 1
        and _fully_connected_types(ifm, view.ofm(node))
    )


# ---- sums --------------------------------------------------------------------------------------
def _is_view(node: Node, view: GraphView) -> bool:
    """Tell whether the results of a split or slice are parts of its input, without a copy."""
    ifm = view.ifm(node)
    if not all(_same(ifm, view.graph.spec(name)) for name in node.outputs):
        return False
    match node.attrs:
        case SplitAttrs(axis=axis):
            return prod(ifm.shape[:axis]) == 1
        case SliceAttrs(begin=begin, end=end, step=step):
            cut = [i for i, n in enumerate(ifm.shape) if (begin[i], end[i]) != (0, n)]
            return (
                set(step) == {1} and len(cut) <= 1 and prod(ifm.shape[: max(cut, default=0)]) == 1
            )
    return False


def _lays_claim(node: Node, name: str, view: GraphView) -> bool:
    """Tell whether a reader fixes where a tensor lies: view, concat in place, earlier NN sum."""
    if node.op in ("add", "sub"):
        return view.engines.get(node.name) in (Engine.NN, Engine.TP)
    if node.op == "concat":
        return joined_in_place(node, view)
    return name == node.inputs[0] and _is_view(node, view)


def _summand(name: str, view: GraphView) -> bool:
    """Tell whether the driver may lay a tensor beside the other operand of a sum."""
    node = view.producers.get(name)
    if node is None or view.exposed(name) or _is_view(node, view):
        return False
    if node.op == "concat" and joined_in_place(node, view):
        return False
    return not any(
        _lays_claim(reader, alias, view)
        for alias in view.aliases(name)
        for reader in view.consumers[alias]
    )


def _sum_scales_fit(a: TensorSpec, b: TensorSpec) -> bool:
    """Tell whether 8- or 16-bit weights reach from the coarser operand to the finer.

    u8 scales are within a factor of 2, or of 20 when neither is above 1.
    """
    if a.dtype is DType.F16:
        return True
    if isinstance(a.quant, DynamicFixedPoint) and isinstance(b.quant, DynamicFixedPoint):
        return abs(a.quant.fl - b.quant.fl) < a.dtype.bits
    low, high = sorted((scale_of(a.quant), scale_of(b.quant)))
    return high / low < 2 or (high <= 1 and high / low <= 20)


def _sums_as_a_layer(*specs: TensorSpec) -> bool:
    """Tell whether all are u8, all float16, or all i8 or i16 in dynamic fixed point."""
    kinds = {(spec.dtype, type(spec.quant)) for spec in specs}
    (dtype, quant), *others = kinds
    return not others and (
        dtype in (DType.U8, DType.F16)
        or (dtype in (DType.I8, DType.I16) and quant is DynamicFixedPoint)
    )


def sum_on_nn(node: Node, view: GraphView) -> bool:
    """Match a sum or difference of two hidden u8 or f16 results of one shape, four or five axes.

    The driver lays both operands side by side, so neither may be an input, output, constant, view,
    part of a concat in place, or operand of an earlier such sum. u8 scales are within a factor of
    2, or 20 if neither is above 1.
    """
    a, b = view.ifm(node), view.ifm(node, 1)
    return (
        a.dtype is b.dtype is view.ofm(node).dtype
        and _sums_as_a_layer(a, b, view.ofm(node))
        and a.shape == b.shape
        and len(a.shape) in (4, 5)
        and b.name not in view.aliases(a.name)
        and _sum_scales_fit(a, b)
        and all(_summand(name, view) for name in node.inputs)
    )


def sum_of_one_pixel(node: Node, view: GraphView) -> bool:
    """Match such a sum of one pixel, batch 1, several channels, the first without zero point."""
    ifm = view.ifm(node)
    return (
        len(ifm.shape) == 4
        and ifm.elements == ifm.shape[1] > 1
        and _fully_connected_types(ifm, view.ofm(node))
        and sum_on_nn(node, view)
    )


def one_slope(node: Node, view: GraphView) -> bool:
    """Match u8 and f16 with a single known slope."""
    ifm, slope = view.ifm(node), view.ifm(node, 1)
    return (
        ifm.dtype in (DType.U8, DType.F16)
        and engine_types(node, view)
        and slope.elements == 1
        and slope.name in view.graph.constants
    )


# ---- normalization -----------------------------------------------------------------------------
def few_channels(node: Node, view: GraphView) -> bool:
    """Match a local response normalization over up to five channels."""
    assert isinstance(node.attrs, LrnAttrs)  # by the operator's definition
    return node.attrs.size <= 5 and engine_types(node, view)


# ---- movement ----------------------------------------------------------------------------------
def joined_in_place(node: Node, view: GraphView) -> bool:
    """Match a concat of hidden results that all have the output's quantization."""
    ofm = view.ofm(node)
    return ofm.dtype in ENGINE_TYPES and all(
        _same(view.graph.spec(name), ofm)
        and name in view.producers
        and name not in view.graph.outputs
        for name in node.inputs
    )


def _resize(node: Node) -> ResizeAttrs:
    assert isinstance(node.attrs, ResizeAttrs)  # by the operator's definition
    return node.attrs


def _nearest_without_corners(node: Node, ifm: TensorSpec) -> bool:
    attrs = _resize(node)
    return (
        attrs.mode is ResizeMode.NEAREST
        and attrs.coordinates is not Coordinates.ALIGN_CORNERS
        and ifm.dtype in (DType.U8, DType.I16)
    )


def nearest_enlarging(node: Node, view: GraphView) -> bool:
    """Match u8 and i16, nearest without align_corners, by one whole factor in both directions."""
    ifm, (out_h, out_w) = view.ifm(node), _resize(node).size
    in_h, in_w = ifm.shape[2:]
    return (
        _nearest_without_corners(node, ifm)
        and _same(ifm, view.ofm(node))
        and out_h % in_h == 0
        and out_h > in_h
        and out_h * in_w == out_w * in_h
    )


def nearest_shrinking(node: Node, view: GraphView) -> bool:
    """Match u8 and i16, nearest without align_corners, by whole factors."""
    ifm, (out_h, out_w) = view.ifm(node), _resize(node).size
    in_h, in_w = ifm.shape[2:]
    return (
        _nearest_without_corners(node, ifm)
        and in_h % out_h == 0
        and in_w % out_w == 0
        and (in_h, in_w) != (out_h, out_w)
    )
