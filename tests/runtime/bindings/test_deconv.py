"""Transposed convolutions against the defining scatter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import GraphError
from npusim.ir.attrs import Deconv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import DynamicFixedPoint, Float
from npusim.runtime.memory_order import from_channels_last
from npusim.testing import bound_layer
from tests.formats import F16


@st.composite
def deconvolutions(draw):
    """Return (attributes, ifm shape N H W C, weights shape, seed)."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    group = draw(st.sampled_from([1, 1, 2, 4]))
    sizes = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    output_pad = tuple(draw(st.integers(0, s - 1)) for s in stride)
    pads = []
    for size, s, k, d, extra in zip(sizes, stride, kernel, dilation, output_pad, strict=True):
        full = (size - 1) * s + (k - 1) * d + 1 + extra
        before = draw(st.integers(0, min(3, full - 1)))
        pads += [before, draw(st.integers(0, min(3, full - 1 - before)))]
    attrs = Deconv2dAttrs(
        stride=stride,
        pad=tuple(pads),
        output_pad=output_pad,
        dilation=dilation,
        group=group,
    )
    group_in, group_out = draw(st.sampled_from([(1, 1), (3, 2), (17, 5)]))
    shape = (draw(st.integers(1, 2)), *sizes, group_in * group)
    return attrs, shape, (group_out * group, group_in, *kernel), draw(st.integers(0, 2**32 - 1))


def run(attrs, ifm, weights, bias, dtype, quants):
    step = bound_layer(
        "deconv2d",
        Engine.NN,
        [
            (ifm.shape, (dtype, quants[0])),
            (weights.shape, (dtype, quants[1])),
            (bias.shape, (DType.of(bias.dtype), Float())),
        ],
        (dtype, quants[2]),
        attrs,
        {1: weights, 2: bias},
    )
    (result,) = step(ifm)
    return result


def scatter(attrs, ifm, weights, bias, shape):
    """Sums by the definition: every input adds its weighted kernel to the output."""
    (n, out_c, out_h, out_w), (_, group_c, kernel_h, kernel_w) = shape, weights.shape
    sums = np.zeros((n, out_c, out_h, out_w), np.float64) + bias[None, :, None, None]
    per_group = out_c // attrs.group
    for c, y, x, i, j in np.ndindex(ifm.shape[1], *ifm.shape[2:], kernel_h, kernel_w):
        row = attrs.stride[0] * y + i * attrs.dilation[0] - attrs.pad[0]
        column = attrs.stride[1] * x + j * attrs.dilation[1] - attrs.pad[2]
        if 0 <= row < out_h and 0 <= column < out_w:
            group, inside = divmod(c, group_c)
            outs = slice(group * per_group, (group + 1) * per_group)
            sums[:, outs, row, column] += ifm[:, c, y, x, None] * weights[outs, inside, i, j]
    return sums


@given(deconvolutions())
def test_integers_equal_the_scatter(drawn):
    attrs, shape, weights_shape, seed = drawn
    rng = np.random.default_rng(seed)
    ifm = from_channels_last(rng.integers(-128, 128, shape).astype(np.int8))
    weights = rng.integers(-128, 128, weights_shape).astype(np.int8)
    bias = rng.integers(-9000, 9000, weights_shape[0])
    quants = DynamicFixedPoint(fl=4), DynamicFixedPoint(fl=7), DynamicFixedPoint(fl=1)
    result = run(attrs, ifm, weights, bias, DType.I8, quants)
    sums = scatter(attrs, ifm.astype(np.float64), weights.astype(np.float64), bias, result.shape)
    expected = np.clip(np.rint(sums * 2.0**-10), -128, 127)
    np.testing.assert_array_equal(result, expected)


@given(deconvolutions())
def test_float16_adds_as_the_flipped_kernel_over_stuffed_input(drawn):
    attrs, shape, weights_shape, seed = drawn
    rng = np.random.default_rng(seed)
    ifm = from_channels_last(rng.standard_normal(shape).astype(np.float16))
    weights = rng.standard_normal(weights_shape).astype(np.float16)
    bias = rng.standard_normal(weights_shape[0]).astype(np.float32)
    result = run(attrs, ifm, weights, bias, DType.F16, (Float(),) * 3)

    n, in_c, in_h, in_w = ifm.shape
    out_c, group_c, kernel_h, kernel_w = weights.shape
    reach = [(k - 1) * d for k, d in zip((kernel_h, kernel_w), attrs.dilation, strict=True)]
    stuffed = np.zeros(
        (
            n,
            in_c,
            (in_h - 1) * attrs.stride[0] + 1 + 2 * reach[0] + attrs.output_pad[0],
            (in_w - 1) * attrs.stride[1] + 1 + 2 * reach[1] + attrs.output_pad[1],
        ),
        np.float32,
    )
    stuffed[
        :,
        :,
        reach[0] : reach[0] + (in_h - 1) * attrs.stride[0] + 1 : attrs.stride[0],
        reach[1] : reach[1] + (in_w - 1) * attrs.stride[1] + 1 : attrs.stride[1],
    ] = ifm
    _, _, out_h, out_w = result.shape
    expected = np.empty(result.shape, np.float16)
    for o in range(out_c):
        acc = np.full((n, out_h, out_w), bias[o], np.float32)
        first = o // (out_c // attrs.group) * group_c
        for c in range(group_c):
            for i in range(kernel_h):
                for j in range(kernel_w):
                    y = attrs.pad[0] + i * attrs.dilation[0]
                    x = attrs.pad[2] + j * attrs.dilation[1]
                    seen = stuffed[:, first + c, y : y + out_h, x : x + out_w]
                    weight = np.float32(weights[o, c, kernel_h - 1 - i, kernel_w - 1 - j])
                    acc = acc + seen * weight
        half = acc.astype(np.float16)
        above = np.abs(half.astype(np.float32)) > np.abs(acc)
        half = np.where(above, np.nextafter(half, np.float16(0)), half)
        expected[:, o] = np.where(np.abs(half) < np.float16(2.0**-14), np.float16(0), half)
    np.testing.assert_array_equal(result, expected)


def test_outputs_without_inputs_hold_the_stored_bias():
    ifm = np.full((1, 1, 2, 2), 3, np.int8)
    weights = np.ones((1, 1, 1, 1), np.int8)
    quants = (DynamicFixedPoint(fl=0),) * 3
    attrs = Deconv2dAttrs(stride=(3, 3))
    result = run(attrs, ifm, weights, np.array([7]), DType.I8, quants)
    expected = np.full((4, 4), 7)
    expected[::3, ::3] = 10
    np.testing.assert_array_equal(result[0, 0], expected)


def test_weights_must_be_known():
    one = ((1, 1, 1, 1), F16)
    with pytest.raises(GraphError, match=r"layer 'up'.*parameter 'x1' is computed by the network"):
        bound_layer("deconv2d", Engine.NN, [one, one, ((1,), F16)], F16, name="up")
