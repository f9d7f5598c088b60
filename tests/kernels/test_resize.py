"""Resize, pixel by pixel."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise.copy_runs import gather_pixels
from npusim.kernels.engines.shader_resize import bilinear, nearest_indices, whole_steps
from tests.kernels.exact import integer

F = np.float32
COORDINATES = ("asymmetric", "half_pixel", "align_corners")
sizes = st.integers(1, 9)


def place(out, in_size, out_size, coordinates, centred):
    if coordinates == "align_corners" and out_size > 1:
        return F(out) * (F(in_size - 1) / F(out_size - 1))
    step = F(in_size) / F(out_size)
    if coordinates == "half_pixel":
        return (F(out) + F(0.5)) * step - (F(0.5) if centred else F(0))
    return F(out) * step


def inside(index, size):
    return max(0, min(size - 1, index))


@pytest.mark.parametrize("coordinates", COORDINATES)
@given(h=sizes, w=sizes, oh=sizes, ow=sizes)
def test_nearest_copies(coordinates, h, w, oh, ow):
    ifm = np.arange(h * w * 2, dtype=np.int16).reshape(1, h, w, 2)
    got = np.empty((1, oh, ow, 2), np.int16)
    rows = nearest_indices(h, oh, coordinates) * (w * 4)
    columns = nearest_indices(w, ow, coordinates) * 4
    codes, written = (array.reshape(-1).view(np.uint8) for array in (ifm, got))
    gather_pixels(codes, rows, columns, written, 4, 0, oh)
    half = 0.5 if coordinates == "align_corners" else 0.0
    for y in range(oh):
        for x in range(ow):
            row = math.floor(float(place(y, h, oh, coordinates, False) + F(half)))
            column = math.floor(float(place(x, w, ow, coordinates, False) + F(half)))
            np.testing.assert_array_equal(got[0, y, x], ifm[0, inside(row, h), inside(column, w)])


def corners(position, size, clamp):
    position = max(position, F(0)) if clamp else position
    low = math.floor(float(position))
    return inside(low, size), inside(low + 1, size), F(position - F(low))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("coordinates", COORDINATES)
@given(
    h=sizes,
    w=sizes,
    oh=sizes,
    ow=sizes,
    seed=st.integers(0, 9),
    scale=st.floats(0.25, 4, width=32),
    zero=st.integers(0, 100),
)
def test_bilinear_with_requantization(dtype, coordinates, h, w, oh, ow, seed, scale, zero):
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    ifm = rng.integers(limits.min, limits.max + 1, (1, h, w, 1)).astype(dtype)
    scaling, out_scaling = (0.5, zero), (scale, zero // 2 + 1)  # never equal
    got = bilinear(ifm, (oh, ow), coordinates, scaling, dtype, out_scaling)
    assert_interpolated(got, ifm, coordinates, scaling, out_scaling)


def assert_interpolated(got, ifm, coordinates, scaling, out_scaling):
    """Compare a result with float32 interpolation in x, then in y, stored once."""
    (h, w), (oh, ow), dtype = ifm.shape[1:3], got.shape[1:3], ifm.dtype.type
    real = ifm[0, :, :, 0].astype(F) - F(scaling[1])
    for y in range(oh):
        for x in range(ow):
            top, bottom, wy = corners(place(y, h, oh, coordinates, True), h, True)
            left, right, wx = corners(place(x, w, ow, coordinates, True), w, True)
            upper = real[top, left] + (real[top, right] - real[top, left]) * wx
            lower = real[bottom, left] + (real[bottom, right] - real[bottom, left]) * wx
            value = upper + (lower - upper) * wy
            stored = F(value * (F(scaling[0]) / F(out_scaling[0])) + F(out_scaling[1]))
            assert got[0, y, x, 0] == integer(Fraction(float(stored)), dtype)


def cut(value, bits=11):
    mantissa, exponent = math.frexp(value)
    return math.trunc(mantissa * 2**bits) * 2.0 ** (exponent - bits)


@pytest.mark.parametrize("coordinates", COORDINATES)
@given(h=sizes, w=sizes, oh=sizes, ow=sizes, seed=st.integers(0, 9))
def test_u8_of_equal_quantization_uses_four_float16_weights(coordinates, h, w, oh, ow, seed):
    whole = oh // h if oh * w == ow * h and oh % h == 0 else 0
    ifm = np.random.default_rng(seed).integers(0, 256, (1, h, w, 1)).astype(np.uint8)
    same = 0.1, 5
    got = bilinear(ifm, (oh, ow), coordinates, same, np.uint8, same)
    four = w < 4 * ow if coordinates == "asymmetric" else ow > w
    if not four or (coordinates == "half_pixel" and whole in (2, 3, 4)):
        assert_interpolated(got, ifm, coordinates, same, same)
        return
    limit = (lambda v: float(np.float16(v))) if coordinates == "asymmetric" else cut
    for y in range(oh):
        for x in range(ow):
            down, across = (
                place(n, *sizes, coordinates, True) for n, sizes in ((y, (h, oh)), (x, (w, ow)))
            )
            top, bottom, _ = corners(down, h, False)
            left, right, _ = corners(across, w, False)
            wy, wx = (F(at - np.trunc(at)) for at in (down, across))  # of negative places too
            total = sum(
                Fraction(limit(float(a * b))) * int(ifm[0, row, column, 0])
                for row, b in ((top, F(1) - wy), (bottom, wy))
                for column, a in ((left, F(1) - wx), (right, wx))
            )
            assert got[0, y, x, 0] == integer(total, np.uint8)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_float16_enlarged_by_2_or_4_is_cut_on_input_rows(factor):
    ifm = np.array([1.0, 1.001, 2.0, 3.003], np.float16).reshape(1, 2, 2, 1)
    size = (2 * factor, 2 * factor)
    got = bilinear(ifm, size, "asymmetric", (1.0, 0), np.float16, (1.0, 0))
    left, right = ifm[0, 1].astype(F)[:, 0]
    step = F(2) / F(2 * factor)
    values = [left + (right - left) * (F(x) * step) for x in range(factor)]
    expected = [cut(float(v)) if factor in (2, 4) else float(np.float16(v)) for v in values]
    assert got[0, factor, :factor, 0].tolist() == expected


@given(st.lists(st.integers(-32768, 32767), min_size=1), st.integers(-2, 14))
def test_whole_steps(values, fl):
    got = whole_steps(np.array(values, np.int16), fl)
    step = Fraction(2) ** fl
    expected = [integer(round(v / step) * step, np.int16) for v in values]
    assert got.tolist() == expected


def test_u8_weights_at_the_edge_are_those_of_a_negative_place():
    """Recorded: column 0 lies at -0.05 and is the left pixel, 1.05 times minus 0.05 times."""
    ifm = np.zeros((1, 7, 9, 1), np.uint8)
    ifm[0, 4:6, 0, 0] = 227, 136
    same = 0.0088, 95
    result = bilinear(ifm, (8, 10), "half_pixel", same, np.uint8, same)
    weights = [1.05 * 0.6875, 0.05 * 0.6875, 1.05 * 0.3125, 0.05 * 0.3125]
    one, two, three, four = (
        math.floor(w * 2 ** (11 - e)) / 2 ** (11 - e) for w in weights for e in (math.frexp(w)[1],)
    )
    assert result[0, 5, 0, 0] == round(227 * (one - two) + 136 * (three - four)) == 199
