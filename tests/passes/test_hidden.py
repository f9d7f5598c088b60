"""Which tensors hide how far off their values lie, and which constants are masks."""

import numpy as np
import pytest

from npusim.ir.attrs import (
    ArgAttrs,
    AxisAttrs,
    EltwiseAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.passes.fold_max_pad import fold_max_pad
from npusim.passes.hidden import (
    carriers,
    far_from,
    hidden_tensors,
    masked_from,
    masks,
    set_aside,
    sides,
)
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(3)
MASK = np.triu(np.full((4, 4), -1e9, np.float32), 1)
SUM, LAST = EltwiseAttrs(), AxisAttrs(axis=3)


SOFTMAX = ("softmax", (), (), LAST)
HIDING = {
    "softmax": [SOFTMAX],
    "reshape": [("reshape", (), (), ReshapeAttrs(shape=(1, 4, 2, 4))), SOFTMAX],
    "transpose": [("transpose", (), (), TransposeAttrs(perm=(0, 1, 3, 2))), SOFTMAX],
    "concat": [("concat", (), (np.zeros((1, 2, 4, 4)),), LAST), SOFTMAX],
    "scaled": [("div", (), (8.0,), SUM), SOFTMAX],
    "twice": [("add", (), (np.zeros((4, 4)),), SUM), SOFTMAX],
    "maximum": [("reduce_max", (), (), ReduceAttrs(axes=(3,)))],
    "pool": [("pool2d", (), (), Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2)))],
    "argmax": [("argmax", (), (), ArgAttrs(axis=3))],
}
SHOWING = {
    "output": [],
    "log-softmax": [("log_softmax", (), (), LAST)],
    "sigmoid": [("sigmoid", (), (), None)],
    "mean": [("reduce_mean", (), (), ReduceAttrs(axes=(3,)))],
    "average": [("pool2d", (), (), Pool2dAttrs(kind=PoolKind.AVG, kernel=(2, 2)))],
    "minimum": [("reduce_min", (), (), ReduceAttrs(axes=(3,)))],
    "mirrored": [("mul", (), (-1.0,), SUM), SOFTMAX],
    "divisor": [("div", (1.0,), (), SUM), SOFTMAX],
}


def build(named, mask=MASK):
    b = GraphBuilder()
    at = b.input("x", 1, 2, 4, 4)
    todo = [("add", (), (mask,), SUM), *named]
    for number, (op, before, behind, attrs) in enumerate(todo):
        inputs = [
            *(b.constant(f"k{number}.{i}", np.float32(v)) for i, v in enumerate(before)),
            at,
            *(b.constant(f"c{number}.{i}", np.float32(v)) for i, v in enumerate(behind)),
        ]
        at = b.node(op, inputs, f"t{number}", *([attrs] if attrs is not None else []))
    return b.done(at)


@pytest.mark.parametrize("named", HIDING.values(), ids=HIDING)
def test_what_a_softmax_or_maximum_reads_is_hidden(named):
    graph = build(named)
    below = sides(graph)
    assert below["t0"] == 1
    found = [mask for mask in masks(graph, below) if mask.layer]
    assert [(mask.layer, mask.tensor, mask.edge) for mask in found] == [("n_t0", "c0.0", -1e9)]
    assert hidden_tensors(graph)["t0"] == 1


@pytest.mark.parametrize("named", SHOWING.values(), ids=SHOWING)
def test_what_others_read_is_not(named):
    graph = build(named)
    assert sides(graph)["t0"] != 1
    assert [mask for mask in masks(graph, sides(graph)) if mask.layer] == []
    assert hidden_tensors(graph) == {}


def test_a_second_reader_shows_it():
    b = GraphBuilder()
    b.input("x", 1, 2, 4, 4)
    b.node("add", ["x", b.constant("m", MASK)], "s", SUM)
    b.node("softmax", ["s"], "p", LAST)
    b.node("exp", ["s"], "e")
    assert sides(b.done("p", "e"))["s"] == 0


def test_large_numbers_hide_from_minima_and_behind_a_difference():
    b = GraphBuilder()
    b.input("x", 1, 2, 4, 4)
    b.node("sub", ["x", b.constant("m", -MASK)], "s", SUM)
    b.node("softmax", ["s"], "p", LAST)
    b.node("add", ["x", b.constant("n", -MASK)], "t", SUM)
    b.node("reduce_min", ["t"], "q", ReduceAttrs(axes=(3,)))
    graph = b.done("p", "q")
    found = {mask.tensor: mask.side for mask in masks(graph, sides(graph)) if mask.layer}
    assert found == {"m": -1, "n": -1}


@pytest.mark.parametrize(
    ("values", "side", "others", "edge"),
    [
        ([0, -np.inf], 1, True, -np.inf),
        ([0, -1e4, -2e4], 1, True, -1e4),
        ([0, -1, -20, -100], 1, True, -100.0),
        (-np.arange(0.0, 300.0, 10), 1, True, None),  # slopes have no hole
        ([-1e9], 1, True, None),  # everything is lower: softmax does not feel it
        ([-1e9], 1, False, -1e9),
        ([0, 1e9], -1, True, 1e9),
        ([0, 1e9], 1, True, None),
        ([0, np.nan], 1, True, None),
        ([], 1, False, None),
    ],
)
def test_masked_values_begin_behind_a_hole(values, side, others, edge):
    assert masked_from(np.array(values, np.float32), side, needs_others=others) == edge


def test_setting_aside_changes_masked_values_only():
    graph = build([SOFTMAX], np.triu(np.full((4, 4), -np.inf, np.float32), 1) - np.eye(4))
    found = [mask for mask in masks(graph, sides(graph)) if mask.layer]
    away = set_aside(graph, found)
    value = away.constants[away.nodes[0].inputs[1]]
    assert value.min() == np.float32(-1e36)
    kept = value > -1e35
    assert np.array_equal(value[kept], graph.constants["c0.0"][kept])
    x = {"x": RNG.normal(size=(1, 2, 4, 4)).astype(np.float32)}
    assert np.array_equal(evaluate(away, x)["t1"], evaluate(graph, x)["t1"])
    assert np.array_equal(far_from(np.float32([0, 1e9]), -1, 1e9), np.float32([0, 1e36]))
    assert carriers(graph, found, sides(graph)) == {"t0": 1}


def padded_pool(value, pad, kernel, pool_pad=0, **more):
    b = GraphBuilder()
    b.input("x", 1, 3, 9, 9)
    attrs = PadAttrs(front=(0, 0, pad, pad), back=(0, 0, pad, pad), value=value)
    b.node("pad", ["x"], "p", attrs)
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX, kernel=(kernel, kernel), stride=(2, 2), pad=(pool_pad,) * 4, **more
    )
    b.node("pool2d", ["p"], "y", attrs)
    return b.done("y")


@pytest.mark.parametrize(
    ("value", "pad", "kernel", "pool_pad", "joins"),
    [
        (-np.inf, 1, 3, 0, True),
        (-3.4e38, 1, 2, 0, True),
        (-np.inf, 1, 3, 1, True),
        (-np.inf, 2, 3, 1, False),  # the padding would be as large as the window
        (-1e4, 1, 3, 0, False),  # float16 may hold less
        (0.0, 1, 3, 0, False),
    ],
)
def test_a_pad_joins_the_max_pool_behind_it(value, pad, kernel, pool_pad, joins):
    graph = padded_pool(value, pad, kernel, pool_pad)
    folded = fold_max_pad(graph)
    assert len(folded.nodes) == (1 if joins else 2)
    x = {"x": RNG.normal(size=(1, 3, 9, 9)).astype(np.float32)}
    assert np.array_equal(evaluate(folded, x)["y"], evaluate(graph, x)["y"])
    assert {name for node in folded.nodes for name in node.origin} == {
        name for node in graph.nodes for name in node.origin
    }
