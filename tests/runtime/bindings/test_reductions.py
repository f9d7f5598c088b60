"""Bindings of resize, reductions, softmax, normalisations and products."""

from math import floor, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import GraphError
from npusim.ir.attrs import (
    ArgAttrs,
    AxisAttrs,
    Coordinates,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Float
from npusim.kernels.engines.shader import dequantize, requantize
from npusim.kernels.engines.tp import convert, nearest_f16, saturate
from npusim.testing import bound_layer, memory_orders, random_codes
from tests.formats import F16, F32, FORMATS, I8, I16, OTHER_U8, U8
from tests.runtime.bindings.test_eltwise import scaling

F = np.float32
SHAPE = (1, 4, 6, 5)
SH, TP, NN = Engine.SHADER, Engine.TP, Engine.NN
seeds = st.integers(0, 60)


def same(step, codes, wanted):
    for value in memory_orders(codes):
        (got,) = step(value)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


def real(codes, form):
    return dequantize(codes, scaling(form)).astype(np.float64)


def stored(value, form):
    with np.errstate(over="ignore"):
        value = np.asarray(value, F)
    return requantize(value, form[0].numpy, scaling(form))


# ---- resize ------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("coordinates", Coordinates)
def test_nearest_on_the_shader_requantizes(form, coordinates):
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(1), SHAPE, form[0])
    attrs = ResizeAttrs(size=(12, 10), mode=ResizeMode.NEAREST, coordinates=coordinates)
    twice = bound_layer("resize", SH, [(SHAPE, form)], form, attrs)
    if coordinates is not Coordinates.ALIGN_CORNERS:
        same(twice, codes, codes.repeat(2, 2).repeat(2, 3))
    other = bound_layer("resize", SH, [(SHAPE, form)], OTHER_U8, attrs)
    same(other, codes, stored(real(twice(codes)[0], form), OTHER_U8))


def test_doubling_on_nn_and_shrinking_on_tp_copy():
    codes = random_codes(np.random.default_rng(1), SHAPE, U8[0])
    attrs = ResizeAttrs(size=(12, 10), mode=ResizeMode.NEAREST)
    same(
        bound_layer("resize", NN, [(SHAPE, U8)], U8, attrs), codes, codes.repeat(2, 2).repeat(2, 3)
    )
    attrs = ResizeAttrs(size=(3, 5), mode=ResizeMode.NEAREST)
    step = bound_layer("resize", TP, [(SHAPE, U8)], OTHER_U8, attrs)
    same(step, codes, convert(codes[:, :, ::2], scaling(U8), np.uint8, scaling(OTHER_U8)))


def test_shrinking_i16_on_tp_loses_the_fraction():
    codes = random_codes(np.random.default_rng(1), (1, 4, 6, 6), I16[0])
    attrs = ResizeAttrs(size=(2, 2), mode=ResizeMode.NEAREST)
    whole = np.rint(codes[:, :, ::3, ::3] / 2048).clip(-16, 15.9) * 2048
    wanted = np.clip(np.rint(codes[:, :, ::3, ::3] / 2048) * 2048, -32768, 32767)
    assert (np.abs(wanted - whole) < 2048).all()
    step = bound_layer("resize", TP, [((1, 4, 6, 6), I16)], I16, attrs)
    same(step, codes, wanted.astype(np.int16))


def test_bilinear_keeps_a_plane_and_any_memory_order():
    plane = np.full(SHAPE, 77, np.uint8)
    for coordinates in Coordinates:
        attrs = ResizeAttrs(size=(9, 11), mode=ResizeMode.BILINEAR, coordinates=coordinates)
        step = bound_layer("resize", SH, [(SHAPE, U8)], OTHER_U8, attrs)
        level = stored(real(plane[:1, :1, :1, :1], U8), OTHER_U8).item()
        same(step, plane, np.full((1, 4, 9, 11), level, np.uint8))


@pytest.mark.parametrize("engine", [NN, TP])
def test_only_the_shader_interpolates(engine):
    attrs = ResizeAttrs(size=(12, 10), mode=ResizeMode.BILINEAR)
    with pytest.raises(GraphError, match="only the shader interpolates"):
        bound_layer("resize", engine, [(SHAPE, U8)], U8, attrs)


def test_nn_does_not_requantize_while_it_doubles():
    attrs = ResizeAttrs(size=(12, 10), mode=ResizeMode.NEAREST)
    with pytest.raises(GraphError, match="quantized differently"):
        bound_layer("resize", NN, [(SHAPE, U8)], OTHER_U8, attrs)


# ---- reductions --------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(3,), (3, 2), (0, 1, 2, 3)])
def test_reductions(form, keepdims, axes):
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(1), SHAPE, form[0])
    attrs = ReduceAttrs(axes=axes, keepdims=keepdims)
    for op in ("mean", "sum", "max", "min", "prod"):
        step = bound_layer(f"reduce_{op}", SH, [(SHAPE, form)], form, attrs)
        same(step, codes, stored(getattr(real(codes, form), op)(axes, keepdims=keepdims), form))


@pytest.mark.parametrize("form", ["i8", "i16", "f16"])
@given(seed=seeds, h=st.integers(1, 11), w=st.integers(1, 11))
def test_small_mean_on_tp(form, seed, h, w):
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(seed), (1, 3, h, w), form[0])
    attrs = ReduceAttrs(axes=(2, 3))
    (got,) = bound_layer("reduce_mean", TP, [(codes.shape, form)], form, attrs)(codes)
    fl = min(12, floor(log2(127.5 * h * w)))
    weight = np.float16(1 / (h * w)) if form is F16 else np.rint(2.0**fl / (h * w))
    for c in range(3):
        total = F(0)
        for pixel in codes[0, c].reshape(-1):
            total = F(total + F(F(pixel) * F(weight)))
        if form is F16:
            assert got[0, c, 0, 0] == nearest_f16(np.array(float(total)))
        else:
            assert got[0, c, 0, 0] == saturate(np.array(float(total) / 2.0**fl), codes.dtype)


@given(seed=seeds, h=st.integers(1, 11), w=st.integers(1, 11))
def test_small_mean_on_nn(seed, h, w):
    codes = random_codes(np.random.default_rng(seed), (1, 3, h, w), U8[0])
    (scale, zero), (out_scale, out_zero) = scaling(U8), scaling(OTHER_U8)
    attrs = ReduceAttrs(axes=(2, 3), keepdims=False)
    (got,) = bound_layer("reduce_mean", NN, [(codes.shape, U8)], OTHER_U8, attrs)(codes)
    ratio = F(F(scale) * (F(1) / F(255 * h * w))) / F(out_scale)
    mantissa, exponent = np.frexp(float(ratio))
    multiplier, shift = int(mantissa * 65536), 16 - int(exponent)
    for c in range(3):
        product = 255 * sum(int(q) - zero for q in codes[0, c].reshape(-1)) * multiplier
        quotient, rest = divmod(2 * product, 2 << shift)
        quotient += rest > 1 << shift or (rest == 1 << shift and quotient % 2 == 1)
        assert got[0, c] == max(0, min(255, quotient + out_zero))


@pytest.mark.parametrize(("engine", "form"), [(TP, I16), (NN, U8)])
def test_other_means_run_on_the_shader(engine, form):
    with pytest.raises(GraphError, match="height and width"):
        bound_layer("reduce_mean", engine, [(SHAPE, form)], form, ReduceAttrs(axes=(1,)))


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("out", [DType.I32, DType.I64])
def test_the_first_extreme_wins(op, out):
    codes = np.array([[3, 9, 9, 1, 1]], np.uint8)
    step = bound_layer(op, SH, [((1, 5), U8)], (out, Float()), ArgAttrs(axis=1))
    same(step, codes, np.array([[1 if op == "argmax" else 3]], out.numpy))
    flat = bound_layer(op, SH, [((1, 5), U8)], (out, Float()), ArgAttrs(axis=1, keepdims=False))
    assert flat(codes)[0].shape == (1,)


# ---- softmax and normalisation -----------------------------------------------------------------
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("first", "second"), [("u8", "f16"), ("u8", "u8"), ("f16", "f16")])
def test_softmax(op, first, second):
    ifm, ofm = FORMATS[first], FORMATS[second]
    codes = random_codes(np.random.default_rng(3), SHAPE, ifm[0])
    exponentials = np.exp(real(codes, ifm) - real(codes, ifm).max(1, keepdims=True))
    wanted = exponentials / exponentials.sum(1, keepdims=True)
    wanted = np.log(wanted) if op == "log_softmax" else wanted
    step = bound_layer(op, SH, [(SHAPE, ifm)], ofm, AxisAttrs(axis=1))
    got = step(codes)[0]
    np.testing.assert_allclose(
        real(got, ofm), np.clip(wanted, -117 * 0.02, 5) if ofm is U8 else wanted, atol=0.011
    )
    same(step, codes, got)


@pytest.mark.parametrize("form", FORMATS)
def test_norms(form):
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(3), SHAPE, form[0])
    value = real(codes, form)
    rng = np.random.default_rng(4)
    gamma, beta, mean = (rng.normal(0.5, 0.2, 4).astype(F) for _ in range(3))
    variance = rng.uniform(0.5, 2, 4).astype(F)

    def column(v):
        return v.astype(np.float64).reshape(1, -1, 1, 1)

    parameters = {1: gamma, 2: beta, 3: mean, 4: variance}
    inputs = [(SHAPE, form), *[((4,), F32)] * 4]
    attrs = NormAttrs(epsilon=1e-3)
    step = bound_layer("batch_norm", SH, inputs, form, attrs, parameters)
    root = np.sqrt(column(variance) + 1e-3)
    normal = (value - column(mean)) / root * column(gamma) + column(beta)
    same(step, codes, stored(normal, form))

    step = bound_layer("instance_norm", SH, inputs[:3], form, attrs, {1: gamma, 2: beta})
    root = np.sqrt(value.var((2, 3), keepdims=True) + 1e-3)
    normal = (value - value.mean((2, 3), keepdims=True)) / root * column(gamma) + column(beta)
    if form is I16:
        normal = np.trunc(normal.astype(F) * F(2048)) / 2048
    same(step, codes, stored(normal, form))

    gamma, beta = rng.normal(0, 1, (2, 6, 5)).astype(F)
    inputs = [(SHAPE, form), ((6, 5), F32), ((6, 5), F32)]
    attrs = NormAttrs(epsilon=1e-3, axis=2)
    step = bound_layer("layer_norm", SH, inputs, form, attrs, {1: gamma, 2: beta})
    normal = (value - value.mean((2, 3), keepdims=True)) / root * gamma + beta
    wanted = stored(normal, form)
    if form is I8:  # the kernel takes negative sums for unsigned numbers
        wanted = np.where(codes.sum((2, 3), np.int64, keepdims=True) < 0, 0, wanted)
    same(step, codes, wanted.astype(codes.dtype))

    step = bound_layer("l2norm", SH, [(SHAPE, form)], form, AxisAttrs(axis=1))
    same(step, codes, stored(value / np.sqrt((value**2).sum(1, keepdims=True)), form))


def test_parameters_of_norms_are_constants():
    with pytest.raises(GraphError, match="parameter 'x1' is computed by the network"):
        bound_layer("instance_norm", SH, [(SHAPE, U8), ((4,), F32), ((4,), F32)], U8, NormAttrs())


@pytest.mark.parametrize("form", FORMATS)
def test_lrn_is_close_to_its_definition(form):
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(3), SHAPE, form[0])
    attrs = LrnAttrs(size=3, alpha=0.3, beta=0.75, bias=1.0)
    step = bound_layer("lrn", TP, [(SHAPE, form)], form, attrs)
    value = real(codes, form)
    squares = np.pad(value**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    total = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    wanted = value / (1 + 0.1 * total) ** 0.75
    got = step(codes)[0]
    np.testing.assert_allclose(
        real(got, form), wanted, atol=max(scaling(form)[0] * 0.6, 2e-3) if form is not F16 else 4e-3
    )
    same(step, codes, got)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("constant", [None, 0, 1])
def test_matmul(form, transposed, constant):
    form = FORMATS[form]
    rng = np.random.default_rng(3)
    a, b = random_codes(rng, (2, 3, 4), form[0]), random_codes(rng, (4, 5), form[0])
    first = a.swapaxes(-1, -2) if transposed[0] else a
    second = b.swapaxes(-1, -2) if transposed[1] else b
    attrs = MatmulAttrs(transpose_a=transposed[0], transpose_b=transposed[1])
    known = {} if constant is None else {constant: (first, second)[constant]}
    inputs = [(first.shape, form), (second.shape, form)]
    step = bound_layer("matmul", SH, inputs, form, attrs, known)
    feeds = [v for i, v in enumerate((first, second)) if i != constant]
    np.testing.assert_array_equal(step(*feeds)[0], stored(real(a, form) @ real(b, form), form))


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "i16"])
@pytest.mark.parametrize(("products", "columns", "times"), [(12, 8, 5), (12, 7, 1), (8, 8, 1)])
def test_a_transposed_operand_counts_its_last_product_again(form, products, columns, times):
    form = FORMATS[form]
    rng = np.random.default_rng(3)
    a, b = (
        random_codes(rng, (1, 3, products), form[0]),
        random_codes(rng, (1, columns, products), form[0]),
    )
    attrs = MatmulAttrs(transpose_b=True)
    step = bound_layer("matmul", SH, [(a.shape, form), (b.shape, form)], form, attrs, {})
    left, right = real(a, form).astype(np.float64), real(b, form).astype(np.float64)
    exact = left @ right.swapaxes(1, 2) + (times - 1) * left[..., -1:] * right[:, None, :, -1]
    wanted = stored(exact.astype(np.float32), form)
    difference = np.abs(step(a, b)[0].astype(np.float64) - wanted.astype(np.float64))
    assert difference.max() <= (np.spacing(np.abs(wanted).max()) if form is FORMATS["f16"] else 0)
