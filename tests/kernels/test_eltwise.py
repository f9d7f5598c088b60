"""Binary arithmetic against scalar float32 steps and exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise.f16_binary import ADD, ADD_ON_NN, DIVIDE, MULTIPLY
from npusim.kernels.elementwise.f16_binary import binary as binary_f16
from npusim.kernels.engines.eltwise import add_on_nn, add_on_nn_f16, binary, cut_ratio
from npusim.kernels.engines.nn_store import cut_to_f16
from tests.kernels.exact import integer

F = np.float32
scales = st.floats(2.0**-9, 1.0, width=32)
zeros = st.integers(0, 255)
codes = st.lists(zeros, min_size=1, max_size=30)


@given(a=codes, b=zeros, sa=scales, sb=scales, so=scales, za=zeros, zb=zeros, zo=zeros)
def test_u8_add_sub_mul_take_these_float32_steps(a, b, sa, sb, so, za, zb, zo):
    left, right = np.array(a, np.uint8), np.array([b], np.uint8)
    for op in ("add", "sub", "mul"):
        got = binary(op, left, right, (sa, za), (sb, zb), np.uint8, (so, zo))
        for q, y in zip(a, got.tolist(), strict=True):
            if op == "mul":
                m = F(F(F(sa) * F(sb)) * F(F(1) / F(so)))
                offset = F(F(F(F(za) * m) * F(zb)) + F(zo))
                t = F(F(F(q * b - q * zb - b * za) * m) + offset)
            else:
                first = F(F(F(q - za) * F(F(sa) * F(F(1) / F(so)))) + F(zo))
                second = F(F(b - zb) * F(F(sb) * F(F(1) / F(so))))
                t = F(first + second) if op == "add" else F(first - second)
            assert y == integer(Fraction(float(t)), np.uint8)


@given(a=codes, b=codes, sa=scales, sb=scales, so=scales, za=zeros, zb=zeros, zo=zeros)
def test_u8_max_and_min_are_exact(a, b, sa, sb, so, za, zb, zo):
    left, right = np.array(a, np.uint8)[:, None], np.array(b, np.uint8)[None, :]
    ratio_a, ratio_b = Fraction(cut_ratio(sa, so)), Fraction(cut_ratio(sb, so))
    for op, pick in (("max", max), ("min", min)):
        got = binary(op, left, right, (sa, za), (sb, zb), np.uint8, (so, zo))
        expected = [
            [integer(pick((p - za) * ratio_a, (q - zb) * ratio_b) + zo, np.uint8) for q in b]
            for p in a
        ]
        assert got.tolist() == expected


@given(scales, scales)
def test_cut_ratio_keeps_sixteen_bits(numerator, denominator):
    exact = Fraction(float(F(F(numerator) * F(F(1) / F(denominator)))))
    cut = Fraction(cut_ratio(numerator, denominator))
    assert 0 <= exact - cut < exact / 2**15
    assert cut.numerator.bit_length() <= 16 or cut.denominator == 1


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "max", "min"])
@given(
    a=st.lists(st.integers(-32768, 32767), min_size=1, max_size=20),
    b=st.integers(-32768, 32767),
    fls=st.tuples(st.integers(2, 14), st.integers(2, 14), st.integers(2, 14)),
)
def test_i16(op, a, b, fls):
    fa, fb, fo = (2.0**-fl for fl in fls)
    left, right = np.array(a, np.int16), np.array([b], np.int16)
    got = binary(op, left, right, (fa, 0), (fb, 0), np.int16, (fo, 0))
    for q, y in zip(a, got.tolist(), strict=True):
        v, w = F(q) * F(fa), F(b) * F(fb)
        with np.errstate(all="ignore"):
            t = {
                "add": lambda v, w: v + w,
                "sub": lambda v, w: v - w,
                "mul": lambda v, w: v * w,
                "div": lambda v, w: v / w,
                "max": max,
                "min": min,
            }[op](v, w) * (F(1) / F(fo))
        if np.isnan(t):
            assert y == 0
        elif np.isinf(t):
            assert y == (32767 if t > 0 else -32768)
        else:
            assert y == integer(Fraction(float(t)), np.int16)


def test_division_of_integers_by_zero_saturates_and_nan_is_code_zero():
    a = np.array([0, 100, 200], np.uint8)
    got = binary("div", a, np.array([7], np.uint8), (1.0, 100), (1.0, 7), np.uint8, (1.0, 50))
    assert got.tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("base", "exponent", "result"), [(-2, 3, -8), (-2, 2, 4), (0, 2, 0), (2, -1, 0.5), (9, 0.5, 3)]
)
def test_pow_of_float16(base, exponent, result):
    a, b = np.array([base], np.float16), np.array([exponent], np.float16)
    assert binary("pow", a, b, (1.0, 0), (1.0, 0), np.float16, (1.0, 0)) == result


def test_pow_without_a_value():
    zero, minus = np.array([0], np.float16), np.array([-1], np.float16)
    assert binary("pow", zero, minus, (1.0, 0), (1.0, 0), np.float16, (1.0, 0)) == -np.inf
    codes = np.array([100, 101], np.uint8)  # 0 and 1, to the power -1
    got = binary("pow", codes, codes[:1] - 1, (1.0, 100), (1.0, 100), np.uint8, (0.25, 60))
    assert got.tolist() == [0, 64]


# ---- the NN engine -----------------------------------------------------------------------------
@given(
    a=codes,
    b=zeros,
    zero=zeros,
    weights=st.tuples(st.integers(0, 255), st.integers(-255, 255)),
    bias=st.integers(-70000, 70000),
    multiplier=st.integers(2**15, 2**16 - 1),
    shift=st.integers(16, 40),
    out_zero=zeros,
)
def test_add_on_nn(a, b, zero, weights, bias, multiplier, shift, out_zero):
    left, right = np.array(a, np.uint8), np.array([b], np.uint8)
    got = add_on_nn(left, right, zero, weights, bias, multiplier, shift, out_zero)
    for q, y in zip(a, got.tolist(), strict=True):
        acc = (q - zero) * weights[0] + (b - zero) * weights[1] + bias
        steps = round(Fraction(acc * multiplier, 2**shift))
        assert y == max(0, min(255, steps + out_zero))


halves = st.integers(0, 65535).map(lambda bits: np.uint16(bits).view(np.float16))
finite = halves.filter(lambda v: bool(np.isfinite(v)))


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=30), st.booleans())
def test_add_on_nn_f16_cuts_the_float32_sum(pairs, subtract):
    a, b = (np.array(column, np.float16) for column in zip(*pairs, strict=True))
    got = add_on_nn_f16(a, b, subtract)
    tiny = F(2.0**-14)
    for v, w, y in zip(a.astype(F), b.astype(F), got.astype(F), strict=True):
        v, w = (x if abs(x) >= tiny else F(0) for x in (v, w))
        total = v - w if subtract else v + w
        if abs(total) >= 65504:
            assert y == np.copysign(F(65504), total)
        elif abs(total) < tiny:
            assert y == 0
        else:
            assert abs(y) <= abs(total)
            further = np.nextafter(np.float16(y), np.copysign(np.float16(np.inf), np.float16(y)))
            assert abs(total) < abs(further)


# ---- the compiled float16 loop -----------------------------------------------------------------
def run_f16(a, b, operation, *, negate=False, relu=False):
    rows = np.zeros(1, np.int64)
    ofm = np.empty(a.size, np.uint16)
    left, right = a.view(np.uint16), b.view(np.uint16)
    binary_f16(left, rows, right, rows, ofm, a.size, operation, negate, relu, 0, 1)
    return ofm.view(np.float16)


def all_pairs():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 65536, (2, 200_000)).astype(np.uint16)
    borders = np.array([0, 1, 0x3FF, 0x400, 0x401, 0x3C00, 0x7BFF, 0x7C00, 0x7E01], np.uint16)
    borders = np.concatenate([borders, borders | 0x8000])
    grid = np.array(np.meshgrid(borders, borders)).reshape(2, -1)
    bits = np.concatenate([bits, grid], axis=1)
    return np.ascontiguousarray(bits).view(np.float16)


@pytest.mark.parametrize(
    ("operation", "op", "negate"),
    [(ADD, "add", False), (ADD, "sub", True), (MULTIPLY, "mul", False), (DIVIDE, "div", False)],
)
def test_compiled_halves_equal_the_array_form(operation, op, negate):
    a, b = all_pairs()
    expected = binary(op, a, b, (1.0, 0), (1.0, 0), np.float16, (1.0, 0))
    got = run_f16(a, b, operation, negate=negate)
    np.testing.assert_array_equal(got, expected)
    rectified = run_f16(a, b, operation, negate=negate, relu=True)
    np.testing.assert_array_equal(rectified, np.maximum(expected, np.float16(0)))


@pytest.mark.parametrize("negate", [False, True])
def test_compiled_halves_on_nn(negate):
    a, b = all_pairs()
    expected = add_on_nn_f16(a, b, negate)
    np.testing.assert_array_equal(run_f16(a, b, ADD_ON_NN, negate=negate), expected)


def test_cut_to_f16_of_every_float16_is_itself_or_zero():
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    got = cut_to_f16(every.astype(F))
    np.testing.assert_array_equal(got, np.where(np.abs(every) < F(2.0**-14), 0, every))
