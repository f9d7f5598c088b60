"""What the driver fuses in models that come quantized.

Source: measured, docs/arithmetic/whole-networks.md section 2.
"""

import pytest

from npusim.ir.attrs import Activation, Deconv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine
from npusim.passes.pipeline import optimize
from tests.passes.engine_net import Net

OTHER = Affine(scale=0.03, zero_point=7)


def rewritten(net, *outputs):
    return optimize(net.assigned(*outputs))


def test_a_relu_in_other_parameters_joins_the_convolution():
    net = Net(DType.U8)
    net.op("relu", net.conv(net.x), quant=OTHER)
    (node,) = rewritten(net).nodes
    assert node.attrs.activation is Activation.RELU
    assert rewritten(net).spec(node.outputs[0]).quant == OTHER


def test_not_when_the_convolution_is_read_elsewhere():
    net = Net(DType.U8)
    c = net.conv(net.x)
    r = net.op("relu", c, quant=OTHER)
    assert len(rewritten(net, c, r).nodes) == 2


def test_not_behind_a_deconvolution():
    for quant, count in ((OTHER, 2), (None, 1)):
        net = Net(DType.U8)
        weights, bias = net.tensor("w", (8, 8, 2, 2)), net.tensor("b", (8,), dtype=DType.I32)
        c = net.op("deconv2d", net.x, weights, bias, attrs=Deconv2dAttrs())
        net.op("relu", c, quant=quant)
        assert len(rewritten(net).nodes) == count


def test_not_when_the_relu_changes_the_type():
    net = Net(DType.U8)
    net.op("relu", net.conv(net.x), dtype=DType.I8)
    assert len(rewritten(net).nodes) == 2


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16, DType.F16])
def test_silu_behind_a_layer_is_one_table(dtype, turned):
    net = Net(dtype)
    c = net.conv(net.x)
    g = net.op("sigmoid", c)
    net.op("mul", *((g, c) if turned else (c, g)))
    assert [node.op for node in rewritten(net).nodes] == ["conv2d", "swish"]


def test_silu_of_an_input_or_with_a_gate_read_elsewhere_stays():
    net = Net(DType.U8)
    net.op("mul", net.x, net.op("sigmoid", net.x))
    assert [node.op for node in rewritten(net).nodes] == ["sigmoid", "mul"]
    net = Net(DType.U8)
    c = net.conv(net.x)
    g = net.op("sigmoid", c)
    m = net.op("mul", c, g)
    assert len(rewritten(net, g, m).nodes) == 3
