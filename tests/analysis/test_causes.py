"""Each cause of error is found on a model in which it was planted, and not in its sound twin."""

import re
from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim.analysis.analyze import analyze
from npusim.errors import ConfigError, InputError
from npusim.ir.attrs import AxisAttrs, ClipAttrs, Conv2dAttrs, EltwiseAttrs
from npusim.ir.dtypes import DType
from npusim.testing import GraphBuilder

RNG = np.random.default_rng(5)


def conv(b, source, name, weights, bias=None, **attrs):
    weights = np.asarray(weights, np.float32)
    bias = np.zeros(len(weights)) if bias is None else bias
    inputs = [source, b.constant(f"{name}.w", weights), b.constant(f"{name}.b", bias)]
    return b.node("conv2d", inputs, name, Conv2dAttrs(**attrs))


def samples(*values):
    return [(f"sample {i}", {"x": value.astype(np.float32)}) for i, value in enumerate(values)]


def analysed(graph, calibration, feeds=None, scheme="u8"):
    program = npusim.compile(npusim.quantize(graph, calibration, scheme=scheme))
    result = analyze(graph, program, feeds or calibration[0][1])
    return {row.tensor: row for row in result.layers}, result


def causes(row):
    return [finding.cause.value for finding in row.findings]


def plain_net():
    b = GraphBuilder()
    b.input("x", 1, 8, 12, 12)
    conv(b, "x", "a", RNG.normal(size=(8, 8, 3, 3)) * 0.2, pad=(1, 1, 1, 1))
    b.node("relu", ["a"], "r")
    conv(b, "r", "y", RNG.normal(size=(8, 8, 1, 1)) * 0.2)
    return b.done("y")


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16", "f16"])
def test_a_sound_network_has_no_findings(scheme):
    x = samples(RNG.uniform(-1, 1, (1, 8, 12, 12)))
    rows, result = analysed(plain_net(), x, scheme=scheme)
    assert [row.verdict for row in rows.values()] == ["ok", "ok"]
    assert result.first_wrong is None
    assert result.bad == ()
    steps = rows["y"].entire.max_steps
    assert np.isnan(steps) if scheme == "f16" else steps > 0


def test_clipped_range():
    graph = plain_net()
    graph.constants["a.w"][:6] += 0.3
    graph.constants["a.w"][6:] -= 0.3
    x = samples(RNG.uniform(-1, 1, (1, 8, 12, 12)))
    rows, _ = analysed(graph, x, {"x": np.full((1, 8, 12, 12), 0.9, np.float32)})
    row = rows["r"]
    assert row.verdict == "clipped_range"
    assert row.severity == "bad"
    assert row.clipped_high > 0
    assert row.clipped_low == 0  # relu: zeros at the low end are no clipping
    assert row.at_low > 0
    assert row.seen_high > row.range_high
    assert f"{row.seen_high:.6g}" in row.reason
    assert "more data" in row.suggestion


def test_a_clipped_input_of_the_network_is_named_at_its_first_layer():
    x = RNG.uniform(-1, 1, (1, 8, 12, 12))
    rows, result = analysed(plain_net(), samples(x), {"x": (x * 3).astype(np.float32)})
    assert rows["r"].verdict == "clipped_range"
    assert "input 'x' is clipped" in rows["r"].reason
    assert "mean and std" in rows["r"].suggestion
    assert result.bad[0].layer == rows["r"].layer


@pytest.mark.parametrize("at_the_input", [False, True])
def test_values_cut_in_front_of_a_sigmoid_name_the_rule_and_no_more_data(at_the_input):
    b = GraphBuilder(seed=1)
    b.input("x", 1, 4, 6, 6)
    wide = "x" if at_the_input else b.conv("x", 4, 1, output="c")
    b.node("sigmoid", [wide], "s")
    b.node("add", [wide, "x"], "y")
    x = samples(RNG.standard_normal((1, 4, 6, 6)) * 10)
    rows, _ = analysed(b.done("y", "s"), x)
    row = rows["y" if at_the_input else "c"]
    assert row.verdict == "clipped_range"
    sigmoid = "n_s_1" if at_the_input else "n_s_2"
    assert f"a sigmoid reads ({sigmoid}) are cut at -6.3 and 6.3" in row.reason
    assert f"raise {sigmoid} to dynamic_fixed_point-i16" in row.suggestion
    assert "calibrate" not in row.suggestion


def test_outlier_in_this_sample_and_in_another():
    b = GraphBuilder()
    b.input("x", 1, 4, 40, 40)
    conv(b, "x", "y", np.eye(4).reshape(4, 4, 1, 1))
    graph = b.done("y")
    calm = RNG.normal(size=(1, 4, 40, 40))
    wild = calm.copy()
    wild[0, 0, 0, 0] = 400
    rows, _ = analysed(graph, samples(wild))
    assert rows["y"].verdict == "outlier_range"
    assert "stretch the range" in rows["y"].reason
    assert "kl_divergence" in rows["y"].suggestion
    rows, _ = analysed(graph, samples(calm, wild))
    assert rows["y"].verdict == "outlier_range"
    assert "drop the calibration sample" in rows["y"].suggestion
    assert f"this sample's values stay within +-{np.abs(calm).max():.6g}" in rows["y"].reason
    rows, _ = analysed(graph, samples(calm))
    assert rows["y"].verdict == "ok"


def concat_net(scale, size=8):
    b = GraphBuilder()
    b.input("x", 1, 4, size, size)
    small = conv(b, "x", "small", np.eye(4).reshape(4, 4, 1, 1) * scale)
    large = conv(b, "x", "large", RNG.normal(size=(4, 4, 1, 1)))
    b.node("concat", [small, large], "joined", AxisAttrs(axis=1))
    return b.done("joined")


def test_mixed_scale_concat():
    x = samples(RNG.uniform(-1, 1, (1, 4, 8, 8)))
    rows, _ = analysed(concat_net(0.004), x)
    assert rows["joined"].verdict == "mixed_concat"
    assert "cut the model before" in rows["joined"].suggestion
    assert "no_join=" in rows["small"].suggestion
    assert "'small'" in rows["joined"].reason
    assert "SQNR" in rows["joined"].reason
    assert rows["small"].verdict == "mixed_concat"
    assert "n_joined" in rows["small"].reason
    assert "mixed_concat" not in causes(rows["large"])
    rows, _ = analysed(concat_net(1.0), x)
    assert all("mixed_concat" not in causes(row) for row in rows.values())


def test_a_range_that_a_concat_joined_is_no_outlier():
    """Between a quarter and an eighth of the joint range: no fault of mixed_concat either."""
    x = samples(RNG.uniform(-1, 1, (1, 4, 40, 40)))
    row = analysed(concat_net(0.6, 40), x)[0]["small"]
    used = row.seen_high / row.range_high
    assert 1 / 8 < used < 1 / 4
    assert causes(row) == []


@pytest.mark.parametrize("relu6", [False, True])
def test_depthwise_with_unequal_channel_ranges(relu6):
    def net(spread):
        b = GraphBuilder()
        b.input("x", 1, 16, 8, 8)
        weights = np.random.default_rng(1).normal(size=(16, 1, 3, 3))
        weights *= spread.reshape(16, 1, 1, 1)
        conv(b, "x", "d", weights, group=16, pad=(1, 1, 1, 1))
        if not relu6:
            return b.done("d")
        b.node("relu6", ["d"], "y")
        return b.done("y")

    x = samples(RNG.uniform(-1, 1, (1, 16, 8, 8)))
    name = "y" if relu6 else "d"
    spread = np.where(np.arange(16) % 2, 1.0, 0.004)
    rows, _ = analysed(net(spread), x)
    row = rows.get("d") or rows[name]
    assert "unequal_channels" in causes(row)
    finding = next(f for f in row.findings if f.cause.value == "unequal_channels")
    assert "8 of 16 depthwise channels" in finding.reason
    assert "equalize" in finding.suggestion
    assert ("relu6" in finding.suggestion) == relu6
    rows, _ = analysed(net(np.ones(16)), x)
    assert all("unequal_channels" not in causes(row) for row in rows.values())


def wrap_net(bias):
    b = GraphBuilder()
    b.input("x", 1, 16, 6, 6)
    weights = np.ones((2, 16, 3, 3))
    weights[0, 0, 0, 0] = -1
    conv(b, "x", "y", weights, np.full(2, bias))
    return b.done("y")


def test_accumulator_wrap():
    x = samples(RNG.uniform(0.5, 1, (1, 16, 6, 6)))
    quantized = npusim.quantize(wrap_net(0.0), x)
    node = quantized.nodes[0]
    unit = quantized.spec(node.inputs[2]).quant.scale
    limit = 2.0**31 * unit  # real value of the largest 32-bit sum
    rows, _ = analysed(wrap_net(limit * 0.99999), x)
    row = rows["y"]
    assert row.verdict == "accumulator_wrap"
    assert row.severity == "bad"
    assert "32 of 32 sums" in row.reason
    assert "i16" in row.suggestion
    rows, _ = analysed(wrap_net(limit * 4), x)
    assert "2 biases do not fit" in rows["y"].reason
    rows, _ = analysed(wrap_net(limit * 0.5), x)
    assert "accumulator_wrap" not in causes(rows["y"])


def kink_net(maximum):
    b = GraphBuilder()
    b.input("x", 1, 4, 16, 16)
    conv(b, "x", "c", np.eye(4).reshape(4, 4, 1, 1))
    b.node("clip", ["c"], "y", ClipAttrs(minimum=0.0, maximum=maximum))
    return b.done("y")


def test_table_kink():
    x = samples(RNG.uniform(-7.9, 7.9, (1, 4, 16, 16)))
    rows, _ = analysed(kink_net(5.9), x, scheme="i16")
    row = rows["y"]
    assert row.verdict == "table_kink"
    assert row.engine == "TP"
    assert "kink" in row.reason
    at = float(row.reason.split("at input ")[1].split()[0])
    assert 5.75 <= at <= 6.0  # the segment of the table that holds the kink
    rows, _ = analysed(kink_net(6.0), x, scheme="i16")  # at the end of a segment
    assert "table_kink" not in causes(rows["y"])


def test_few_steps_and_inherited():
    # y is the difference of nearly equal values: few steps of a are left
    b = GraphBuilder()
    b.input("x", 1, 1, 8, 8)
    conv(b, "x", "a", np.array([[[[1.0]]], [[[1.0]]]]), np.array([0.0, 0.003]))
    conv(b, "a", "y", np.array([[[[-40.0]], [[40.0]]]]))
    conv(b, "y", "z", np.array([[[[1.0]]]]))
    rows, result = analysed(b.done("z"), samples(RNG.uniform(-1, 1, (1, 1, 8, 8))))
    assert rows["z"].verdict == "inherited"
    assert rows["z"].individual.cosine > 0.99
    assert rows["z"].reason
    assert rows["z"].suggestion
    assert result.first_wrong == rows["y"].layer


def test_a_poor_result_says_whether_weights_inputs_or_storing_make_it():
    x = samples(RNG.uniform(-1, 1, (1, 1, 8, 8)))
    b = GraphBuilder()
    b.input("x", 1, 1, 8, 8)
    conv(b, "x", "a", np.array([[[[1.0]]], [[[1.0]]]]), np.array([0.0, 0.003]))
    conv(b, "a", "y", np.array([[[[-40.0]], [[40.0]]]]))
    rows, _ = analysed(b.done("y"), x)
    assert rows["y"].verdict == "few_steps"
    shares = dict(re.findall(r"stored (\w+) (\d+)%", rows["y"].reason))
    assert int(shares["inputs"]) > 50
    assert "inputs (a)" in rows["y"].suggestion
    # two equal channels whose weights nearly cancel, beside a large weight
    b = GraphBuilder()
    b.input("x", 1, 3, 8, 8)
    conv(b, "x", "y", np.array([[[[0.2]], [[-0.2]], [[1.3]]], [[[1.0]], [[-0.996]], [[0.0]]]]))
    same = RNG.uniform(0.5, 1, (1, 1, 8, 8))
    feeds = samples(np.concatenate([same, same, np.zeros_like(same)], axis=1))
    rows, _ = analysed(b.done("y"), feeds)
    assert rows["y"].verdict == "few_steps"
    assert "stored weights 100%" in rows["y"].reason
    assert "equalize" in rows["y"].suggestion


def test_a_fused_and_a_lifted_layer_keep_their_counterpart():
    b = GraphBuilder()
    b.input("x", 1, 4, 6, 6)
    conv(b, "x", "c", RNG.normal(size=(4, 4, 1, 1)) * 1e-6, RNG.normal(size=4))
    graph = b.done("c")
    rows, result = analysed(graph, samples(RNG.uniform(-1, 1, (1, 4, 6, 6))), scheme="f16")
    lifted = [row for row in rows.values() if row.tensor != "c"]
    assert [row.verdict for row in lifted] == ["no_reference"]
    assert rows["c"].verdict == "ok"
    assert rows["c"].entire.cosine > 0.9999
    assert result.to_dict()["layers"][0]["entire"] is None


def test_nan_in_the_float_result_names_the_layer():
    graph = plain_net()
    program = npusim.compile(npusim.quantize(graph, samples(RNG.uniform(-1, 1, (1, 8, 12, 12)))))
    broken = graph.copy(constants={**graph.constants, "a.b": np.full(8, np.nan, np.float32)})
    with pytest.raises(InputError, match="n_r_2"):
        analyze(broken, program, {"x": np.zeros((1, 8, 12, 12), np.float32)})


def test_quantized_graphs_are_no_reference():
    x = samples(RNG.uniform(-1, 1, (1, 8, 12, 12)))
    quantized = npusim.quantize(plain_net(), x)
    with pytest.raises(ConfigError, match="float source"):
        analyze(quantized, npusim.compile(quantized), x[0][1])


def test_other_sample_shapes_are_refused():
    graph = plain_net()
    x = samples(RNG.uniform(-1, 1, (1, 8, 12, 12)))
    program = npusim.compile(npusim.quantize(graph, x).copy(batch=3))
    assert analyze(graph, program, x[0][1]).layers  # a batch is analysed with one sample
    spec = replace(graph.spec("x"), shape=(1, 8, 10, 10))
    assert spec.shape != graph.spec("x").shape
    with pytest.raises(InputError, match=r"\(1, 8, 12, 12\)"):
        analyze(graph, program, {"x": np.zeros(spec.shape, np.float32)})


@pytest.mark.parametrize("scheme", ["u8", "i8", "i16", "f16"])
def test_a_constant_without_axes_may_have_several_readers(scheme):
    net = GraphBuilder(DType.F32)
    x = net.input("x", 1, 4, 6, 6)
    two = net.constant("two", np.float32(2))
    left = net.node("sub", [two, x], attrs=EltwiseAttrs())
    right = net.node("div", [two, net.node("exp", [x])], attrs=EltwiseAttrs())
    net.node("add", [left, right], "y", attrs=EltwiseAttrs())
    graph = net.done()
    assert graph.spec("two").shape == ()
    x = samples(np.random.default_rng(0).standard_normal((1, 4, 6, 6)))
    rows, _ = analysed(graph, x, scheme=scheme)
    assert {"y"} <= set(rows)


def scaled(small):
    """Return x times a constant, behind it a relu."""
    b = GraphBuilder()
    b.input("x", 1, 4, 6, 6)
    b.node("mul", ["x", b.constant("k", np.full((1, 4, 1, 1), small, np.float32))], "m")
    return b.done(b.node("relu", ["m"], "y"))


@pytest.mark.parametrize("small", [1e-9, 2e-5])
def test_a_constant_that_float16_does_not_hold_is_blamed_and_not_the_picture(small):
    x = {"x": RNG.normal(size=(1, 4, 6, 6)).astype(np.float32) * 1e3}
    for value, verdict in ((small, "vanished_constant"), (0.5, "ok")):
        graph = scaled(value)
        program = npusim.compile(npusim.float16(graph))
        found = analyze(graph, program, x)
        assert found.layers[0].verdict == verdict
        assert found.hint == ""
        if verdict != "ok":
            assert "constant 'k' became 0: 4 of its 4 numbers" in found.layers[0].reason
            assert "float16 (hybrid" not in found.layers[0].suggestion
        run = npusim.record_program(program, x, preprocessed=True)
        hint = npusim.compare(run, npusim.record_float(graph, x)).hint
        assert bool(hint) == (verdict != "ok" and small > 2**-24)  # below, f16 has no other value
        assert "although both runs were fed the same" in hint or not hint


def test_constants_that_were_0_or_are_folded_are_not_blamed():
    x = {"x": RNG.normal(size=(1, 4, 6, 6)).astype(np.float32)}
    graph = scaled(0.0)
    found = analyze(graph, npusim.compile(npusim.float16(graph)), x)
    assert "vanished_constant" not in [c for row in found.layers for c in causes(row)]


def test_preprocessing_is_suspected_where_the_runs_were_fed_differently_or_nobody_knows():
    x = RNG.uniform(1, 2, (1, 8, 12, 12)).astype(np.float32)
    graph = plain_net()
    program = npusim.compile(npusim.float16(graph))
    run = npusim.record_program(program, {"x": x}, preprocessed=True)
    source = npusim.record_float(graph, {"x": -x})
    assert "were fed different values: look at preprocessing" in npusim.compare(run, source).hint
    unknown = replace(source, fed={})
    hint = npusim.compare(run, unknown).hint
    assert "look at preprocessing" in hint
    assert "different values" not in hint
    assert analyze(graph, program, {"x": x}, reference=source).hint
