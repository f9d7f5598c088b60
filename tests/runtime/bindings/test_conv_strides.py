"""Float16 convolutions whose sums show the order of addition, with recorded results.

Inputs are +-1; a third of the weights is 2**14 and the others are about 2**-11, so a small product
is lost or kept depending on when the large ones cancel. With the order that ignores the zeros in
front of the kernel 17 to 36% of these values differ.
"""

import numpy as np
import pytest

from npusim.ir.attrs import Conv2dAttrs
from npusim.ir.graph import Engine
from npusim.testing import bound_layer
from tests.formats import F16, F32

OUT_C = 3
# kernel, stride, depthwise, seed, bits of the outputs in hexadecimal
RECORDED = [
    (
        (3, 3),
        (2, 1),
        True,
        3,
        "f3fff800f8007800780078007800f800f400f40077ff7bff982c96d0f7ff182c0580946c73fff7ff"
        "182c058077ff7bff982c96d019ca74007bff982c96d0f7ff182c058077ff77fff40077ff78007800"
        "7800f7fff800f80073ff7400f800f800f8007800780078007800f3ff73ff780078007800f800f800"
        "f80078007400f3fff800f8007800780078007800f800f400942c73fff400f400f3fff3ff740073ff"
        "73ff17a8fa00f3fff40073ff73ff73fff3fff8009b3a73ff73fff3fffa00f3fff40073ff9766f800"
        "f3fff40073ff73ff73fff3fffa009499",
    ),
    (
        (3, 3),
        (1, 2),
        False,
        1000,
        "f80073ff7a007400f40077fff3ff740073ff7800f7ff740073ff7400f7ff988973ff7400fa009c00"
        "78007400fa0073ff78007800fa0073ff7a001d00f80073ff7a00f3ff000078007a00fa0073ff7800"
        "f800780077ff9431180073fff3ff740073ff7a00f3ff740073ff7400fa00740073ff7400fa00f3ff"
        "73ff7400fa00f4007a007400fa00f4007a00f400f3fff4007a00f3fff40073ff7800f80078007800"
        "1d007a0073fff400000077fff400740074009800f80074007400fa00f80000007400fa00fa00f800"
        "7800fa00fa00f4007800f800fa00f4007a000000f800f4007a00f40018001152995491527bff9800",
    ),
    (
        (3, 5),
        (2, 2),
        False,
        77,
        "7bfffa00f3ff7bfff3fff8007a007a00fbff8cfe7800fbfff4007bfff8009b7c7bfffa00fa001181"
        "f40077ff7800f7ff73ff78000000fbff77ff94dcfbff77ff7800f7ff780077fff7ff000078001897"
        "7a007800fbff78007a00f80073ff7bfffa00f4007bfffa00fa007a00f3fff8007a007400fa007400",
    ),
    (
        (4, 4),
        (3, 1),
        True,
        5,
        "9a0173ff7800780078000910f800f80090fa780073ff9ab37a007a0073ff73fff400f400f8007800"
        "73ff991af3ff7a007a0073ff73fff400f800f8007a0073fff3fff3fff3ff740073ff79ff77ff8d04"
        "73ff7bff9499f800f7ff19b37bff78007a0074007a0078007bff9499f800f7ff19b37bff73ff73ff"
        "95c1f3fff800f800182b78007800982bf800f800f3fff800f8000b849321986098608b84f400fa00"
        "f4008d20f800f8000b8493219860986073fff400",
    ),
]


def noise(count: int, seed: int) -> np.ndarray:
    """Whole numbers of 23 bits from two multiplications."""
    value = (np.arange(count, dtype=np.int64) + seed) * 48271 % 2147483647
    return (value * 16807 % 2147483647) >> 8


def signs_and_weights(kernel, depthwise, seed):
    in_c = OUT_C if depthwise else 2
    ifm = np.where(noise(in_c * 8 * 9, seed) % 2, -1, 1).astype(np.float16)
    shape = (OUT_C, 1 if depthwise else in_c, *kernel)
    drawn = noise(int(np.prod(shape)), seed + 7777)
    small = (1024 + drawn % 1024) * 2.0**-21 * np.where(drawn >> 12 & 1, 1, -1)
    weights = np.where(drawn % 3 == 0, 2.0**14, small).astype(np.float16)
    return ifm.reshape(1, in_c, 8, 9), weights.reshape(shape)


@pytest.mark.parametrize(("kernel", "stride", "depthwise", "seed", "bits"), RECORDED)
def test_equals_the_recorded_result(kernel, stride, depthwise, seed, bits):
    ifm, weights = signs_and_weights(kernel, depthwise, seed)
    bias = np.zeros(OUT_C, np.float32)
    attrs = Conv2dAttrs(
        stride=stride,
        pad=(kernel[0] // 2, kernel[0] // 2, kernel[1] // 2, kernel[1] // 2),
        group=OUT_C if depthwise else 1,
    )
    step = bound_layer(
        "conv2d",
        Engine.NN,
        [(ifm.shape, F16), (weights.shape, F16), (bias.shape, F32)],
        F16,
        attrs,
        {1: weights, 2: bias},
    )
    (ofm,) = step(ifm)
    codes = np.ascontiguousarray(ofm).view(np.uint16)
    assert codes.astype(">u2").tobytes().hex() == bits
