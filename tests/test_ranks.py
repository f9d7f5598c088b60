"""Every operator on tensors of every rank, with constants in every place, from file to report.

The outcome is right values in the right shapes, or an error of npusim's own that ``info`` shows as
well. What no operator is defined for, its shape rule refuses.
"""

import logging
from functools import cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npusim
from npusim.analysis.dump import LayerDump
from npusim.api.refusals import refusals
from npusim.cli.info import describe
from npusim.errors import GraphError, ModelImportError, NpusimError
from npusim.exporters.onnx import save_onnx
from npusim.ir import archive
from npusim.ir.attrs import SplitAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ops import op_def, op_names
from npusim.reference.evaluate import evaluate
from npusim.reference.float_engine import OnnxRuntimeEngine
from npusim.testing import GraphBuilder
from tests.importers.tflite_build import Model
from tests.rank_graphs import RANKS, RankCase, rank_cases

CASES = tuple(rank_cases())
ROOT = Path(__file__).parents[1]
CODE = ("kernels", *(f"npusim/{name}" for name in ("ir", "passes", "quantization", "runtime")))
SCHEMES = ("u8", "i8", "i16", "f16")
# share of the largest value that a result may be off: what an operator and two others lose
TOLERANCE = {"u8": 0.06, "i8": 0.12, "i16": 0.02, "f16": 0.02}
# of nearly equal numbers another may be the largest, and 0.999 may be stored as 1
JUMPS = ("argmax", "argmin", "ceil", "floor", "round", "select", "sign")
FACTORS = 4  # products of more have the errors of all of them
# i8 rows of negative sums are 0, as on the chip; normalising three values in u8 is all noise
NO_VALUES = {("layer_norm", "i8"), ("layer_norm", "u8")}


def defined(case: RankCase) -> Graph | None:
    """Return the graph of a case; None where the operator is not defined for it."""
    try:
        return case.graph()
    except GraphError:
        return None


def feeds_of(case: RankCase, graph: Graph) -> dict[str, np.ndarray]:
    rng, (low, high) = np.random.default_rng(1), case.interval
    feeds = {}
    for name in graph.inputs:
        spec = graph.spec(name)
        if spec.dtype is DType.I64:
            feeds[name] = np.asarray(rng.integers(0, case.entries, spec.shape))
        else:
            feeds[name] = np.asarray(rng.uniform(low, high, spec.shape), np.float32)
    return feeds


def assert_near(case: RankCase, scheme: str, got, want) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        jumps = case.op in JUMPS or op_def(case.op).truth
        if jumps or (case.op, scheme) in NO_VALUES:
            continue
        if case.op == "reduce_prod" and prod(case.shapes[0]) > FACTORS:
            continue
        limit = TOLERANCE[scheme] * max(np.abs(value).max(initial=0), 1)
        assert np.abs(got[name] - value).max(initial=0) <= limit, name


def journey(case: RankCase, scheme: str, *, level: int = 3, whole: bool = True) -> None:
    """Take a case from the float graph to the reports; assert what each step promises."""
    graph = defined(case)
    if graph is None:
        return
    feeds = feeds_of(case, graph)
    want = evaluate(graph, feeds)
    assert {n: v.shape for n, v in want.items()} == {n: graph.spec(n).shape for n in want}
    refused = refusals(graph, optimization_level=level)
    try:
        ready = npusim.quantize(
            graph, [("s", feeds)], scheme=scheme, engine="npusim", optimization_level=level
        )
        program = npusim.compile(ready, optimization_level=level)
    except NpusimError:
        assert scheme in refused
        return
    assert scheme not in refused
    assert refusals(ready) == refusals(program.graph) == {}
    got = program.run(feeds, preprocessed=True)
    assert_near(case, scheme, got, want)
    steps = program.run(feeds, preprocessed=True, observe=lambda *_: None)  # not as a tape
    for name, value in steps.items():
        np.testing.assert_array_equal(got[name], value, strict=True)
    if whole:
        reports(graph, program, ready, feeds, got, scheme)


def reports(graph, program, ready, feeds, got, scheme) -> None:
    """Price, dump, compare, analyze, describe and store a program that has run."""
    layers = {layer.name for layer in npusim.estimate(program).layers}
    assert layers
    npusim.estimate(graph, scheme=scheme)
    with TemporaryDirectory() as folder:
        dump = LayerDump(program, folder)
        program.run(feeds, preprocessed=True, observe=dump.observe)
        dump.close()
        ran = npusim.record_program(program, feeds, preprocessed=True)
        read = npusim.read_dump(folder, like=ran)
        for pair in npusim.compare(read, ran).layers:
            assert pair.difference.max_abs == 0, pair.layer
        npusim.compare(ran, npusim.record_float(graph, feeds, engine="npusim")).to_dict()
        npusim.analyze(graph, program, feeds).to_dict()
        for stage in (graph, ready, program.graph):
            assert describe(stage)["outputs"]
        archive.save(ready, Path(folder) / "m.rknn")
        again = npusim.compile(archive.load(Path(folder) / "m.rknn"))
        for name, value in again.run(feeds, preprocessed=True).items():
            np.testing.assert_array_equal(value, got[name], strict=True)


@given(st.sampled_from(CASES), st.sampled_from(SCHEMES), st.sampled_from([0, 3]))
@settings(max_examples=40)
def test_any_operator_of_any_rank_gives_values_or_an_error(case, scheme, level):
    journey(case, scheme, level=level, whole=case.rank in (0, 5))


@pytest.mark.parametrize("op", op_names())
def test_constants_alone_give_values(op):
    cases = [case for case in CASES if case.op == op and all(case.constants) and defined(case)]
    case = cases[hash(op) % len(cases)] if len(cases) < 3 else cases[len(cases) // 2]
    for scheme in ("u8", "f16"):
        journey(case, scheme, whole=False)


@pytest.mark.parametrize("op", [op for op in op_names() if op_def(op).elementwise])
def test_tensors_without_axes_stay_so(op):
    case = next(c for c in CASES if c.op == op and c.rank == 0 and not any(c.constants))
    for scheme in SCHEMES:
        journey(case, scheme, whole=False)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", op_names())
def test_every_rank_and_every_choice_of_constants(op, scheme):
    for number, case in enumerate(case for case in CASES if case.op == op):
        journey(case, scheme, whole=case.rank < 2 or number % 4 == 0)
        if all(case.constants) or number % 4 == 1:
            journey(case, scheme, level=0, whole=False)


@cache
def written(case: RankCase) -> Graph | str:
    """Return what the case's ONNX file gives, or the error."""
    with TemporaryDirectory() as folder:
        save_onnx(case.graph(), Path(folder) / "m.onnx")
        try:
            return npusim.load_model(Path(folder) / "m.onnx")
        except ModelImportError as error:
            return str(error)


@given(st.sampled_from([case for case in CASES if defined(case)]))
@settings(max_examples=60)
def test_files_give_the_same_values_or_an_error(case):
    assert_file_agrees(case)


@pytest.mark.slow
@pytest.mark.parametrize("op", op_names())
def test_files_of_every_rank_give_the_same_values_or_an_error(op):
    for case in CASES:
        if case.op == op and defined(case):
            assert_file_agrees(case)


def assert_file_agrees(case: RankCase) -> None:
    graph, read = case.graph(), written(case)
    if isinstance(read, str):
        return
    feeds = feeds_of(case, graph)
    with np.errstate(all="ignore"):
        want, got = evaluate(graph, feeds), evaluate(read, feeds)
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        np.testing.assert_allclose(got[name], value, 1e-4, 1e-5)


def test_a_computed_parameter_is_refused_before_anything_is_calibrated():
    case = next(c for c in CASES if c.op == "conv2d" and c.rank == 4 and not any(c.constants))
    graph = case.graph()
    assert set(refusals(graph)) == set(SCHEMES)
    for text in refusals(graph).values():
        assert "layer 'n_y' (conv2d): parameter 'x1' is computed by the network" in text
    with pytest.raises(GraphError, match="parameter 'x1' is computed"):
        npusim.quantize(graph, [("s", feeds_of(case, graph))], engine="npusim")
    with pytest.raises(GraphError, match="parameter 'x1' is computed"):
        npusim.float16(graph)
    with pytest.raises(GraphError, match="parameter 'x1' is computed"):
        npusim.estimate(graph)


def test_info_and_quantize_refuse_the_same_constant():
    b = GraphBuilder()
    b.node("mul", [b.input("x", 1, 4), b.constant("large", [1e6])], "y")
    graph = b.done()
    assert set(refusals(graph)) == {"f16"}
    assert describe(graph)["refused"] == refusals(graph)
    feeds = [("s", {"x": np.ones((1, 4), np.float32)})]
    for scheme in SCHEMES:
        if scheme == "f16":
            with pytest.raises(NpusimError, match="'large'"):
                npusim.quantize(graph, feeds, scheme=scheme, engine="npusim")
        else:
            npusim.compile(npusim.quantize(graph, feeds, scheme=scheme, engine="npusim"))


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16"])
def test_the_parts_of_a_constant_keep_all_its_values(scheme):
    b = GraphBuilder()
    known = b.constant("k", [[0.1, -1.9, 1.7, -0.2]])
    b.node("split", [known], "a", SplitAttrs(axis=1, sizes=(1, 3)), ["c"])
    b.node("add", [b.input("x", 1, 3), "c"], "y")
    graph = b.done("a", "c", "y")
    feeds = {"x": np.float32([[1, -1, 0.5]])}
    program = npusim.compile(npusim.quantize(graph, [("s", feeds)], scheme=scheme, engine="npusim"))
    got, want = program.run(feeds), evaluate(graph, feeds)
    for name, value in want.items():
        assert np.abs(got[name] - value).max() <= TOLERANCE[scheme]


@pytest.mark.parametrize("op", ["slice", "pad", "tile", "transpose"])
def test_moves_without_axes_run_in_onnx_runtime(op):
    case = next(c for c in CASES if c.op == op and c.rank == 0 and not any(c.constants))
    graph = case.graph()
    feeds = feeds_of(case, graph)
    want, got = evaluate(graph, feeds), OnnxRuntimeEngine(graph).run(feeds)
    for name, value in want.items():
        assert got[name].shape == value.shape
        np.testing.assert_allclose(got[name], value, 1e-6)


def test_ranks_that_an_operator_has_not_are_refused_by_its_rule():
    refused = {(case.op, case.rank) for case in CASES if defined(case) is None}
    taken = {(case.op, case.rank) for case in CASES if defined(case) is not None}
    assert not refused & taken
    assert {op for op, _ in taken} == set(op_names())
    four = [op for op in op_names() if {rank for o, rank in taken if o == op} == {4}]
    assert set(four) >= {"conv2d", "pool2d", "resize"}
    assert {rank for op, rank in taken if op == "relu"} == set(RANKS)


def test_no_array_is_given_an_axis_in_passing():
    # numpy's own ascontiguousarray makes one axis of none: np.asarray(.., order="C") keeps it
    sources = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 100
    assert not [str(path) for path in sources if "ascontiguousarray(" in path.read_text()]


def test_info_is_silent_while_it_asks(caplog):
    cases = (c for c in CASES if c.op == "layer_norm" and c.rank == 4)
    graph = next(c for c in cases if c.constants == (False, True, True)).graph()
    with caplog.at_level(logging.WARNING, "npusim"):
        assert refusals(graph) == {}
    assert not caplog.records  # i8 rows of negative sums are named when the model is compiled
    feeds = [("s", {"x0": np.ones((1, 4, 6, 6), np.float32)})]
    npusim.compile(npusim.quantize(graph, feeds, scheme="i8", engine="npusim"))
    assert caplog.records


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_layers_of_constants_in_a_file_that_does_not_fold_them(dtype, tmp_path):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    rng, coded = np.random.default_rng(0), dtype == "int8"
    quant = (0.05, 3) if coded else None

    def numbers():
        return rng.uniform(-2, 2, (1, 4)).astype(np.float32) if not coded else (
            rng.integers(-100, 100, (1, 4)).astype(np.int8)
        )  # fmt: skip

    model = Model()
    main = model.function()
    x, t, u, y = (main.tensor(name, (1, 4), dtype, quant=quant) for name in "xtuy")
    main.op("ADD", [main.constant(name, numbers(), quant) for name in "ab"], [t], "AddOptions")
    main.op("RELU", [t], [u])
    main.op("ADD", [x, u], [y], "AddOptions")
    main.proto.inputs, main.proto.outputs = [x], [y]
    path, feed = model.save(tmp_path / "m.tflite"), numbers()
    runtime = litert.Interpreter(str(path))
    runtime.allocate_tensors()
    runtime.set_tensor(runtime.get_input_details()[0]["index"], feed)
    runtime.invoke()
    want = runtime.get_tensor(runtime.get_output_details()[0]["index"])
    graph = npusim.load_model(path)
    for level in (0, 3):
        ready = npusim.float16(graph, optimization_level=level)
        program = npusim.compile(ready, optimization_level=level)
        (got,) = program.run_codes({graph.inputs[0]: feed}).values()
        assert np.abs(got.astype(float) - want).max() <= (1 if coded else 0.01)
        npusim.estimate(program)
