"""Converters in random networks: every layer computes in its format, the function stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npusim
from npusim.analysis.metrics import cosine
from npusim.errors import ConfigError
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, EltwiseAttrs, Pool2dAttrs, PoolKind
from npusim.passes.driver import check
from npusim.passes.pipeline import lower, optimize
from npusim.perfmodel.estimate import estimate
from npusim.quantization.hybrid.choice import layer_names, resolve_layers
from npusim.quantization.schemes import Scheme
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder

OPS = ("conv", "relu", "relu6", "sigmoid", "add", "mul", "concat", "max", "constant")


def network(seed, length):
    """A random network of one to a dozen layers, some read more than once."""
    rng = np.random.default_rng(seed)
    b = GraphBuilder()
    b.input("x", 1, 4, 6, 6)
    names = ["x"]
    for i in range(length):
        op, source = str(rng.choice(OPS)), str(rng.choice(names[-3:]))
        out, channels = f"t{i}", b.graph.spec(source).shape[1]
        if op == "conv":
            out_c = 4
            b.constant(f"w{i}", rng.normal(size=(out_c, channels, 3, 3)) / np.sqrt(9 * channels))
            b.constant(f"b{i}", rng.normal(size=out_c) * 0.1)
            b.node("conv2d", [source, f"w{i}", f"b{i}"], out, Conv2dAttrs(pad=(1, 1, 1, 1)))
        elif op in ("add", "mul"):
            same = [n for n in names if b.graph.spec(n).shape == b.graph.spec(source).shape]
            other = str(rng.choice(same))
            if op == "mul":  # by something below 1: powers of x need more range than any format has
                other = b.node("sigmoid", [other], f"g{i}")
            b.node(op, [source, other], out, EltwiseAttrs())
        elif op == "concat":
            b.node("concat", [source, str(rng.choice(names))], out, AxisAttrs(axis=1))
        elif op == "max":
            window = Pool2dAttrs(kind=PoolKind.MAX, kernel=(3, 3), pad=(1, 1, 1, 1))
            b.node("pool2d", [source], out, window)
        elif op == "constant":
            b.constant(f"k{i}", rng.normal(size=(1, channels, 1, 1)))
            b.node("mul", [source, f"k{i}"], out, EltwiseAttrs())
        else:
            b.node(op, [source], out)
        names.append(out)
    used = {name for node in b.graph.nodes for name in node.inputs}
    outputs = [n for n in names[1:] if n not in used]
    last = b.graph.nodes[-1].outputs[0]
    if seed % 3 == 0:
        last_axis = AxisAttrs(axis=1)
        outputs = [n for n in outputs if n != last]
        outputs.append(b.node("softmax", [last], "p", last_axis))
    return b.done(*outputs)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 12),
    st.sampled_from([Scheme.U8, Scheme.I8, Scheme.I16]),
    st.sampled_from([Scheme.U8, Scheme.I16, Scheme.F16]),
)
def test_any_layers_in_any_two_formats(seed, length, default, other):
    graph = network(seed, length)
    rng = np.random.default_rng(seed)
    feeds = [(f"s{i}", {"x": rng.normal(size=(1, 4, 6, 6)).astype(np.float32)}) for i in range(3)]
    ready = optimize(graph)
    layers = {node.name: other for node in ready.nodes if rng.random() < 0.4}
    quantized = npusim.quantize(graph, feeds, scheme=default, layers=layers, engine="npusim")
    check(quantized)
    lowered = lower(quantized)
    for node in quantized.nodes:
        own = layers.get(node.name)
        if own is None or node.op in ("softmax", "convert"):
            continue
        for name in (*quantized.activations(node), *node.outputs):
            assert quantized.spec(name).dtype is own.dtype, (node.name, name)
    for node in quantized.nodes:
        if node.op == "convert":
            before, after = (quantized.spec(n).dtype for n in (node.inputs[0], node.outputs[0]))
            assert before is not after
            text = f"_{before.value}_to_{after.value}"
            assert f"_pre{text}" in node.name or f"_next{text}" in node.name
    assert estimate(lowered).total_time_us > 0
    program = npusim.compile(quantized)
    for _, sample in feeds:
        got, wanted = program.run(sample, preprocessed=True), evaluate(graph, sample)
        for name, value in wanted.items():
            if np.linalg.norm(value) > 1e-3:
                assert cosine(got[name], value) > 0.8, name


def test_a_tensor_is_converted_once_for_all_readers():
    b = GraphBuilder()
    b.input("x", 1, 4, 6, 6)
    for i in range(3):
        b.constant(f"w{i}", np.random.default_rng(i).normal(size=(4, 4, 1, 1)))
        b.constant(f"b{i}", np.zeros(4))
        b.node("conv2d", ["x", f"w{i}", f"b{i}"], f"y{i}", Conv2dAttrs())
    graph = b.done("y0", "y1", "y2")
    feeds = [("s", {"x": np.ones((1, 4, 6, 6), np.float32)})]
    ready = npusim.quantize(graph, feeds, layers={"n_y0": "i16", "n_y2": "i16"})
    converters = [node for node in ready.nodes if node.op == "convert"]
    assert [node.name for node in converters] == ["n_y0_pre_u8_to_i16"]
    assert converters[0].uid not in {node.uid for node in ready.nodes if node.op != "convert"}


def test_neighbours_of_one_format_need_no_converter():
    graph = network(4, 8)
    feeds = [("s", {"x": np.ones((1, 4, 6, 6), np.float32)})]
    layers = {node.name: "i16" for node in optimize(graph).nodes}
    ready = npusim.quantize(graph, feeds, layers=layers)
    readers_of_input = {n.inputs[0] for n in ready.nodes if n.op == "convert"}
    assert readers_of_input <= {"x"}


def test_unknown_layers_name_close_matches():
    graph = network(4, 8)
    with pytest.raises(ConfigError, match="n_t1"):
        resolve_layers({"n_t11": Scheme.I16}, optimize(graph), graph, default=Scheme.U8)


def test_absorbed_layers_keep_their_names():
    b = GraphBuilder()
    b.input("x", 1, 4, 6, 6)
    b.constant("w", np.ones((4, 4, 1, 1)))
    b.constant("b", np.zeros(4))
    b.node("conv2d", ["x", "w", "b"], "c", Conv2dAttrs())
    b.constant("k", np.ones((1, 4, 1, 1)))
    b.node("mul", ["c", "k"], "m", EltwiseAttrs())
    graph = b.done(b.node("relu", ["m"], "y"))
    names = layer_names(optimize(graph), graph)
    assert [(n.layer_id, n.node, n.last) for n in names] == [
        ("n_c_1", "n_y", False),
        ("n_m_2", "n_y", False),
        ("n_y_3", "n_y", True),
    ]
