"""Operators of the float reference without an ONNX node of their own, and other types."""

import numpy as np
import pytest
from scipy import special

from npusim.errors import GraphError, InputError
from npusim.ir.attrs import (
    Activation,
    AlphaAttrs,
    Attrs,
    AxisAttrs,
    Conv2dAttrs,
    Deconv2dAttrs,
    EltwiseAttrs,
    FcAttrs,
    GroupAttrs,
    LrnAttrs,
    ReduceAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.tensor import TensorSpec
from npusim.ops import op_names
from npusim.reference.evaluate import evaluate
from npusim.reference.table import reference_ops
from npusim.testing import GraphBuilder

X = np.random.default_rng(3).normal(size=(2, 6, 5, 4)).astype(np.float32) * 4


def run(op, *inputs, attrs=None, constants=(), dtype=None):
    b = GraphBuilder()
    names = []
    for i, value in enumerate(inputs):
        names.append(b.input(f"x{i}", *value.shape))
        spec = TensorSpec(name=f"x{i}", shape=value.shape, dtype=DType.of(value.dtype))
        b.graph.tensors[f"x{i}"] = spec
    names += [b.constant(f"c{i}", value) for i, value in enumerate(constants)]
    more = {} if attrs is None else {"attrs": attrs}
    b.node(op, names, "y", **more)
    if dtype:
        b.graph.tensors["y"] = TensorSpec(name="y", shape=b.graph.spec("y").shape, dtype=dtype)
    return evaluate(b.done("y"), {f"x{i}": v for i, v in enumerate(inputs)})["y"]


def test_the_table_holds_every_operator():
    assert reference_ops() == op_names()


@pytest.mark.parametrize(
    ("op", "formula"),
    [
        ("relu1", lambda x: np.clip(x, -1, 1)),
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("rsqrt", lambda x: 1 / np.sqrt(x)),
        ("square", np.square),
        ("swish", lambda x: x * special.expit(x)),
    ],
)
def test_functions_without_onnx_node(op, formula):
    x = np.abs(X) if op == "rsqrt" else X
    np.testing.assert_allclose(run(op, x), formula(x.astype(np.float64)), rtol=1e-6, atol=1e-7)


def test_channel_shuffle():
    actual = run("channel_shuffle", X, attrs=GroupAttrs(group=2))
    np.testing.assert_array_equal(actual, X[:, [0, 3, 1, 4, 2, 5]])


def test_lrn_of_even_size_has_its_odd_channel_behind():
    attrs = LrnAttrs(size=4, alpha=0.5, beta=0.75, bias=2.0)
    wide = X.astype(np.float64)
    total = np.stack([(wide[:, max(0, c - 1) : c + 3] ** 2).sum(1) for c in range(6)], axis=1)
    expected = wide / (2 + 0.5 / 4 * total) ** 0.75
    np.testing.assert_allclose(run("lrn", X, attrs=attrs), expected, rtol=1e-6)


def conv_like(op, activation):
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(6, 6, 3, 3)) * 2).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    if op == "conv2d":
        return run(op, X, attrs=Conv2dAttrs(activation=activation), constants=[weights, bias])
    if op == "depthwise":
        attrs = Conv2dAttrs(group=6, activation=activation)
        return run("conv2d", X, attrs=attrs, constants=[weights[:, :1], bias])
    if op == "deconv2d":
        return run(op, X, attrs=Deconv2dAttrs(activation=activation), constants=[weights, bias])
    if op == "fc":
        flat = weights.reshape(6, -1)[:, :4].copy()
        return run(op, X, attrs=FcAttrs(activation=activation), constants=[flat, bias])
    return run(op, X, X[:1], attrs=EltwiseAttrs(activation=activation))


@pytest.mark.parametrize("op", ["conv2d", "depthwise", "deconv2d", "fc", "add", "mul"])
def test_fused_activations_clamp(op):
    plain = conv_like(op, Activation.NONE)
    assert plain.min() < 0
    assert plain.max() > 6
    np.testing.assert_array_equal(conv_like(op, Activation.RELU), np.maximum(plain, 0))
    np.testing.assert_array_equal(conv_like(op, Activation.RELU6), np.clip(plain, 0, 6))


@pytest.mark.parametrize("activation", list(Activation))
def test_nan_passes_conv_and_its_activation(activation):
    x = np.full((1, 3, 4, 4), np.nan, np.float32)
    weights, bias = np.ones((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)
    attrs = Conv2dAttrs(activation=activation)
    assert np.isnan(run("conv2d", x, attrs=attrs, constants=[weights, bias])).all()
    x = np.full((1, 3, 4, 4), np.inf, np.float32)
    high = 6 if activation is Activation.RELU6 else np.inf
    assert (run("conv2d", x, attrs=attrs, constants=[weights, bias]) == high).all()


@pytest.mark.parametrize(
    ("op", "attrs", "shape"),
    [
        ("conv2d", Conv2dAttrs(), (4, 6, 3, 3)),
        ("conv2d", Conv2dAttrs(group=6), (6, 1, 3, 3)),
        ("deconv2d", Deconv2dAttrs(), (4, 6, 3, 3)),
        ("fc", FcAttrs(), (4, 4)),
    ],
)
def test_weights_may_be_activations(op, attrs, shape):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=shape).astype(np.float32)
    bias = rng.normal(size=shape[0]).astype(np.float32)
    fixed = run(op, X, attrs=attrs, constants=[weights, bias])
    np.testing.assert_array_equal(run(op, X, weights, bias, attrs=attrs), fixed)


def test_read_only_arrays_are_accepted():
    weights, bias = np.ones((4, 6, 3, 3), np.float32), np.ones(4, np.float32)
    expected = run("conv2d", X, attrs=Conv2dAttrs(), constants=[weights, bias])
    frozen = [value.copy() for value in (X.transpose(0, 2, 3, 1), weights, bias)]
    for value in frozen:
        value.setflags(write=False)
    x = frozen[0].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(
        run("conv2d", x, attrs=Conv2dAttrs(), constants=frozen[1:]), expected
    )


def test_integer_tensors_refuse_float_functions():
    whole = np.ones((2, 3), np.int64)
    for op in ("sigmoid", "exp"):
        with pytest.raises(GraphError, match=rf"n_y.*{op}.*int|i64"):
            run(op, whole)
    with pytest.raises(GraphError, match="n_y"):
        run("div", whole, whole, attrs=EltwiseAttrs())
    with pytest.raises(GraphError, match="mean of integers"):
        run("reduce_mean", whole, attrs=ReduceAttrs(axes=(0,)))


def test_wrong_attribute_record_is_named():
    b = GraphBuilder()
    with pytest.raises(GraphError, match=r"n_y.*\n.*AlphaAttrs"):
        b.node("elu", [b.input("x", 2, 3)], "y", Attrs())
    assert run("elu", X, attrs=AlphaAttrs(alpha=1.0)).min() > -1


def test_gather_index_outside_names_layer_and_range():
    index = np.array([6])
    with pytest.raises(InputError, match=r"n_y(.|\n)*\[-6, 5\]"):
        run("gather", X, index, attrs=AxisAttrs(axis=1))
