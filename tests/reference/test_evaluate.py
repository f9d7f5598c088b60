"""The evaluator itself: feeds, observation, memory, batches and threads."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim import assets
from npusim.analysis.float_runner import run_source_float
from npusim.errors import GraphError, InputError
from npusim.importers.onnx.importer import load_onnx
from npusim.ir.attrs import (
    Activation,
    AlphaAttrs,
    AxisAttrs,
    Conv2dAttrs,
    Coordinates,
    Deconv2dAttrs,
    EltwiseAttrs,
    FcAttrs,
    GlobalPoolAttrs,
    HardSigmoidAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    PadAttrs,
    PadMode,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine
from npusim.ir.tensor import TensorSpec
from npusim.ops.unary import UNARY
from npusim.reference import conv
from npusim.reference.evaluate import Evaluator, evaluate
from npusim.reference.table import Workers
from npusim.testing import GraphBuilder


def chain():
    """Return x -> a -> b -> c, where b is a view of a, plus d that nothing reads."""
    b = GraphBuilder()
    b.node("relu", [b.input("x", 1, 2, 3, 4)], "a")
    b.node("reshape", ["a"], "b", ReshapeAttrs(shape=(1, 24)))
    b.node("exp", ["a"], "d")
    b.node("neg", ["b"], "c")
    return b.done("c")


X = np.random.default_rng(1).normal(size=(1, 2, 3, 4)).astype(np.float32)


def test_outputs_are_dense_and_owned():
    b = GraphBuilder()
    b.node("transpose", [b.input("x", 1, 2, 3, 4)], "y", TransposeAttrs(perm=(0, 2, 3, 1)))
    graph = b.done("x", "y")
    feed = X.copy()
    results = evaluate(graph, {"x": feed})
    assert list(results) == ["x", "y"]
    np.testing.assert_array_equal(results["y"], X.transpose(0, 2, 3, 1))
    for value in results.values():
        assert value.flags.c_contiguous
        assert not np.shares_memory(value, feed)


def test_observe_sees_every_activation_in_order():
    seen = {}
    results = Evaluator(chain()).run({"x": X}, observe=seen.__setitem__)
    assert list(seen) == ["x", "a", "b", "d", "c"]
    assert list(results) == ["c"]
    np.testing.assert_array_equal(seen["a"], np.maximum(X, 0))
    np.testing.assert_array_equal(seen["d"], np.exp(np.maximum(X, 0)))
    np.testing.assert_array_equal(seen["c"], -np.maximum(X, 0).reshape(1, 24))


def test_constants_are_not_observed():
    b = GraphBuilder()
    b.node("add", [b.input("x", 2), b.constant("c", [1.0, 2.0])], "y")
    seen = []
    Evaluator(b.done("y")).run({"x": np.ones(2, np.float32)}, observe=lambda n, v: seen.append(n))
    assert seen == ["x", "y"]


def test_memory_is_freed_when_no_reader_is_left():
    b = GraphBuilder()
    name = b.input("x", 1000)
    for i in range(8):
        name = b.node("abs" if i % 2 else "neg", [name], f"t{i}")
    graph = b.done(name)
    alive = []

    def observe(name, value):
        gc.collect()
        alive.append((weakref.ref(value), sum(ref() is not None for ref, _ in alive)))

    Evaluator(graph).run({"x": np.ones(1000, np.float32)}, observe=observe)
    # a step's input (and the feed, which the caller holds) may be alive while its output is shown
    assert max(count for _, count in alive) <= 2
    assert not any(ref() is not None for ref, _ in alive[1:])


def test_runs_repeat_and_leave_constants_alone():
    b = GraphBuilder()
    weights = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    names = [b.constant("w", weights), b.constant("b", np.ones(4))]
    b.node("conv2d", [b.input("x", 1, 2, 3, 4), *names], "y", Conv2dAttrs(pad=(1, 1, 1, 1)))
    evaluator = Evaluator(b.done("y"))
    feed = X.copy()
    first = evaluator.run({"x": feed})["y"]
    kept = first.copy()
    np.testing.assert_array_equal(evaluator.run({"x": feed})["y"], first)
    evaluator.run({"x": -feed})
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(feed, X)
    np.testing.assert_array_equal(evaluator.graph.constants["w"], weights)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"no data for \['x'\](.|\n)*Rule:.*'x'"),
        ({"x": X, "z": X}, r"\['z'\] are no inputs"),
        ({"x": X[0]}, r"'x'.*\(2, 3, 4\)(.|\n)*\(1, 2, 3, 4\) is expected"),
        ({"x": X.astype(np.float64)}, r"'x'.*float64(.|\n)*astype\('float32'\)"),
        ({"x": np.ones((1, 2, 3, 4), np.uint8)}, r"'x'.*uint8"),
        ({"x": np.array([None])}, r"'x'.*object"),
    ],
)
def test_wrong_feeds_are_explained(feeds, message):
    with pytest.raises(InputError, match=message):
        Evaluator(chain()).run(feeds)


def test_quantized_graph_is_refused():
    graph = chain()
    for dtype, quant in [(DType.U8, Affine(scale=0.1)), (DType.F16, graph.spec("a").quant)]:
        spec = TensorSpec(name="a", shape=(1, 2, 3, 4), dtype=dtype, quant=quant)
        changed = graph.copy(tensors=graph.tensors | {"a": spec})
        with pytest.raises(GraphError, match=r"'a'(.|\n)*Remedy: keep the graph"):
            Evaluator(changed)


def test_wrong_output_spec_is_refused():
    graph = chain()
    wrong = replace(graph.spec("b"), shape=(24, 1))
    changed = graph.copy(tensors=graph.tensors | {"b": wrong})
    with pytest.raises(GraphError, match=r"n_b(.|\n)*\(24, 1\)"):
        Evaluator(changed)


def test_infinities_and_nan_are_results():
    b = GraphBuilder()
    b.node("log", [b.input("x", 3)], "y")
    b.node("reciprocal", ["y"], "z")
    results = evaluate(b.done("y", "z"), {"x": np.array([-1, 0, 1], np.float32)})
    np.testing.assert_array_equal(results["y"], np.array([np.nan, -np.inf, 0], np.float32))
    np.testing.assert_array_equal(results["z"], np.array([np.nan, 0, np.inf], np.float32))


def test_thread_count_must_be_positive():
    with pytest.raises(GraphError, match="at least 1"):
        Evaluator(chain(), threads=0)


@given(total=st.integers(1, 500), grain=st.integers(1, 70), threads=st.integers(1, 5))
def test_workers_cover_everything_once(total, grain, threads):
    hits = np.zeros(total, np.int64)

    def work(begin, end):
        assert begin % grain == 0
        hits[begin:end] += 1

    Workers(threads).run(work, total, grain)
    assert (hits == 1).all()


def zoo(batch):
    """Return a graph of nearly all operators in which samples do not mix."""
    rng = np.random.default_rng(7)
    b = GraphBuilder()
    x = b.input("x", batch, 6, 20, 18)

    def fixed(name, *shape, positive=False):
        value = rng.normal(size=shape)
        return b.constant(name, np.abs(value) + 0.1 if positive else value)

    def conv(name, source, out_c, kernel, attrs):
        in_c = b.graph.spec(source).shape[1] // attrs.group
        weights = fixed(f"{name}.w", out_c, in_c, *kernel)
        return b.node("conv2d", [source, weights, fixed(f"{name}.b", out_c)], name, attrs)

    same = Conv2dAttrs(pad=(1, 1, 1, 1))
    conv("conv", x, 19, (3, 3), same)
    conv("pointwise", "conv", 12, (1, 1), Conv2dAttrs(activation=Activation.RELU6))
    conv("grouped", "pointwise", 12, (3, 3), replace(same, group=3, dilation=(1, 1)))
    conv("depthwise", "pointwise", 12, (3, 3), replace(same, group=12, stride=(2, 2)))
    names = [fixed("deconv.w", 5, 12, 3, 2), fixed("deconv.b", 5)]
    b.node("deconv2d", ["depthwise", *names], "deconv", Deconv2dAttrs(stride=(2, 2)))
    for kind in PoolKind:
        attrs = Pool2dAttrs(kind=kind, kernel=(3, 3), stride=(2, 2), pad=(1, 0, 1, 0))
        b.node("pool2d", ["grouped"], f"pool_{kind.value}", attrs)
        b.node("global_pool", ["conv"], f"global_{kind.value}", GlobalPoolAttrs(kind=kind))
    for i, op in enumerate(("add", "mul", "sub", "max", "min")):
        other = "pointwise" if i % 2 else "global_scale"
        if i == 0:
            fixed("global_scale", 12, 1, 1)
        b.node(op, ["grouped", other], f"{op}_result", EltwiseAttrs())
    b.node("div", ["grouped", fixed("divisor", 12, 1, 1, positive=True)], "quotient")
    b.node("abs", ["grouped"], "magnitude")
    b.node("pow", ["magnitude", b.constant("power", np.array([0.3]))], "powers")
    special = {
        "leaky_relu": AlphaAttrs(alpha=0.1),
        "elu": AlphaAttrs(alpha=0.7),
        "hard_sigmoid": HardSigmoidAttrs(),
    }
    for op in UNARY:
        if op not in ("clip", "convert"):
            source = "magnitude" if op in ("log", "sqrt", "rsqrt", "reciprocal") else "grouped"
            b.node(op, [source], f"{op}_of", special.get(op))
    crop = SliceAttrs(begin=(0, 1, 3, 15), end=(batch, 12, 20, 2), step=(1, 2, 3, -2))
    b.node("slice", ["grouped"], "cropped", crop)
    b.node("sigmoid", ["cropped"], "sigmoid_cropped")
    b.node("exp", ["cropped"], "exp_cropped")
    b.node("tanh", ["cropped"], "tanh_cropped")
    b.node("prelu", ["grouped", fixed("slope", 12, 1, 1)], "prelued")
    for mode in ResizeMode:
        for size in [(33, 41), (7, 9)]:
            attrs = ResizeAttrs(size=size, mode=mode, coordinates=Coordinates.HALF_PIXEL)
            b.node("resize", ["grouped"], f"{mode.value}_{size[0]}", attrs)
    front, back = (0, 0, 1, 2), (0, 0, 3, 1)
    b.node("pad", ["grouped"], "padded", PadAttrs(front=front, back=back, mode=PadMode.REFLECT))
    b.node("concat", ["grouped", "pointwise"], "joined", AxisAttrs(axis=1))
    for op in ("reduce_mean", "reduce_sum", "reduce_max", "reduce_prod"):
        for axes in [(2, 3), (1,), (1, 3), (1, 2, 3)]:
            b.node(op, ["grouped"], f"{op}_{axes}", ReduceAttrs(axes=axes))
    for axis in (1, 2, 3):
        for op in ("softmax", "log_softmax", "l2norm"):
            b.node(op, ["grouped"], f"{op}_{axis}", AxisAttrs(axis=axis))
    channel = [fixed("gamma", 12), fixed("beta", 12)]
    b.node("instance_norm", ["grouped", *channel], "instance")
    batch_inputs = [*channel, fixed("mean", 12), fixed("var", 12, positive=True)]
    b.node("batch_norm", ["grouped", *batch_inputs], "normalised")
    layer = [fixed("layer.gamma", 18), fixed("layer.beta", 18)]
    b.node("layer_norm", ["grouped", *layer], "layer", NormAttrs(axis=3))
    b.node("lrn", ["grouped"], "local", LrnAttrs(size=5, alpha=0.1))
    b.node("transpose", ["grouped"], "swapped", TransposeAttrs(perm=(0, 1, 3, 2)))
    b.node("matmul", ["grouped", "swapped"], "product", MatmulAttrs())
    b.node("matmul", ["grouped", fixed("right", 18, 33)], "product_fixed", MatmulAttrs())
    b.node("reshape", ["grouped"], "flat", ReshapeAttrs(shape=(batch, 12 * 20 * 18)))
    names = [fixed("fc.w", 37, 12 * 20 * 18), fixed("fc.b", 37)]
    b.node("fc", ["flat", *names], "dense", FcAttrs())
    b.node("softmax", ["dense"], "classes", AxisAttrs(axis=1))
    outputs = tuple(name for node in b.graph.nodes for name in node.outputs)
    return b.done(*outputs)


SAMPLES = np.random.default_rng(11).normal(size=(6, 6, 20, 18)).astype(np.float32)


@pytest.fixture(scope="module")
def one_by_one():
    evaluator = Evaluator(zoo(1), threads=1)
    results = [evaluator.run({"x": sample[None]}) for sample in SAMPLES]
    return {name: np.concatenate([r[name] for r in results]) for name in results[0]}


@pytest.mark.parametrize("split", [[6], [2, 4], [3, 1, 2]])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_depend_on_neither_batch_nor_threads(one_by_one, split, threads, monkeypatch):
    monkeypatch.setattr(conv, "WORTH_THREADS", 0)  # split even these small layers
    begin = 0
    for batch in split:
        samples = SAMPLES[begin : begin + batch]
        for name, value in Evaluator(zoo(batch), threads=threads).run({"x": samples}).items():
            expected = one_by_one[name][begin : begin + batch]
            assert value.tobytes() == expected.tobytes(), name
        begin += batch


def test_memory_order_of_the_feed_does_not_matter(one_by_one):
    feed = np.ascontiguousarray(SAMPLES.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for name, value in Evaluator(zoo(6)).run({"x": feed}).items():
        assert value.tobytes() == one_by_one[name].tobytes(), name


def test_bundled_model_agrees_with_onnxruntime_in_every_tensor():
    pytest.importorskip("onnxruntime")
    path = Path(assets.__file__).parent / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    graph = load_onnx(path, input_shapes=[(2, 3, 48, 192)])
    (name,) = graph.inputs
    feeds = {name: np.random.default_rng(0).uniform(-1, 1, (2, 3, 48, 192)).astype(np.float32)}
    seen = {}
    Evaluator(graph).run(feeds, observe=seen.__setitem__)
    source = run_source_float(path, feeds)
    common = [key for key in source if key in seen]
    assert len(common) > 150
    assert set(graph.outputs) <= set(common)
    for key in common:
        atol = 3e-5 * np.abs(source[key]).max()
        np.testing.assert_allclose(seen[key], source[key], rtol=1e-4, atol=atol, err_msg=key)
