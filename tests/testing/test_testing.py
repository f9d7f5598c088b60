"""What npusim.testing promises to people who write tests with it."""

import doctest
import subprocess
import sys

import numpy as np
import pytest

import npusim.testing
from npusim.errors import GraphError
from npusim.ir.attrs import SplitAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, Float
from npusim.passes.driver import check
from npusim.testing import (
    GraphBuilder,
    assert_bit_equal,
    bound_layer,
    memory_orders,
    random_codes,
    usual_quant,
)


def test_the_example_of_the_package_runs():
    assert doctest.testmod(npusim.testing).attempted > 5
    assert doctest.testmod(npusim.testing).failed == 0


def test_no_test_framework_is_needed():
    code = "import sys, npusim.testing; assert not {'pytest', 'hypothesis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_difference_is_named_with_index_codes_and_count():
    want = np.arange(12, dtype=np.uint8).reshape(3, 4)
    got = want.copy()
    got[1, 2], got[2, 0] = 99, 98
    with pytest.raises(AssertionError) as caught:
        assert_bit_equal(got, want, "layer 'a'")
    assert "layer 'a': 2 of 12 elements differ" in str(caught.value)
    assert "(1, 2): np.uint8(99), expected np.uint8(6)" in str(caught.value)


@pytest.mark.parametrize(
    ("got", "want", "why"),
    [
        (np.zeros(3, np.int8), np.zeros(3, np.uint8), "element type int8, expected uint8"),
        (np.zeros((1, 3)), np.zeros(3), r"shape \(1, 3\), expected \(3,\)"),
        (np.float32(-0.0), np.float32(0.0), "1 of 1"),
        (np.zeros(3, np.float16), np.full(3, np.nan, np.float16), "3 of 3"),
    ],
)
def test_type_shape_sign_of_zero_and_nan_count(got, want, why):
    with pytest.raises(AssertionError, match=why):
        assert_bit_equal(got, want)


def test_equal_bits_pass_in_any_memory_order():
    value = np.array([[np.nan, -0.0], [1, np.inf]], np.float16)
    for other in memory_orders(value):
        assert_bit_equal(other, value)
    assert_bit_equal(np.empty((0, 3), bool), np.empty((0, 3), bool))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (4,), ()])
def test_memory_orders_are_equal_and_lie_differently(shape):
    value = random_codes(np.random.default_rng(0), shape, DType.I16)
    planes, last, wide, locked = memory_orders(value)
    for other in (planes, last, wide, locked):
        assert_bit_equal(other, value)
        assert not np.shares_memory(other, value)
    assert planes.flags.c_contiguous
    assert not locked.flags.writeable
    if len(shape) == 4:
        assert last.strides[1] == value.itemsize
        assert wide.strides[-1] == 2 * value.itemsize


@pytest.mark.parametrize("dtype", list(DType))
def test_builders_make_graphs_that_the_driver_accepts(dtype):
    b = GraphBuilder(dtype)
    x = b.input("x", 1, 4, 6, 6)
    if dtype in (DType.U8, DType.I8, DType.I16, DType.F16, DType.F32):
        x = b.conv(x, 6, 3, stride=2)
    first = b.node("split", [x], "a", SplitAttrs(axis=1, sizes=(1, b.shape(x)[1] - 1)), ["b"])
    graph = b.done()
    check(graph)
    assert graph.outputs == (first, "b")
    assert graph.spec("b").dtype is dtype
    assert graph.spec("b").quant == usual_quant(dtype)


def test_formats_of_results_and_inputs_can_be_given():
    b = GraphBuilder(DType.U8, Affine(scale=0.5))
    x = b.input("x", 4)
    y = b.node("relu", [x], quant=Affine(scale=0.25))
    z = b.node("convert", [y], dtype=DType.F16, engine=Engine.TP)
    graph = b.done(y, z)
    assert [graph.spec(n).quant for n in (x, y, z)] == [
        Affine(scale=0.5),
        Affine(scale=0.25),
        Float(),
    ]
    assert graph.nodes[-1].engine is Engine.TP


def test_random_codes_reach_both_ends_of_a_type():
    codes = random_codes(np.random.default_rng(0), (5000,), DType.I8)
    assert (codes.min(), codes.max()) == (-128, 127)


def test_a_layer_that_no_engine_runs_is_refused():
    u8 = (DType.U8, Affine(scale=0.1))
    with pytest.raises(GraphError, match="relu cannot run on NN"):
        bound_layer("relu", Engine.NN, [((1, 4), u8)], u8)
