"""Float rewrites keep every value and leave the graph that they promise."""

import numpy as np
import pytest

from npusim.ir.attrs import (
    Activation,
    ClipAttrs,
    Conv2dAttrs,
    HardSigmoidAttrs,
    NormAttrs,
    PadAttrs,
    ReshapeAttrs,
    TransposeAttrs,
)
from npusim.ir.graph import Graph
from npusim.ir.text import graph_text
from npusim.passes.driver import check
from npusim.passes.pipeline import optimize
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(5)


def conv(
    b: GraphBuilder, x: str, out: str, out_c: int = 4, attrs: Conv2dAttrs | None = None
) -> str:
    in_c = b.graph.spec(x).shape[1]
    attrs = attrs or Conv2dAttrs(pad=(1, 1, 1, 1))
    weights = b.constant(f"{out}.w", RNG.normal(size=(out_c, in_c // attrs.group, 3, 3)))
    return b.node(
        "conv2d", [x, weights, b.constant(f"{out}.b", RNG.normal(size=out_c))], out, attrs
    )


def ops_of(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def assert_same_values(before: Graph, after: Graph) -> None:
    check(after)
    feeds = {n: RNG.normal(size=before.spec(n).shape).astype(np.float32) for n in before.inputs}
    old, new = evaluate(before, feeds), evaluate(after, feeds)
    for name in before.outputs:
        np.testing.assert_allclose(new[name], old[name], rtol=2e-4, atol=2e-4)


def test_conv_batch_norm_scale_bias_relu_become_one_layer_named_after_the_last():
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 6, 6), "c")
    stats = [b.constant(f"bn{i}", RNG.uniform(0.5, 2, size=4)) for i in range(4)]
    x = b.node("batch_norm", [x, *stats], "bn", NormAttrs(epsilon=1e-3))
    x = b.node("mul", [x, b.constant("scale", RNG.normal(size=(1, 4, 1, 1)))], "scaled")
    x = b.node("add", [b.constant("bias", RNG.normal(size=(4, 1, 1))), x], "shifted")
    graph = b.done(b.node("relu", [x], "y"))
    out = optimize(graph)
    assert ops_of(out) == ["conv2d"]
    (node,) = out.nodes
    assert node.name == "n_y"
    assert node.outputs == ("y",)
    assert node.origin == ("c", "bn", "scaled", "shifted", "y")
    assert node.attrs == Conv2dAttrs(pad=(1, 1, 1, 1), activation=Activation.RELU)
    assert_same_values(graph, out)


def test_optimization_level_0_only_does_what_is_needed():
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 6, 6), "c")
    x = b.node("batch_norm", [x, *[b.constant(f"s{i}", np.ones(4)) for i in range(4)]], "bn")
    graph = b.done(b.node("relu", [x], "y"))
    graph.nodes = tuple(
        n if n.op != "batch_norm" else type(n)(**{**_fields(n), "attrs": NormAttrs()})
        for n in graph.nodes
    )
    out = optimize(graph, level=0)
    assert ops_of(out) == ["conv2d", "conv2d", "relu"]
    assert_same_values(graph, out)


def _fields(node):
    return {name: getattr(node, name) for name in node.__dataclass_fields__}


def test_a_result_that_others_read_is_not_folded():
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 6, 6), "c")
    y = b.node("relu", [x], "y")
    graph = b.done(y, b.node("sigmoid", [x], "z"))
    assert ops_of(optimize(graph)) == ["conv2d", "relu", "sigmoid"]


def test_an_exposed_result_is_not_folded():
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 6, 6), "c")
    graph = b.done(x, b.node("relu", [x], "y"))
    assert ops_of(optimize(graph)) == ["conv2d", "relu"]


@pytest.mark.parametrize("form", ["mul_div", "div_inside", "hard_sigmoid", "sixth", "swapped"])
def test_hard_swish_patterns(form):
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 6, 6), "c")
    six, sixth, three = (b.constant(n, v) for n, v in [("6", 6.0), ("1/6", 1 / 6), ("3", 3.0)])
    if form == "hard_sigmoid":
        gate = b.node("hard_sigmoid", [x], "gate", HardSigmoidAttrs(alpha=1 / 6, beta=0.5))
        y = b.node("mul", [x, gate], "y")
    else:
        shifted = b.node("add", [three, x] if form == "swapped" else [x, three], "shifted")
        clipped = b.node("clip", [shifted], "clipped", ClipAttrs(minimum=0.0, maximum=6.0))
        if form == "div_inside":
            y = b.node("mul", [x, b.node("div", [clipped, six], "gate")], "y")
        else:
            product = b.node("mul", [clipped, x] if form == "swapped" else [x, clipped], "product")
            y = b.node(
                "mul" if form == "sixth" else "div",
                [product, sixth if form == "sixth" else six],
                "y",
            )
    graph = b.done(y)
    out = optimize(graph)
    assert ops_of(out) == ["conv2d", "hard_swish"]
    assert out.nodes[-1].outputs == ("y",)
    assert_same_values(graph, out)


def test_six_divided_by_the_product_is_no_hard_swish():
    b = GraphBuilder()
    x = b.input("x", 1, 3, 4, 4)
    clipped = b.node("relu6", [b.node("add", [x, b.constant("3", 3.0)], "s")], "clipped")
    product = b.node("mul", [x, clipped], "product")
    graph = b.done(b.node("div", [b.constant("6", 6.0), product], "y"))
    assert "hard_swish" not in ops_of(optimize(graph))


def test_swish_pattern_needs_a_private_sigmoid():
    b = GraphBuilder()
    x = b.input("x", 1, 3, 4, 4)
    gate = b.node("sigmoid", [x], "gate")
    graph = b.done(b.node("mul", [gate, x], "y"))
    assert ops_of(optimize(graph)) == ["swish"]
    assert_same_values(graph, optimize(graph))
    graph.outputs = ("y", "gate")
    assert ops_of(optimize(graph)) == ["sigmoid", "mul"]


def test_leftover_batch_norm_becomes_a_depthwise_convolution():
    b = GraphBuilder()
    x = b.input("x", 1, 3, 5, 5)
    stats = [b.constant(f"bn{i}", RNG.uniform(0.5, 2, size=3)) for i in range(4)]
    x = b.node("batch_norm", [x, *stats], "bn", NormAttrs())
    x = b.node("mul", [x, b.constant("m", RNG.normal(size=(3, 1, 1)))], "m2")
    graph = b.done(b.node("relu", [x], "y"))
    out = optimize(graph)
    assert ops_of(out) == ["conv2d"]
    assert out.nodes[0].attrs.group == 3
    assert_same_values(graph, out)


def test_zero_pad_moves_into_the_convolution_and_other_pads_stay():
    b = GraphBuilder()
    x = b.input("x", 1, 3, 5, 5)
    pad = PadAttrs(front=(0, 0, 1, 0), back=(0, 0, 2, 3))
    padded = b.node("pad", [x], "p", pad)
    graph = b.done(conv(b, padded, "y", attrs=Conv2dAttrs()))
    out = optimize(graph)
    assert ops_of(out) == ["conv2d"]
    assert out.nodes[0].attrs.pad == (1, 2, 0, 3)
    assert_same_values(graph, out)
    b = GraphBuilder()
    padded = b.node(
        "pad",
        [b.input("x", 1, 3, 5, 5)],
        "p",
        PadAttrs(front=(0, 0, 1, 1), back=(0, 0, 1, 1), value=1.0),
    )
    assert ops_of(optimize(b.done(conv(b, padded, "y", attrs=Conv2dAttrs())))) == ["pad", "conv2d"]


def test_moves_that_cancel_vanish():
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 4, 6), "c")
    x = b.node("transpose", [x], "t1", TransposeAttrs(perm=(0, 2, 3, 1)))
    x = b.node("transpose", [x], "t2", TransposeAttrs(perm=(0, 3, 1, 2)))
    x = b.node("reshape", [x], "r1", ReshapeAttrs(shape=(1, 4, 24)))
    x = b.node("reshape", [x], "r2", ReshapeAttrs(shape=(1, 4, 4, 6)))
    graph = b.done(b.node("sigmoid", [x], "y"))
    out = optimize(graph)
    assert ops_of(out) == ["conv2d", "sigmoid"]
    assert_same_values(graph, out)


@pytest.mark.parametrize("unknown", ["w", "b"])
def test_nothing_is_folded_into_weights_or_a_bias_that_are_not_known(unknown):
    b = GraphBuilder()
    x = b.input("x", 1, 3, 6, 6)
    known = {"w": RNG.normal(size=(4, 3, 3, 3)), "b": RNG.normal(size=4)}
    inputs = [
        b.input(name, *value.shape) if name == unknown else b.constant(name, value)
        for name, value in known.items()
    ]
    x = b.node("conv2d", [x, *inputs], "c", Conv2dAttrs())
    graph = b.done(b.node("mul", [x, b.constant("k", 2.0)], "y"))
    assert ops_of(optimize(graph)) == ["conv2d", "mul"]


def test_optimize_is_stable():
    b = GraphBuilder()
    x = conv(b, b.input("x", 1, 3, 6, 6), "c")
    graph = b.done(
        b.node("relu", [b.node("add", [x, b.constant("k", np.ones((4, 1, 1)))], "a")], "y")
    )
    once = optimize(graph)
    assert graph_text(optimize(once)) == graph_text(once)
