"""Known addends behind stored convolutions."""

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import Conv2dAttrs
from npusim.passes.fold_sum import fold_sum
from npusim.quantization.schemes import Scheme
from npusim.testing import GraphBuilder


def conv_plus(shape, *, read_twice=False):
    b, rng = GraphBuilder(), np.random.default_rng(4)
    x = b.input("x", 1, 3, 6, 6)
    w = b.constant("w", rng.normal(0, 0.4, (4, 3, 3, 3)))
    bias = b.constant("b", rng.normal(0, 0.2, 4))
    b.node("conv2d", [x, w, bias], "c", Conv2dAttrs())
    b.node("add", [b.constant("k", rng.normal(0, 2, shape)), "c"], "y")
    return b.done("y", *(["c"] if read_twice else []))


def stored(graph, scheme):
    """Quantize without folding into real weights: optimization level 1."""
    samples = [("s", {"x": np.random.default_rng(5).normal(0, 1, (1, 3, 6, 6)).astype(np.float32)})]
    return npusim.quantize(graph, samples, scheme=scheme, optimization_level=1, engine="npusim")


@pytest.mark.parametrize("scheme", [Scheme.U8, Scheme.I8, Scheme.I16])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (4, 1, 1), (1, 1, 1, 1), (1,)])
def test_bias_takes_the_addend_in_steps_of_the_accumulator(scheme, shape):
    graph = stored(conv_plus(shape), scheme)
    before = next(node for node in graph.nodes if node.op == "conv2d")
    (after,) = fold_sum(graph).nodes
    assert (after.op, after.outputs) == ("conv2d", ("y",))
    bias = graph.spec(before.inputs[2])
    step = bias.quant.scale if scheme is Scheme.U8 else 2.0**-bias.quant.fl
    total = next(node for node in graph.nodes if node.op == "add")
    value = graph.constants[total.inputs[0]]
    if scheme is not Scheme.U8:
        value = value * 2.0 ** -graph.spec(total.inputs[0]).quant.fl
    steps = np.rint(np.broadcast_to(value.reshape(-1), 4).astype(np.float64) / step)
    expected = graph.constants[before.inputs[2]].astype(np.int64) + steps.astype(np.int64)
    assert fold_sum(graph).constants[after.inputs[2]].tolist() == expected.tolist()


def test_float16_adds_real_biases():
    graph = npusim.float16(conv_plus((1, 4, 1, 1)), optimization_level=1)
    conv, total = graph.nodes
    (after,) = fold_sum(graph).nodes
    addend = graph.constants[total.inputs[0]].reshape(-1).astype(np.float64)
    expected = (graph.constants[conv.inputs[2]].astype(np.float64) + addend).astype(np.float32)
    assert np.array_equal(fold_sum(graph).constants[after.inputs[2]], expected)


def test_compiled_model_has_one_layer():
    graph = stored(conv_plus((1, 4, 1, 1)), Scheme.U8)
    program = npusim.compile(graph)
    assert [node.op for node in program.graph.nodes] == ["conv2d"]


@pytest.mark.parametrize("graph", [conv_plus((1, 4, 4, 4)), conv_plus((4, 1, 1), read_twice=True)])
def test_full_shapes_and_results_read_elsewhere_stay(graph):
    ready = stored(graph, Scheme.U8)
    assert [node.op for node in fold_sum(ready).nodes] == ["conv2d", "add"]
