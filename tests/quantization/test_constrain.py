"""Which tensors share a range."""

from npusim.ir.attrs import (
    AxisAttrs,
    Coordinates,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
)
from npusim.quantization.constrain import constrain
from npusim.testing import GraphBuilder


def test_movement_and_max_pool_take_the_input_range_and_average_its_own():
    b = GraphBuilder()
    x = b.input("x", 1, 4, 8, 8)
    window = {"kernel": (2, 2), "stride": (2, 2)}
    b.node("pool2d", [x], "max", Pool2dAttrs(kind=PoolKind.MAX, **window))
    b.node("pool2d", [x], "avg", Pool2dAttrs(kind=PoolKind.AVG, **window))
    b.node("reshape", ["max"], "flat", ReshapeAttrs(shape=(1, 64)))
    up = ResizeAttrs(size=(16, 16), mode=ResizeMode.NEAREST, coordinates=Coordinates.ASYMMETRIC)
    b.node("resize", [x], "up", up)
    graph = b.done("flat", "avg", "up")
    out = constrain(
        graph, {"x": (-1, 4), "max": (0, 3), "avg": (0, 2), "flat": (0, 3), "up": (-1, 3.5)}
    )
    assert out == {"x": (-1, 4), "max": (-1, 4), "flat": (-1, 4), "up": (-1, 4), "avg": (0, 2)}


def test_layer_before_a_relu_of_its_own_takes_the_relu_range():
    b = GraphBuilder()
    x, y = b.input("x", 1, 2, 2, 2), b.input("y", 1, 2, 2, 2)
    graph = b.done(b.node("relu", [b.node("add", [x, y], "sum")], "out"))
    out = constrain(graph, {"x": (-1, 1), "y": (-1, 1), "sum": (-2, 2), "out": (0, 2)})
    assert out["sum"] == (0, 2)


def test_concat_joins_all_producers_graph_inputs_too():
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    b.node("sigmoid", [x], "s")
    b.node("relu", [x], "r")
    b.node("concat", ["s", "r", x], "c", AxisAttrs(axis=1))
    graph = b.done("c")
    out = constrain(graph, {"x": (-3, 2), "s": (0.1, 0.9), "r": (0, 2), "c": (-3, 2)})
    assert out["c"] == out["s"] == out["x"] == (-3, 2)
    assert out["r"] == (0.0, 2)


def test_nested_concat_joins_one_level():
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    for name in "abc":
        b.node("sigmoid", [x], name)
    b.node("concat", ["a", "b"], "inner", AxisAttrs(axis=1))
    graph = b.done(b.node("concat", ["inner", "c"], "outer", AxisAttrs(axis=1)))
    ranges = {"x": (-1, 1), "a": (0, 1), "b": (0, 2), "c": (0, 5), "inner": (0, 2), "outer": (0, 5)}
    out = constrain(graph, ranges)
    assert out["a"] == out["b"] == out["inner"] == (0, 2)
    assert out["c"] == out["outer"] == (0, 5)


def test_concat_reaches_through_movement_to_the_producer():
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    b.node("sigmoid", [x], "s")
    b.node("reshape", ["s"], "moved", ReshapeAttrs(shape=(1, 2, 2, 2)))
    graph = b.done(b.node("concat", ["moved", "x"], "c", AxisAttrs(axis=1)))
    out = constrain(graph, {"x": (-2, 2), "s": (0, 1), "moved": (0, 1), "c": (-2, 2)})
    assert out["s"] == out["moved"] == out["c"] == (-2, 2)
