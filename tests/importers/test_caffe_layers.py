"""Caffe layers against slow definitions of what Caffe computes."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from npusim.errors import ModelImportError
from tests.importers.caffe_build import input_layer, layer, load, run, weights

FAST = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RNG = np.random.default_rng(3)


def one(tmp_path, kind, x, more="", blobs=None, inputs=()):
    """Return the output of a network of one layer."""
    extra = [f"x{i}" for i in range(len(inputs))]
    text = input_layer("x", np.shape(x))
    text += "".join(input_layer(n, np.shape(v)) for n, v in zip(extra, inputs, strict=True))
    text += layer(kind, ("x", *extra), ("y",), more)
    graph = load(tmp_path, text, None if blobs is None else weights({"l": blobs}))
    return run(graph, x, *inputs)[0]


def numbers(*shape):
    return (RNG.integers(-16, 17, shape) / 8).astype(np.float32)


def slow_convolution(x, w, b, stride, pad, dilation, group):
    n, c, h, width = x.shape
    o, _, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out_h = (h + 2 * pad - dilation * (kh - 1) - 1) // stride + 1
    out_w = (width + 2 * pad - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((n, o, out_h, out_w))
    for f in range(o):
        first = f // (o // group) * (c // group)
        for i in range(out_h):
            for j in range(out_w):
                rows = slice(i * stride, i * stride + dilation * (kh - 1) + 1, dilation)
                columns = slice(j * stride, j * stride + dilation * (kw - 1) + 1, dilation)
                part = padded[:, first : first + c // group, rows, columns]
                y[:, f, i, j] = (part * w[f]).sum((1, 2, 3)) + b[f]
    return y


@FAST
@given(data=st.data())
def test_convolution(tmp_path, data):
    draw = data.draw
    group = draw(st.sampled_from([1, 2, 3]))
    c, o = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 2))
    k, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pad, dilation = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    size = draw(st.integers((k - 1) * dilation + 1, 8))
    x, w, b = numbers(1, c, size, size + 1), numbers(o, c // group, k, k), numbers(o)
    more = (
        f"convolution_param {{ num_output: {o} kernel_size: {k} stride: {stride} pad: {pad} "
        f"dilation: {dilation} group: {group} }}"
    )
    y = one(tmp_path, "Convolution", x, more, [w, b])
    np.testing.assert_allclose(y, slow_convolution(x, w, b, stride, pad, dilation, group), 1e-5)


def slow_pool(x, kind, k, s, p, up=True):
    """Caffe's loops, with what happens outside the map."""
    h, w = x.shape[2:]
    counts = []
    for n in (h, w):
        count = (math.ceil if up else math.floor)((n + 2 * p - k) / s) + 1
        if p and (count - 1) * s >= n + p:
            count -= 1
        counts.append(count)
    y = np.zeros((*x.shape[:2], *counts), np.float32)
    for i in range(counts[0]):
        for j in range(counts[1]):
            top, left = i * s - p, j * s - p
            bottom, right = min(top + k, h + p), min(left + k, w + p)
            size = (bottom - top) * (right - left)
            part = x[:, :, max(top, 0) : min(bottom, h), max(left, 0) : min(right, w)]
            if kind == "MAX":
                y[:, :, i, j] = part.max((2, 3), initial=np.finfo(np.float32).min)
            else:
                with np.errstate(all="ignore"):
                    y[:, :, i, j] = np.float32(part.sum((2, 3))) / np.float32(size)
    return y


@FAST
@example(kind="AVE", height=1, width=2, k=1, s=2, p=0, rounding="")
@given(
    kind=st.sampled_from(["MAX", "AVE"]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    k=st.integers(1, 4),
    s=st.integers(1, 4),
    p=st.integers(0, 2),
    rounding=st.sampled_from(["", "CEIL", "FLOOR"]),
)
def test_pooling(tmp_path, kind, height, width, k, s, p, rounding):
    x = numbers(1, 2, height, width)
    up = rounding != "FLOOR"
    more = f"pooling_param {{ pool: {kind} kernel_size: {k} stride: {s} pad: {p} "
    more += f"round_mode: {rounding} }}" if rounding else "}"
    if p >= k or min(height, width) + 2 * p < k:
        if p >= k:
            with pytest.raises(ModelImportError, match="pad is below the kernel"):
                one(tmp_path, "Pooling", x, more)
        return
    wanted = slow_pool(x, kind, k, s, p, up)
    if np.isnan(wanted).any():
        with pytest.raises(ModelImportError, match="averages of nothing"):
            one(tmp_path, "Pooling", x, more)
        return
    np.testing.assert_allclose(one(tmp_path, "Pooling", x, more), wanted, 1e-5)


def test_ceil_mode_of_other_forks_rounds_down_when_it_is_false(tmp_path):
    more = "pooling_param { pool: MAX kernel_size: 2 stride: 2 ceil_mode: false }"
    assert one(tmp_path, "Pooling", numbers(1, 1, 5, 5), more).shape == (1, 1, 2, 2)


def test_averages_of_ones_are_one_everywhere_without_padding(tmp_path):
    more = "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"
    assert np.all(one(tmp_path, "Pooling", np.ones((1, 1, 6, 6)), more) == 1)


@pytest.mark.parametrize("group", [1, 2])
def test_deconvolution_is_the_transpose_of_a_convolution(tmp_path, group):
    x, w = numbers(1, 4, 3, 4), numbers(4, 3 // group + 1, 3, 3)
    o = w.shape[1] * group
    more = (
        f"convolution_param {{ num_output: {o} kernel_size: 3 stride: 2 pad: 1 group: {group} "
        "bias_term: false }"
    )
    y = one(tmp_path, "Deconvolution", x, more, [w])
    wanted = np.zeros((1, o, 2 * 2 + 3, 2 * 3 + 3))
    for c in range(4):
        for f in range(w.shape[1]):
            out = c // (4 // group) * w.shape[1] + f
            for i in range(3):
                for j in range(4):
                    wanted[0, out, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += x[0, c, i, j] * w[c, f]
    np.testing.assert_allclose(y, wanted[:, :, 1:-1, 1:-1], 1e-5)


def test_batch_norm_of_factor_zero_has_no_statistics(tmp_path):
    x = numbers(1, 2, 2, 2)
    y = one(tmp_path, "BatchNorm", x, "", [[1.0, 2.0], [3.0, 4.0], [0.0]])
    np.testing.assert_allclose(y, x / np.sqrt(np.float32(1e-5)), 1e-5)


def test_batch_norm_with_its_scale_of_another_branch(tmp_path):
    x = numbers(1, 2, 2, 2)
    blobs = [[1.0, 2.0], [3.0, 4.0], [2.0], [5.0, 6.0], [7.0, 8.0]]
    y = one(tmp_path, "BatchNorm", x, "batch_norm_param { scale_bias: true eps: 0.5 }", blobs)
    column = [np.array(b, np.float32).reshape(-1, 1, 1) for b in blobs]
    wanted = (x - column[0] / 2) / np.sqrt(column[1] / 2 + 0.5) * column[3] + column[4]
    np.testing.assert_allclose(y, wanted, 1e-5)


@pytest.mark.parametrize("across", ["true", "false"])
@pytest.mark.parametrize("epsilon", [1e-9, 0.5])
@pytest.mark.parametrize("variance", ["true", "false"])
def test_mvn_adds_epsilon_beside_the_root(tmp_path, across, epsilon, variance):
    x = numbers(2, 3, 4, 2)
    more = (
        f"mvn_param {{ across_channels: {across} eps: {epsilon} normalize_variance: {variance} }}"
    )
    axes = (1, 2, 3) if across == "true" else (2, 3)
    wanted = x - x.mean(axes, keepdims=True)
    if variance == "true":
        wanted /= x.std(axes, keepdims=True) + epsilon
    np.testing.assert_allclose(one(tmp_path, "MVN", x, more), wanted, 1e-4, 1e-6)


@pytest.mark.parametrize("spatial", ["true", "false"])
@pytest.mark.parametrize("shared", ["true", "false"])
@pytest.mark.parametrize("epsilon", [1e-10, 0.25])
def test_normalize(tmp_path, spatial, shared, epsilon):
    x = numbers(2, 3, 2, 2) + np.float32(0.0625)
    scale = np.float32(3.0) if shared == "true" else np.array([1, 2, 4], np.float32)
    more = f"norm_param {{ across_spatial: {spatial} channel_shared: {shared} eps: {epsilon} }}"
    axes = (1, 2, 3) if spatial == "true" else (1,)
    length = np.sqrt((x * x).sum(axes, keepdims=True) + epsilon)
    wanted = x / length * np.reshape(scale, (-1, 1, 1))
    np.testing.assert_allclose(one(tmp_path, "Normalize", x, more, [scale]), wanted, 1e-5)


def test_lrn_within_a_channel_divides_by_the_window_and_ignores_k(tmp_path):
    x = numbers(1, 2, 4, 3)
    more = "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5 k: 7 }"
    squares = np.pad(x * x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(squares[:, :, i : i + 4, j : j + 3] for i in range(3) for j in range(3))
    wanted = x * (1 + 0.5 * total / 9) ** -0.75
    np.testing.assert_allclose(one(tmp_path, "LRN", x, more), wanted, 1e-5)


def test_of_equal_values_argmax_gives_the_last(tmp_path):
    x = np.array([[1, 5, 5, 2], [3, 3, 3, 3]], np.float32)
    assert one(tmp_path, "ArgMax", x, "argmax_param { axis: 1 }").tolist() == [[2], [3]]
    both = one(tmp_path, "ArgMax", x, "argmax_param { out_max_val: true }")
    assert both.reshape(2, 2).tolist() == [[2, 5], [3, 3]]


@pytest.mark.parametrize("axis", ["", "axis: 1", "axis: -1"])
@pytest.mark.parametrize("with_value", ["", "out_max_val: true"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_of_argmax(tmp_path, axis, with_value, ranks):
    x = RNG.integers(-3, 4, (2, 3, 4)).astype(np.float32)
    y = one(tmp_path, "ArgMax", x, f"argmax_param {{ top_k: {ranks} {axis} {with_value} }}")
    rows = np.moveaxis(x, 1, -1) if axis == "axis: 1" else x if axis else x.reshape(2, 12)
    # the larger value first, of equal values the larger index
    order = np.lexsort((np.broadcast_to(np.arange(rows.shape[-1]), rows.shape), rows))
    order = order[..., ::-1][..., :ranks]
    values = np.take_along_axis(rows, order, -1)
    if axis:
        wanted = np.moveaxis(values if with_value else order, -1, 1 if axis == "axis: 1" else 2)
    else:
        wanted = np.stack([order, values][: 2 if with_value else 1], 1)
    assert np.array_equal(y, wanted)


@pytest.mark.parametrize(
    ("kind", "more", "function"),
    [
        ("Power", "power_param { power: 3 scale: 2 shift: -1 }", lambda x: (2 * x - 1) ** 3),
        ("Power", "power_param { power: 2 }", np.square),
        ("Power", "power_param { scale: 0 shift: 4 power: 0.5 }", lambda x: np.full_like(x, 2)),
        ("Exp", "exp_param { base: 2 scale: 3 shift: 1 }", lambda x: 2 ** (3 * x + 1)),
        ("Exp", "exp_param { shift: 1 }", lambda x: np.exp(x + 1)),
        ("BNLL", "", lambda x: np.log1p(np.exp(x))),
        ("Threshold", "threshold_param { threshold: 0.25 }", lambda x: (x > 0.25) * 1.0),
        ("ReLU6", "", lambda x: np.clip(x, 0, 6)),
        ("ReLU", "relu_param { negative_slope: 0.125 }", lambda x: np.where(x > 0, x, x / 8)),
        ("Swish", "swish_param { beta: 2 }", lambda x: x / (1 + np.exp(-2 * x))),
        ("Mish", "", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
        ("TanH", "", np.tanh),
    ],
)
def test_functions(tmp_path, kind, more, function):
    x = numbers(1, 3, 4, 4)
    graph = load(tmp_path, input_layer("x", x.shape) + layer(kind, more=more))
    np.testing.assert_allclose(run(graph, x)[0], function(x), 1e-4, 1e-6)


def test_shuffled_channels(tmp_path):
    x = numbers(1, 6, 2, 2)
    y = one(tmp_path, "ShuffleChannel", x, "shuffle_channel_param { group: 2 }")
    assert np.array_equal(y, x[:, [0, 3, 1, 4, 2, 5]])


def test_axpy_scales_channels_and_adds(tmp_path):
    a, x, y = numbers(1, 3), numbers(1, 3, 2, 2), numbers(1, 3, 2, 2)
    out = one(tmp_path, "Axpy", a, "", inputs=[x, y])
    np.testing.assert_allclose(out, a[:, :, None, None] * x + y, 1e-6)


def test_depthwise_layers_without_group_have_one_filter_per_channel(tmp_path):
    x, w, b = numbers(1, 3, 4, 4), numbers(3, 1, 3, 3), numbers(3)
    more = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
    y = one(tmp_path, "DepthwiseConvolution", x, more, [w, b])
    np.testing.assert_allclose(y, slow_convolution(x, w, b, 1, 1, 1, 3), 1e-5)


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ("interp_param { height: 7 width: 5 }", (7, 5)),
        ("interp_param { zoom_factor: 2 }", (7, 5)),
        ("interp_param { shrink_factor: 3 zoom_factor: 2 }", (3, 1)),
    ],
)
def test_interp_keeps_the_corners(tmp_path, more, size):
    x = numbers(1, 1, 4, 3)
    y = one(tmp_path, "Interp", x, more)
    assert y.shape[2:] == size
    assert y[0, 0, 0, 0] == x[0, 0, 0, 0]
    if size[1] > 1:
        assert y[0, 0, -1, -1] == x[0, 0, -1, -1]


@pytest.mark.parametrize(
    ("kind", "shape", "more", "wanted"),
    [
        ("Flatten", (2, 3, 4, 2), "flatten_param { axis: -3 end_axis: -2 }", (2, 12, 2)),
        ("Reshape", (2, 12), "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }", (2, 3, 4)),
        ("Reshape", (2, 3, 4), "reshape_param { axis: -1 shape { dim: 1 } }", (2, 3, 4, 1)),
        ("Permute", (1, 2, 3, 4), "permute_param { order: 0 order: 2 }", (1, 3, 2, 4)),
        ("Tile", (1, 2, 3), "tile_param { axis: 1 tiles: 3 }", (1, 6, 3)),
        ("Reduction", (2, 3, 4), "reduction_param { axis: 1 operation: SUMSQ }", (2,)),
        ("Upsample", (1, 2, 3, 4), "upsample_param { scale: 2 }", (1, 2, 6, 8)),
        ("SPP", (1, 2, 6, 4), "spp_param { pyramid_height: 3 }", (1, 42)),
        ("Im2col", (1, 2, 5, 5), "convolution_param { kernel_size: 3 }", (1, 18, 3, 3)),
    ],
)
def test_shapes(tmp_path, kind, shape, more, wanted):
    assert one(tmp_path, kind, numbers(*shape), more).shape == wanted


def test_prior_boxes_of_no_size_are_refused(tmp_path):
    text = input_layer("x", (1, 1, 1, 2)) + input_layer("i", (1, 3, 10, 20))
    for sizes in ("", "min_size: inf", "min_size: 3 max_size: nan", "min_size: 3 max_size: 2"):
        more = f"prior_box_param {{ {sizes} }}"
        with pytest.raises(ModelImportError, match=r"layer 'l' \(PriorBox\)"):
            load(tmp_path, text + layer("PriorBox", ("x", "i"), ("y",), more))


def test_prior_boxes_cut_sizes_to_whole_numbers(tmp_path):
    text = input_layer("x", (1, 1, 1, 2)) + input_layer("i", (1, 3, 10, 20))
    more = (
        "prior_box_param { min_size: 4.7 max_size: 9.9 aspect_ratio: 2 variance: 0.1 variance: 0.1 "
        "variance: 0.2 variance: 0.2 }"
    )
    graph = load(tmp_path, text + layer("PriorBox", ("x", "i"), ("y",), more))
    assert not graph.nodes
    boxes = graph.constants["y"].reshape(2, 2, 4, 4)
    long, short = 4 * math.sqrt(2), 4 / math.sqrt(2)
    for cell, centre in enumerate((5, 15)):
        for index, (w, h) in enumerate([(4, 4), (6, 6), (long, short), (short, long)]):
            wanted = [
                (centre - w / 2) / 20,
                (5 - h / 2) / 10,
                (centre + w / 2) / 20,
                (5 + h / 2) / 10,
            ]
            np.testing.assert_allclose(boxes[0, cell, index], wanted, 1e-6)
    assert boxes[1, 0, 0].tolist() == [np.float32(v) for v in (0.1, 0.1, 0.2, 0.2)]
