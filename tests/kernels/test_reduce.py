"""Reductions, softmax, normalisations, products and LRN against plain loops."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.engines.lrn import local_response, local_response_on_shader, normalizer
from npusim.kernels.engines.shader_reduce import (
    batch_normalize,
    l2_normalize,
    matmul,
    matmul_in_steps,
    mean_of_halves,
    normalize,
    reduce,
    softmax,
    sum_in_halves,
    weighted_sum,
)
from npusim.kernels.engines.tp import lookup
from tests.kernels.exact import r16, tp_ratio, tp_store

F = np.float32
seeds = st.integers(0, 200)


def values(seed, shape, spread=2.0):
    return np.random.default_rng(seed).normal(0, spread, shape).astype(F)


@pytest.mark.parametrize("axes", [(1,), (2, 3), (0, 1, 2, 3), (3,)])
@given(seed=seeds)
def test_reductions_do_not_depend_on_memory_order(axes, seed):
    value = values(seed, (2, 3, 4, 5))
    other = np.ascontiguousarray(value.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    exact = {
        "reduce_sum": math.fsum,
        "reduce_mean": lambda v: math.fsum(v) / len(v),
        "reduce_max": max,
        "reduce_min": min,
        "reduce_prod": math.prod,
    }
    rest = [axis for axis in range(4) if axis not in axes]
    lines = value.transpose(*rest, *axes).reshape(*(value.shape[a] for a in rest), -1)
    for op, function in exact.items():
        got = reduce(op, value, axes)
        assert got.dtype == F
        np.testing.assert_array_equal(got, reduce(op, other, axes))
        expected = np.apply_along_axis(function, -1, lines.astype(float))
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=2e-7, atol=1e-12)


def cut(value):
    mantissa, exponent = math.frexp(value)
    return math.trunc(mantissa * 2048) * 2.0 ** (exponent - 11)


@given(seed=seeds, length=st.integers(1, 21))
def test_float16_sums_run_in_groups_of_four(seed, length):
    value = values(seed, (1, length, 3, 2)).astype(np.float16).astype(F)
    got = sum_in_halves(value, (1,))
    assert got.dtype == np.float16
    for y in range(3):
        for x in range(2):
            total = 0.0
            for k in range(0, length, 4):
                group = math.fsum(value[0, k : k + 4, y, x].astype(float))
                total = cut(total + cut(group))
            assert got[0, 0, y, x] == (total if abs(total) >= 2.0**-14 else 0)


@given(seed=seeds)
def test_weighted_sum_rounds_every_step(seed):
    value = values(seed, (1, 2, 4, 3), 1e3)
    got = weighted_sum(value, 0.1)
    for c in range(2):
        total = F(0)
        for pixel in value[0, c].reshape(-1):
            total = F(total + F(pixel * F(0.1)))
        assert got[0, c] == total


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("logarithm", [False, True])
@given(seed=seeds, length=st.integers(1, 11))
def test_softmax(axis, logarithm, seed, length):
    shape = (2, length, 3) if axis == 1 else (2, 3, length)
    codes = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    got = softmax(codes, (0.04, 9), axis, logarithm=logarithm)
    other = np.ascontiguousarray(codes.T).T
    np.testing.assert_array_equal(got, softmax(other, (0.04, 9), axis, logarithm=logarithm))
    factor = F(F(0.04) * F(math.log2(math.e)))
    for i in range(2):
        for j in range(3):
            line = np.moveaxis(codes, axis, -1)[i, j].astype(int)
            steps = [F(q - line.max()) for q in line]
            raised = [F(2.0 ** float(F(d * factor))) for d in steps]
            total = F(0)
            for k in range(0, length, 1 if axis == 1 else 4):
                group = raised[k : k + (1 if axis == 1 else 4)]
                total = F(total + F(math.fsum(map(float, group))))
            if logarithm:
                log = F(toward_zero(math.log2(float(total))) * F(math.log(2)))
                wanted = [F(F(d * F(0.04)) - log) for d in steps]
            else:
                wanted = [e / total for e in raised]
            assert np.moveaxis(got, axis, -1)[i, j].tolist() == [float(w) for w in wanted]


def test_softmax_of_halves_rounds_differences_down_to_16_bits():
    codes = np.array([[-0.1148, -5.656, -6.39]], np.float16)
    got = softmax(codes, (1.0, 0), 1, logarithm=True)[0]
    differences = codes[0].astype(np.float64) - float(codes[0, 0])
    rounded = [math.floor(d * 2**13) / 2**13 for d in differences]  # 16 bits from 4 to 8
    assert rounded[1] != differences[1]
    shifted = got - got[0]
    np.testing.assert_allclose(shifted, rounded, rtol=0, atol=1e-6)
    assert abs(shifted[1] - differences[1]) > 5e-5


def test_l2_of_zero_stays_zero():
    value = np.array([[3.0, 0.0], [4.0, 0.0]], F)
    got = l2_normalize(value, 0)
    np.testing.assert_array_equal(got, np.array([[F(3) * F(0.2), 0], [F(4) * F(0.2), 0]], F))


@given(seed=seeds)
def test_l2_normalize(seed):
    value = values(seed, (5, 7))
    got = l2_normalize(value, 0)
    for column in range(7):
        total = F(0)
        for v in value[:, column]:
            total = F(total + F(v * v))
        root = F(1 / math.sqrt(float(total)))
        assert got[:, column].tolist() == [F(v * root) for v in value[:, column]]


def toward_zero(value):
    nearest = F(value)
    return np.nextafter(nearest, F(0)) if abs(float(nearest)) > abs(value) else nearest


@pytest.mark.parametrize("slope_first", [False, True])
@given(seed=seeds)
def test_normalize(slope_first, seed):
    value = values(seed, (2, 3, 4, 5))
    gamma = np.arange(1, 4, dtype=F).reshape(1, 3, 1, 1)
    beta = np.arange(3, dtype=F).reshape(1, 3, 1, 1)
    got = normalize(value, (2, 3), 1e-3, gamma, beta, slope_first=slope_first)
    share = F(1) / F(20)
    for n in range(2):
        for c in range(3):
            part = value[n, c].reshape(-1)
            mean = F(math.fsum(map(float, part))) * share
            squares = F(math.fsum(float(v) ** 2 for v in part)) * share
            root = F(1 / math.sqrt(float(squares - mean * mean + F(1e-3))))
            gain = F(c + 1)
            steps = [(v - mean) * (root * gain) if slope_first else (v - mean) * root * gain
                     for v in part]  # fmt: skip
            assert got[n, c].reshape(-1).tolist() == [s + F(c) for s in steps]


@given(seed=seeds)
def test_mean_of_halves_cuts_groups_of_four_to_the_largest(seed):
    rng = np.random.default_rng(seed)
    value = (rng.normal(size=(3, 10)) * 2.0 ** rng.integers(-9, 4, (3, 10))).astype(np.float16)
    got = mean_of_halves(value.astype(F), 1)
    for n in range(3):
        total = F(0)
        for k in range(0, 10, 4):
            group = [Fraction(float(v)) for v in value[n, k : k + 4]]
            largest = max(map(abs, group))
            step = Fraction(2) ** (math.frexp(float(largest))[1] - 16)
            total = F(total + F(float(sum(v // step for v in group) * step)))
        assert got[n, 0] == total * (F(1) / F(10))


def test_mean_of_halves_of_zeros():
    assert mean_of_halves(np.zeros((1, 5, 2), F), 1).tolist() == [[[0, 0]]]


@given(seed=seeds)
def test_batch_normalize(seed):
    value, (mean, gamma, beta) = values(seed, (2, 3, 4)), values(seed + 1, (3, 3, 1))
    variance = np.abs(values(seed + 2, (3, 1)))
    got = batch_normalize(value, mean, variance, 1e-5, gamma, beta)
    for c in range(3):
        slope = gamma[c, 0] / np.sqrt(variance[c, 0] + F(1e-5))
        offset = beta[c, 0] - mean[c, 0] * slope
        assert got[1, c].tolist() == [v * slope + offset for v in value[1, c]]


@given(seed=seeds)
def test_matmul_in_steps(seed):
    a, b = values(seed, (3, 4)), values(seed + 1, (2, 4, 5))
    got = matmul_in_steps(a, b)
    total = F(0)
    for k in range(4):
        total = total + a[2, k] * b[1, k, 3]
    assert got[1, 2, 3] == total


@given(seed=seeds)
def test_matmul_rounds_once(seed):
    a, b = values(seed, (2, 3, 4)), values(seed + 1, (4, 5))
    got = matmul(a, b)
    for i in range(3):
        for j in range(5):
            exact = sum(
                Fraction(float(p)) * Fraction(float(q))
                for p, q in zip(a[1, i], b[:, j], strict=True)
            )
            assert got[1, i, j] == pytest.approx(float(exact), rel=6e-8)


@pytest.mark.parametrize("size", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
@given(seed=seeds)
def test_local_response(size, dtype, seed):
    rng = np.random.default_rng(seed)
    half = np.dtype(dtype) == np.float16
    if half:
        codes = rng.normal(0, 20, (1, 6, 1, 2)).astype(np.float16)
        scaling, out_scaling = (1.0, 0), (1.0, 0)
    else:
        limits = np.iinfo(dtype)
        codes = rng.integers(limits.min, limits.max + 1, (1, 6, 1, 2)).astype(dtype)
        scaling, out_scaling = (0.02, 3), (0.015, 9)
    step = 1.0 if half else 2.0**-16
    got = local_response(codes, scaling, size, 0.01, 0.75, 1.5, dtype, out_scaling)
    entries = normalizer(scaling[0], step, 0.01, 0.75, 1.5, ends=dtype is not np.uint8)
    factor = tp_ratio(scaling[0], out_scaling[0])
    for x in range(2):
        line = [Fraction(float(q)) - scaling[1] for q in codes[0, :, 0, x]]
        for c, value in enumerate(line):
            total = Fraction(0)
            for k in range(c - (size - 1) // 2, c + size // 2 + 1):
                if 0 <= k < len(line):
                    total = r16(total + r16(line[k] ** 2))
            (gain,) = lookup(entries, np.array([float(total * Fraction(step))]), odd=True)
            product = r16(value * Fraction(float(gain)))
            assert got[0, c, 0, x] == tp_store(r16(product * factor), dtype, out_scaling[1])


@pytest.mark.parametrize(("size", "reach"), [(6, 3), (7, 3), (9, 4)])
def test_the_shaders_local_response_sees_a_window_of_channels(size, reach):
    rng = np.random.default_rng(size)
    codes = rng.integers(-128, 128, (2, 12, 3, 4)).astype(np.int8)
    got = local_response_on_shader(codes, (2.0**-5, 0), size, 0.25, 0.75, 1.5)
    value = codes * 2.0**-5  # squares and their sums are exact in float32
    assert got.dtype == np.float32
    for c in range(12):
        window = value[:, max(0, c - reach) : c + reach + 1]
        expected = value[:, c] * (1.5 + 0.25 * (window**2).sum(axis=1)) ** -0.75
        np.testing.assert_allclose(got[:, c], expected, rtol=3e-7)


def test_the_normalizer_is_the_formula_on_the_grid():
    entries = normalizer(1.0, 1.0, 0.5, 0.75, 2.0, ends=False)
    at = np.array([1.0, 2.0, 48.0])
    expected = [float(r16(Fraction(float(F((2.0 + 0.5 * v) ** -0.75))))) for v in at]
    assert lookup(entries, at, odd=True).tolist() == expected


def test_the_normalizer_of_the_driver_has_ends():
    entries = normalizer(1.0, 1.0, 0.5, 0.75, 2.0, ends=True)
    at = np.array([0.0, 2.0**-7, 2.0**-6])
    expected = [1.0, 1.0, float(r16(Fraction(float(F((2.0 + 2.0**-7) ** -0.75)))))]
    assert lookup(entries, at, odd=True).tolist() == expected
    coarse = normalizer(2.0**6, 1.0, 0.5, 0.5, 2.0, ends=True)  # 2**24 is 2**12 steps squared
    largest, beyond = lookup(coarse, np.array([2.0**12, 2.0**15]), odd=True)
    assert largest == beyond == float(r16(Fraction(float(F((2.0 + 2.0**23) ** -0.5)))))
