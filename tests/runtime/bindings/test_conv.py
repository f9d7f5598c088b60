"""Convolutions of the shader: a scale per channel in double precision, float16 to nearest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import GraphError
from npusim.ir.attrs import Activation, Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, AffinePerChannel, Float
from npusim.testing import bound_layer


def run(ifm, weights, bias, quants, attrs, engine):
    """Bind and run one convolution; quants of ifm, weights, ofm."""
    dtype = DType.of(ifm.dtype)
    step = bound_layer(
        "conv2d",
        engine,
        [
            (ifm.shape, (dtype, quants[0])),
            (weights.shape, (dtype, quants[1])),
            (bias.shape, (DType.of(bias.dtype), Float())),
        ],
        (dtype, quants[2]),
        attrs,
        {1: weights, 2: bias},
        name="c",
    )
    return step(ifm)[0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 64, 70]), st.booleans(), st.booleans())
def test_scale_and_zero_point_per_channel(seed, out_c, same_zero, relu):
    rng = np.random.default_rng(seed)
    ifm = rng.integers(0, 256, (1, 6, 5, 4)).astype(np.uint8)
    weights = rng.integers(0, 256, (out_c, 6, 3, 3)).astype(np.uint8)
    bias = rng.integers(-9000, 9000, out_c).astype(np.int32)
    scales = rng.uniform(1e-3, 0.02, out_c).astype(np.float32).astype(float)
    zeros = np.full(out_c, 128) if same_zero else rng.integers(0, 256, out_c)
    quants = (
        Affine(scale=0.03, zero_point=100),
        AffinePerChannel(scales=tuple(scales), zero_points=tuple(zeros.tolist())),
        Affine(scale=0.4, zero_point=77),
    )
    attrs = Conv2dAttrs(pad=(1, 1, 1, 1), activation=Activation.RELU if relu else Activation.NONE)
    result = run(ifm, weights, bias, quants, attrs, Engine.SHADER)
    padded = np.pad(ifm.astype(np.int64) - 100, ((0, 0), (0, 0), (1, 1), (1, 1)))
    centred = weights.astype(np.int64) - zeros[:, None, None, None]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[0]
    sums = np.einsum("chwij,ocij->ohw", windows, centred) + bias[:, None, None]
    factor = float(np.float32(0.03)) * scales / float(np.float32(0.4))
    expected = np.rint(sums * factor[:, None, None]) + 77
    np.testing.assert_array_equal(result[0], np.clip(expected, 77 if relu else 0, 255))


@pytest.mark.parametrize("zero_out", [100, 101])
def test_ties_go_to_even_after_the_zero_point_on_the_shader(zero_out):
    ifm = np.arange(1, 9, dtype=np.uint8).reshape(1, 1, 1, 8)  # halves: 0.5, 1.0, .. 4.0
    quants = (
        Affine(scale=1.0),
        AffinePerChannel(scales=(0.5,), zero_points=(0,)),
        Affine(scale=1.0, zero_point=zero_out),
    )
    weights, bias = np.ones((1, 1, 1, 1), np.uint8), np.zeros(1, np.int32)
    result = run(ifm, weights, bias, quants, Conv2dAttrs(), Engine.SHADER)
    np.testing.assert_array_equal(result.reshape(-1), np.rint(np.arange(1, 9) / 2 + zero_out))


def test_float16_is_rounded_to_nearest_on_the_shader_and_cut_on_nn():
    ifm = np.ones((1, 1, 1, 2), np.float16)
    weights = np.ones((1, 1, 1, 1), np.float16)
    bias = np.array([3 * 2.0**-12], np.float32)  # 1 + bias lies three quarters of a step above 1
    results = [
        run(ifm, weights, bias, (Float(),) * 3, Conv2dAttrs(), engine).reshape(-1)
        for engine in (Engine.SHADER, Engine.NN)
    ]
    np.testing.assert_array_equal(results[0], np.float16(1 + 2.0**-10))
    np.testing.assert_array_equal(results[1], np.float16(1))


def test_a_type_the_engine_cannot_store_names_the_layer():
    ifm = np.zeros((1, 1, 1, 1), np.int16)
    weights = np.zeros((1, 1, 1, 1), np.int16)
    quant = Affine(scale=1.0)
    with pytest.raises(GraphError, match=r"layer 'c'"):
        run(
            ifm.astype(np.int32),
            weights,
            np.zeros(1, np.int64),
            (quant,) * 3,
            Conv2dAttrs(),
            Engine.NN,
        )
