"""Rewrites and renamings that must not change what a network computes."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from npusim.exporters.onnx import to_onnx
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.attrs import TransposeAttrs
from npusim.ir.graph import Graph, prune, toposorted
from npusim.ir.limits import LARGEST_F16
from npusim.ir.quant import scale_of
from npusim.passes.driver import check
from npusim.passes.pipeline import FLOAT_PASSES, lower, optimize
from npusim.quantization.apply import apply_scheme
from npusim.quantization.constrain import constrain
from npusim.quantization.float16 import to_float16
from npusim.quantization.schemes import Scheme
from npusim.reference.evaluate import Evaluator, evaluate
from npusim.runtime.program import Program
from npusim.testing import GraphBuilder, assert_bit_equal
from tests.strategies import PATTERNS, batched_graphs, float_graphs, seeds

assert set(PATTERNS) == {step.name for step in FLOAT_PASSES}
MANY = settings(max_examples=150)
# The passes that move and rename only, or apply the same function in another layer
EXACT = ("simplify_moves", "fuse_relu")
ULPS = 64  # of the largest value that the network computes on the way: sums round anew


def feeds_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(-4, 4, graph.spec(name).shape).astype(np.float32) for name in graph.inputs
    }


def largest(graph: Graph, feeds) -> float:
    """Return the largest magnitude of all activations."""
    found = [1.0]
    Evaluator(graph, threads=1).run(
        feeds, observe=lambda _, value: found.append(float(np.abs(value).max(initial=0)))
    )
    return max(found)


def lowest(graph: Graph) -> float:
    """Return the lowest value that anything but a pad makes."""
    pads = {node.outputs[0] for node in graph.nodes if node.op == "pad"}
    found = [0.0]
    Evaluator(graph, threads=1).run(
        feeds_of(graph),
        observe=lambda name, value: found.append(0.0 if name in pads else float(value.min())),
    )
    return min(found)


def assert_same_results(before: Graph, after: Graph, *, exact: bool) -> None:
    check(after)
    assert after.outputs == before.outputs
    feeds = feeds_of(before)
    old, new = evaluate(before, feeds), evaluate(after, feeds)
    atol = 0.0 if exact else ULPS * 2.0**-24 * largest(before, feeds)
    for name in before.outputs:
        if exact:
            assert_bit_equal(new[name], old[name], name)
        np.testing.assert_allclose(new[name], old[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("step", FLOAT_PASSES, ids=lambda step: step.name)
@MANY
@given(data=st.data())
def test_every_float_pass_alone_keeps_the_results(step, data):
    graph = data.draw(float_graphs(favour=step.name))
    if step.name == "fold_max_pad":  # a pad of -65504 is the least where values fit the chip
        assume(lowest(graph) >= -LARGEST_F16)
    assert_same_results(graph, prune(step.run(graph)), exact=step.name in EXACT)


@MANY
@given(graph=float_graphs(layers=8), level=st.integers(0, 3))
def test_the_float_passes_in_order_keep_the_results(graph, level):
    assert_same_results(graph, optimize(graph, level=level), exact=False)


@pytest.mark.slow
@settings(max_examples=2000)
@given(graph=float_graphs(layers=10), level=st.integers(0, 3))
def test_the_float_passes_in_order_keep_the_results_of_many_graphs(graph, level):
    assert_same_results(graph, optimize(graph, level=level), exact=False)


@given(graph=float_graphs(layers=8))
def test_a_pass_does_not_change_the_graph_it_is_given(graph):
    before = graph.copy()
    for step in FLOAT_PASSES:
        step.run(graph)
    assert graph == before


def renamed(graph: Graph) -> Graph:
    """Return the graph with other names for everything but its inputs and outputs."""
    kept = (*graph.inputs, *graph.outputs)
    names = {
        name: name if name in kept else f"z{len(graph.tensors) - i}"
        for i, name in enumerate(graph.tensors)
    }
    return graph.copy(
        tensors={names[k]: replace(v, name=names[k]) for k, v in graph.tensors.items()},
        constants={names[k]: v for k, v in graph.constants.items()},
        nodes=tuple(
            replace(
                node,
                name=f"layer{len(graph.nodes) - i}",
                inputs=tuple(names[k] for k in node.inputs),
                outputs=tuple(names[k] for k in node.outputs),
            )
            for i, node in enumerate(graph.nodes)
        ),
    )


def permuted(graph: Graph, seed: int) -> Graph:
    """Return the graph with its nodes in another execution order."""
    order = np.random.default_rng(seed).permutation(len(graph.nodes))
    known = (*graph.inputs, *graph.constants)
    return graph.copy(nodes=toposorted([graph.nodes[i] for i in order], known))


def measured(graph: Graph) -> dict[str, tuple[float, float]]:
    """Return the range of every activation."""
    ranges = {}

    def observe(name, value):
        ranges[name] = (min(float(value.min()), 0.0), max(float(value.max()), 0.0))

    Evaluator(graph, threads=1).run(feeds_of(graph), observe=observe)
    return ranges


def quantized(graph: Graph, scheme: Scheme, level: int = 3) -> Graph:
    graph = optimize(graph, level=level)
    if scheme is Scheme.F16:
        return to_float16(graph)
    return apply_scheme(graph, constrain(graph, measured(graph)), scheme)


def stored_results(graph: Graph, scheme: Scheme) -> dict[str, np.ndarray]:
    return Program(lower(quantized(graph, scheme))).run(feeds_of(graph), preprocessed=True)


def assert_bits(got, want) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert_bit_equal(got[name], value, name)


@given(graph=float_graphs(), seed=seeds)
def test_names_and_order_of_layers_do_not_count(graph, seed):
    for other in (renamed(graph), permuted(graph, seed)):
        check(other)
        feeds = feeds_of(graph)
        assert_bits(evaluate(other, feeds), evaluate(graph, feeds))
        assert_bits(evaluate(optimize(other), feeds), evaluate(optimize(graph), feeds))


schemes = st.sampled_from([Scheme.U8, Scheme.I8, Scheme.I16, Scheme.F16])


@given(graph=float_graphs(layers=4), seed=seeds, scheme=schemes)
def test_names_and_order_of_layers_do_not_count_when_quantized(graph, seed, scheme):
    want = stored_results(graph, scheme)
    assert_bits(stored_results(renamed(graph), scheme), want)
    assert_bits(stored_results(permuted(graph, seed), scheme), want)


@given(pair=batched_graphs())
def test_a_batch_is_its_images_one_by_one(pair):
    one, two = pair
    feeds = feeds_of(two)
    for level in (0, 3):
        together = evaluate(optimize(two, level=level), feeds)
        for i in range(2):
            alone = evaluate(
                optimize(one, level=level), {n: v[i : i + 1] for n, v in feeds.items()}
            )
            for name, value in alone.items():
                assert_bit_equal(together[name][i : i + 1], value, name)


def with_identities(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Return the model with Identity nodes in front of some inputs of some nodes."""
    rng = np.random.default_rng(seed)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes = []
    constants = {value.name for value in changed.graph.initializer}
    for node in changed.graph.node:
        for i, name in enumerate(node.input):
            if name and name not in constants and rng.random() < 0.5:
                copy = f"{node.name}/copy{i}"
                nodes.append(onnx.helper.make_node("Identity", [name], [copy], name=copy))
                node.input[i] = copy
        nodes.append(node)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


@given(graph=float_graphs(), seed=seeds, scheme=schemes)
def test_identities_of_the_source_model_do_not_count(graph, seed, scheme):
    model = to_onnx(graph)
    results = []
    with TemporaryDirectory() as folder:
        for number, proto in enumerate((model, with_identities(model, seed))):
            path = Path(folder) / f"{number}.onnx"
            onnx.save(proto, path)
            results.append(load_onnx(path))
    plain, copied = results
    feeds = feeds_of(plain)
    assert len(copied.nodes) == len(plain.nodes)
    assert_bits(evaluate(optimize(copied), feeds), evaluate(optimize(plain), feeds))
    assert_bits(stored_results(copied, scheme), stored_results(plain, scheme))


@given(
    seed=seeds,
    scheme=st.sampled_from([Scheme.U8, Scheme.I8, Scheme.I16]),
    factor=st.sampled_from([0.5, 1.0, 2.0, -1.0]),
    moves=st.integers(0, 2),
    relu=st.booleans(),
)
def test_levels_0_and_3_store_results_within_a_step(seed, scheme, factor, moves, relu):
    """Power-of-two factors leave the stored weights what they are, so only roundings are saved."""
    b = GraphBuilder(seed=seed)
    x = b.conv(b.input("x", 1, 4, 6, 6), 5, 3)
    x = b.node("mul", [x, b.constant("factor", factor)], "scaled")
    x = b.node("add", [x, b.constant("offset", b.rng.uniform(-1, 1, (5, 1, 1)))], "shifted")
    for i in range(moves):
        perm = ((0, 2, 3, 1), (0, 3, 1, 2))[i]
        x = b.node("transpose", [x], f"moved{i}", TransposeAttrs(perm=perm))
    if relu:
        x = b.node("relu", [x], "y")
    source = b.done()
    ranges = measured(source)
    stored, graphs = [], []
    for level in (0, 3):
        graph = optimize(source, level=level)
        known = {name: ranges[name] for name in graph.tensors if name in ranges}
        graphs.append(apply_scheme(graph, constrain(graph, known), scheme))
        program = Program(lower(graphs[-1], level=level))
        stored.append(program.run(feeds_of(source), preprocessed=True)[source.outputs[0]])
    plain, fused = graphs
    assert len(fused.nodes) < len(plain.nodes)
    # every result that level 0 stores on the way is off by half a step, and so is each last one
    halves = [scale_of(plain.spec(name).quant) / 2 for node in plain.nodes for name in node.outputs]
    halves.append(scale_of(fused.spec(source.outputs[0]).quant) / 2)
    assert np.abs(stored[0] - stored[1]).max() <= sum(halves) * max(abs(factor), 1) + 1e-6
