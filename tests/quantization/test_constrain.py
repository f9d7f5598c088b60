"""Which tensors share a range."""

import numpy as np
import pytest

import npusim
from npusim.errors import ConfigError
from npusim.ir.attrs import (
    AxisAttrs,
    Conv2dAttrs,
    Coordinates,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from npusim.quantization.constrain import clipped_for_sigmoid, constrain
from npusim.quantization.eras import era_of
from npusim.quantization.groups import named_concats
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
    assert out["c"] == out["s"] == out["x"] == out["r"] == (-3, 2)


def test_nested_concats_are_one_group():
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    for name in "abc":
        b.node("sigmoid", [x], name)
    b.node("concat", ["a", "b"], "inner", AxisAttrs(axis=1))
    graph = b.done(b.node("concat", ["inner", "c"], "outer", AxisAttrs(axis=1)))
    ranges = {"x": (-1, 1), "a": (0, 1), "b": (0, 2), "c": (0, 5), "inner": (0, 2), "outer": (0, 5)}
    out = constrain(graph, ranges)
    assert {out[name] for name in ("a", "b", "inner", "c", "outer")} == {(0, 5)}
    outer = next(node for node in graph.nodes if node.outputs == ("outer",))
    out = constrain(graph, ranges, apart=[outer.name])
    assert {out[name] for name in ("a", "b", "inner")} == {(0, 2)}
    assert out["c"] == out["outer"] == (0, 5)


def test_concat_reaches_through_movement_to_the_producer():
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    b.node("sigmoid", [x], "s")
    b.node("reshape", ["s"], "moved", ReshapeAttrs(shape=(1, 2, 2, 2)))
    graph = b.done(b.node("concat", ["moved", "x"], "c", AxisAttrs(axis=1)))
    out = constrain(graph, {"x": (-2, 2), "s": (0, 1), "moved": (0, 1), "c": (-2, 2)})
    assert out["s"] == out["moved"] == out["c"] == (-2, 2)


def test_group_goes_through_split_and_all_its_parts_to_other_concats():
    b = GraphBuilder()
    x, y = b.input("x", 1, 4, 2, 2), b.input("y", 1, 2, 2, 2)
    b.node("split", [x], "a", SplitAttrs(axis=1, sizes=(2, 2)), others=["b"])
    b.node("sigmoid", ["b"], "s")
    graph = b.done(b.node("concat", ["a", y], "c", AxisAttrs(axis=1)), "s")
    ranges = {"x": (-1, 2), "y": (0, 9), "a": (-1, 1), "b": (0, 2), "c": (-1, 9), "s": (0, 1)}
    out = constrain(graph, ranges)
    assert {out[name] for name in "xyabc"} == {(-1, 9)}
    assert out["s"] == (0, 1)


def test_constant_part_of_a_concat_counts():
    b = GraphBuilder()
    x, k = b.input("x", 1, 1, 2, 2), b.constant("k", np.full((1, 1, 2, 2), 7.0))
    graph = b.done(b.node("concat", [x, k], "c", AxisAttrs(axis=1)))
    assert constrain(graph, {"x": (-1, 2), "c": (-1, 7)}) == {"x": (-1, 7), "c": (-1, 7)}


def test_layer_before_a_relu_of_a_group_keeps_its_own_range():
    b = GraphBuilder()
    x, y = b.input("x", 1, 2, 2, 2), b.input("y", 1, 2, 2, 2)
    b.node("relu", [b.node("add", [x, y], "sum")], "r")
    graph = b.done(b.node("concat", ["r", x], "c", AxisAttrs(axis=1)))
    out = constrain(graph, {"x": (-1, 1), "y": (-1, 1), "sum": (-2, 2), "r": (0, 2), "c": (-1, 2)})
    assert out["sum"] == (-2, 2)
    assert out["r"] == out["c"] == out["x"] == (-1, 2)


def test_sum_before_relu6_keeps_its_own_range_and_batch_norm_takes_the_relus():
    b = GraphBuilder()
    x, y = b.input("x", 1, 2, 2, 2), b.input("y", 1, 2, 2, 2)
    b.node("relu6", [b.node("add", [x, y], "sum")], "r6")
    ones = [b.constant(name, np.ones(2)) for name in ("mean", "var", "gamma", "beta")]
    b.node("relu", [b.node("batch_norm", ["r6", *ones], "bn")], "r")
    ranges = {"x": (-1, 1), "y": (-1, 1), "sum": (-2, 9), "r6": (0, 6), "bn": (-3, 3), "r": (0, 3)}
    out = constrain(b.done("r"), ranges)
    assert out["sum"] == (-2, 9)
    assert out["bn"] == (0, 3)


def sliced():
    """concat(x, y) -> slice -> concat with z, the other half is read elsewhere."""
    b = GraphBuilder()
    x, y, z = (b.input(name, 1, 2, 1, 1) for name in "xyz")
    b.node("concat", [x, y], "c", AxisAttrs(axis=1))
    cut = {"end": (1, 2, 1, 1), "begin": (0, 0, 0, 0), "step": (1, 1, 1, 1)}
    b.node("slice", ["c"], "left", SliceAttrs(**cut))
    cut = {"end": (1, 4, 1, 1), "begin": (0, 2, 0, 0), "step": (1, 1, 1, 1)}
    b.node("slice", ["c"], "right", SliceAttrs(**cut))
    b.node("tanh", ["right"], "t")
    graph = b.done(b.node("concat", ["left", z], "d", AxisAttrs(axis=1)), "t")
    ranges = {"x": (0, 3), "y": (0, 8), "z": (0, 4), "c": (0, 8), "left": (0, 3), "right": (0, 8)}
    return graph, ranges | {"d": (0, 4), "t": (0, 1)}


def test_slice_takes_the_range_of_what_it_reads():
    out = constrain(*sliced())
    assert {out[name] for name in ("x", "y", "z", "c", "left", "right", "d")} == {(0, 8)}


def test_slice_of_1_7_0_gives_its_range_to_the_concat_it_reads():
    out = constrain(*sliced(), era=era_of("1.7.0"))
    assert out["x"] == out["y"] == (0, 8)
    assert {out[name] for name in ("c", "left", "right", "z", "d")} == {(0, 4)}  # y is clipped


def before_sigmoid(moved):
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    if moved:
        x = b.node("transpose", [x], "moved", TransposeAttrs(perm=(0, 2, 3, 1)))
    return b.done(b.node("sigmoid", [x], "s"))


def test_input_of_a_sigmoid_ends_at_6_3_only_where_it_lies_beyond():
    graph = before_sigmoid(moved=False)
    assert clipped_for_sigmoid(graph, {"x": (-17.0, 5.4)}) == {"x": (-6.3, 5.4)}
    assert clipped_for_sigmoid(graph, {"x": (-1.0, 9.0)}) == {"x": (-1.0, 6.3)}
    assert clipped_for_sigmoid(graph, {"x": (7.0, 9.0)}) == {"x": (6.3, 6.3)}


def test_permute_before_a_sigmoid_takes_the_clip_and_1_7_5_takes_it_off():
    graph, ranges = before_sigmoid(moved=True), {"x": (-17.0, 5.4), "moved": (-17.0, 5.4)}
    assert clipped_for_sigmoid(graph, ranges) == {"moved": (-6.3, 5.4)}
    assert clipped_for_sigmoid(graph, ranges, era_of("1.7.5")) == {}


@pytest.mark.parametrize("no_join", ["n_y", ["n_y"]])
def test_one_concat_may_be_named_without_a_list(no_join):
    b = GraphBuilder()
    x = b.input("x", 1, 2, 2, 2)
    b.node("relu", [x], "r")
    graph = b.done(b.node("concat", [x, "r"], "y", AxisAttrs(axis=1)))
    samples = [("one", {"x": np.full((1, 2, 2, 2), -1, np.float32)})]
    ready = npusim.quantize(graph, samples, no_join=no_join, engine="npusim")
    assert "not joined: n_y" in ready.notes[-1]


def test_unknown_concat_is_told_which_there_are():
    graph = before_sigmoid(moved=False)
    with pytest.raises(ConfigError, match="the model has no concat"):
        named_concats(graph, ["c"])


def swish(*, turned=False, read_twice=False):
    """conv(x) * sigmoid(conv(x)), far beyond 6.3."""
    b = GraphBuilder(seed=1)
    b.conv(b.input("x", 1, 4, 6, 6), 4, 1, output="c")
    b.node("sigmoid", ["c"], "s")
    b.node("mul", ["s", "c"] if turned else ["c", "s"], "y")
    return b.done("y", "s") if read_twice else b.done("y")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("read_twice", [False, True])
def test_input_of_a_swish_is_not_cut_at_any_level(turned, read_twice):
    graph = swish(turned=turned, read_twice=read_twice)
    x = (np.random.default_rng(0).standard_normal((1, 4, 6, 6)) * 10).astype(np.float32)
    found, steps = {}, {}
    for level in (0, 3):
        ready = npusim.quantize(graph, [("x", {"x": x})], engine="npusim", optimization_level=level)
        program = npusim.compile(ready, optimization_level=level)
        found[level] = program.run({"x": x}, preprocessed=True)["y"]
        steps[level] = ready.spec("y").quant.scale
    assert found[3].max() > 15
    # apart, the codes of c and of its sigmoid are rounded before they are multiplied
    assert np.abs(found[0] - found[3]).max() <= 2 * steps[3]


def test_only_the_product_with_its_own_sigmoid_is_a_swish():
    b = GraphBuilder()
    b.node("sigmoid", [b.input("x", 1, 2, 2, 2)], "s")
    b.node("mul", [b.input("z", 1, 2, 2, 2), "s"], "gated")
    ranges = {"x": (-9.0, 9.0), "z": (-9.0, 9.0)}
    assert clipped_for_sigmoid(b.done("gated"), ranges) == {"x": (-6.3, 6.3)}


def steep(scheme="asymmetric_quantized-u8"):
    """conv(40 x) -> sigmoid, quantized with samples of -1 .. 1."""
    b = GraphBuilder()
    x = b.input("x", 1, 1, 4, 4)
    w, bias = b.constant("w", np.full((1, 1, 1, 1), 40.0)), b.constant("b", np.zeros(1))
    b.node("conv2d", [x, w, bias], "c", Conv2dAttrs())
    samples = [("one", {"x": np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)})]
    graph = b.done(b.node("sigmoid", ["c"], "s"))
    return npusim.quantize(graph, samples, scheme=scheme, engine="npusim")


def test_u8_input_of_a_sigmoid_has_12_6_in_255_steps():
    quant = steep().spec("c").quant
    assert np.float32(quant.scale) == np.float32(12.6 / 255)
    assert quant.zero_point == 128


def test_dynamic_fixed_point_is_not_clipped_before_a_sigmoid():
    assert steep("i8").spec("c").quant.fl == 1  # 40 < 64 = 127 / 2 rounded up


def test_unknown_releases_and_concats_are_refused():
    with pytest.raises(ConfigError, match=r"1\.9.*not known"):
        era_of("1.9")
    with pytest.raises(ConfigError, match="no concat is called 'n_x'"):
        named_concats(sliced()[0], ["n_x"])
