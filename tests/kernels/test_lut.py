"""Table kernels move exactly the codes of the range they are given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise import int8_lut_vbmi
from npusim.kernels.elementwise.lut import clip_words, map_codes, map_pairs
from npusim.runtime.tables import clip_of
from tests.kernels.emulated_avx512 import on_any_processor as on_any_processor

UNSIGNED = (np.uint8, np.uint16)


@pytest.mark.parametrize("dtype", UNSIGNED)
@pytest.mark.parametrize("out", UNSIGNED)
@given(seed=st.integers(0, 99), size=st.integers(0, 300), data=st.data())
def test_map_codes(dtype, out, seed, size, data):
    rng = np.random.default_rng(seed)
    count = 1 << np.dtype(dtype).itemsize * 8
    table = rng.integers(0, np.iinfo(out).max + 1, count).astype(out)
    ifm = rng.integers(0, count, size).astype(dtype)
    first = data.draw(st.integers(0, size))
    last = data.draw(st.integers(first, size))
    ofm = np.full(size, 77, out)
    expected = ofm.copy()
    expected[first:last] = table[ifm[first:last]]
    map_codes(ifm, table, ofm, first, last)
    np.testing.assert_array_equal(ofm, expected)


@pytest.mark.parametrize("out", UNSIGNED)
@given(seed=st.integers(0, 99), rows=st.integers(1, 6), length=st.integers(0, 40), data=st.data())
def test_map_pairs(out, seed, rows, length, data):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, np.iinfo(out).max + 1, 65536).astype(out)
    a = rng.integers(0, 256, 3 * length + 5).astype(np.uint8)
    b = rng.integers(0, 256, 2 * length + 5).astype(np.uint8)
    a_rows = rng.integers(0, 2 * length + 6, rows)
    b_rows = rng.integers(0, length + 6, rows)
    first = data.draw(st.integers(0, rows))
    last = data.draw(st.integers(first, rows))
    ofm = np.zeros(rows * length, out)
    expected = ofm.copy()
    for row in range(first, last):
        for k in range(length):
            index = 256 * int(a[a_rows[row] + k]) + int(b[b_rows[row] + k])
            expected[row * length + k] = table[index]
    map_pairs(a, a_rows, b, b_rows, table, ofm, length, first, last)
    np.testing.assert_array_equal(ofm, expected)


def test_inputs_may_be_read_only():
    ifm, table = np.arange(5, dtype=np.uint8), np.arange(256, dtype=np.uint8)[::-1].copy()
    ifm.flags.writeable = table.flags.writeable = False
    ofm = np.empty(5, np.uint8)
    map_codes(ifm, table, ofm, 0, 5)
    assert ofm.tolist() == [255, 254, 253, 252, 251]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 300])
def test_tables_in_registers_equal_tables_in_memory(count):
    rng = np.random.default_rng(count)
    table, ifm = rng.permutation(256).astype(np.uint8), rng.integers(0, 256, count + 9)
    ofm = np.full(count + 80, 7, np.uint8)
    int8_lut_vbmi.map_bytes(ifm.astype(np.uint8), table, ofm, 5, 5 + count)
    np.testing.assert_array_equal(ofm[5 : 5 + count], table[ifm[5 : 5 + count]])
    assert (ofm[:5] == 7).all()
    assert (ofm[5 + count :] == 7).all()


@given(st.integers(-8, 8), st.integers(-32768, 32767), st.integers(-32768, 32767))
def test_clips_are_found_in_tables_and_computed(exponent, low, high):
    codes = np.arange(-32768, 32768).astype(np.int16)
    low, high = sorted((low, high))
    table = np.clip(np.rint(codes * 2.0**exponent), low, high).astype(np.int16)
    clip = clip_of(codes, table)
    assert clip is not None
    actual = np.zeros_like(codes)
    clip_words(codes, *clip, actual, 0, codes.size)
    np.testing.assert_array_equal(actual, table)
    table[12345] ^= 1
    assert clip_of(codes, table) is None or low == high
