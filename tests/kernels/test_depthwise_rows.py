"""The shader's i16 depthwise convolution against the rule, number by number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.engines.shader_depthwise import depthwise_i16

F = np.float32


def wrapped(value):
    return (value + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("multiplier", [1, 2])
@given(
    seed=st.integers(0, 999),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 3),
    pad=st.integers(0, 2),
)
def test_every_number(multiplier, seed, kernel, stride, dilation, pad):
    rng = np.random.default_rng(seed)
    size = [(k - 1) * dilation + 1 + 2 * stride for k in kernel]
    ifm = rng.integers(-32768, 32768, (2, 3, *size)).astype(np.int16)
    weights = rng.integers(-32768, 32768, (3 * multiplier, 1, *kernel)).astype(np.int16)
    bias = rng.integers(-(2**40), 2**40, 3 * multiplier)
    out = [
        (n + 2 * pad - (k - 1) * dilation - 1) // stride + 1
        for n, k in zip(size, kernel, strict=True)
    ]
    got = depthwise_i16(
        ifm, weights, bias, (out[0], out[1]),
        stride=(stride, stride), dilation=(dilation, dilation), pad=(pad, pad),
    )  # fmt: skip
    assert got.shape == (2, 3 * multiplier, *out)
    for n, o, y, x in np.ndindex(*got.shape):
        total = F(bias[o])
        for i in range(kernel[0]):
            row = 0
            for j in range(kernel[1]):
                at = y * stride + i * dilation - pad, x * stride + j * dilation - pad
                if all(0 <= a < s for a, s in zip(at, size, strict=True)):
                    row += int(ifm[n, o // multiplier, *at]) * int(weights[o, 0, i, j])
            total = F(total + F(wrapped(row)))
        assert got[n, o, y, x] == total
