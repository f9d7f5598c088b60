"""The compiled u8 sums and products equal their definitions for all pairs of codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise import u8_binary, u8_sum_vnni
from npusim.kernels.engines.eltwise import add_on_nn, binary, inverse_ratio, product_scalars
from tests.kernels.emulated_avx512 import on_any_processor as on_any_processor

A, B = (codes.reshape(-1).astype(np.uint8) for codes in np.mgrid[:256, :256])
START = np.zeros(1, np.int64)
SCALES, ZEROS = st.floats(1e-4, 4.0), st.sampled_from([0, 1, 127, 128, 254, 255])


def on_all_pairs(kernel, *arguments):
    """Run on all pairs of codes and on a few, with canaries behind the result."""
    results = []
    for count in (A.size, 77, 1):
        ofm = np.full(count + 64, 99, np.uint8)
        kernel(A[:count], START, B[:count], START, ofm, count, *arguments, 0, 1)
        assert (ofm[count:] == 99).all()
        results.append(ofm[:count])
    np.testing.assert_array_equal(results[1], results[0][:77])
    return results[0]


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@given(scales=st.tuples(SCALES, SCALES, SCALES), zeros=st.tuples(ZEROS, ZEROS, ZEROS))
def test_shader_equals_its_definition(op, scales, zeros):
    scalings = list(zip(scales, zeros, strict=True))
    wanted = binary(op, A, B, scalings[0], scalings[1], np.uint8, scalings[2])
    a_ratio, b_ratio = (inverse_ratio(s, scales[2]) for s in scales[:2])
    offset = np.float32(zeros[2])
    if op == "mul":
        a_ratio, offset = product_scalars(tuple(scalings))
    b_ratio = -b_ratio if op == "sub" else b_ratio
    operation = u8_binary.PRODUCT if op == "mul" else u8_binary.SUM
    numbers = tuple(map(float, (zeros[0], zeros[1], a_ratio, b_ratio, offset, 0)))
    actual = on_all_pairs(u8_binary.shader, operation, numbers)
    np.testing.assert_array_equal(actual, wanted)


@given(
    weights=st.tuples(st.integers(-255, 255), st.integers(-255, 255)),
    zeros=st.tuples(ZEROS, ZEROS),
    bias=st.integers(-(2**20), 2**20),
    multiplier=st.integers(2**15, 2**16 - 1),
    shift=st.integers(17, 34),
    low=st.sampled_from([0, 100]),
)
def test_weighted_sum_equals_its_definition(weights, zeros, bias, multiplier, shift, low):
    wanted = add_on_nn(A, B, zeros[0], weights, bias, multiplier, shift, zeros[1])
    start = bias - zeros[0] * sum(weights)
    numbers = tuple(map(float, (*weights, start, multiplier * 2.0**-shift, zeros[1], low)))
    actual = on_all_pairs(u8_binary.weighted_sum, numbers)
    np.testing.assert_array_equal(actual, np.maximum(wanted, low))
    for sign in (1, -1):
        signed = [sign * weight for weight in weights]
        if min(signed) < u8_sum_vnni.LOWEST or max(signed) > u8_sum_vnni.HIGHEST:
            continue
        scale = sign * multiplier * 2.0**-shift
        store = u8_sum_vnni.packed_weights(*signed), sign * start, scale, zeros[1], low
        actual = on_all_pairs(u8_sum_vnni.weighted_sum, *store)
        np.testing.assert_array_equal(actual, np.maximum(wanted, low))
