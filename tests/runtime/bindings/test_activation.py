"""Functions of one tensor: every memory order and type through the code table."""

import numpy as np
import pytest

from npusim.errors import GraphError
from npusim.ir.attrs import NO_ATTRS, AlphaAttrs, ClipAttrs, HardSigmoidAttrs
from npusim.ir.graph import Engine
from npusim.kernels.engines.shader import UNARY, unary
from npusim.kernels.engines.tp_activation import ACTIVATION_OPS, TABLE_LOOKUP_OPS, activate
from npusim.runtime.tables import all_codes
from npusim.testing import bound_layer, memory_orders, random_codes
from tests.formats import F32, FORMATS, I16, U8
from tests.runtime.bindings.test_eltwise import scaling

SHAPE = (2, 3, 4, 5)
ATTRS = {
    "leaky_relu": (AlphaAttrs(alpha=0.1), {"alpha": 0.1}),
    "elu": (AlphaAttrs(alpha=1.0), {"alpha": 1.0}),
    "hard_sigmoid": (HardSigmoidAttrs(alpha=0.2, beta=0.5), {"alpha": 0.2, "beta": 0.5}),
    "clip": (ClipAttrs(minimum=-1.5, maximum=np.inf), {"minimum": -1.5, "maximum": np.inf}),
}


@pytest.mark.parametrize("op", [*ACTIVATION_OPS, *TABLE_LOOKUP_OPS])
@pytest.mark.parametrize(("first", "second"), [("u8", "u8"), ("u8", "f16"), ("i16", "i8")])
def test_tp(op, first, second):
    ifm, ofm = FORMATS[first], FORMATS[second]
    codes = random_codes(np.random.default_rng(1), SHAPE, ifm[0])
    attrs, parameters = ATTRS.get(op, (NO_ATTRS, {}))
    step = bound_layer(op, Engine.TP, [(SHAPE, ifm)], ofm, attrs)
    wanted = activate(op, parameters, codes, scaling(ifm), ofm[0].numpy, scaling(ofm))
    for value in memory_orders(codes):
        (got,) = step(value)
        assert got.dtype == ofm[0].numpy
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_shader(op, first, second):
    ifm, ofm = FORMATS[first], FORMATS[second]
    codes = random_codes(np.random.default_rng(1), SHAPE, ifm[0])
    step = bound_layer(op, Engine.SHADER, [(SHAPE, ifm)], ofm)
    wanted = unary(op, codes, scaling(ifm), ofm[0].numpy, scaling(ofm))
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value)[0], wanted)


REAL = {
    "softplus": lambda v: np.log1p(np.exp(v)),
    "exp": np.exp,
    "sqrt": np.sqrt,
    "rsqrt": lambda v: 1 / np.sqrt(v),
    "floor": np.floor,
    "erf": lambda v: 2 / np.sqrt(np.pi) * v * np.exp(-v * v / 3),  # close for |v| < 0.5
}


@pytest.mark.parametrize("op", REAL)
def test_shader_functions_are_what_they_are_called(op):
    codes = np.arange(200, 1024, dtype=np.int16)  # 0.098 .. 0.5
    got = bound_layer(op, Engine.SHADER, [(codes.shape, I16)], I16)(codes)[0] * 2.0**-11
    np.testing.assert_allclose(got, REAL[op](codes * 2.0**-11), atol=2e-3)


def test_float16_of_the_shader_saturates():
    codes = np.array([0.0, -1.0, 4.0], np.float16)
    form = FORMATS["f16"]
    assert bound_layer("rsqrt", Engine.SHADER, [((3,), form)], form)(codes)[0].tolist() == [
        65504.0,
        -65504.0,
        0.5,
    ]


def test_equal_tables_do_not_copy():
    ifm = np.arange(128, 256, dtype=np.uint8)
    step = bound_layer("clip", Engine.TP, [((128,), U8)], U8, ClipAttrs(minimum=-99, maximum=99))
    np.testing.assert_array_equal(step(ifm)[0], ifm)


def test_all_codes_are_ordered_by_bit_pattern():
    assert all_codes(np.int8).tolist() == [*range(128), *range(-128, 0)]
    assert all_codes(np.float16).view(np.uint16).tolist() == list(range(65536))


@pytest.mark.parametrize("op", ["relu", "exp"])
def test_float32_is_refused(op):
    engine = Engine.TP if op == "relu" else Engine.SHADER
    with pytest.raises(GraphError, match=r"layer 'layer'.*f32|f32"):
        bound_layer(op, engine, [((3,), F32)], F32)
