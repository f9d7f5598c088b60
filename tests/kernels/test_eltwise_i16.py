"""The compiled i16 sums and products of the shader equal their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise import i16_binary
from npusim.kernels.engines.eltwise import add_on_nn, binary

START = np.zeros(1, np.int64)
FLS = st.integers(-2, 15)


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@given(fls=st.tuples(FLS, FLS, FLS), seed=st.integers(0, 2**32 - 1), count=st.integers(1, 70))
def test_shader_equals_its_definition(op, fls, seed, count):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-32768, 32768, (2, count)).astype(np.int16)
    a[:1], b[-1:] = -32768, 32767
    scales = [2.0**-fl for fl in fls]
    wanted = binary(op, a, b, (scales[0], 0), (scales[1], 0), np.int16, (scales[2], 0))
    operation = i16_binary.PRODUCT if op == "mul" else i16_binary.SUM
    sign = -1 if op == "sub" else 1
    numbers = (scales[0], sign * scales[1], 1 / scales[2], -32768.0, 32767.0)
    ofm = np.full(count + 40, 99, np.int16)
    i16_binary.shader(a, START, b, START, ofm, count, operation, numbers, 0, 1)
    np.testing.assert_array_equal(ofm[:count], wanted)
    assert (ofm[count:] == 99).all()


@given(
    weights=st.tuples(st.integers(-32768, 32767), st.integers(-32768, 32767)),
    bias=st.integers(-(2**20), 2**20),
    shift=st.integers(0, 30),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 70),
)
def test_sum_of_the_nn_engine_equals_its_definition(weights, bias, shift, seed, count):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-32768, 32768, (2, count)).astype(np.int16)
    wanted = add_on_nn(a, b, 0, weights, bias, 1, shift, 0)
    ofm = np.full(count + 40, 99, np.int16)
    numbers = tuple(map(float, (*weights, bias, 2.0**-shift, -32768, 32767)))
    i16_binary.weighted_sum(a, START, b, START, ofm, count, numbers, 0, 1)
    np.testing.assert_array_equal(ofm[:count], wanted)
    assert (ofm[count:] == 99).all()


def test_a_product_of_25_bits_is_rounded_up_at_a_tie():
    # odd, above 2**24: float32 has both neighbours equally near; the lower one divided by 1024 is
    # another tie, which then goes to even
    a, b, product = next(
        (n, product // n, product)
        for product in range(2**24 + 513, 2**25, 2048)
        for n in range(1025, 32768, 2)
        if product % n == 0 and product // n < 32768
    )
    for sign in (1, -1):
        codes = np.array([sign * a], np.int16), np.array([b], np.int16)
        (got,) = binary("mul", *codes, (1.0, 0), (1.0, 0), np.int16, (1024.0, 0))
        assert got == sign * (product // 1024) + (sign > 0)


def test_shift_0_does_not_wrap_and_a_negative_one_does():
    a, b = np.array([-5, 5], np.int16), np.array([-7, 7], np.int16)
    assert add_on_nn(a, b, 0, (1, 1), 0, 1, 0, 0).tolist() == [-12, 12]
    assert add_on_nn(a, b, 0, (1, 1), 0, 1, -1, 0).tolist() == [-32768, 24]
