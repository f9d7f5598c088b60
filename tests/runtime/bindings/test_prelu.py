"""prelu in every memory order, with tables and without, and what the chip's driver refuses."""

from dataclasses import replace

import numpy as np
import pytest

from npusim.errors import GraphError
from npusim.ir.attrs import AlphaAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, scale_of, zero_point_of
from npusim.kernels.engines.prelu import prelu
from npusim.ops.unary import slope_per_channel
from npusim.passes.pipeline import lower
from npusim.testing import GraphBuilder, bound_layer, memory_orders, random_codes
from tests.formats import F16, FORMATS, I8, I16, OTHER_U8, U8

SHAPE = (2, 3, 4, 5)
SIGNED = (DType.I8, Affine(scale=0.02, zero_point=-20))


def scaling(form):
    return scale_of(form[1]), zero_point_of(form[1])


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (3, 4, 5), (5,), SHAPE, (4, 1)])
@pytest.mark.parametrize("form", FORMATS)
def test_every_memory_order_and_shape_of_slopes(form, shape):
    form, rng = FORMATS[form], np.random.default_rng(7)
    codes = random_codes(rng, SHAPE, form[0])
    slopes = (rng.standard_normal(shape) * 0.4).astype(np.float16)
    inputs = [(SHAPE, form), (shape, F16)]
    step = bound_layer("prelu", Engine.SHADER, inputs, form, constants={1: slopes})
    expected = prelu(
        codes,
        slopes.astype(np.float32),
        scaling(form),
        form[0].numpy,
        scaling(form),
        by_channel=slope_per_channel(SHAPE, shape),
    )
    for value in memory_orders(codes):
        np.testing.assert_array_equal(step(value)[0], expected)


def test_i8_with_a_zero_point_is_u8_moved_by_128():
    rng = np.random.default_rng(8)
    codes = random_codes(rng, SHAPE, DType.U8)
    slopes = {1: (rng.standard_normal((3, 1, 1)) * 0.4).astype(np.float16)}
    moved = (DType.U8, Affine(scale=0.02, zero_point=108))
    inputs = [(SHAPE, moved), ((3, 1, 1), F16)]
    (expected,) = bound_layer("prelu", Engine.SHADER, inputs, moved, constants=slopes)(codes)
    inputs[0] = (SHAPE, SIGNED)
    (got,) = bound_layer("prelu", Engine.SHADER, inputs, SIGNED, constants=slopes)(
        (codes.astype(np.int16) - 128).astype(np.int8)
    )
    np.testing.assert_array_equal(got, expected.astype(np.int16) - 128)


@pytest.mark.parametrize("form", FORMATS)
def test_one_slope_is_a_leaky_relu(form):
    form = FORMATS[form]
    codes = random_codes(np.random.default_rng(9), SHAPE, form[0])
    slope = {1: np.array([[[0.25]]], np.float16)}
    inputs = [(SHAPE, form), ((1, 1, 1), F16)]
    (got,) = bound_layer("prelu", Engine.TP, inputs, form, constants=slope)(codes)
    leaky = bound_layer("leaky_relu", Engine.TP, inputs[:1], form, AlphaAttrs(alpha=0.25))
    np.testing.assert_array_equal(got, leaky(codes)[0])


def graph(ifm, slope, ofm, shape=(3, 1, 1)):
    b = GraphBuilder()
    x = b.input("x", *SHAPE, dtype=ifm[0], quant=ifm[1])
    known = b.constant("s", np.ones(shape, slope[0].numpy), slope[1])
    y = b.node("prelu", [x, known], "y")
    b.graph.tensors[y] = replace(b.graph.spec(y), dtype=ofm[0], quant=ofm[1])
    return b.done(y)


OTHER_I8 = (DType.I8, DynamicFixedPoint(fl=3))
COMPILE = [
    (U8, F16, OTHER_U8), (U8, U8, OTHER_U8), (U8, U8, F16), (U8, F16, F16), (SIGNED, SIGNED, U8),
    (U8, F16, SIGNED), (I8, F16, OTHER_I8), (I16, F16, I16), (I8, F16, F16), (I16, F16, F16),
    (F16, F16, U8), (F16, F16, I16), (F16, F16, F16), (F16, F16, SIGNED),
]  # fmt: skip
REFUSED = [
    (I8, I8, I8), (I16, I16, I16), (I8, U8, I8), (U8, I8, U8), (F16, U8, F16), (U8, F16, I8),
    (I8, F16, I16), (I8, F16, SIGNED), (I8, F16, U8), (SIGNED, F16, I8),
]  # fmt: skip


@pytest.mark.parametrize(("ifm", "slope", "ofm"), COMPILE)
def test_types_that_the_driver_compiles(ifm, slope, ofm):
    assert lower(graph(ifm, slope, ofm)).nodes[0].engine is Engine.SHADER


@pytest.mark.parametrize(("ifm", "slope", "ofm"), REFUSED)
def test_types_that_it_refuses_name_the_layer_and_what_to_do(ifm, slope, ofm):
    with pytest.raises(GraphError, match="layer 'n_y'") as caught:
        lower(graph(ifm, slope, ofm))
    assert "npusim explain prelu-fixed-point" in str(caught.value)
    assert "quantize the float model again" in str(caught.value)


def test_another_shape_of_slopes_has_fewer_programs():
    assert lower(graph(I8, F16, I8, SHAPE)).nodes[0].engine is Engine.SHADER
    with pytest.raises(GraphError, match="no engine runs prelu"):
        lower(graph(I8, F16, F16, SHAPE))


@pytest.mark.parametrize(
    ("shape", "engine"), [((1, 1, 1), Engine.TP), ((1,), Engine.SHADER), ((1, 1), Engine.SHADER)]
)
def test_one_slope_runs_on_tp_from_three_axes_on(shape, engine):
    for form in (U8, I8, I16, F16):
        assert lower(graph(form, F16, form, shape)).nodes[0].engine is engine


def test_slopes_computed_by_the_network_are_refused():
    b = GraphBuilder()
    names = [b.input(n, *SHAPE, dtype=DType.F16, quant=Float()) for n in "xs"]
    y = b.node("prelu", names, "y")
    b.graph.tensors[y] = replace(b.graph.spec(y), dtype=DType.F16, quant=Float())
    with pytest.raises(GraphError, match="layer 'n_y'"):
        lower(b.done(y))
