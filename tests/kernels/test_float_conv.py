"""float32 products: each sum is exactly one chain, whatever the split of the work."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.tiles.float32 import LANES
from npusim.kernels.windows.f32_conv import depthwise, dot_panels

INF = np.float32(np.inf)
LINEAR = np.array([0], np.int64)


def nearest_float32(exact: Fraction) -> np.float32:
    """Return the float32 nearest to a number, ties to even."""
    guess = np.float32(float(exact))
    around = [np.nextafter(guess, -INF), guess, np.nextafter(guess, INF)]
    return min(around, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.uint32)) & 1))


def chain(row, column, bias):
    """Return the bias plus fused multiply-adds in ascending k, each rounded once."""
    total = np.float32(bias)
    for a, b in zip(row, column, strict=True):
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(total))
        total = nearest_float32(exact)
    return total


def packed(weights):
    depth, out_c = weights.shape
    panels = -(-out_c // LANES)
    wide = np.zeros((depth, panels * LANES), np.float32)
    wide[:, :out_c] = weights
    return np.ascontiguousarray(wide.reshape(depth, panels, LANES).swapaxes(0, 1)).reshape(-1)


def multiply(rows, weights, bias, pixels=None, panels=None, low=-INF, high=INF, out=None):
    count, depth = rows.shape
    geometry = np.array([0, 0, depth, 1, count], np.int64)
    ofm = np.full((count, weights.shape[1]), np.nan, np.float32) if out is None else out
    begin, end = pixels or (0, count)
    first, last = panels or (0, -(-weights.shape[1] // LANES))
    dot_panels(
        rows.reshape(-1), packed(weights), bias, LINEAR, depth, geometry, low, high, ofm, 1, 0,
        begin, end, first, last,
    )  # fmt: skip
    return ofm


def drawn(seed, *shape):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * 2.0 ** rng.integers(-8, 8, shape)).astype(np.float32)


def test_each_output_is_one_chain_of_fused_multiply_adds():
    rows, weights, bias = drawn(0, 9, 40), drawn(1, 40, 17), drawn(2, 17)
    actual = multiply(rows, weights, bias)
    expected = [
        [chain(row, column, b) for column, b in zip(weights.T, bias, strict=True)] for row in rows
    ]
    np.testing.assert_array_equal(actual, np.array(expected))
    # and this is no accident: rounding each product first gives other bits
    products = (rows[:, :, None] * weights).transpose(1, 0, 2)
    twice_rounded = np.broadcast_to(bias, actual.shape).copy()
    for product in products:
        twice_rounded += product
    assert (twice_rounded != actual).any()


@given(
    count=st.integers(1, 150),
    depth=st.integers(1, 150),  # few weights and many, which take turns with pixels another way
    out_c=st.integers(1, 50),
    cut=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_any_split_of_pixels_and_panels_gives_the_same_bits(count, depth, out_c, cut, seed):
    rows, weights, bias = drawn(seed, count, depth), drawn(1, depth, out_c), drawn(2, out_c)
    whole = multiply(rows, weights, bias)
    parts = np.full_like(whole, np.nan)
    panels = -(-out_c // LANES)
    pixel, panel = int(cut * count), int(cut * panels)
    for pixels in [(0, pixel), (pixel, count)]:
        for some in [(0, panel), (panel, panels)]:
            multiply(rows, weights, bias, pixels, some, out=parts)
    assert parts.tobytes() == whole.tobytes()
    np.testing.assert_allclose(
        whole,
        rows.astype(np.float64) @ weights + bias,
        rtol=0,
        atol=1e-6 * depth * np.abs(rows).max() * np.abs(weights).max() + 1e-6 * np.abs(bias).max(),
    )


def test_only_the_given_range_is_written():
    rows, weights, bias = drawn(0, 30, 5), drawn(1, 5, 40), drawn(2, 40)
    ofm = multiply(rows, weights, bias, pixels=(3, 19), panels=(1, 2))
    written = ~np.isnan(ofm)
    expected = np.zeros_like(written)
    expected[3:19, LANES : 2 * LANES] = True
    np.testing.assert_array_equal(written, expected)


def test_clamp_and_nan():
    rows = np.array([[-3], [0.5], [9], [np.nan]], np.float32)
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    ofm = multiply(rows, one, zero, low=np.float32(0), high=np.float32(6))
    np.testing.assert_array_equal(ofm[:, 0], np.array([0, 0.5, 6, np.nan], np.float32))


@pytest.mark.parametrize(("groups", "images"), [(1, 2), (3, 1), (3, 2)])
def test_windows_of_images_and_groups(groups, images):
    """Each output is the chain over its window, wherever blocks, images and groups begin."""
    in_c, out_c, size = 5, 18, 13
    ifm = drawn(0, images, size, size, groups * in_c)
    weights, bias = drawn(1, groups, 9 * in_c, out_c), drawn(2, groups * out_c)
    line = size * groups * in_c
    runs = np.array([y * line + x * groups * in_c for y in range(3) for x in range(3)], np.int64)
    out = size - 2
    geometry = np.array([size * line, line, groups * in_c, out, out], np.int64)
    panels = np.concatenate([packed(w) for w in weights])
    actual = np.full((images * out * out, groups * out_c), np.nan, np.float32)
    dot_panels(
        ifm.reshape(-1), panels, bias, runs, in_c, geometry, -INF, INF, actual, groups, in_c,
        0, len(actual), 0, groups * 2,
    )  # fmt: skip
    for group in range(groups):
        channels = slice(group * in_c, (group + 1) * in_c)
        rows = np.array([
            ifm[image, y : y + 3, x : x + 3, channels].reshape(-1)
            for image in range(images) for y in range(out) for x in range(out)
        ])  # fmt: skip
        mine = slice(group * out_c, (group + 1) * out_c)
        expected = multiply(rows, weights[group], bias[mine])
        np.testing.assert_array_equal(actual[:, mine], expected)


@pytest.mark.parametrize("channels", [1, 5, 15, 16, 17, 21, 32, 40])
def test_depthwise_adds_rounded_products_in_the_order_of_the_taps(channels):
    height, width = 7, 16
    ifm, weights, bias = (
        drawn(0, height, width, channels),
        drawn(1, 9, channels),
        drawn(2, channels),
    )
    taps = np.array([(y * width + x) * channels for y in range(3) for x in range(3)], np.int64)
    geometry = np.array([0, width * channels, channels, height - 2, width - 2], np.int64)
    actual = np.empty(((height - 2) * (width - 2), channels), np.float32)
    for begin, end in [(0, 7), (7, 8), (8, len(actual))]:
        depthwise(ifm.reshape(-1), weights, bias, taps, geometry, -INF, INF, actual, begin, end)
    expected = np.broadcast_to(bias, (height - 2, width - 2, channels)).copy()
    for tap, factors in enumerate(weights):
        y, x = divmod(tap, 3)
        expected += ifm[y : y + height - 2, x : x + width - 2] * factors
    np.testing.assert_array_equal(actual, expected.reshape(actual.shape))
