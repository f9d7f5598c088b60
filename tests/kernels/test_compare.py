"""Comparisons and choices of the shader: recorded results, and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npusim.ir.attrs import NO_ATTRS
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.kernels.engines import compare
from npusim.ops import ops_where
from npusim.runtime.binding import bind
from npusim.runtime.bindings import load_bindings
from npusim.testing import GraphBuilder

# scale and zero point of the operand and of the result, first code, what the vendor's simulator
# stored for the eight codes from there on (docs/arithmetic/shader.md rule 9.3)
RECORDED_U8 = [
    ((0.22157517, 250), (0.025811888, 183), [84, 93, 102, 110, 119, 127, 136, 145]),
    ((0.14702931, 83), (0.98358077, 167), [154, 154, 154, 155, 155, 155, 155, 155]),
    ((0.016082952, 40), (0.98358077, 167), [166] * 8),
    ((0.08386317, 71), (0.011333829, 203), [189, 197, 204, 211, 219, 226, 234, 241]),
    ((0.1355937, 61), (0.011333829, 203), [241, 253, 9, 21, 33, 45, 57, 68]),
    ((0.019204447, 91), (0.14000854, 198), [185, 185, 185, 185, 186, 186, 186, 186]),
]


@pytest.mark.parametrize(("own", "result", "wanted"), RECORDED_U8)
def test_u8_of_other_parameters_is_rounded_down_and_wraps(own, result, wanted):
    codes = np.arange(8, dtype=np.uint8)
    np.testing.assert_array_equal(compare.moved(codes, own, np.uint8, result), wanted)


@pytest.mark.parametrize(
    ("dtype", "fl", "out_fl", "codes", "wanted"),
    [
        (np.int8, 2, 5, [89, 35, 2, -59, -50], [-56, 24, 16, 40, 112]),
        (np.int8, 6, 0, [-125, 96, 120, -106, 81], [-2, 1, 1, -2, 1]),
        (np.int8, 5, 4, [98, 85, -74, 39, -86], [49, 42, -37, 19, -43]),
        (np.int16, 11, 9, [-17270, 17999, 12134, -19867], [-4318, 4499, 3033, -4967]),
        (np.int16, 6, 12, [27132, 3069, 1213, -8523], [32512, -192, 12096, -21184]),
    ],
)
def test_fixed_point_is_shifted_and_wraps(dtype, fl, out_fl, codes, wanted):
    found = compare.moved(np.array(codes, dtype), (2.0**-fl, 0), dtype, (2.0**-out_fl, 0))
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == dtype


def test_halves_are_copied_bit_by_bit():
    bits = np.array([0, 0x8000, 1, 0x7C00, 0xFC00, 0x7E00], np.uint16)
    halves = bits.view(np.float16)
    kept = compare.select(np.ones(6, bool), halves, halves, ((1, 0), (1, 0)), np.float16, (1.0, 0))
    np.testing.assert_array_equal(kept.view(np.uint16), bits)


FORMATS = {
    DType.U8: (Affine(scale=0.05, zero_point=100), Affine(scale=0.02, zero_point=3)),
    DType.I8: (DynamicFixedPoint(fl=4), DynamicFixedPoint(fl=6)),
    DType.I16: (DynamicFixedPoint(fl=9), DynamicFixedPoint(fl=12)),
    DType.F16: (Float(), Float()),
}


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_comparisons_are_those_of_the_real_numbers(data):
    load_bindings()
    dtype = data.draw(st.sampled_from(list(FORMATS)))
    op = data.draw(st.sampled_from(ops_where(lambda d: d.truth and not d.of_truth)))
    first, second = FORMATS[dtype]
    b = GraphBuilder(dtype, first)
    inputs = [b.input("a", 2, 3, 4), b.input("b", 1, 3, 1, quant=second)]
    b.node(op, inputs, "y", NO_ATTRS, dtype=DType.BOOL, quant=Float(), engine=Engine.SHADER)
    graph = b.done()
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    codes = [
        rng.integers(0, 120, graph.spec(name).shape).astype(dtype.numpy) for name in ("a", "b")
    ]
    (got,) = bind(graph.nodes[0], graph)(*codes)
    real = [
        float(c) if isinstance(q, Float) else (float(c) - q.zero_point) * q.scale
        if isinstance(q, Affine) else float(c) * 2.0**-q.fl
        for cs, q in zip(codes, (first, second), strict=True) for c in cs.reshape(-1)
    ]  # fmt: skip
    a = np.array(real[:24], np.float32).reshape(2, 3, 4)
    c = np.array(real[24:], np.float32).reshape(1, 3, 1)
    want = {"equal": a == c, "greater": a > c, "greater_equal": a >= c, "less": a < c,
            "less_equal": a <= c}[op]  # fmt: skip
    np.testing.assert_array_equal(got, want)
    assert got.dtype == np.bool_
