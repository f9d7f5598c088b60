"""Engine rules in small networks: what was measured for windows, means, sums and resizes."""

import numpy as np
import pytest

from npusim.ir.attrs import (
    AxisAttrs,
    Conv2dAttrs,
    Coordinates,
    FcAttrs,
    GlobalPoolAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, Float
from tests.passes.engine_net import Net

NN, TP, SH = Engine.NN, Engine.TP, Engine.SHADER
U8, I8, I16, F16 = DType.U8, DType.I8, DType.I16, DType.F16


# ---- windows -----------------------------------------------------------------------------------
def pooled(dtype, shape, kernel, stride, pad, kind=PoolKind.MAX, count=True):
    def pair(value):
        return (value, value) if isinstance(value, int) else value

    pads = (pad,) * 4 if isinstance(pad, int) else pad
    net = Net(dtype, shape=shape)
    attrs = Pool2dAttrs(
        kind=kind,
        kernel=pair(kernel),
        stride=pair(stride),
        pad=pads,
        count_include_pad=count,
    )
    net.op("pool2d", net.x, attrs=attrs)
    return net.engine()


@pytest.mark.parametrize("dtype", [U8, F16])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "engine"),
    [
        (13, 2, 3, 0, SH),
        (13, 3, 3, 0, SH),
        (13, 3, 1, 0, TP),
        (14, (1, 2), (1, 2), 0, SH),
        (14, (2, 1), (2, 1), 0, SH),
        (13, 5, 1, 2, SH),
        (13, 5, 1, 1, TP),
        (13, 5, 1, 0, TP),
        (13, 5, 2, 0, TP),
        (13, 5, 2, 2, SH),
        (13, 5, 4, 0, TP),
        (13, 4, 4, 0, TP),
        (12, 4, 2, 1, TP),
        (13, 4, 2, (0, 2, 0, 2), TP),
        (13, 4, 3, 0, SH),
        (12, 7, 7, 0, SH),
        (12, 6, 6, 0, SH),
        (15, 6, 3, 0, SH),
        (14, 6, 2, 2, SH),
        (24, 12, 8, 0, TP),
        (32, 16, 16, 0, TP),
        (12, 12, 1, 0, TP),
        (12, 12, 12, 0, SH),
        (13, 13, 1, 6, SH),
        (12, 3, 2, (0, 1, 0, 1), TP),
        (14, 3, 2, 2, TP),
        (12, 2, 2, 1, TP),
        (13, 1, 2, 0, SH),
        (12, (3, 2), 2, 0, SH),
        (12, 3, (2, 1), 1, SH),
    ],
)
def test_max_pools(dtype, size, kernel, stride, pad, engine):
    assert pooled(dtype, (1, 4, size, size), kernel, stride, pad) is engine


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad", "u8", "i8", "f16"),
    [
        ((1, 4, 13, 13), 3, 2, 1, NN, NN, NN),
        ((1, 4, 13, 13), 3, 3, 0, SH, SH, SH),
        ((1, 4, 7, 7), 7, 7, 0, SH, SH, SH),
        ((1, 4, 12, 12), 12, 12, 0, NN, SH, NN),
        ((1, 4, 14, 14), 14, 1, 0, NN, SH, NN),
        ((1, 4, 16, 16), 16, 1, 0, SH, SH, SH),
        ((1, 4, 20, 20), 11, 2, 0, NN, NN, NN),
        ((1, 4, 20, 20), 12, 1, 0, SH, SH, SH),
        ((1, 4, 20, 20), (11, 1), 1, 0, NN, NN, NN),
        ((1, 4, 20, 20), (13, 1), 1, 0, SH, SH, SH),
        ((1, 4, 13, 14), (2, 1), (2, 1), 0, SH, SH, SH),
        ((1, 4, 14, 14), 1, 2, 0, SH, SH, SH),
        ((1, 4, 7, 7), 7, 2, 0, NN, NN, NN),
        ((1, 4, 9, 7), (9, 7), 1, 0, NN, TP, TP),
        ((1, 4, 12, 11), (12, 11), 1, 0, SH, SH, SH),
        ((2, 4, 7, 7), 7, 1, 0, NN, NN, NN),
        ((1, 1, 7, 7), 7, 1, 0, NN, NN, NN),
    ],
)
def test_average_pools(shape, kernel, stride, pad, u8, i8, f16):
    got = [pooled(dtype, shape, kernel, stride, pad, PoolKind.AVG) for dtype in (U8, I8, F16)]
    assert got == [u8, i8, f16]


def test_an_average_that_leaves_padding_out_is_a_shader_program():
    assert pooled(U8, (1, 4, 9, 9), 3, 1, 1, PoolKind.AVG, count=False) is SH
    assert pooled(U8, (1, 4, 9, 9), 3, 1, 0, PoolKind.AVG, count=False) is NN


def fused(dtype, *, expose=False, kernel=2, stride=2):
    net = Net(dtype)
    conv = net.conv(net.x)
    attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(kernel,) * 2, stride=(stride,) * 2)
    pool = net.op("pool2d", conv, attrs=attrs)
    return net.engine(pool, *([conv] if expose else []))


def test_only_a_hidden_2x2_pool_is_fused_into_its_convolution():
    assert fused(U8) is NN
    assert fused(F16) is NN
    assert fused(I16) is TP
    assert fused(U8, expose=True) is TP
    assert fused(U8, kernel=3) is TP
    assert fused(U8, stride=1) is TP


@pytest.mark.parametrize(
    ("height", "width", "engine"),
    [
        (1, 1, SH),
        (2, 2, NN),
        (7, 7, SH),
        (11, 12, SH),
        (11, 23, SH),
        (12, 12, NN),
        (12, 21, NN),
        (15, 16, NN),
        (12, 22, SH),
        (16, 16, SH),
        (1, 150, SH),
    ],
)
def test_global_average(height, width, engine):
    for dtype in (U8, F16, I8):
        net = Net(dtype, shape=(1, 4, height, width))
        net.op("global_pool", net.x, attrs=GlobalPoolAttrs(kind=PoolKind.AVG))
        assert net.engine() is (SH if dtype is I8 else engine)


def test_global_maximum_is_a_shader_program():
    net = Net(U8, shape=(1, 4, 14, 14))
    net.op("global_pool", net.x, attrs=GlobalPoolAttrs(kind=PoolKind.MAX))
    assert net.engine() is SH


# ---- means -------------------------------------------------------------------------------------
SMALL = [(2, 2), (7, 7), (11, 11), (2, 50), (3, 33), (5, 20), (4, 12), (22, 5), (55, 2), (2, 36)]
OTHER = [(1, 1), (1, 60), (1, 11), (60, 1), (8, 12), (7, 14), (7, 12), (2, 13), (10, 12), (5, 24)]


def mean(dtype, shape, axes=(2, 3), keepdims=True):
    net = Net(dtype, shape=shape)
    net.op("reduce_mean", net.x, attrs=ReduceAttrs(axes=axes, keepdims=keepdims))
    return net.engine()


def test_means_over_height_and_width():
    for height, width in SMALL:
        assert mean(U8, (1, 4, height, width)) is NN
        assert mean(F16, (1, 4, height, width)) is TP
        assert mean(I8, (1, 4, height, width), keepdims=False) is TP
    for height, width in OTHER:
        assert mean(U8, (1, 4, height, width)) is SH
        assert mean(F16, (1, 4, height, width)) is SH


def test_means_of_one_channel_or_other_axes():
    assert mean(F16, (1, 1, 7, 7)) is NN
    assert mean(F16, (2, 4, 7, 7)) is NN
    assert mean(U8, (1, 4, 7, 7), axes=(1, 2)) is SH
    assert mean(U8, (4, 7, 7), axes=(1, 2)) is SH


# ---- fully connected ---------------------------------------------------------------------------
def whole_kernel(dtype, *, batch=1, in_c=20, out_c=6, size=5, stride=1, group=1):
    net = Net(dtype, shape=(batch, in_c, size, size))
    weights = net.tensor("w", (out_c, in_c // group, size, size))
    bias = net.tensor("b", (out_c,), Float(), DType.I32)
    attrs = Conv2dAttrs(stride=(stride, stride), group=group)
    net.op("conv2d", net.x, weights, bias, attrs=attrs)
    return net.engine()


def test_a_kernel_over_the_whole_input_is_fully_connected():
    for dtype in (I8, I16, F16):
        assert whole_kernel(dtype) is TP
        assert whole_kernel(dtype, size=16) is TP
        assert whole_kernel(dtype, out_c=20, group=20) is TP
        assert whole_kernel(dtype, out_c=1) is NN
        assert whole_kernel(dtype, stride=2) is NN
        assert whole_kernel(dtype, batch=2) is NN
    assert whole_kernel(U8) is NN
    assert whole_kernel(U8, size=12) is SH


def test_fully_connected_layers():
    for dtype, rows, units, engine in [
        (F16, 1, 8, TP),
        (F16, 1, 1, NN),
        (F16, 2, 8, NN),
        (U8, 1, 8, NN),
    ]:
        net = Net(dtype, shape=(rows, 30))
        weights = net.tensor("w", (units, 30))
        bias = net.tensor("b", (units,), Float(), DType.I32)
        net.op("fc", net.x, weights, bias, attrs=FcAttrs())
        assert net.engine() is engine


def test_a_bias_beyond_32_bits_moves_an_i16_layer_to_the_nn_engine():
    for bias, engine in ((2**31 - 1, TP), (2**31, NN)):
        net = Net(I16, shape=(1, 30))
        weights = net.tensor("w", (2, 30))
        net.tensor("b", (2,), Float(), DType.I64)
        net.graph.constants["b"] = np.array([bias, 0], np.int64)
        net.op("fc", net.x, weights, "b", attrs=FcAttrs())
        assert net.engine() is engine


@pytest.mark.parametrize(("zero_point", "engine"), [(0, TP), (1, NN), (255, NN)])
def test_u8_is_fully_connected_on_tp_only_without_an_input_zero_point(zero_point, engine):
    quant = Affine(scale=0.05, zero_point=zero_point)
    net = Net(U8, shape=(1, 30), quant=quant)
    bias = net.tensor("b", (4,), Float(), DType.I32)
    net.op("fc", net.x, net.tensor("w", (4, 30)), bias, attrs=FcAttrs())
    assert net.engine() is engine
    net = Net(U8, shape=(1, 4, 7, 7), quant=quant)
    window = Pool2dAttrs(kind=PoolKind.AVG, kernel=(7, 7))
    net.op("pool2d", net.x, attrs=window)
    assert net.engine() is engine
    net = Net(U8, shape=(1, 4, 7, 7), quant=quant)
    net.op("reduce_mean", net.x, attrs=ReduceAttrs(axes=(2, 3)))
    assert net.engine() is engine
    net = Net(U8, shape=(1, 4, 1, 1))
    net.op("add", net.conv(net.x, quant=quant), net.conv(net.x))
    assert net.engine() is engine


# ---- sums --------------------------------------------------------------------------------------
@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("dtype", [U8, F16])
def test_sum_of_two_hidden_convolutions_is_a_convolution(op, dtype):
    net = Net(dtype)
    net.op(op, net.conv(net.x), net.conv(net.x, kernel=3))
    assert net.engine() is NN


def test_sum_with_an_exposed_operand_is_a_shader_program():
    net = Net(U8)
    net.op("add", net.conv(net.x), net.x)
    assert net.engine() is SH
    net = Net(U8)
    a, b = net.conv(net.x), net.conv(net.x, kernel=3)
    total = net.op("add", a, b)
    assert net.engine(total, a) is SH


def test_sum_of_sums_and_activations_stays_on_nn():
    net = Net(U8)
    a = net.op("hard_swish", net.conv(net.x))
    b = net.op("add", a, net.conv(net.x))
    net.op("add", b, net.conv(b, kernel=3))
    assert net.engine() is NN


@pytest.mark.parametrize(
    ("first", "second", "engine"),
    [
        (0.5, 0.999, NN),
        (0.05, 1.0, NN),
        (0.04, 1.0, SH),
        (0.6, 1.21, SH),
        (3.0, 5.9, NN),
        (3.0, 6.1, SH),
    ],
)
def test_scales_far_apart_keep_a_u8_sum_off_the_nn_engine(first, second, engine):
    for scales in ((first, second), (second, first)):
        net = Net(U8)
        a, b = (net.conv(net.x, quant=Affine(scale=scale, zero_point=9)) for scale in scales)
        net.op("add", a, b)
        assert net.engine() is engine


def test_a_broadcast_operand_keeps_a_sum_on_the_shader():
    net = Net(U8)
    small = net.op(
        "pool2d",
        net.conv(net.x),
        attrs=Pool2dAttrs(kind=PoolKind.AVG, kernel=(12, 12), stride=(1, 1)),
    )
    net.op("add", net.conv(net.x), small)
    assert net.engine() is SH


def part(net, **axes):
    """Return a slice of a convolution of 16 channels: axis name -> (begin, end)."""
    conv = net.conv(net.x, 16)
    shape = net.graph.tensors[conv].shape
    bounds = [axes.get(name, (0, n)) for name, n in zip("nchw", shape, strict=True)]
    attrs = SliceAttrs(
        begin=tuple(b for b, _ in bounds), end=tuple(e for _, e in bounds), step=(1,) * 4
    )
    return net.op("slice", conv, attrs=attrs)


def test_views_keep_a_sum_on_the_shader_and_copies_do_not():
    net = Net(U8)
    net.op("add", part(net, c=(0, 8)), net.conv(net.x))
    assert net.engine() is SH
    net = Net(U8, shape=(1, 8, 12, 12))
    cut = part(net, h=(1, 7))
    net.op("add", cut, net.op("relu", part(net, h=(2, 8))))
    assert net.engine() is NN
    net = Net(U8)
    joined = net.op("concat", net.conv(net.x, 4), net.conv(net.x, 4), attrs=AxisAttrs(axis=1))
    net.op("add", joined, net.conv(net.x))
    assert net.engine() is SH
    net = Net(U8)
    other = net.conv(net.x, 4, quant=Affine(scale=0.06, zero_point=3))
    joined = net.op("concat", net.conv(net.x, 4), other, attrs=AxisAttrs(axis=1))
    net.op("add", joined, net.conv(net.x))
    assert net.engine() is NN
    net = Net(U8)
    half = net.op("split", net.conv(net.x, 16), attrs=SplitAttrs(axis=1, sizes=(16,)))
    net.op("add", half, net.conv(net.x, 16))
    assert net.engine() is SH


def test_results_of_any_other_operator_may_be_summed():
    net = Net(U8)
    product = net.op("mul", net.conv(net.x), net.conv(net.x))
    padded = net.op("pad", product, attrs=PadAttrs(front=(0, 0, 1, 1), back=(0, 0, 0, 0)))
    net.op("add", padded, net.op("relu", padded))
    assert net.engine() is NN


def test_flat_results_and_a_tensor_with_itself_add_on_the_shader():
    net = Net(U8)
    flat = [net.op("reshape", net.conv(net.x), attrs=ReshapeAttrs(shape=(1, 8, 144))) for _ in "ab"]
    net.op("add", *flat)
    assert net.engine() is SH
    net = Net(U8)
    conv = net.conv(net.x)
    net.op("add", conv, conv)
    assert net.engine() is SH


def engines_of_sums(net, *outputs):
    return [node.engine for node in net.assigned(*outputs).nodes if node.op in ("add", "sub")]


def test_an_operand_of_one_sum_on_nn_is_not_free_for_the_next():
    net = Net(U8)
    a, b, c = net.conv(net.x), net.conv(net.x), net.conv(net.x)
    sums = [net.op("add", a, b), net.op("sub", a, c), net.op("add", b, c)]
    assert engines_of_sums(net, *sums) == [NN, SH, SH]
    net = Net(U8)
    a, b, c = net.conv(net.x), net.conv(net.x), net.conv(net.x)
    far = net.conv(net.x, quant=Affine(scale=2.0, zero_point=0))
    sums = [net.op("add", a, far), net.op("add", a, b)]
    assert engines_of_sums(net, *sums) == [SH, NN]


def test_a_reshape_is_the_same_tensor_for_a_later_sum():
    net = Net(U8)
    a, b, c = net.conv(net.x), net.conv(net.x), net.conv(net.x)
    first = net.op("add", a, b)
    attrs = ReshapeAttrs(shape=(1, 8, 9, 16))
    again = net.op("reshape", a, attrs=attrs)
    second = net.op("add", again, net.op("reshape", c, attrs=attrs))
    assert engines_of_sums(net, first, second) == [NN, SH]


def test_a_later_concat_in_place_or_view_claims_an_operand():
    net = Net(U8)
    a, b = net.conv(net.x), net.conv(net.x)
    total = net.op("add", a, b)
    joined = net.op("concat", b, net.conv(net.x), attrs=AxisAttrs(axis=1))
    assert engines_of_sums(net, total, joined) == [SH]
    net = Net(U8)
    a, b = net.conv(net.x), net.conv(net.x)
    total = net.op("add", a, b)
    other = net.conv(net.x, quant=Affine(scale=0.06, zero_point=3))
    joined = net.op("concat", b, other, attrs=AxisAttrs(axis=1))
    assert engines_of_sums(net, total, joined) == [NN]
    net = Net(U8)
    a, b = net.conv(net.x), net.conv(net.x)
    total = net.op("add", a, b)
    first = SliceAttrs(begin=(0, 0, 0, 0), end=(1, 4, 12, 12), step=(1, 1, 1, 1))
    assert engines_of_sums(net, total, net.op("slice", b, attrs=first)) == [SH]


def test_one_pixel_of_f16_adds_like_a_fully_connected_layer():
    for dtype, channels, engine in ((F16, 8, TP), (U8, 8, NN), (F16, 1, NN)):
        net = Net(dtype, shape=(1, 8, 1, 1))
        net.op("add", net.conv(net.x, channels), net.conv(net.x, channels))
        assert net.engine() is engine


# ---- movement ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "after", "coordinates", "engine"),
    [
        ((6, 7), (12, 14), Coordinates.ASYMMETRIC, NN),
        ((6, 7), (12, 14), Coordinates.HALF_PIXEL, NN),
        ((6, 7), (12, 14), Coordinates.ALIGN_CORNERS, SH),
        ((6, 7), (30, 35), Coordinates.ASYMMETRIC, NN),
        ((6, 7), (12, 28), Coordinates.ASYMMETRIC, SH),
        ((12, 14), (6, 7), Coordinates.ASYMMETRIC, TP),
        ((12, 14), (3, 7), Coordinates.ASYMMETRIC, TP),
        ((12, 14), (12, 7), Coordinates.ASYMMETRIC, TP),
        ((13, 14), (6, 7), Coordinates.ASYMMETRIC, SH),
        ((12, 14), (24, 7), Coordinates.ASYMMETRIC, SH),
    ],
)
def test_nearest_resizes(before, after, coordinates, engine):
    for dtype in (U8, I16, F16, I8):
        net = Net(dtype, shape=(1, 3, *before))
        attrs = ResizeAttrs(size=after, mode=ResizeMode.NEAREST, coordinates=coordinates)
        net.op("resize", net.x, attrs=attrs)
        assert net.engine() is (engine if dtype in (U8, I16) else SH)


def test_concat_tells_copies_from_results_in_place():
    net = Net(U8)
    net.op("concat", net.conv(net.x), net.conv(net.x), attrs=AxisAttrs(axis=1))
    assert "in place" in net.assigned().nodes[-1].reason
    net = Net(U8)
    net.op("concat", net.conv(net.x), net.x, attrs=AxisAttrs(axis=1))
    assert "in place" not in net.assigned().nodes[-1].reason
