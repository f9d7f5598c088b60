"""Activations against a scalar reference written from their definition."""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npusim.kernels.engines.tp_activation import ACTIVATION_OPS, TABLE_LOOKUP_OPS, activate
from npusim.runtime.tables import all_codes
from tests.kernels.exact import interpolate, r16, tp_ratio, tp_store

F = np.float32
INF = math.inf


def exp32(v):
    return F(math.exp(v)) if v < 700 else F(INF)


def scalar(op, v, alpha=0.0, beta=0.0, minimum=0.0, maximum=0.0):
    """Return the table function of one float64 argument, as float32."""
    s = F(v)
    match op:
        case "sigmoid":
            return F(1 / (1 + math.exp(-v))) if v > -700 else F(0)
        case "tanh":
            return F(math.tanh(v))
        case "relu1":
            return F(min(max(s, F(-1)), F(1)))
        case "relu6":
            return F(min(max(s, F(0)), F(6)))
        case "swish":
            return F(0) if v == -INF else s / (F(1) + exp32(-float(s)))
        case "hard_swish":
            return s * F(min(max(s + F(3), F(0)), F(6))) / F(6)
        case "square":
            return s * s
        case "mish":
            if v == -INF:
                return F(0)
            return s * F(math.tanh(float(F(math.log(float(F(1) + exp32(float(s))))))))
        case "softsign":
            return s / (F(1) + abs(s))
        case "elu":
            return (exp32(float(s)) - F(1)) * F(alpha) if s < 0 else s
        case "hard_sigmoid":
            return F(min(max(s * F(alpha) + F(beta), F(0)), F(1)))
        case "clip":
            return F(min(max(s, F(minimum)), F(maximum)))
        case "neg":
            return F(-v)
        case "log":
            return F(math.log(v)) if v > 0 else F(-INF) if v == 0 else F(math.nan)
        case "reciprocal":
            return F(INF) if v == 0 else F(1) / s
    raise AssertionError(op)


def grid_point(i, *, odd):
    segments = 32 if odd else 16
    exponent, fraction = (i // segments) % 32, Fraction(i % segments, segments)
    sign = -1.0 if not odd and i >= 512 else 1.0
    magnitude = (1 + fraction) * Fraction(2) ** (exponent - 15)
    return sign * (0.0 if exponent == 0 else INF if exponent == 31 else float(magnitude))


def entry(value) -> Fraction:
    if math.isnan(value):
        return Fraction(65535)
    if math.isinf(value):
        return Fraction(65535 if value > 0 else -65535)
    rounded = max(Fraction(-65535), min(Fraction(65535), r16(Fraction(float(value)))))
    return rounded if abs(rounded) >= Fraction(1, 2**14) else Fraction(0)


def chord(function, v):
    """Return the driver's own linear table of the function at v, float64."""
    if math.isinf(v):
        return float(function(math.copysign(65536.0, v)))
    if abs(v) < 2.0**-14:
        return float(function(math.copysign(0.0, v)))
    mantissa, exponent = math.frexp(abs(v))
    segment = math.floor((2 * mantissa - 1) * 16)
    low, high = ((1 + (segment + k) / 16) * 2.0 ** (exponent - 1) for k in (0, 1))
    sign = math.copysign(1.0, v)
    at_low, at_high = float(function(sign * low)), float(function(sign * high))
    return at_low + (at_high - at_low) * ((abs(v) - low) / (high - low))


def table_of(op, parameters, scale):
    """Return index -> entry."""
    odd = op == "tanh"

    def sample(i):
        point = grid_point(i, odd=odd)
        if op == "abs":
            return F(-INF) if i >= 1008 else F(abs(point))
        if op == "leaky_relu":
            return F(point) * F(parameters["alpha"]) if point < 0 else F(point)
        if op in TABLE_LOOKUP_OPS:
            return F(chord(lambda v: scalar(op, v, **parameters), point * scale))
        return scalar(op, point * scale, **parameters)

    return cache(lambda i: entry(sample(i)))


def reference(op, parameters, codes, scaling, dtype, out_scaling):
    scale, out_scale = float(F(scaling[0])), out_scaling[0]
    centred = [Fraction(float(q)) - scaling[1] for q in codes]
    scale_is_in_table = op not in ("relu", "leaky_relu", "abs")
    factor = tp_ratio(1.0 if scale_is_in_table else scale, out_scale)
    with np.errstate(all="ignore"):
        if op == "relu":
            looked_up = [max(x, Fraction(0)) for x in centred]
        else:
            entries = table_of(op, parameters, scale)
            looked_up = [interpolate(entries, x, odd=op == "tanh") for x in centred]
    return [tp_store(r16(x * factor), dtype, out_scaling[1]) for x in looked_up]


PARAMETERS = {
    "leaky_relu": {"alpha": 0.1},
    "elu": {"alpha": 0.7},
    "hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "clip": {"minimum": -0.8, "maximum": 2.3},
}
OPS = [op for op in (*ACTIVATION_OPS, *TABLE_LOOKUP_OPS) if op != "gelu"]


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=12)
@given(
    scale=st.floats(2.0**-9, 0.25, width=32),
    zero=st.integers(0, 255),
    out_scale=st.floats(2.0**-9, 0.25, width=32),
    out_zero=st.integers(0, 255),
)
def test_u8(op, scale, zero, out_scale, out_zero):
    codes = all_codes(np.uint8)[:: 3 if zero % 2 else 5]
    parameters = PARAMETERS.get(op, {})
    got = activate(op, parameters, codes, (scale, zero), np.uint8, (out_scale, out_zero))
    expected = reference(op, parameters, codes, (scale, zero), np.uint8, (out_scale, out_zero))
    assert got.dtype == np.uint8
    assert got.tolist() == expected


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [np.int16, np.float16])
@pytest.mark.parametrize("out", [np.int16, np.float16, np.uint8])
def test_sixteen_bits(op, dtype, out):
    codes = all_codes(dtype)[7::1024] if dtype == np.int16 else all_codes(dtype)[5:0x7C00:613]
    if dtype == np.float16:
        codes = np.concatenate([codes, -codes])
    scaling = (2.0**-9, 0) if dtype == np.int16 else (1.0, 0)
    out_scaling = {np.int16: (2.0**-8, 0), np.float16: (1.0, 0), np.uint8: (0.031, 50)}[out]
    parameters = PARAMETERS.get(op, {})
    got = activate(op, parameters, codes, scaling, out, out_scaling)
    assert got.dtype == out
    assert got.tolist() == reference(op, parameters, codes, scaling, out, out_scaling)


def test_relu_of_float16_gives_negative_zero():
    codes = np.array([-3.0, -0.0, 2.0], np.float16)
    got = activate("relu", {}, codes, (1.0, 0), np.float16, (1.0, 0))
    assert got.view(np.uint16).tolist() == [0x8000, 0, 0x4000]


@pytest.mark.parametrize(("scale", "fl"), [(2.0**-5, 5), (2.0**-12, 12)])
def test_gelu_is_close_to_the_exact_function(scale, fl):
    codes = np.arange(-128, 128, dtype=np.int16) * (1 if fl == 5 else 128)
    got = activate("gelu", {}, codes, (scale, 0), np.int16, (2.0**-12, 0)) * 2.0**-12
    real = codes * scale
    exact = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in real]
    np.testing.assert_allclose(got, exact, atol=2e-3)


def test_every_code_has_a_finite_result():
    for op in (*ACTIVATION_OPS, *TABLE_LOOKUP_OPS):
        parameters = PARAMETERS.get(op, {})
        got = activate(op, parameters, all_codes(np.float16), (1.0, 0), np.float16, (1.0, 0))
        assert np.isfinite(got).all(), op
