"""A model written as a layer list costs what the model costs."""

import json

import numpy as np
import pytest

import npusim
from npusim import assets
from npusim.api.pricing import layer_list
from npusim.errors import ConfigError
from npusim.ir.attrs import (
    Activation,
    AlphaAttrs,
    AxisAttrs,
    Deconv2dAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
    SplitAttrs,
)
from npusim.ir.dtypes import DType
from npusim.perfmodel.layer_list import layer_graph
from npusim.testing.graphs import GraphBuilder


def network():
    b = GraphBuilder(seed=3)
    x = b.conv(b.input("x", 1, 3, 32, 32), 16, stride=2, activation=Activation.RELU)
    x = b.node("leaky_relu", [b.conv(x, 16)], attrs=AlphaAttrs(alpha=0.1))
    x = b.node("pool2d", [x], attrs=Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2)))
    split = b.node("split", [x], "p", SplitAttrs(axis=1, sizes=(8, 8)), ["q"])
    y = b.node("add", [split, b.conv("q", 8)])
    y = b.node("concat", [y, "q", b.conv(y, 8)], attrs=AxisAttrs(axis=1))
    y = b.node("mul", [y, b.constant("k", np.full((1, 24, 1, 1), 0.5))])
    size = ResizeAttrs(size=(16, 16), mode=ResizeMode.NEAREST)
    y = b.node("resize", [y], attrs=size)
    w = b.constant("w", np.random.default_rng(0).standard_normal((4, 24, 2, 2)))
    y = b.node("deconv2d", [y, w, b.constant("z", np.zeros(4))], attrs=Deconv2dAttrs(stride=(2, 2)))
    b.node("reduce_mean", [y], "mean", ReduceAttrs(axes=(2, 3)))
    return b.done(y, "mean")


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16", "f16"])
@pytest.mark.parametrize("graph", [network, None], ids=["all kinds", "demo"])
def test_list_and_model_cost_the_same(graph, scheme, tmp_path):
    model = graph() if graph else npusim.load_model(
        assets.model_path(), input_shapes={"x": (1, 3, 48, 192)}
    )  # fmt: skip
    path = tmp_path / "net.json"
    path.write_text(json.dumps(layer_list(model, scheme=scheme)))
    own, listed = (npusim.estimate(m, scheme=scheme) for m in (model, path))
    assert listed.total_time_us == pytest.approx(own.total_time_us, abs=0.5)
    assert [layer.engine for layer in listed.layers] == [layer.engine for layer in own.layers]
    assert listed.macs == own.macs


def test_models_that_came_quantized_are_refused():
    b = GraphBuilder(DType.U8)
    b.conv(b.input("x", 1, 3, 8, 8), 4, output="y")
    with pytest.raises(ConfigError, match="came quantized"):
        layer_list(b.done("y"))


def test_outputs_that_are_constants_are_left_out():
    net = GraphBuilder()
    out = net.node("relu", [net.input("x", 1, 3, 4, 4)])
    fixed = net.constant("k", np.ones(3, np.float32))
    listed = layer_list(net.done(out, fixed))
    assert len(listed["outputs"]) == 1
    layer_graph(listed)
    with pytest.raises(ConfigError, match="all outputs are constants"):
        layer_list(net.done(fixed))
