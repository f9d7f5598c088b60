"""MXNet networks: against recorded outputs of the real program, slow references, and its rules."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import npusim
from npusim.conformance.importer_cases import read_cases
from npusim.conformance.importers import replay_case
from npusim.errors import ModelImportError, UnsupportedOpError
from npusim.host.runner import network_results
from npusim.importers.mxnet.importer import load_mxnet
from npusim.importers.mxnet.reshaping import reshaped
from npusim.reference.evaluate import evaluate
from tests.importers.mxnet_build import Net, params

RECORDS = list(read_cases(Path(__file__).with_name("mxnet_recorded.jsonl")))
FAST = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def load(folder, text, arrays=None, **options):
    (folder / "net-symbol.json").write_text(text)
    if arrays is None:
        return load_mxnet(folder / "net-symbol.json", False, **options)
    (folder / "net-0000.params").write_bytes(params(arrays))
    return load_mxnet(folder / "net-symbol.json", folder / "net-0000.params", **options)


def run(graph, **inputs):
    feeds = {k: np.asarray(v, graph.spec(k).dtype.numpy) for k, v in inputs.items()}
    results = network_results(graph, evaluate(graph, feeds), feeds)
    return [results[name] for name in graph.results]


def one(folder, kind, x, arrays=None, **attrs):
    """Return the results of one operator on ``data`` and learned arrays."""
    net = Net()
    refs = [net.var("data"), *(net.var(name) for name in arrays or {})]
    net.op(kind, "n", *refs, **attrs)
    x = np.asarray(x, np.float32)
    graph = load(folder, net.text(), arrays, input_shapes={"data": x.shape})
    return run(graph, data=x)


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.label[:60])
def test_recorded_networks_have_the_recorded_outputs(case):
    assert replay_case(case) == ("", "")


def test_the_records_show_every_kind_of_converter():
    kinds = {kind for case in RECORDS for kind in case.layers}
    assert len(kinds) > 35


def numbers(seed, shape):
    return np.random.default_rng(seed).integers(-16, 17, shape).astype(np.float32) / 8


@FAST
@given(
    data=st.data(),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kind=st.sampled_from(["max", "avg", "sum"]),
    convention=st.sampled_from(["valid", "full"]),
    counted=st.booleans(),
)
def test_pooling_is_what_windows_say(
    tmp_path, data, size, kernel, stride, kind, convention, counted
):
    pad = tuple(data.draw(st.integers(0, k - 1)) for k in kernel)
    x = numbers(size[0] * 9 + size[1], (1, 2, *size))
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "pool_type": kind}
    if any(n + 2 * p < k for n, p, k in zip(size, pad, kernel, strict=True)):
        return
    attrs |= {"pooling_convention": convention, "count_include_pad": counted}
    (found,) = one(tmp_path, "Pooling", x, **attrs)
    up = math.ceil if convention == "full" else math.floor
    counts = [
        up((n + 2 * p - k) / s) + 1 for n, p, k, s in zip(size, pad, kernel, stride, strict=True)
    ]
    assert found.shape == (1, 2, *counts)
    for c, i, j in product(range(2), range(counts[0]), range(counts[1])):
        spans = []
        for a, cell in ((0, i), (1, j)):
            begin = cell * stride[a] - pad[a]
            spans.append((begin, min(begin + kernel[a], size[a] + pad[a])))
        (top, bottom), (left, right) = spans
        part = x[0, c, max(top, 0) : bottom, max(left, 0) : right]
        if not part.size:
            wanted = -3.4028234663852886e38 if kind == "max" else 0.0
        elif kind == "avg":
            area = (bottom - top) * (right - left) if counted else part.size
            wanted = part.sum() / area
        else:
            wanted = part.max() if kind == "max" else part.sum()
        assert found[0, c, i, j] == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@FAST
@given(
    rank=st.integers(1, 3),
    group=st.sampled_from([1, 2]),
    pad=st.integers(0, 2),
    stride=st.integers(1, 3),
    dilate=st.integers(1, 2),
    bias=st.booleans(),
)
def test_convolution_is_a_sum_of_products(tmp_path, rank, group, pad, stride, dilate, bias):
    sizes, kernel = (6, 5, 7)[:rank], (2, 3, 1)[:rank]
    x = numbers(rank, (1, 2 * group, *sizes))
    w = numbers(rank + 9, (2 * group, 2, *kernel))
    arrays = {"w": w} | ({"b": numbers(3, 2 * group)} if bias else {})
    (found,) = one(
        tmp_path,
        "Convolution",
        x,
        arrays,
        kernel=kernel,
        num_filter=2 * group,
        num_group=group,
        pad=(pad,) * rank,
        stride=(stride,) * rank,
        dilate=(dilate,) * rank,
        no_bias=not bias,
    )
    wide = np.pad(x, ((0, 0), (0, 0), *((pad, pad),) * rank))
    counts = [
        (n - dilate * (k - 1) - 1) // stride + 1
        for n, k in zip(wide.shape[2:], kernel, strict=True)
    ]
    wanted = np.zeros((1, 2 * group, *counts))
    for place in product(*map(range, counts)):
        spans = tuple(
            slice(p * stride, p * stride + dilate * (k - 1) + 1, dilate)
            for p, k in zip(place, kernel, strict=True)
        )
        window = wide[(0, slice(None), *spans)]
        for o in range(2 * group):
            own = window[o // 2 * 2 : o // 2 * 2 + 2]
            wanted[(0, o, *place)] = (own * w[o]).sum() + (arrays["b"][o] if bias else 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@FAST
@given(
    x=st.lists(st.integers(-40, 40), min_size=4, max_size=4),
    y=st.lists(st.integers(-3, 3), min_size=4, max_size=4),
)
def test_comparisons_and_roundings_spelt_with_the_chips_operators(tmp_path, x, y):
    a, b = np.array([x], np.float32) / 8, np.array([y], np.float32)
    rules = {
        "_equal": a == b,
        "_not_equal": a != b,
        "_lesser": a < b,
        "_lesser_equal": a <= b,
        "_greater": a > b,
        "_greater_equal": a >= b,
        "_logical_and": (a != 0) & (b != 0),
        "_logical_or": (a != 0) | (b != 0),
        "_logical_xor": (a != 0) ^ (b != 0),
    }
    net = Net()
    first, second = net.var("a"), net.var("b")
    heads = [net.op(kind, f"n{kind}", first, second) for kind in rules]
    steps = {
        "sign": np.sign(a),
        "round": np.sign(a) * np.floor(np.abs(a) + 0.5),
        "rint": np.ceil(a - 0.5),
        "fix": np.trunc(a),
        "ceil": np.ceil(a),
    }
    heads += [net.op(kind, f"n{kind}", first) for kind in steps]
    heads.append(net.op("where", "w", second, first, second))
    graph = load(tmp_path, net.text(*heads), input_shapes={"a": (1, 4), "b": (1, 4)})
    wanted = [*rules.values(), *steps.values(), np.where(b != 0, a, b)]
    for found, value in zip(run(graph, a=a, b=b), wanted, strict=True):
        np.testing.assert_array_equal(found, value.astype(np.float32))


@pytest.mark.parametrize(
    ("codes", "reverse", "wanted"),
    [
        ((-1,), False, (48,)),
        ((0, -3, 0), False, (2, 12, 2)),
        ((-4, 1, 2, -2), False, (1, 2, 3, 4, 2)),
        ((0, -4, -1, 3, -2), False, (2, 1, 3, 4, 2)),
        ((-1, 0, 0), True, (6, 4, 2)),
        ((0, 0, -4, 2, -1, 0), False, (2, 3, 2, 2, 2)),
        ((-4, 2, -1, 0, 0, 0), True, (2, 1, 3, 4, 2)),
    ],
)
def test_the_special_numbers_of_reshape(codes, reverse, wanted):
    assert reshaped((2, 3, 4, 2), codes, "here", reverse=reverse) == wanted


@FAST
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(-5, 4), min_size=1, max_size=5),
    st.booleans(),
)
def test_reshape_keeps_the_elements_or_refuses(shape, codes, reverse):
    refused = None
    try:
        found = reshaped(shape, codes, "node 'r'", reverse=reverse)
    except ModelImportError as error:
        refused = error
    if refused is None:
        assert math.prod(found) == math.prod(shape)
    else:
        assert refused.where == "node 'r'"
        assert refused.rule


def statistics(gamma):
    return {"g": [gamma] * 2, "b": [1, 2], "m": [0.5, 1], "v": [4, 0.25]}


def normed(folder, gamma, **attrs):
    arrays = {k: np.array(v, np.float32) for k, v in statistics(gamma).items()}
    return one(folder, "BatchNorm", [[3.0, 5.0]], arrays, eps=0, **attrs)[0]


def test_gamma_counts_as_one_unless_fix_gamma_is_false(tmp_path):
    np.testing.assert_allclose(normed(tmp_path, 3.0), [[2.25, 10.0]])
    np.testing.assert_allclose(normed(tmp_path, 3.0, fix_gamma="1"), [[2.25, 10.0]])
    np.testing.assert_allclose(normed(tmp_path, 3.0, fix_gamma=False), [[4.75, 26.0]])


@pytest.mark.parametrize(("key", "version"), [("attrs", 10901), ("attr", 904), ("param", 0)])
def test_every_era_of_the_json_is_read(tmp_path, key, version):
    net = Net()
    data, names = net.var("data"), ("n_gamma", "n_beta", "n_moving_mean", "n_moving_var")
    learned = [net.var(name) for name in names[: 2 if key == "param" else 4]]
    net.op("BatchNorm", "n", data, *learned, fix_gamma=False, eps=0)
    text = net.text(key=key, version=version)
    prefixes = ("arg:", "arg:", "aux:", "aux:") if version else ("",) * 4
    arrays = {
        p + n: np.array(v, np.float32)
        for p, n, v in zip(prefixes, names, statistics(3.0).values(), strict=True)
    }
    graph = load(tmp_path, text, arrays, input_shapes={"data": (1, 2)})
    assert graph.inputs == ("data",)
    np.testing.assert_allclose(run(graph, data=[[3.0, 5.0]])[0], [[4.75, 26.0]])


def test_argmax_of_old_files_searches_all_elements(tmp_path):
    net = Net()
    net.op("argmax", "n", net.var("data"), axis=-1)
    x = [[1.0, 5.0], [7.0, 2.0]]
    shapes = {"input_shapes": {"data": (2, 2)}}
    np.testing.assert_array_equal(
        run(load(tmp_path, net.text(version=904), **shapes), data=x)[0], [2]
    )
    np.testing.assert_array_equal(run(load(tmp_path, net.text(), **shapes), data=x)[0], [1, 0])


def test_labels_vanish_and_softmax_of_four_axes_has_a_switch(tmp_path):
    net = Net()
    net.op("SoftmaxOutput", "softmax", net.var("data"), net.var("softmax_label"))
    shapes = {"input_shapes": {"data": (1, 2, 2, 2)}}
    graph = load(tmp_path, net.text(), **shapes)
    assert graph.inputs == ("data",)
    assert any("MKL-DNN" in note and "mkldnn=False" in note for note in graph.notes)
    x = numbers(1, (1, 2, 2, 2))
    np.testing.assert_allclose(run(graph, data=x)[0].sum(3), np.ones((1, 2, 2)), rtol=1e-5)
    other = load(tmp_path, net.text(), mkldnn=False, **shapes)
    assert run(other, data=x)[0].sum() == pytest.approx(1.0)


def ssd(folder, *, tail=True, **options):
    """A head with prior boxes and MultiBoxDetection; weights from a seed."""
    net = Net()
    data = net.var("data")
    conv = net.op("Convolution", "c", data, net.var("c_weight"), kernel=(3, 3), num_filter=4,
                  pad=(1, 1), stride=(2, 2), no_bias=True)  # fmt: skip
    relu = net.op("Activation", "r", conv, act_type="relu")
    parts = []
    for name, filters in (("loc", 8), ("cls", 6)):
        out = net.op("Convolution", name, relu, net.var(f"{name}_weight"), kernel=(1, 1),
                     num_filter=filters, no_bias=True)  # fmt: skip
        out = net.op("transpose", f"{name}_t", out, axes=(0, 2, 3, 1))
        parts.append(net.op("Flatten", f"{name}_f", out))
    rows = net.op("Reshape", "rows", parts[1], shape=(0, -1, 3))
    rows = net.op("transpose", "by_class", rows, axes=(0, 2, 1))
    scores = net.op("SoftmaxActivation", "scores", rows, mode="channel")
    boxes = net.op("_contrib_MultiBoxPrior", "boxes", relu, sizes=(0.3, 0.5), ratios=(1,))
    heads = [scores, parts[0], boxes]
    if tail:
        heads = [net.op("_contrib_MultiBoxDetection", "det", scores, parts[0], boxes)]
    arrays = {
        "c_weight": numbers(1, (4, 3, 3, 3)),
        "loc_weight": numbers(2, (8, 4, 1, 1)),
        "cls_weight": numbers(3, (6, 4, 1, 1)),
    }
    return load(folder, net.text(*heads), arrays, input_shapes={"data": (1, 3, 8, 8)}, **options)


def test_detection_is_a_host_layer_and_prior_boxes_are_constants(tmp_path):
    whole, front = ssd(tmp_path), ssd(tmp_path, tail=False)
    assert [layer.op for layer in whole.tail.layers] == ["MultiBoxDetection"]
    assert front.tail is None
    x = numbers(5, (1, 3, 8, 8))
    (rows,) = run(whole, data=x)
    scores, _, boxes = run(front, data=x)
    assert rows.shape == (1, 32, 6)
    assert boxes.shape == (1, 32, 4)
    best = rows[0, 0]
    assert best[1] == pytest.approx(scores[0, 1:].max(), rel=1e-5)
    program = npusim.compile(npusim.float16(whole))
    half = program.run({"data": x})["det_output"]
    assert half.shape == rows.shape
    assert half[0, 0, 1] == pytest.approx(best[1], rel=1e-2)


def test_nothing_reads_a_host_layer_and_outputs_cut_in_front(tmp_path):
    net = Net()
    top = net.op("topk", "t", net.var("data"), k=2, ret_typ="value")
    net.op("relu", "r", top)
    shapes = {"input_shapes": {"data": (1, 5)}}
    with pytest.raises(UnsupportedOpError, match="outputs="):
        load(tmp_path, net.text(), **shapes)
    graph = load(tmp_path, net.text(), outputs=["t_output0"], **shapes)
    np.testing.assert_array_equal(run(graph, data=[[1, 9, 3, 7, 2]])[0], [[9, 7]])


def test_all_unsupported_nodes_are_listed_with_advice(tmp_path):
    net = Net()
    data = net.var("data")
    first = net.op("sin", "s", data)
    second = net.op("ROIPooling", "p", data, first, pooled_size=(2, 2), spatial_scale=1)
    net.op("RNN", "l", second, mode="lstm")
    with pytest.raises(UnsupportedOpError) as caught:
        load(tmp_path, net.text(), input_shapes={"data": (1, 2, 4, 4)})
    text = str(caught.value)
    assert "3 unsupported layers" in text
    assert all(f"'{name}' (node " in text for name in "spl")
    assert "unroll it" in text


def test_networks_made_for_mxnets_integers_are_refused_in_one_line(tmp_path):
    net = Net()
    net.op("_contrib_quantize_v2", "q", net.var("data"), out_type="auto")
    with pytest.raises(ModelImportError, match="give the float network") as caught:
        load(tmp_path, net.text(), input_shapes={"data": (1, 2)})
    assert "node 'q' (_contrib_quantize_v2)" in str(caught.value)


def test_structure_only_has_seeded_weights_and_says_so(tmp_path):
    net = Net()
    out = net.op("Convolution", "c", net.var("data"), net.var("w"), net.var("b"), kernel=(3, 3),
                 num_filter=2)  # fmt: skip
    net.op("BatchNorm", "n", out, *(net.var(f"n{i}") for i in range(4)))
    graph = load(tmp_path, net.text(), input_shapes=[(1, 3, 5, 5)])
    assert graph.inputs == ("data",)
    assert graph.notes[0].startswith("NO TRAINED WEIGHTS")
    again = load(tmp_path, net.text(), input_shapes=[(1, 3, 5, 5)])
    x = numbers(1, (1, 3, 5, 5))
    np.testing.assert_array_equal(run(graph, data=x)[0], run(again, data=x)[0])
    assert np.abs(run(graph, data=x)[0]).max() > 0


def test_inputs_and_outputs_cut_the_network(tmp_path):
    net = Net()
    first = net.op("relu", "a", net.var("data"))
    second = net.op("tanh", "b", first)
    net.op("sigmoid", "c", second)
    graph = load(
        tmp_path, net.text(), inputs=["a"], outputs=["b"], input_shapes={"a_output": (1, 3)}
    )
    assert (graph.inputs, graph.outputs) == (("a_output",), ("b_output",))
    np.testing.assert_allclose(run(graph, a_output=[[0.5, -1, 2]])[0], np.tanh([[0.5, -1, 2]]))
    with pytest.raises(ModelImportError, match="did you mean 'b_output'"):
        load(tmp_path, net.text(), outputs=["b_outptu"], input_shapes=[(1, 3)])
    with pytest.raises(ModelImportError, match="do not depend on"):
        load(tmp_path, net.text(), inputs=["c"], outputs=["b"], input_shapes=[(1, 3)])


def test_the_shape_of_the_file_is_used_and_an_open_batch_is_one(tmp_path):
    net = Net()
    net.op("relu", "a", net.var("data", __shape__=(0, 3, 4, 4)))
    graph = load(tmp_path, net.text())
    assert graph.spec("data").shape == (1, 3, 4, 4)
    assert any("the batch is open" in note for note in graph.notes)


def test_u8_end_to_end_stays_near_float(tmp_path):
    graph = ssd(tmp_path, tail=False)
    samples = [{"data": numbers(seed, (1, 3, 8, 8))} for seed in range(4)]
    quantized = npusim.quantize(graph, [(str(n), feeds) for n, feeds in enumerate(samples)])
    program = npusim.compile(quantized)
    exact = dict(zip(graph.results, run(graph, **samples[0]), strict=True))
    found = program.run(samples[0])
    for name in graph.results:
        a, b = np.ravel(found[name]), np.ravel(exact[name])
        assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.99
