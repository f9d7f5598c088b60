"""Where a rectifier is the saturation of the type that is stored."""

import pytest

from npusim.ir.attrs import Activation
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.passes.fuse_activation import fuse_relu6, fuse_sum_relu
from npusim.testing import GraphBuilder

SIX = Affine(scale=6 / 255)


def fused(dtype, quant, before=None, *, exposed=False):
    b = GraphBuilder(dtype, quant)
    x = b.conv(b.input("x", 1, 4, 6, 6), 4, output="c", quant=before or quant)
    y = b.node("relu6", [x], "y")
    graph = fuse_relu6(b.done(*([x, y] if exposed else [y])))
    if len(graph.nodes) == 2:
        assert graph.nodes[0].attrs.activation is Activation.NONE
        return False
    (node,) = graph.nodes
    assert (node.name, node.attrs.activation) == ("n_y", Activation.RELU6)
    return True


@pytest.mark.parametrize(
    ("largest", "wanted"), [(5, True), (6, True), (6.0006, True), (6.01, False)]
)
def test_relu6_vanishes_where_u8_ends_at_six(largest, wanted):
    assert fused(DType.U8, Affine(scale=largest / 255)) == wanted


def test_relu6_stays_where_storing_is_another_clamp():
    assert not fused(DType.U8, Affine(scale=6 / 255, zero_point=1))
    assert not fused(DType.U8, SIX, before=Affine(scale=5 / 255))
    assert not fused(DType.I8, DynamicFixedPoint(fl=5))
    assert not fused(DType.F16, Float())
    assert not fused(DType.U8, SIX, exposed=True)


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_relu_joins_sums_on_the_nn_engine_only(op, engine):
    b = GraphBuilder(DType.U8)
    x, z = b.input("x", 1, 4, 6, 6), b.input("z", 1, 4, 6, 6)
    graph = b.done(b.node("relu", [b.node(op, [x, z], engine=engine)], "y"))
    joined = op in ("add", "sub") and engine is Engine.NN
    assert len(fuse_sum_relu(graph).nodes) == 2 - joined
