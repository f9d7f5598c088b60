"""Data movement against numpy on plain arrays, in every memory order."""

import numpy as np
import pytest

from npusim.errors import GraphError, InputError
from npusim.ir.attrs import (
    AxisAttrs,
    BlockAttrs,
    GroupAttrs,
    PadAttrs,
    PadMode,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Float
from npusim.kernels.engines.tp import convert
from npusim.testing import bound_layer, memory_orders, random_codes
from tests.formats import F16, FORMATS, I16, OTHER_U8, U8
from tests.runtime.bindings.test_eltwise import scaling

SHAPE = (2, 8, 4, 6)
I64 = (DType.I64, Float())


def shuffled(x):
    out, c = np.empty_like(x), x.shape[1]
    for i in range(c):
        out[:, (i % (c // 4)) * 4 + i // (c // 4)] = x[:, i]
    return out


def spread(x, mode):
    n, c, h, w = x.shape
    out = np.empty((n, c // 4, 2 * h, 2 * w), x.dtype)
    for channel in range(c // 4):
        for dy in range(2):
            for dx in range(2):
                block = 2 * dy + dx
                source = block * (c // 4) + channel if mode == "dcr" else channel * 4 + block
                out[:, channel, dy::2, dx::2] = x[:, source]
    return out


def gathered_blocks(x):
    return np.concatenate([x[:, :, dy::2, dx::2] for dy in range(2) for dx in range(2)], axis=1)


CASES = {
    "identity": ("identity", None, lambda x: x),
    "reshape": ("reshape", ReshapeAttrs(shape=(2, 16, 12)), lambda x: x.reshape(2, 16, 12)),
    "transpose": (
        "transpose",
        TransposeAttrs(perm=(0, 3, 1, 2)),
        lambda x: x.transpose(0, 3, 1, 2),
    ),
    "slice": (
        "slice",
        SliceAttrs(begin=(0, 1, 0, 5), end=(2, 8, 4, -1), step=(1, 3, 2, -2)),
        lambda x: x[0:2, 1:8:3, 0:4:2, ::-2],
    ),
    "channel_shuffle": ("channel_shuffle", GroupAttrs(group=4), shuffled),
    "dcr": ("depth2space", BlockAttrs(block=2), lambda x: spread(x, "dcr")),
    "crd": ("depth2space", BlockAttrs(block=2, mode="crd"), lambda x: spread(x, "crd")),
    "space2depth": ("space2depth", BlockAttrs(block=2), gathered_blocks),
}


@pytest.mark.parametrize("engine", [Engine.TP, Engine.SHADER])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_moves_are_exact(case, form, engine):
    op, attrs, move = CASES[case]
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(1), SHAPE, form[0])
    step = bound_layer(op, engine, [(SHAPE, form)], form, **({"attrs": attrs} if attrs else {}))
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value)[0], move(codes))


@pytest.mark.parametrize("case", CASES)
def test_moves_convert(case):
    op, attrs, move = CASES[case]
    codes = random_codes(np.random.default_rng(1), SHAPE, U8[0])
    step = bound_layer(op, Engine.TP, [(SHAPE, U8)], I16, **({"attrs": attrs} if attrs else {}))
    wanted = convert(move(codes), scaling(U8), np.int16, scaling(I16))
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value)[0], wanted)


def test_tp_copies_clear_float16_subnormals():
    codes = np.array([[1e-7, 2.0]], np.float16)
    attrs = TransposeAttrs(perm=(1, 0))
    step = bound_layer("transpose", Engine.TP, [((1, 2), F16)], F16, attrs)
    assert step(codes)[0].tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_concat(axis):
    rng = np.random.default_rng(4)
    shapes = [tuple(n + k if i == axis else n for i, n in enumerate(SHAPE)) for k in range(3)]
    parts = [
        random_codes(rng, shape, form[0])
        for shape, form in zip(shapes, (U8, OTHER_U8, U8), strict=True)
    ]
    inputs = list(zip(shapes, (U8, OTHER_U8, U8), strict=True))
    step = bound_layer("concat", Engine.TP, inputs, U8, AxisAttrs(axis=axis), {2: parts[2]})
    converted = convert(parts[1], scaling(OTHER_U8), np.uint8, scaling(U8))
    wanted = np.concatenate([parts[0], converted, parts[2]], axis)
    for first in memory_orders(parts[0]):
        for second in memory_orders(parts[1]):
            np.testing.assert_array_equal(step(first, second)[0], wanted)


def test_split():
    codes = random_codes(np.random.default_rng(4), SHAPE, U8[0])
    attrs = SplitAttrs(axis=1, sizes=(1, 5, 2))
    step = bound_layer("split", Engine.TP, [(SHAPE, U8)], [U8, OTHER_U8, U8], attrs)
    wanted = np.split(codes, [1, 6], axis=1)
    wanted[1] = convert(wanted[1], scaling(U8), np.uint8, scaling(OTHER_U8))
    for value in memory_orders(codes):
        for got, part in zip(step(value), wanted, strict=True):
            np.testing.assert_array_equal(got, part)


@pytest.mark.parametrize("mode", PadMode)
def test_pad(mode):
    codes = random_codes(np.random.default_rng(4), SHAPE, U8[0])
    attrs = PadAttrs(front=(0, 2, 1, 3), back=(1, 0, 2, 1), mode=mode, value=0.5)
    widths = list(zip(attrs.front, attrs.back, strict=True))
    fill = {"constant_values": 117 + 25} if mode is PadMode.CONSTANT else {}
    wanted = np.pad(codes, widths, mode=mode.value, **fill)
    for value in memory_orders(codes):
        got = bound_layer("pad", Engine.TP, [(SHAPE, U8)], U8, attrs)(value)[0]
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("fill", "code"),
    [
        (3.0, 0x4200), (1 + 2.0**-11, 0x3C00), (1 + 2.0**-11 + 2.0**-13, 0x3C01),
        (1 + 3 * 2.0**-11, 0x3C02), (65488.0, 0x7BFE), (65503.9, 0x7BFF), (65520.0, 0x7BFF),
        (-1e5, 0xFBFF), (float(np.finfo(np.float32).max), 0x7BFF), (np.inf, 0x7BFF),
        (2.0**-14, 0x0400), (2.0**-14 * (1 - 2.0**-12), 0), (-(2.0**-15), 0x8000), (5e-8, 0),
    ],
)  # fmt: skip
def test_pad_fills_halves_as_the_simulator_does(fill, code):
    """Recorded of the chip vendor's simulator, TENSOR_PAD in float16."""
    attrs = PadAttrs(front=(0, 0, 0, 0), back=(0, 0, 1, 1), value=fill)
    ones = np.ones(SHAPE, np.float16)
    got = bound_layer("pad", Engine.TP, [(SHAPE, F16)], F16, attrs)(ones)[0]
    assert got[0, 0, -1, -1].view(np.uint16) == code
    np.testing.assert_array_equal(got[:, :, :-1, :-1], ones)


def test_pad_fills_the_output_zero_and_may_crop():
    codes = random_codes(np.random.default_rng(4), SHAPE, U8[0])
    attrs = PadAttrs(front=(0, 0, -1, 1), back=(0, 0, 1, -2))
    got = bound_layer("pad", Engine.TP, [(SHAPE, U8)], OTHER_U8, attrs)(codes)[0]
    assert got.shape == (2, 8, 4, 5)
    inner = convert(codes[:, :, 1:, :4], scaling(U8), np.uint8, scaling(OTHER_U8))
    np.testing.assert_array_equal(got[:, :, :3, 1:], inner)
    assert (got[:, :, 3] == 0).all()
    assert (got[:, :, :, 0] == 0).all()


def test_tile():
    codes = random_codes(np.random.default_rng(4), SHAPE, U8[0])
    step = bound_layer("tile", Engine.SHADER, [(SHAPE, U8)], U8, TileAttrs(repeats=(1, 2, 1, 3)))
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value)[0], np.tile(codes, (1, 2, 1, 3)))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_gather(shape):
    codes = random_codes(np.random.default_rng(4), SHAPE, U8[0])
    indices = np.resize(np.array([7, -8, 0, -1]), shape)
    attrs = AxisAttrs(axis=1)
    step = bound_layer("gather", Engine.SHADER, [(SHAPE, U8), (shape, I64)], U8, attrs)
    known = bound_layer(
        "gather", Engine.SHADER, [(SHAPE, U8), (shape, I64)], U8, attrs, constants={1: indices}
    )
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value, indices)[0], np.take(codes, indices, 1))
        np.testing.assert_array_equal(known(value)[0], np.take(codes, indices, 1))


@pytest.mark.parametrize("index", [8, -9])
def test_gather_outside_the_axis(index):
    codes = random_codes(np.random.default_rng(4), SHAPE, U8[0])
    step = bound_layer("gather", Engine.SHADER, [(SHAPE, U8), ((1,), I64)], U8, AxisAttrs(axis=1))
    with pytest.raises(InputError, match=r"layer 'layer' \(gather\)"):
        step(codes, np.array([index]))


def test_moves_keep_channels_last_memory():
    codes = np.zeros((1, 4, 4, 5), np.uint8).transpose(0, 3, 1, 2)  # (1, 5, 4, 4)
    joined = bound_layer("concat", Engine.TP, [((1, 5, 4, 4), U8)] * 2, U8, AxisAttrs(axis=1))(
        codes, codes
    )[0]
    assert joined.transpose(0, 2, 3, 1).flags.c_contiguous
    attrs = PadAttrs(front=(0, 0, 1, 1), back=(0, 0, 1, 1))
    padded = bound_layer("pad", Engine.TP, [((1, 5, 4, 4), U8)], U8, attrs)(codes)[0]
    assert padded.transpose(0, 2, 3, 1).flags.c_contiguous


def test_real_numbers_choose_no_entries():
    with pytest.raises(GraphError, match=r"indices .* of layer .* \(gather\) are f32"):
        bound_layer(
            "gather",
            Engine.SHADER,
            [(SHAPE, U8), ((5,), (DType.F32, Float()))],
            U8,
            AxisAttrs(axis=1),
        )
