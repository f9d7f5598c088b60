"""Float16 infinities and NaN pass every operator without a warning (warnings are errors here)."""

import numpy as np
import pytest

from npusim.ir.attrs import (
    NO_ATTRS,
    AxisAttrs,
    EltwiseAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
    TransposeAttrs,
)
from npusim.ir.graph import Engine
from npusim.testing import bound_layer
from tests.formats import F16, F32, U8

CODES = np.array([np.inf, -np.inf, np.nan, 0, 1, 65504, -65504, 2] * 6, np.float16)
CODES = CODES.reshape(1, 4, 3, 4)
SH, TP, NN = Engine.SHADER, Engine.TP, Engine.NN
ONE = [
    (SH, "softmax", AxisAttrs(axis=1)),
    (SH, "log_softmax", AxisAttrs(axis=3)),
    (SH, "l2norm", AxisAttrs(axis=1)),
    (SH, "reduce_sum", ReduceAttrs(axes=(1,))),
    (SH, "reduce_mean", ReduceAttrs(axes=(2,))),
    (SH, "reduce_prod", ReduceAttrs(axes=(1, 2, 3))),
    (SH, "resize", ResizeAttrs(size=(7, 9), mode=ResizeMode.BILINEAR)),
    (SH, "exp", NO_ATTRS),
    (SH, "erf", NO_ATTRS),
    (TP, "lrn", LrnAttrs(size=3)),
    (TP, "sigmoid", NO_ATTRS),
    (TP, "gelu", NO_ATTRS),
    (TP, "transpose", TransposeAttrs(perm=(0, 2, 3, 1))),
    (TP, "convert", NO_ATTRS),
]


@pytest.mark.parametrize("out", [F16, U8])
@pytest.mark.parametrize(("engine", "op", "attrs"), ONE)
def test_one_operand(engine, op, attrs, out):
    (got,) = bound_layer(op, engine, [(CODES.shape, F16)], out, attrs)(CODES)
    assert got.dtype == out[0].numpy


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "max", "min", "pow"])
@pytest.mark.parametrize("out", [F16, U8])
def test_two_operands(op, out):
    step = bound_layer(op, SH, [(CODES.shape, F16)] * 2, out, EltwiseAttrs())
    assert step(CODES, CODES[:, ::-1])[0].dtype == out[0].numpy


@pytest.mark.parametrize("out", [F16, U8])
@pytest.mark.parametrize("shape", [(CODES.shape[1], 1, 1), CODES.shape])
def test_prelu(shape, out):
    slopes = np.full(shape, np.inf, np.float16)
    step = bound_layer("prelu", SH, [(CODES.shape, F16), (shape, F16)], out, constants={1: slopes})
    assert step(CODES)[0].dtype == out[0].numpy


@pytest.mark.parametrize("engine", [NN, TP])
def test_nn_and_tp_have_no_infinity(engine):
    step = bound_layer("add", engine, [(CODES.shape, F16)] * 2, F16, EltwiseAttrs())
    assert np.isfinite(step(CODES, CODES)[0]).all()


def test_products_and_norms():
    a, b = CODES[0, 0], np.ascontiguousarray(CODES[0, 0].T)
    step = bound_layer("matmul", SH, [((3, 4), F16), ((4, 3), F16)], F16, MatmulAttrs())
    assert step(a, b)[0].shape == (3, 3)
    ones = np.ones(4, np.float32)
    inputs = [(CODES.shape, F16), ((4,), F32), ((4,), F32)]
    step = bound_layer("instance_norm", SH, inputs, F16, NormAttrs(), {1: ones, 2: ones})
    assert step(CODES)[0].shape == CODES.shape
