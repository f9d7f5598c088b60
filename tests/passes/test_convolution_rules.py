"""Which kernels, strides, dilations and pads run on the NN engine."""

import pytest

from npusim.ir.attrs import Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Float
from tests.passes.engine_net import Net

NN, SH = Engine.NN, Engine.SHADER
U8, I8, I16, F16 = DType.U8, DType.I8, DType.I16, DType.F16


def dilated(dtype, kernel, dilation, *, multiplier=0, stride=1, pad=0):
    net = Net(dtype, shape=(1, 6, 30, 30))
    shape = (6 * multiplier, 1, *kernel) if multiplier else (5, 6, *kernel)
    weights, bias = net.tensor("w", shape), net.tensor("b", shape[:1], Float(), DType.I32)
    attrs = Conv2dAttrs(
        dilation=dilation,
        group=6 if multiplier else 1,
        stride=(stride, stride),
        pad=(pad, 0, 0, 0),
    )
    net.op("conv2d", net.x, weights, bias, attrs=attrs)
    return net


@pytest.mark.parametrize(
    ("kernel", "dilation", "engine"),
    [
        ((3, 3), (5, 5), NN),
        ((3, 3), (6, 6), NN),
        ((3, 3), (6, 1), NN),
        ((5, 5), (3, 3), NN),
        ((3, 1), (6, 6), NN),
        ((1, 3), (6, 6), SH),
        ((5, 3), (3, 3), SH),
        ((5, 3), (2, 2), NN),
        ((12, 12), (1, 1), SH),
    ],
)
def test_dilated_kernels_that_span_twelve_pixels(kernel, dilation, engine):
    for dtype in (U8, I8, I16, F16):
        assert dilated(dtype, kernel, dilation).engine() is engine


def test_dilated_depthwise_kernels_that_span_twelve_pixels():
    for dtype, engine in ((U8, NN), (I8, SH), (I16, SH), (F16, NN)):
        assert dilated(dtype, (3, 3), (6, 6), multiplier=1).engine() is engine
        assert dilated(dtype, (3, 3), (6, 6), multiplier=2).engine() is SH
        assert dilated(dtype, (3, 3), (5, 5), multiplier=2).engine() is NN


def test_the_phase_of_a_stride_is_what_has_to_fit():
    for dtype in (U8, I8, I16, F16):
        assert dilated(dtype, (16, 16), (1, 1), stride=16).engine() is NN
        assert dilated(dtype, (22, 22), (1, 1), stride=2).engine() is NN
        assert dilated(dtype, (23, 23), (1, 1), stride=2).engine() is SH
        assert dilated(dtype, (5, 3), (3, 3), stride=2).engine() is NN
        assert dilated(dtype, (3, 3), (12, 12), stride=2).engine() is SH
        assert dilated(dtype, (13, 13), (1, 1), stride=2, multiplier=1).engine() is SH


def test_pads_in_front_of_depthwise_kernels():
    for dtype in (U8, F16):
        assert dilated(dtype, (3, 3), (6, 6), multiplier=1, pad=8).engine() is NN
        assert dilated(dtype, (3, 3), (6, 6), multiplier=1, pad=9).engine() is SH
        assert dilated(dtype, (3, 3), (6, 6), multiplier=1, stride=2).engine() is SH
        assert dilated(dtype, (5, 3), (3, 3), multiplier=1).engine() is SH
        assert dilated(dtype, (3, 1), (6, 6), multiplier=1).engine() is NN
    for dtype in (U8, I8, I16, F16):
        assert dilated(dtype, (3, 3), (1, 1), multiplier=1, pad=7).engine() is NN
        assert dilated(dtype, (3, 3), (1, 1), multiplier=1, pad=8).engine() is SH
        assert dilated(dtype, (3, 3), (1, 1), multiplier=1, pad=8, stride=2).engine() is NN
        assert dilated(dtype, (3, 3), (1, 1), pad=8).engine() is NN
