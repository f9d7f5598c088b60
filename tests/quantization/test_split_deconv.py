"""Transposed convolutions as release 1.7.3 lowers them."""

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import Deconv2dAttrs
from npusim.passes.pipeline import optimize
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder


def upscaler(kernel=2, stride=2):
    b, rng = GraphBuilder(), np.random.default_rng(1)
    x = b.input("x", 1, 3, 4, 5)
    w = b.constant("w", rng.normal(0, 0.5, (6, 3, kernel, kernel)))
    zeros = b.constant("zeros", np.zeros(6))
    d = b.node("deconv2d", [x, w, zeros], "d", Deconv2dAttrs(stride=(stride, stride)))
    a = b.node("add", [d, b.constant("c", rng.normal(0, 1, (1, 6, 1, 1)))], "a")
    numbers = {"gamma": 1.5, "beta": 0.2, "mean": 0.1, "var": 0.7}
    norm = [b.constant(name, np.full(6, value)) for name, value in numbers.items()]
    return b.done(b.node("relu", [b.node("batch_norm", [a, *norm], "n")], "r"))


def samples(graph):
    rng = np.random.default_rng(2)
    return [("one", {"x": rng.normal(0, 1, graph.spec("x").shape).astype(np.float32)})]


def quantized(graph, toolkit, scheme="u8"):
    return npusim.quantize(graph, samples(graph), scheme=scheme, toolkit=toolkit, engine="npusim")


def test_two_layers_compute_what_one_does():
    graph = upscaler()
    split = optimize(graph, splits_deconv=True)
    feeds = samples(graph)[0][1]
    one, two = (evaluate(g, feeds)["r"] for g in (graph, split))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_layers_and_numbers_are_those_of_the_release():
    ready = quantized(upscaler(), "1.7.3")
    layers = [(node.layer_id, node.op) for node in ready.nodes]
    assert layers == [
        ("n_d_1_plane_6", "deconv2d"),
        ("n_d_1_dual_conv_7", "conv2d"),
        ("n_a_2", "add"),
        ("n_n_3", "batch_norm"),
        ("n_r_4", "relu"),
    ]
    plane, dual, total, norm, _ = ready.nodes
    weights = ready.spec(plane.inputs[1])
    assert np.float32(weights.quant.scale) == np.float32(1 / 255)
    codes = ready.constants[plane.inputs[1]]
    assert np.array_equal(codes.reshape(3, 3), 255 * np.eye(3))
    assert ready.spec(plane.outputs[0]).shape == (1, 3, 7, 9)
    assert dual.attrs.pad == (1, 1, 1, 1)
    assert ready.constants[total.inputs[1]].dtype == np.float16
    assert ready.constants[norm.inputs[1]].dtype == np.float32
    assert ready.spec(norm.outputs[0]).quant == ready.spec("r").quant  # takes the relu's


def test_the_driver_adds_the_constant_with_the_bias_and_keeps_the_rest():
    program = npusim.compile(quantized(upscaler(), "1.7.3"))
    assert [node.op for node in program.graph.nodes] == ["deconv2d", "conv2d", "batch_norm", "relu"]


def test_other_sizes_formats_and_releases_keep_one_layer():
    for ready in (
        quantized(upscaler(kernel=3), "1.7.3"),
        quantized(upscaler(stride=1), "1.7.3"),
        quantized(upscaler(), "1.7.3", scheme="i8"),
        quantized(upscaler(), "1.7"),
    ):
        assert [node.op for node in ready.nodes] == ["deconv2d"]


@pytest.mark.parametrize("name", ["n_d_1", "n_d"])
@pytest.mark.parametrize("followed", [True, False])
def test_raising_a_split_transposed_convolution_raises_both_halves(name, followed):
    rng = np.random.default_rng(0)
    b = GraphBuilder()
    b.input("x", 1, 4, 6, 6)
    w = b.constant("w", rng.standard_normal((4, 4, 2, 2)))
    b.node("deconv2d", ["x", w, b.constant("b", np.zeros(4))], "d", Deconv2dAttrs(stride=(2, 2)))
    graph = b.done(b.node("relu", ["d"], "y") if followed else "d")
    samples = [("x", {"x": rng.standard_normal((1, 4, 6, 6)).astype(np.float32)})]
    ready = npusim.quantize(graph, samples, toolkit="1.7.3", engine="npusim", layers={name: "i16"})
    halves = [node for node in ready.nodes if node.op in ("deconv2d", "conv2d")]
    assert [node.op for node in halves] == ["deconv2d", "conv2d"]
    assert {ready.spec(node.inputs[1]).dtype.value for node in halves} == {"i16"}
