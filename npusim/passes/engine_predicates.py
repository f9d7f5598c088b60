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
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form, Node
from npusim.ir.quant import (
    Affine,
    DynamicFixedPoint,
    zero_point_of,
)
from npusim.ir.tensor import TensorSpec
from npusim.ops.pool import windows_overhang
from npusim.ops.unary import slope_per_channel
from npusim.passes.graph_view import GraphView
from npusim.passes.rewrite import same_numbers

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
LARGEST_ENLARGEMENT = 16  # times, of a nearest resize on the NN engine
FUSED_ROW_BYTES = 64  # 3x3 pools fuse into rows shorter than this
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


# ---- fully connected ---------------------------------------------------------------------------
def fully_connected_types(ifm: TensorSpec, ofm: TensorSpec) -> bool:
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
        and fully_connected_types(ifm, ofm)
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
        and fully_connected_types(ifm, ofm)
        and _bias_in_32_bits(node, view)
    )


# ---- pooling -----------------------------------------------------------------------------------
def _pool(node: Node) -> Pool2dAttrs:
    assert isinstance(node.attrs, Pool2dAttrs)  # by the operator's definition
    return node.attrs


def max_pool(node: Node, view: GraphView) -> bool:
    """Match every max pool."""
    return _pool(node).kind is PoolKind.MAX


def max_pool_fused(node: Node, view: GraphView) -> bool:
    """Match an unpadded max pool of stride 2 that alone reads a sum or convolution on NN.

    u8, i8 or f16; the quantization is kept. 2x2: an even number of rows and columns. 3x3: an odd
    number, and rows of less than 64 bytes.
    """
    attrs, ifm = _pool(node), view.ifm(node)
    before = _carrier(ifm.name, view)
    return (
        attrs.kind is PoolKind.MAX
        and attrs.stride == (2, 2)
        and not any(attrs.pad)
        and _fits_a_fused_window(attrs.kernel, ifm)
        and ifm.dtype in (DType.U8, DType.I8, DType.F16)
        and same_numbers(view.graph, ifm.name, *node.outputs)
        and before is not None
        and view.placed[before.name].engine is Engine.NN
        and view.placed[before.name].form in (Form.CONVOLUTION, Form.SUM)
        and not _runs_in_groups(before, view)
        and view.is_private(ifm.name)
    )


def _runs_in_groups(node: Node, view: GraphView) -> bool:
    """Tell whether a convolution is one operation for each of its groups."""
    attrs = node.attrs
    return isinstance(attrs, Conv2dAttrs) and 1 < attrs.group != view.ifm(node).shape[1]


def _carrier(name: str, view: GraphView) -> Node | None:
    """Return the layer that stores a tensor; a relu behind a sum on NN will be part of the sum."""
    node = view.producers.get(name)
    if node is None or node.op != "relu" or not view.is_private(node.inputs[0]):
        return node
    before = view.producers.get(node.inputs[0])
    if before is None or view.placed[before.name].form is not Form.SUM:
        return node
    same_type = view.ifm(node).dtype is view.ofm(node).dtype
    return before if view.placed[before.name].engine is Engine.NN and same_type else node


def _fits_a_fused_window(kernel: tuple[int, int], ifm: TensorSpec) -> bool:
    odd = (ifm.shape[2] % 2, ifm.shape[3] % 2)
    if kernel == (3, 3):
        return odd == (1, 1) and ifm.shape[3] * ifm.dtype.itemsize < FUSED_ROW_BYTES
    return kernel == (2, 2) and odd == (0, 0)


def max_pool_on_tp(node: Node, view: GraphView) -> bool:
    """Match 2x2 and 3x3 with stride 1 or 2, and larger squares that a chain of those can do.

    A chain needs a power of two as stride and at most one row and column of padding in front.
    """
    attrs = _pool(node)
    (kernel, width), (stride, stride_w) = attrs.kernel, attrs.stride
    if attrs.kind is not PoolKind.MAX or kernel != width or stride != stride_w or kernel < 2:
        return False
    return stride <= 2 if kernel <= 3 else is_chain_of_pools(attrs)


def is_chain_of_pools(attrs: Pool2dAttrs) -> bool:
    """Tell whether TP makes a max pool of several smaller ones."""
    (kernel, width), (stride, stride_w) = attrs.kernel, attrs.stride
    return (
        attrs.kind is PoolKind.MAX
        and kernel == width > 3
        and stride == stride_w
        and stride & (stride - 1) == 0
        and max(attrs.pad[0], attrs.pad[2]) <= 1
    )


def average_without_padding(node: Node, view: GraphView) -> bool:
    """Match average pools that divide by the pixels there are, where a window may lack some.

    Padding, or a window that ``ceil_mode`` hangs over the edge.
    """
    attrs = _pool(node)
    if attrs.kind is PoolKind.MAX or attrs.count_include_pad:
        return False
    overhang = windows_overhang(attrs, view.ifm(node).shape, view.ofm(node).shape)
    return any(attrs.pad) or overhang


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
        and fully_connected_types(ifm, view.ofm(node))
    )


def _u8_or_f16(node: Node, view: GraphView) -> bool:
    return view.ifm(node).dtype in (DType.U8, DType.F16) and (
        view.ofm(node).dtype is view.ifm(node).dtype
    )


def _large_but_few_pixels(node: Node, view: GraphView) -> bool:
    in_h, in_w = view.ifm(node).shape[2:]
    return _u8_or_f16(node, view) and min(in_h, in_w) >= 12 and in_h * in_w <= 255


def whole_average_of_2x2(node: Node, view: GraphView) -> bool:
    """Match a window over an unpadded input of 2x2, u8 or f16."""
    attrs = _pool(node)
    whole = attrs.kernel == view.ifm(node).shape[2:] == (2, 2) and not any(attrs.pad)
    return whole and _u8_or_f16(node, view)


def whole_average_by_channel(node: Node, view: GraphView) -> bool:
    """Match a window over the whole unpadded input where a global average runs by channel."""
    attrs = _pool(node)
    return (
        attrs.kernel == view.ifm(node).shape[2:]
        and not any(attrs.pad)
        and _large_but_few_pixels(node, view)
    )


def _global_average(node: Node) -> bool:
    assert isinstance(node.attrs, GlobalPoolAttrs)  # by the operator's definition
    return node.attrs.kind is PoolKind.AVG


def global_average_of_2x2(node: Node, view: GraphView) -> bool:
    """Match u8 and f16 averages of 2x2."""
    small = view.ifm(node).shape[2:] == (2, 2)
    return small and _global_average(node) and _u8_or_f16(node, view)


def global_average_by_channel(node: Node, view: GraphView) -> bool:
    """Match u8 and f16 averages of 12 rows and columns or more and up to 255 pixels.

    Every channel is a fully connected layer of its own.
    """
    return _global_average(node) and _large_but_few_pixels(node, view)


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
        and fully_connected_types(ifm, view.ofm(node))
    )


# ---- activations -------------------------------------------------------------------------------
def one_slope(node: Node, view: GraphView) -> bool:
    """Match a single slope of three axes or more over several elements, in types that compile.

    The driver itself takes it where the input has one channel and nothing in front of it.
    """
    ifm, slope = view.ifm(node), view.ifm(node, 1)
    return (
        slope.elements == 1 < ifm.elements
        and len(slope.shape) >= 3
        and not finer_than_tables(node, view)
        and slopes_compile(node, view)
    )


def slopes_compile(node: Node, view: GraphView) -> bool:
    """Match known slopes, input and output in types of which the driver has a program of prelu.

    Slopes in float16; or in u8 (or i8 with a zero point) where the input is of that kind.
    """
    ifm, slope, ofm = view.ifm(node), view.ifm(node, 1), view.ofm(node)
    if slope.name not in view.graph.constants or not engine_types(node, view):
        return False
    as_u8 = [
        spec.dtype is DType.U8 or (spec.dtype is DType.I8 and isinstance(spec.quant, Affine))
        for spec in (ifm, slope, ofm)
    ]
    if as_u8[0]:
        return (as_u8[1] or slope.dtype is DType.F16) and (as_u8[2] or ofm.dtype is DType.F16)
    if slope.dtype is not DType.F16 or ifm.dtype is DType.F16:
        return slope.dtype is DType.F16
    if ofm.dtype is DType.F16:
        return slope_per_channel(ifm.shape, slope.shape)
    return ofm.dtype is ifm.dtype and not as_u8[2]


# ---- normalization -----------------------------------------------------------------------------
def few_channels(node: Node, view: GraphView) -> bool:
    """Match a local response normalization over up to five channels."""
    assert isinstance(node.attrs, LrnAttrs)  # by the operator's definition
    return node.attrs.size <= 5 and engine_types(node, view)


# ---- resizes -----------------------------------------------------------------------------------
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
    """Match u8 and i16, nearest without align_corners, by one whole factor up to 16."""
    ifm, (out_h, out_w) = view.ifm(node), _resize(node).size
    in_h, in_w = ifm.shape[2:]
    return (
        _nearest_without_corners(node, ifm)
        and same_numbers(view.graph, ifm.name, *node.outputs)
        and out_h <= LARGEST_ENLARGEMENT * in_h
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
