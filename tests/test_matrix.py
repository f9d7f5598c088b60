"""Operator x number format x engine x memory order, from import to export.

Every cell imports a network around one operator, quantizes it, runs it, prices it and writes it
again. The networks come from the operators' definitions (``tests/samples.py``), so a new operator
is in the matrix by itself.
"""

from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import npusim
from npusim.api.refusals import refusals
from npusim.errors import GraphError, UnsupportedOpError
from npusim.exporters.onnx import save_onnx, to_onnx
from npusim.ir import archive
from npusim.ir.graph import Engine, Graph
from npusim.ops import op_names
from npusim.passes.engine_rules import RULES
from npusim.passes.pipeline import lower
from npusim.perfmodel.estimate import estimate
from npusim.reference.evaluate import evaluate
from npusim.runtime import isa, threads
from npusim.runtime.binding import bind, has_binding
from npusim.runtime.bindings import load_bindings
from npusim.runtime.program import Program
from npusim.testing import assert_bit_equal, memory_orders, random_codes
from tests.samples import samples

load_bindings()
SAMPLES = dict(samples())
SCHEMES = ("u8", "i8", "i16", "f16")
# Written to ONNX as several nodes, and read as such: these cells go on without the import
SPELLED_OUT = {
    "channel_shuffle", "convert", "gelu", "layer_norm", "mish", "relu1", "rsqrt", "square",
}  # fmt: skip
# Engines of a rule that no float model reaches, and why
UNREACHED = {
    ("conv2d", Engine.CPU): "32-bit results: models that came quantized",
    ("deconv2d", Engine.SHADER): "weights with one scale per channel: models that came quantized",
    ("fc", Engine.SHADER): "weights with one scale per channel: models that came quantized",
    ("identity", Engine.SHADER): "importers drop it; between quantized layers it holds codes",
    ("convert", Engine.SHADER): "to and from 32 bits: models that came quantized",
}
# Real numbers of 32 bits are moved and compared, nothing else
RUNS_FLOAT32 = {
    "argmax", "argmin", "channel_shuffle", "concat", "convert", "depth2space", "identity", "pad",
    "reshape", "slice", "space2depth", "split", "transpose",
}  # fmt: skip
cells = pytest.mark.parametrize(("name", "scheme"), list(product(SAMPLES, SCHEMES)))


def is_one_image(name: str) -> bool:
    graph = SAMPLES[name].graph
    return all(graph.spec(x).shape[0] == 1 for x in graph.inputs)


@pytest.fixture
def three_threads(monkeypatch):
    """Cut even the smallest work into parts for three threads."""
    monkeypatch.setenv("NPUSIM_NUM_THREADS", "3")
    monkeypatch.setattr(threads, "SMALL_WORK", 1)
    threads.thread_count.cache_clear()
    threads._pool.cache_clear()
    yield
    threads.thread_count.cache_clear()
    threads._pool.cache_clear()


def feeds_of(name: str, graph: Graph) -> dict[str, np.ndarray]:
    sample, rng = SAMPLES[name], np.random.default_rng(1)
    return {
        x: rng.uniform(sample.low, sample.high, graph.spec(x).shape).astype(np.float32)
        for x in graph.inputs
    }


@cache
def imported(name: str) -> Graph:
    """Return the sample as its ONNX file gives it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        save_onnx(SAMPLES[name].graph, path)
        return npusim.load_model(path)


def quantize(name: str, graph: Graph, scheme: str) -> Graph:
    feeds = [("sample", feeds_of(name, graph))]
    return npusim.quantize(graph, feeds, scheme=scheme, engine="npusim")


@cache
def quantized(name: str, scheme: str) -> Graph:
    """Return the sample in a number format, with its operator in it."""
    op, graph = SAMPLES[name].op, quantize(name, imported(name), scheme)
    if op in SPELLED_OUT:
        assert all(node.op != op for node in graph.nodes), f"{op} is read again: no exception"
        graph = quantize(name, SAMPLES[name].graph, scheme)
    assert any(node.op == op for node in graph.nodes)
    return graph


@cache
def program(name: str, scheme: str) -> npusim.Program:
    return npusim.compile(quantized(name, scheme))


def codes_of(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {x: random_codes(rng, graph.spec(x).shape, graph.spec(x).dtype) for x in graph.inputs}


def assert_results(got, want) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert_bit_equal(got[name], value, name)


@pytest.mark.parametrize(
    ("op", "scheme"),
    # the chip's own i8 layer_norm leaves rows 0
    sorted(set(product(SPELLED_OUT, SCHEMES)) - {("layer_norm", "i8")}),
)
def test_a_spelled_out_operator_means_the_same(op, scheme):
    name = f"{op}-0"
    results = [
        npusim.compile(quantize(name, graph, scheme)).run(feeds_of(name, graph), preprocessed=True)
        for graph in (imported(name), SAMPLES[name].graph)
    ]
    (spelled,), (whole,) = (tuple(r.values()) for r in results)
    limit = 0.1 if scheme in ("u8", "i8") else 0.01  # every step of it is rounded
    assert np.abs(spelled - whole).max() <= limit * np.ptp(whole)


@cells
def test_memory_orders_give_the_same_bits(name, scheme):
    graph = program(name, scheme).graph
    codes = codes_of(graph)
    want = program(name, scheme).run_stored(codes)
    for name_, value in want.items():
        spec = graph.spec(name_)
        assert (value.dtype, value.shape) == (spec.dtype.numpy, spec.shape)
    for order in range(1, 4):
        fed = {x: memory_orders(value)[order] for x, value in codes.items()}
        assert_results(program(name, scheme).run_stored(fed), want)


@cells
def test_threads_give_the_same_bits(name, scheme, three_threads):
    codes = codes_of(program(name, scheme).graph)
    want = program(name, scheme).run_stored(codes)
    threads.thread_count.cache_clear()
    assert threads.thread_count() == 3
    assert_results(npusim.compile(quantized(name, scheme)).run_stored(codes), want)


@pytest.mark.parametrize(
    ("name", "scheme"), [(n, s) for n, s in product(SAMPLES, SCHEMES) if is_one_image(n)]
)
def test_a_batch_gives_the_bits_of_its_images(name, scheme):
    graph = quantized(name, scheme)
    first = feeds_of(name, graph)
    second = {x: value[..., ::-1].copy() for x, value in first.items()}
    both = {x: np.concatenate([first[x], second[x]]) for x in first}
    together = npusim.compile(graph.copy(batch=2)).run(both, preprocessed=True)
    for i, feeds in enumerate((first, second)):
        for name_, value in program(name, scheme).run(feeds, preprocessed=True).items():
            rows = len(value)
            assert_bit_equal(together[name_][i * rows : (i + 1) * rows], value, name_)


@cells
def test_prices_are_those_of_the_engines_that_run(name, scheme):
    graph = program(name, scheme).graph
    nodes = {node.name: node for node in graph.nodes}
    result = estimate(graph)
    priced = {layer.name for layer in result.layers} | {
        fused for layer in result.layers for fused in layer.fused
    }
    assert priced == set(nodes)
    for layer in result.layers:
        node = nodes[layer.name]
        assert (layer.engine, layer.form) == (node.engine, node.form), node.reason


@cells
def test_what_is_stored_and_written_is_what_runs(name, scheme, tmp_path):
    archive.save(quantized(name, scheme), tmp_path / "m.rknn")
    again = archive.load(tmp_path / "m.rknn")
    codes = codes_of(program(name, scheme).graph)
    want = program(name, scheme).run_stored(codes)
    assert_results(npusim.compile(again).run_stored(codes), want)
    with pytest.raises(UnsupportedOpError, match="only float graphs are written as ONNX"):
        to_onnx(again)


@pytest.mark.slow
@pytest.mark.parametrize("path", isa.available()[:-1])
@cells
def test_machine_codes_give_the_same_bits(name, scheme, path, monkeypatch):
    codes = codes_of(program(name, scheme).graph)
    want = program(name, scheme).run_stored(codes)
    monkeypatch.setenv("NPUSIM_ISA", path)
    isa.selected.cache_clear()
    try:
        other = npusim.compile(quantized(name, scheme))
    finally:
        isa.selected.cache_clear()
    assert_results(other.run_stored(codes), want)


@pytest.mark.parametrize("name", SAMPLES)
def test_info_refuses_nothing_that_is_taken(name):
    for graph in (imported(name), quantized(name, "i8"), program(name, "f16").graph):
        assert refusals(graph) == {}


def test_every_operator_has_a_sample():
    assert {sample.op for sample in SAMPLES.values()} == set(op_names())


def test_every_engine_of_every_rule_is_reached_or_said_why_not():
    seen = {
        (node.op, node.engine)
        for name in SAMPLES
        for scheme in SCHEMES
        for node in program(name, scheme).graph.nodes
    }
    promised = {(op, rule.engine) for op, rules in RULES.items() for rule in rules}
    assert promised - seen == set(UNREACHED)
    assert seen <= promised


@pytest.mark.parametrize(
    ("op", "engine"), [pair for pair in product(op_names(), Engine) if not has_binding(*pair)]
)
def test_what_an_engine_does_not_do_is_refused(op, engine):
    graph = program(f"{op}-0", "u8").graph
    node = replace(next(n for n in graph.nodes if n.op == op), engine=engine)
    with pytest.raises(GraphError, match=f"(?s){op} cannot run on .*available: {op} on"):
        bind(node, graph)


def test_every_rule_has_a_binding():
    promised = {(op, rule.engine) for op, rules in RULES.items() for rule in rules}
    assert {pair for pair in promised if not has_binding(*pair)} == {("conv2d", Engine.CPU)}


@pytest.mark.parametrize("op", op_names())
def test_float32_is_refused_or_only_moved(op):
    graph = SAMPLES[f"{op}-0"].graph
    feeds = feeds_of(f"{op}-0", graph)
    if op not in RUNS_FLOAT32:
        with pytest.raises(GraphError, match="f32"):
            Program(lower(graph))
        return
    got = Program(lower(graph)).run(feeds)
    for name, value in evaluate(graph, feeds).items():
        np.testing.assert_array_equal(got[name], value)
