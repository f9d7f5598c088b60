"""Element-wise operators: every memory order, broadcast, constant and engine gives one result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import GraphError
from npusim.ir.attrs import Activation, EltwiseAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, scale_of, zero_point_of
from npusim.kernels.engines.eltwise import add_on_nn_f16, add_on_tp_f16, binary
from npusim.testing import bound_layer, memory_orders, random_codes
from tests.formats import F16, F32, FORMATS, I16, OTHER_U8, U8

SHAPE = (2, 3, 4, 5)
SHAPES = [SHAPE, (1, 3, 1, 1), (2, 3, 1, 1), (3, 1, 1), (1, 1, 4, 5), (5,), (2, 1, 4, 1), (), (1,)]
OPS = ("add", "sub", "mul", "div", "max", "min", "pow")
seeds = st.integers(0, 50)


def scaling(form):
    return scale_of(form[1]), zero_point_of(form[1])


def expected(op, a, b, forms):
    first, second, out = forms
    return binary(op, a, b, scaling(first), scaling(second), out[0].numpy, scaling(out))


def check(step, a, b, wanted):
    for left in memory_orders(a):
        for right in memory_orders(b):
            (got,) = step(left, right)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_broadcasting(op, form, shape):
    form = FORMATS[form]
    rng = np.random.default_rng(7)
    a, b = random_codes(rng, SHAPE, form[0]), random_codes(rng, shape, form[0])
    step = bound_layer(op, Engine.SHADER, [(SHAPE, form), (shape, form)], form)
    check(step, a, b, expected(op, a, b, (form,) * 3))
    step = bound_layer(op, Engine.SHADER, [(shape, form), (SHAPE, form)], form)
    check(step, b, a, expected(op, b, a, (form,) * 3))


@pytest.mark.parametrize("form", FORMATS)
def test_both_operands_broadcast(form):
    form = FORMATS[form]
    rng = np.random.default_rng(3)
    a, b = random_codes(rng, (2, 1, 4, 1), form[0]), random_codes(rng, (3, 1, 5), form[0])
    step = bound_layer("sub", Engine.SHADER, [(a.shape, form), (b.shape, form)], form)
    check(step, a, b, expected("sub", a, b, (form,) * 3))


@pytest.mark.parametrize("op", ["add", "mul", "pow"])
@pytest.mark.parametrize(
    "forms", [(U8, I16, U8), (U8, F16, F16), (F16, U8, I16), (U8, OTHER_U8, F16)]
)
@given(seed=seeds)
def test_mixed_types(op, forms, seed):
    rng = np.random.default_rng(seed)
    a, b = random_codes(rng, SHAPE, forms[0][0]), random_codes(rng, SHAPE, forms[1][0])
    step = bound_layer(op, Engine.SHADER, [(SHAPE, forms[0]), (SHAPE, forms[1])], forms[2])
    np.testing.assert_array_equal(step(a, b)[0], expected(op, a, b, forms))


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1), (3, 1, 1), SHAPE], ids=str)
def test_constant_operands(position, form, shape):
    form = FORMATS[form]
    rng = np.random.default_rng(5)
    value, known = random_codes(rng, SHAPE, form[0]), random_codes(rng, shape, form[0])
    known.flags.writeable = False  # as mapped from a model file
    shapes = [(SHAPE, form), (shape, form)]
    if position == 0:
        shapes.reverse()
    step = bound_layer("sub", Engine.SHADER, shapes, form, constants={position: known})
    pair = (known, value) if position == 0 else (value, known)
    for x in memory_orders(value):
        np.testing.assert_array_equal(step(x)[0], expected("sub", *pair, (form,) * 3))


@pytest.mark.parametrize("form", FORMATS)
def test_two_constants(form):
    form = FORMATS[form]
    rng = np.random.default_rng(5)
    a, b = random_codes(rng, SHAPE, form[0]), random_codes(rng, SHAPE, form[0])
    step = bound_layer(
        "add", Engine.SHADER, [(SHAPE, form), (SHAPE, form)], form, constants={0: a, 1: b}
    )
    np.testing.assert_array_equal(step()[0], expected("add", a, b, (form,) * 3))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("op", ["add", "div", "max"])
def test_fused_relu(form, op):
    form = FORMATS[form]
    rng = np.random.default_rng(9)
    a, b = random_codes(rng, SHAPE, form[0]), random_codes(rng, SHAPE, form[0])
    attrs = EltwiseAttrs(activation=Activation.RELU)
    step = bound_layer(op, Engine.SHADER, [(SHAPE, form), (SHAPE, form)], form, attrs)
    wanted = np.maximum(expected(op, a, b, (form,) * 3), form[0].numpy.type(scaling(form)[1]))
    check(step, a, b, wanted)


def test_the_result_keeps_the_memory_order():
    value = np.zeros(SHAPE, np.uint8)
    last = np.ascontiguousarray(value.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    step = bound_layer("add", Engine.SHADER, [(SHAPE, U8), ((1, 3, 1, 1), U8)], U8)
    assert step(last, value[:1, :, :1, :1])[0].strides == last.strides


@pytest.mark.parametrize("op", ["add", "mul"])
@pytest.mark.parametrize("form", ["u8", "f16"])
def test_large_operands_are_shared_between_threads(op, form):
    form, shape = FORMATS[form], (1, 64, 150, 150)
    rng = np.random.default_rng(1)
    a, b = random_codes(rng, shape, form[0]), random_codes(rng, (1, 64, 1, 1), form[0])
    last = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    step = bound_layer(op, Engine.SHADER, [(shape, form), (b.shape, form)], form)
    np.testing.assert_array_equal(step(last, b)[0], expected(op, a, b, (form,) * 3))


# ---- NN and TP ---------------------------------------------------------------------------------
def nn_u8(op, a, b, first, second, out):
    """Return the sum by the documented steps, in Python integers and float32 scalars."""
    f = np.float32
    (s1, z1), (s2, z2), (so, zo) = ((f(s), z) for s, z in (first, second, out))
    ratio = s2 / s1
    step = (max(f(1), ratio) if op == "add" else f(1) + ratio) / f(255)
    k1, k2 = int(np.rint(f(1) / step)), int(np.rint(ratio / step))
    bias = int(np.rint(f(z1 - z2) * s2 / f(s1 * step)))
    sign = 1 if op == "add" else -1
    acc = (int(a) - z1) * k1 + sign * (int(b) - z1) * k2 + sign * bias
    mantissa, exponent = np.frexp(float(f(s1 * step) / so))
    multiplier, shift = int(mantissa * 65536), 16 - int(exponent)
    quotient, rest = divmod(acc * multiplier * 2, 2 << shift)
    rounded = quotient + (rest > 1 << shift or (rest == 1 << shift and quotient % 2 == 1))
    return max(0, min(255, rounded + zo))


scales = st.floats(2.0**-7, 0.125, width=32)
zeros = st.integers(0, 255)
quants = st.tuples(scales, zeros)


@pytest.mark.parametrize("op", ["add", "sub"])
@given(first=quants, second=quants, out=quants, seed=seeds, relu=st.booleans())
def test_u8_sums_on_nn(op, first, second, out, seed, relu):
    forms = [(DType.U8, Affine(scale=s, zero_point=z)) for s, z in (first, second, out)]
    rng = np.random.default_rng(seed)
    a, b = random_codes(rng, (1, 3, 2, 2), U8[0]), random_codes(rng, (1, 3, 2, 2), U8[0])
    attrs = EltwiseAttrs(activation=Activation.RELU if relu else Activation.NONE)
    inputs = [(a.shape, form) for form in forms[:2]]
    (got,) = bound_layer(op, Engine.NN, inputs, forms[2], attrs)(a, b)
    floor = out[1] if relu else 0
    wanted = [
        max(nn_u8(op, x, y, first, second, out), floor) for x, y in zip(a.flat, b.flat, strict=True)
    ]
    assert got.reshape(-1).tolist() == wanted


@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("engine", [Engine.NN, Engine.TP])
@pytest.mark.parametrize("relu", [False, True])
def test_float16_sums_on_nn_and_tp(op, engine, relu):
    rng = np.random.default_rng(2)
    a, b = random_codes(rng, SHAPE, F16[0]), random_codes(rng, SHAPE, F16[0])
    attrs = EltwiseAttrs(activation=Activation.RELU if relu else Activation.NONE)
    step = bound_layer(op, engine, [(SHAPE, F16), (SHAPE, F16)], F16, attrs)
    function = add_on_nn_f16 if engine is Engine.NN else add_on_tp_f16
    wanted = function(a, b, op == "sub")
    check(step, a, b, np.maximum(wanted, 0) if relu else wanted)


def test_tp_and_nn_sums_round_differently():
    a, b = np.array([1.0], np.float16), np.array([2.0**-11 * 1.5], np.float16)
    assert add_on_nn_f16(a, b, False) == 1.0
    assert add_on_tp_f16(a, b, False) == 1.0 + 2.0**-10


@pytest.mark.parametrize(
    ("engine", "form"), [(Engine.NN, F32), (Engine.TP, F32), (Engine.SHADER, F32)]
)
def test_wrong_types_are_refused(engine, form):
    with pytest.raises(GraphError, match="layer 'layer'"):
        bound_layer("add", engine, [((1, 2), form), ((1, 2), form)], form)


def test_only_relu_fuses():
    attrs = EltwiseAttrs(activation=Activation.RELU6)
    with pytest.raises(GraphError, match="relu6 is fused into add"):
        bound_layer("add", Engine.SHADER, [((1, 2), U8), ((1, 2), U8)], U8, attrs)
