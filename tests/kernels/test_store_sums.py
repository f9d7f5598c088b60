"""Compiled stores are those of the engines, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.kernels.elementwise.store_sums import store_sums
from npusim.kernels.engines.shader_average import global_average
from npusim.kernels.engines.tp import saturate, store_affine
from npusim.kernels.windows.pool import AVERAGED, average_maps, averaged_rows

TYPES = [np.uint8, np.int8, np.int16]


def sums(seed: int) -> np.ndarray:
    """Small ones, large ones, and halves of whole numbers, where rounding is decided."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=400) * 10.0 ** rng.integers(-2, 9, 400)
    halves = rng.integers(-600, 600, 400) / 2
    return np.concatenate([wide, halves]).astype(np.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("relu", [False, True])
@given(multiplier=st.integers(1, 2**15), shift=st.integers(0, 24), zero=st.integers(0, 255))
def test_sums_of_tp(dtype, relu, multiplier, shift, zero):
    acc = sums(multiplier)
    limits = np.iinfo(dtype)
    scale, numbers = multiplier * 2.0**-shift, (float(limits.min), float(limits.max))
    read = np.maximum(acc, np.float32(0)) if relu else acc
    affine, plain = np.zeros(acc.size, dtype), np.zeros(acc.size, dtype)
    store_sums(acc, scale, float(zero), True, relu, *numbers, affine, 0, acc.size)
    store_sums(acc, scale, 0.0, False, relu, *numbers, plain, 0, acc.size)
    np.testing.assert_array_equal(affine, store_affine(read, multiplier, shift, zero, dtype))
    np.testing.assert_array_equal(plain, saturate(read.astype(np.float64) * scale, dtype))


@given(
    pixels=st.integers(1, 300),
    channels=st.sampled_from([1, 3, 63, 64, 65, 130]),
    scales=st.tuples(st.floats(1e-4, 10), st.floats(1e-4, 10)),
    zeros=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)
def test_averages_of_maps(pixels, channels, scales, zeros):
    ifm = np.random.default_rng(pixels).integers(0, 256, (2, pixels, channels)).astype(np.uint8)
    ofm = np.zeros((2, channels), np.uint8)
    numbers = pixels * zeros[0], scales[0], 1 / (scales[1] * pixels), zeros[1]
    scratch, rows = np.zeros(AVERAGED, np.int32), averaged_rows(2, channels)
    average_maps(ifm, zeros[0], *map(float, numbers), scratch, ofm, 0, rows)
    total = ifm.astype(np.float64).sum(axis=1) - float(zeros[0]) * pixels
    scaling = (scales[0], zeros[0]), np.uint8, (scales[1], zeros[1])
    wanted = global_average(total, pixels, np.uint8, *scaling, in_halves=False)
    np.testing.assert_array_equal(ofm, wanted)
