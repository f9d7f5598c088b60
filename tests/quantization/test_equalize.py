"""Equalization keeps the float function; bias correction removes the mean error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npusim
from npusim.ir.attrs import (
    Activation,
    AlphaAttrs,
    Conv2dAttrs,
    Deconv2dAttrs,
    FcAttrs,
    PadAttrs,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
)
from npusim.passes.driver import check
from npusim.quantization.apply import Formats
from npusim.quantization.bias_correction import correct_bias, corrected_layers, mean_shift
from npusim.quantization.channel_stats import channel_stats
from npusim.quantization.equalize import Relu6, equalize, find_pairs, relu6_inputs
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Plan
from npusim.quantization.schemes import Scheme
from npusim.reference.evaluate import evaluate
from npusim.testing import GraphBuilder


def spread(rng, *shape):
    """Weights whose channels differ in range by orders of magnitude."""
    reach = 10.0 ** rng.uniform(-2, 1, (shape[0], *(1,) * (len(shape) - 1)))
    return rng.normal(size=shape) * reach


def mobile(rng, activation="relu", channels=8):
    """Expand, depthwise, project, as MobileNetV2 does."""
    b = GraphBuilder()
    b.input("x", 1, 4, 8, 8)

    def conv(x, y, out_c, in_c, kernel, group=1):
        b.constant(f"w{y}", spread(rng, out_c, in_c // group, kernel, kernel))
        b.constant(f"b{y}", rng.normal(size=out_c))
        pad = (kernel // 2,) * 4
        return b.node("conv2d", [x, f"w{y}", f"b{y}"], y, Conv2dAttrs(group=group, pad=pad))

    conv("x", "e", channels, 4, 1)
    b.node(activation, ["e"], "ea")
    conv("ea", "d", channels, channels, 3, group=channels)
    b.node(activation, ["d"], "da")
    return b.done(conv("da", "y", 4, channels, 1))


def samples(rng, count=4, shape=(1, 4, 8, 8), name="x"):
    return [(f"s{i}", {name: rng.normal(size=shape).astype(np.float32)}) for i in range(count)]


def same(before, after, feeds, rtol=2e-4):
    wanted, got = evaluate(before, feeds), evaluate(after, feeds)
    for name in wanted:
        scale = np.abs(wanted[name]).max()
        np.testing.assert_allclose(got[name], wanted[name], rtol=rtol, atol=rtol * scale)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_function_stays_and_ranges_meet(seed):
    rng = np.random.default_rng(seed)
    graph = mobile(rng)
    done = equalize(graph)
    check(done.graph)
    assert [(p.first, p.second) for p in done.pairs] == [("n_e", "n_d"), ("n_d", "n_y")]
    assert done.spread_after <= done.spread_before * 1.001
    for _, feeds in samples(rng, 2):
        same(graph, done.graph, feeds)
    reach = [np.abs(done.graph.constants[done.graph.node(n).inputs[1]]) for n in ("n_d", "n_y")]
    first = reach[0].reshape(8, -1).max(1)
    second = reach[1].swapaxes(0, 1).reshape(8, -1).max(1)
    np.testing.assert_allclose(first, second, rtol=0.02)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("relu", None),
        ("identity", None),
        ("leaky_relu", AlphaAttrs(alpha=0.1)),
        ("pool2d", Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2))),
        ("pool2d", Pool2dAttrs(kind=PoolKind.AVG, kernel=(2, 2), stride=(2, 2))),
        ("pad", PadAttrs(front=(0, 0, 1, 1), back=(0, 0, 1, 1))),
    ],
)
def test_homogeneous_functions_may_lie_between(op, attrs):
    rng = np.random.default_rng(1)
    b = GraphBuilder()
    b.input("x", 1, 3, 8, 8)
    b.constant("w1", spread(rng, 6, 3, 3, 3))
    b.constant("b1", rng.normal(size=6))
    b.node("conv2d", ["x", "w1", "b1"], "c", Conv2dAttrs(activation=Activation.RELU))
    b.node(op, ["c"], "m", attrs)
    b.constant("w2", spread(rng, 6, 5, 3, 3).swapaxes(0, 1))
    b.constant("b2", rng.normal(size=5))
    graph = b.done(b.node("conv2d", ["m", "w2", "b2"], "y", Conv2dAttrs()))
    done = equalize(graph)
    assert len(done.pairs) == 1
    same(graph, done.graph, samples(rng, 1, (1, 3, 8, 8))[0][1])


def test_fully_connected_and_transposed_layers():
    rng = np.random.default_rng(2)
    b = GraphBuilder()
    b.input("x", 2, 5)
    b.constant("w1", spread(rng, 7, 5))
    b.constant("b1", rng.normal(size=7))
    b.node("fc", ["x", "w1", "b1"], "h", FcAttrs(activation=Activation.RELU))
    b.constant("w2", rng.normal(size=(3, 7)))
    b.constant("b2", rng.normal(size=3))
    graph = b.done(b.node("fc", ["h", "w2", "b2"], "y", FcAttrs()))
    done = equalize(graph)
    assert len(done.pairs) == 1
    same(graph, done.graph, samples(rng, 1, (2, 5))[0][1])
    b = GraphBuilder()
    b.input("x", 1, 3, 5, 5)
    b.constant("w1", spread(rng, 6, 3, 2, 2))
    b.constant("b1", rng.normal(size=6))
    b.node("deconv2d", ["x", "w1", "b1"], "c", Deconv2dAttrs(stride=(2, 2)))
    b.constant("w2", rng.normal(size=(4, 6, 1, 1)))
    b.constant("b2", rng.normal(size=4))
    graph = b.done(b.node("conv2d", ["c", "w2", "b2"], "y", Conv2dAttrs()))
    done = equalize(graph)
    assert len(done.pairs) == 1
    same(graph, done.graph, samples(rng, 1, (1, 3, 5, 5))[0][1])


@pytest.mark.parametrize("between", ["sigmoid", "reshape", "two readers", "output"])
def test_pairs_that_cannot_be_scaled_are_left_alone(between):
    rng = np.random.default_rng(3)
    b = GraphBuilder()
    b.input("x", 1, 3, 4, 4)
    for i in (1, 2):
        b.constant(f"w{i}", spread(rng, 3, 3, 1, 1))
        b.constant(f"b{i}", rng.normal(size=3))
    b.node("conv2d", ["x", "w1", "b1"], "c", Conv2dAttrs())
    middle, outputs = "c", ["y"]
    if between == "sigmoid":
        middle = b.node("sigmoid", ["c"], "m")
    elif between == "reshape":
        middle = b.node("reshape", ["c"], "m", ReshapeAttrs(shape=(1, 3, 4, 4)))
    elif between == "two readers":
        outputs.append(b.node("relu", ["c"], "z"))
    else:
        outputs.append("c")
    b.node("conv2d", [middle, "w2", "b2"], "y", Conv2dAttrs())
    graph = b.done(*outputs)
    assert find_pairs(graph) == ()
    assert equalize(graph).spread_after == 1.0


def test_dead_channels_stay_as_they_are():
    rng = np.random.default_rng(4)
    graph = mobile(rng)
    for name in ("we", "wd"):
        graph.constants[name] = graph.constants[name].copy()
    graph.constants["we"][2] = 0
    graph.constants["wd"][5] = 0
    done = equalize(graph)
    assert all(np.isfinite(v).all() for v in done.graph.constants.values())
    same(graph, done.graph, samples(rng, 1)[0][1])


def test_relu6_is_kept_without_samples_and_replaced_on_request():
    rng = np.random.default_rng(5)
    graph = mobile(rng, "relu6")
    assert [p.relu6 for p in find_pairs(graph)] == ["n_ea", "n_da"]
    assert equalize(graph).pairs == ()
    assert equalize(graph, relu6=Relu6.KEEP).pairs == ()
    done = equalize(graph, relu6=Relu6.REPLACE)
    assert done.replaced == ("n_ea", "n_da")
    assert {n.op for n in done.graph.nodes} == {"conv2d", "relu"}
    assert "2 relu6 replaced by relu" in done.note


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_restricted_relu6_changes_nothing_on_the_samples(seed):
    rng = np.random.default_rng(seed)
    graph = mobile(rng, "relu6")
    feeds = samples(rng)
    stats = channel_stats(graph, feeds, relu6_inputs(graph), engine="npusim")
    done = equalize(graph, relu6=Relu6.RESTRICT, stats=stats)
    assert len(done.pairs) == 2
    for _, sample in feeds:
        same(graph, done.graph, sample)
    high = stats["e"].high
    changed = done.graph.constants[done.graph.node("n_e").inputs[1]] != graph.constants["we"]
    assert not changed.reshape(8, -1).any(1)[high >= 6].any()


def test_equalized_u8_network_is_nearer_to_float():
    rng = np.random.default_rng(6)
    graph, feeds = mobile(rng), samples(np.random.default_rng(7), 6)
    errors = []
    for options in ({}, {"equalize": "restrict"}):
        ready = npusim.quantize(graph, feeds, **options)
        program = npusim.compile(ready)
        gap = [
            np.abs(program.run(f, preprocessed=True)["y"] - evaluate(graph, f)["y"]).mean()
            for _, f in feeds
        ]
        errors.append(np.mean(gap))
    assert errors[1] < 0.7 * errors[0]
    assert any("equalized across 2 pairs" in note for note in ready.notes)


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 4]))
def test_mean_shift_is_what_the_convolution_does_to_constant_channels(seed, group):
    rng = np.random.default_rng(seed)
    error, mean = rng.normal(size=(8, 4 // group, 3, 3)), rng.normal(size=4)
    b = GraphBuilder()
    b.input("x", 1, 4, 3, 3)
    b.constant("w", error)
    b.constant("b", np.zeros(8))
    graph = b.done(b.node("conv2d", ["x", "w", "b"], "y", Conv2dAttrs(group=group)))
    x = np.broadcast_to(mean.reshape(1, 4, 1, 1), (1, 4, 3, 3)).astype(np.float32)
    y = evaluate(graph, {"x": np.ascontiguousarray(x)})["y"].reshape(-1)
    np.testing.assert_allclose(mean_shift(error, mean, group), y, rtol=1e-3, atol=1e-4)


def test_corrected_bias_removes_the_mean_error_of_the_weights():
    rng = np.random.default_rng(8)
    b = GraphBuilder()
    b.input("x", 1, 16, 6, 6)
    b.constant("w", spread(rng, 12, 16, 3, 3))
    b.constant("b", rng.normal(size=12))
    graph = b.done(b.node("conv2d", ["x", "w", "b"], "y", Conv2dAttrs()))
    feeds = [(label, {"x": f["x"] + 2}) for label, f in samples(rng, 8, (1, 16, 6, 6))]
    errors = []
    for correct in (False, True):
        ready = npusim.quantize(graph, feeds, bias_correction=correct)
        program = npusim.compile(ready)
        gap = np.concatenate(
            [program.run(f, preprocessed=True)["y"] - evaluate(graph, f)["y"] for _, f in feeds]
        )
        errors.append(np.abs(gap.mean((0, 2, 3))).mean())
    assert errors[1] < errors[0] / 4
    assert any("biases corrected" in note for note in ready.notes)


def test_float16_layers_keep_their_bias():
    graph = mobile(np.random.default_rng(9))
    formats = Formats(layers={"n_d": Scheme.F16})
    assert [n.name for n in corrected_layers(graph, formats)] == ["n_e", "n_y"]
    same_graph, count = correct_bias(graph, formats, {})
    assert count == 0
    assert same_graph.constants.keys() == graph.constants.keys()


def test_equalization_does_not_depend_on_threads_or_repetition():
    rng = np.random.default_rng(10)
    graph, feeds = mobile(rng, "relu6"), samples(rng)
    found = []
    for engine in ("npusim", "npusim"):
        plan = Plan(dataset=feeds, equalize=Relu6.RESTRICT, bias_correction=True, engine=engine)
        job = Quantization(graph, plan)
        job.measure()
        found.append({k: v.tobytes() for k, v in job.graph.constants.items()})
    assert found[0] == found[1]


def test_bias_is_corrected_for_the_format_a_layer_ends_up_in():
    rng = np.random.default_rng(11)
    graph, feeds = mobile(rng), samples(rng)
    job = Quantization(graph, Plan(dataset=feeds, bias_correction=True, engine="npusim"))
    job.measure()
    shifts = []
    for scheme in (Scheme.U8, Scheme.I16, Scheme.F16):
        formats = Formats(layers={"n_da": scheme})
        changed = job.with_bias_for(formats)
        bias = changed.constants[changed.node("n_da").inputs[2]]
        shifts.append(np.abs(bias - graph.constants["bd"]).max())
    assert shifts[0] > 20 * shifts[1] > 0
    assert shifts[2] == 0
