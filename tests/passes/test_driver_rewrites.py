"""Rewrites that the driver makes: pools in front of activations, averages inside convolutions."""

import numpy as np
import pytest

from npusim.ir.attrs import AlphaAttrs, Pool2dAttrs, PoolKind
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.passes.merge_average import merge_average, merged_values
from npusim.passes.pipeline import place
from npusim.passes.swap_pool import swap_pool
from npusim.testing.graphs import GraphBuilder

LEAKY = AlphaAttrs(alpha=0.1)


def window(kernel=2, stride=2, pad=0, kind=PoolKind.MAX):
    return Pool2dAttrs(
        kind=kind, kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(pad,) * 4,
        count_include_pad=True,
    )  # fmt: skip


def activated(op="leaky_relu", attrs=LEAKY, pool=None, dtype=DType.U8):
    b = GraphBuilder(dtype)
    x = b.conv(b.input("x", 1, 4, 12, 12), 8)
    a = b.node(op, [x], "a", attrs)
    b.node("pool2d", [a], "y", pool or window())
    return b


def order(graph):
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize(("op", "attrs"), [("leaky_relu", LEAKY), ("relu6", None), ("relu1", None)])
@pytest.mark.parametrize("pool", [window(), window(3, 2, 1), window(5, 1, 2)])
def test_a_max_pool_goes_first(op, attrs, pool):
    graph = swap_pool(activated(op, attrs, pool).done("y"))
    conv, moved, act = graph.nodes
    assert order(graph) == ["conv2d", "pool2d", op]
    assert graph.spec(moved.outputs[0]).quant == graph.spec(conv.outputs[0]).quant
    assert act.outputs == ("y",)


@pytest.mark.parametrize(
    "builder",
    [
        activated("sigmoid", None),
        activated("relu", None),
        activated("leaky_relu", AlphaAttrs(alpha=-0.1)),
        activated(pool=window(4, 4)),
        activated(pool=window(kind=PoolKind.AVG)),
    ],
)
def test_other_pairs_stay(builder):
    graph = builder.done("y")
    assert order(swap_pool(graph)) == order(graph)


def test_a_second_reader_or_an_output_keeps_the_order():
    assert order(swap_pool(activated().done("y", "a")))[1] == "leaky_relu"
    b = activated()
    b.conv("a", 3, 1, "z")
    assert order(swap_pool(b.done("y", "z")))[1] == "leaky_relu"


def test_only_one_activation_moves():
    b = GraphBuilder(DType.U8)
    x = b.node("leaky_relu", [b.conv(b.input("x", 1, 4, 12, 12), 8)], attrs=LEAKY)
    b.node("pool2d", [b.node("relu6", [x])], "y", window())
    assert order(swap_pool(b.done("y"))) == ["conv2d", "leaky_relu", "pool2d", "relu6"]


def test_the_pool_runs_inside_the_convolution():
    placed = place(activated().done("y"))
    assert [(n.op, n.form) for n in placed.nodes][1] == ("pool2d", Form.FUSED)


def test_a_pool_behind_the_relu_of_a_sum_runs_inside_the_sum():
    b = GraphBuilder(DType.U8)
    x = b.input("x", 1, 4, 12, 12)
    s = b.node("add", [b.conv(x, 8), b.conv(x, 8)])
    b.node("pool2d", [b.node("relu", [s])], "y", window())
    placed = place(b.done("y"))
    assert [(n.op, n.engine, n.form) for n in placed.nodes[-2:]] == [
        ("add", Engine.NN, Form.SUM),
        ("pool2d", Engine.NN, Form.FUSED),
    ]


# ---- averages ----------------------------------------------------------------------------------
def averaged(pool=None, kernel=1, dtype=DType.U8, **conv):
    b = GraphBuilder(dtype)
    p = b.node("pool2d", [b.input("x", 1, 4, 9, 9)], "p", pool or window(3, 1, 1, PoolKind.AVG))
    b.conv(p, 4, kernel, "y", **conv)
    return b


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I16, DType.F16])
@pytest.mark.parametrize("pool", [window(3, 1, 1, PoolKind.AVG), window(3, 2, 0, PoolKind.AVG)])
@pytest.mark.parametrize("group", [1, 4])
def test_an_average_becomes_part_of_the_convolution(dtype, pool, group):
    graph = averaged(pool, dtype=dtype, group=group).done("y")
    placed = place(graph)
    (conv,) = placed.nodes
    assert (conv.op, conv.attrs.stride, conv.attrs.pad) == ("conv2d", pool.stride, pool.pad)
    assert placed.spec(conv.inputs[1]).shape[2:] == (3, 3)


@pytest.mark.parametrize(
    "graph",
    [
        averaged(window(2, 1, 0, PoolKind.AVG)).done("y"),
        averaged(window(3, 1, 1)).done("y"),
        averaged(kernel=3).done("y"),
        averaged(stride=2).done("y"),
        averaged(group=2).done("y"),
    ],
)
def test_other_averages_stay(graph):
    assert order(merge_average(graph)) == ["pool2d", "conv2d"]


def test_an_average_that_is_an_output_is_computed_as_well():
    placed = place(averaged().done("y", "p"))
    assert order(placed) == ["pool2d", "conv2d"]
    assert placed.node("n_y").inputs[0] == "x"


def test_weights_of_fixed_point_fit_eight_bits():
    weights = np.full((2, 3, 1, 1), 3000, np.int16)
    merged = merged_values(
        weights, DynamicFixedPoint(fl=15), np.zeros(2, np.int64),
        DynamicFixedPoint(fl=9), DynamicFixedPoint(fl=8),
    )  # fmt: skip
    assert merged.quant == DynamicFixedPoint(fl=12)
    assert int(merged.weights.max()) == round(3000 * 2**-15 / 9 * 2**12)


def test_weights_that_are_all_zero_stay_zero():
    quant = Affine(scale=0.01, zero_point=7)
    merged = merged_values(
        np.full((2, 3, 1, 1), 7, np.uint8), quant, np.array([5, -5], np.int32), quant, quant
    )
    assert np.all(merged.weights == merged.quant.zero_point)
    assert merged.bias.tolist() == [45, -45]
