"""Reference convolutions over random shapes, against loops in float64."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from npusim.ir.attrs import Conv2dAttrs, Deconv2dAttrs, Pool2dAttrs, PoolKind
from npusim.reference.evaluate import Evaluator
from npusim.testing import GraphBuilder

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.integers(0, 3)] * 4)


def conv_by_loops(x, weights, bias, attrs):
    """Every output pixel on its own, padding by skipping."""
    x, weights = x.astype(np.float64), weights.astype(np.float64)
    images, _, in_h, in_w = x.shape
    out_c, group_c, kernel_h, kernel_w = weights.shape
    (stride_y, stride_x), (dil_y, dil_x) = attrs.stride, attrs.dilation
    top, bottom, left, right = attrs.pad
    out_h = (in_h + top + bottom - (kernel_h - 1) * dil_y - 1) // stride_y + 1
    out_w = (in_w + left + right - (kernel_w - 1) * dil_x - 1) // stride_x + 1
    out = np.zeros((images, out_c, out_h, out_w))
    for o in range(out_c):
        first = o // (out_c // attrs.group) * group_c
        for y in range(out_h):
            for x_out in range(out_w):
                total = np.full(images, float(bias[o]))
                for ky in range(kernel_h):
                    for kx in range(kernel_w):
                        iy = y * stride_y + ky * dil_y - top
                        ix = x_out * stride_x + kx * dil_x - left
                        if 0 <= iy < in_h and 0 <= ix < in_w:
                            total += x[:, first : first + group_c, iy, ix] @ weights[o, :, ky, kx]
                out[:, o, y, x_out] = total
    return out


def deconv_by_loops(x, weights, bias, attrs, shape):
    """Every input pixel scatters into the output."""
    x, weights = x.astype(np.float64), weights.astype(np.float64)
    _, _, in_h, in_w = x.shape
    out_c, group_c, kernel_h, kernel_w = weights.shape
    out = np.zeros(shape)
    out += bias[:, None, None]
    top, _, left, _ = attrs.pad
    for o in range(out_c):
        first = o // (out_c // attrs.group) * group_c
        for y in range(in_h):
            for x_in in range(in_w):
                values = x[:, first : first + group_c, y, x_in]
                for ky in range(kernel_h):
                    for kx in range(kernel_w):
                        oy = y * attrs.stride[0] + ky * attrs.dilation[0] - top
                        ox = x_in * attrs.stride[1] + kx * attrs.dilation[1] - left
                        if 0 <= oy < shape[2] and 0 <= ox < shape[3]:
                            out[:, o, oy, ox] += values @ weights[o, :, ky, kx]
    return out


def one_node(op, x, attrs, constants=()):
    b = GraphBuilder()
    names = [b.constant(f"c{i}", value) for i, value in enumerate(constants)]
    b.node(op, [b.input("x", *x.shape), *names], "y", attrs)
    return Evaluator(b.done("y")).run({"x": x})["y"]


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@st.composite
def windows(draw):
    """A window and an input that, padded, is at least as large."""
    kernel, dilation, pad = draw(pairs), draw(pairs), draw(pads)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [
        max(1, r - before - after) + draw(st.integers(0, 6))
        for r, before, after in zip(reach, pad[::2], pad[1::2], strict=True)
    ]
    return kernel, dilation, pad, tuple(size)


@given(
    window=windows(),
    stride=pairs,
    group=st.integers(1, 3),
    group_c=st.sampled_from([1, 2, 5]),
    group_out=st.sampled_from([1, 2, 17]),
    images=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_conv_equals_loops(window, stride, group, group_c, group_out, images, seed):
    kernel, dilation, pad, size = window
    x = drawn(seed, images, group * group_c, *size)
    weights, bias = (
        drawn(seed + 1, group * group_out, group_c, *kernel),
        drawn(2, group * group_out),
    )
    attrs = Conv2dAttrs(stride=stride, dilation=dilation, pad=pad, group=group)
    actual = one_node("conv2d", x, attrs, [weights, bias])
    expected = conv_by_loops(x, weights, bias, attrs)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=3e-5)


@given(
    kernel=pairs,
    dilation=pairs,
    stride=pairs,
    pad=st.tuples(*[st.integers(0, 1)] * 4),
    extra=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    group=st.integers(1, 2),
    channels=st.tuples(st.sampled_from([1, 3]), st.sampled_from([1, 2, 9])),
    seed=st.integers(0, 99),
)
def test_deconv_equals_loops(kernel, dilation, stride, pad, extra, size, group, channels, seed):
    x = drawn(seed, 2, group * channels[0], *size)
    out_c = group * channels[1]
    weights, bias = drawn(seed + 1, out_c, channels[0], *kernel), drawn(2, out_c)
    attrs = Deconv2dAttrs(stride=stride, dilation=dilation, pad=pad, output_pad=extra, group=group)
    shape = [
        (n - 1) * s + (k - 1) * d + 1 + e - before - after
        for n, s, k, d, e, before, after in zip(
            size, stride, kernel, dilation, extra, pad[::2], pad[1::2], strict=True
        )
    ]
    if min(shape) < 1:
        return
    actual = one_node("deconv2d", x, attrs, [weights, bias])
    expected = deconv_by_loops(x, weights, bias, attrs, (2, out_c, *shape))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=3e-5)


@given(
    kernel=pairs,
    stride=pairs,
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    pad=pads,
    kind=st.sampled_from(list(PoolKind)),
    ceil_mode=st.booleans(),
    count_include_pad=st.booleans(),
)
def test_pool_equals_loops(kernel, stride, size, pad, kind, ceil_mode, count_include_pad):
    top, bottom, left, right = (
        min(p, k - 1) for p, k in zip(pad, np.repeat(kernel, 2), strict=True)
    )
    attrs = Pool2dAttrs(
        kind=kind,
        kernel=kernel,
        stride=stride,
        pad=(int(top), int(bottom), int(left), int(right)),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )
    x = drawn(0, 2, 3, *size)
    actual = one_node("pool2d", x, attrs)
    for y in range(actual.shape[2]):
        for x_out in range(actual.shape[3]):
            y0, x0 = y * stride[0] - top, x_out * stride[1] - left
            window = x[:, :, max(0, y0) : y0 + kernel[0], max(0, x0) : x0 + kernel[1]]
            window = window.astype(np.float64)
            if kind is PoolKind.MAX:
                expected = window.max((2, 3))
            else:
                count = window.shape[2] * window.shape[3]
                if count_include_pad:
                    count = (min(y0 + kernel[0], size[0] + bottom) - y0) * (
                        min(x0 + kernel[1], size[1] + right) - x0
                    )
                expected = window.sum((2, 3)) / count
            np.testing.assert_allclose(actual[:, :, y, x_out], expected, rtol=1e-5, atol=1e-6)
