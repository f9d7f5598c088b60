"""Float16 graphs: weights that the NN engine would drop, weights that do not fit."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.errors import QuantizationError
from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.passes.driver import check
from npusim.quantization.float16 import channel_lifts, lift_small_weights, to_float16
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(11)


def small_conv(size):
    b = GraphBuilder()
    b.input("x", 1, 6, 8, 8)
    b.constant("w", RNG.normal(size=(5, 6, 3, 3)) * size)
    b.constant("b", RNG.normal(size=5))
    attrs = Conv2dAttrs(pad=(1, 1, 1, 1), activation=Activation.RELU)
    return b.done(b.node("conv2d", ["x", "w", "b"], "y", attrs))


def test_ordinary_weights_stay_one_layer():
    graph = to_float16(small_conv(0.1))
    assert [node.op for node in graph.nodes] == ["conv2d"]
    assert all(graph.spec(n).dtype.value == "f16" for n in ("x", "y"))
    assert graph.spec(graph.nodes[0].inputs[2]).dtype.value == "f32"


def test_tiny_weights_are_lifted_exactly_and_said_so(caplog):
    graph = small_conv(2.0**-17)
    with caplog.at_level(logging.WARNING, logger="npusim"):
        lifted = lift_small_weights(graph)
    assert "n_y" in caplog.text
    check(lifted)
    assert [node.op for node in lifted.nodes] == ["conv2d", "conv2d"]
    assert lifted.nodes[-1].name == "n_y"
    assert lifted.nodes[-1].outputs == ("y",)
    assert all(node.origin == graph.nodes[0].origin for node in lifted.nodes)
    feeds = {"x": RNG.normal(size=(1, 6, 8, 8)).astype(np.float32)}
    # powers of two change no bit of a float32 sum
    assert np.array_equal(evaluate(lifted, feeds)["y"], evaluate(graph, feeds)["y"])


def test_lifting_saves_the_layer_on_the_chip():
    graph = small_conv(2.0**-17)
    feeds = {"x": (RNG.normal(size=(1, 6, 8, 8)) * 1000).astype(np.float32)}
    expected = evaluate(graph, feeds)["y"]
    (actual,) = npusim.compile(to_float16(graph)).run(feeds).values()
    assert np.abs(actual - expected).max() <= 2.0**-9 * np.abs(expected).max()


@given(st.integers(-20, 0), st.integers(0, 2**31))
def test_lifted_weights_fit_float16_and_lose_nothing_that_counts(exponent, seed):
    weights = np.random.default_rng(seed).normal(size=(4, 9)) * 2.0**exponent
    lifted = weights * 2.0 ** channel_lifts(weights)[:, None]
    assert np.abs(lifted).max() < 65504
    lost = np.where(np.abs(lifted) < 2.0**-14, lifted, 0.0)
    assert (lost**2).sum() <= 2.0**-20 * (lifted**2).sum()


def test_weights_beyond_float16_are_an_error_that_names_the_layer():
    with pytest.raises(QuantizationError, match="n_y"):
        to_float16(small_conv(1e6))
