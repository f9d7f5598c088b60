"""Max pools of any window and number of channels against plain numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.windows import pool

CHANNELS = (1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 100, 129)  # around whole vectors
PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))
TYPES = {  # kernel, mask, lowest key
    "u8": (pool.max_pool_8bit, np.uint8, 0, 0),
    "i8": (pool.max_pool_8bit, np.uint8, 128, 0),
    "i16": (pool.max_pool_16bit, np.int16, 0, -32768),
    "f16": (pool.max_pool_16bit, np.int16, 0x7FFF, -0x7C00),
}


def keys(codes, mask):
    if codes.dtype == np.uint8:
        return codes ^ np.uint8(mask)
    return codes ^ ((codes >> 15) & np.int16(mask))


@pytest.mark.parametrize("name", TYPES)
@given(
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    channels=st.sampled_from(CHANNELS),
    window=PAIR,
    stride=PAIR,
    pad=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    seed=st.integers(0, 2**32 - 1),
)
def test_max_pool(name, size, channels, window, stride, pad, seed):
    """A pad may exceed the window: a window without inputs gives the lowest key."""
    kernel, dtype, mask, lowest = TYPES[name]
    bits = np.random.default_rng(seed).integers(0, 1 << 16, (2, *size, channels))
    ifm = bits.astype(np.uint16).astype(dtype)
    out = [
        max(1, (n + 2 * p - k) // s + 1)
        for n, p, k, s in zip(size, pad, window, stride, strict=True)
    ]
    ofm, wanted = (np.zeros((2, *out, channels), dtype) for _ in range(2))
    for y, x in np.ndindex(*out):
        top, left = y * stride[0] - pad[0], x * stride[1] - pad[1]
        rows = slice(max(top, 0), max(top + window[0], 0))
        columns = slice(max(left, 0), max(left + window[1], 0))
        seen = keys(ifm[:, rows, columns], mask).reshape(2, -1, channels)
        best = seen.max(axis=1, initial=np.iinfo(dtype).min)
        wanted[:, y, x] = keys(np.maximum(best, dtype(lowest)), mask)
    for row in range(2 * out[0]):
        kernel(ifm, mask, lowest, *window, *stride, *pad, ofm, row, row + 1)
    np.testing.assert_array_equal(ofm, wanted)
