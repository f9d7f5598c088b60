"""Traits of operators agree with one another."""

from collections import Counter

import numpy as np
import pytest

from npusim.errors import GraphError
from npusim.ir.attrs import (
    NO_ATTRS,
    GlobalPoolAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
)
from npusim.ir.graph import Engine, Node
from npusim.kernels.engines import compare, eltwise, shader, shader_reduce, tp_activation
from npusim.ops import TpTable, averages, is_function, keeps_codes, op_def, op_names, ops_where
from npusim.passes.engine_rules import RULES
from npusim.reference.evaluate import evaluate
from npusim.runtime.binding import has_binding
from npusim.runtime.bindings import load_bindings
from npusim.testing import GraphBuilder


def test_what_one_trait_implies_of_another():
    for name in op_names():
        d = op_def(name)
        assert not d.view or d.moves, name
        assert not d.tp_copy or d.moves, name
        assert not d.weighted or (d.accumulates and d.inputs == (3, 3) and d.macs), name
        assert not d.rectifier or (d.activation and d.kink), name
        assert not d.tp_table or (d.elementwise and d.inputs == (1, 1)), name
        assert d.bounds[0] < d.bounds[1], name


@pytest.mark.parametrize("field", ["onnx", "tflite", "golden"])
def test_a_name_elsewhere_means_one_operator(field):
    names = [getattr(op_def(name), field) for name in op_names()]
    names = [name for name in names if name]
    assert max(Counter(names).values()) == 1


def test_questions_about_a_node_depend_on_its_attributes():
    def node(op, attrs=NO_ATTRS):
        return Node(name="n", op=op, inputs=("x",), outputs=("y",), attrs=attrs)

    window = {"kernel": (2, 2), "stride": (2, 2), "pad": (0, 0, 0, 0)}
    for attrs, op in (
        (lambda kind: Pool2dAttrs(kind=kind, **window), "pool2d"),
        (lambda kind: GlobalPoolAttrs(kind=kind), "global_pool"),
    ):
        largest, mean = node(op, attrs(PoolKind.MAX)), node(op, attrs(PoolKind.AVG))
        assert [keeps_codes(largest), averages(largest)] == [True, False]
        assert [keeps_codes(mean), averages(mean)] == [False, True]
    nearest, bilinear = (ResizeAttrs(size=(4, 4), mode=mode) for mode in ResizeMode)
    assert keeps_codes(node("resize", nearest))
    assert not keeps_codes(node("resize", bilinear))
    axes = ReduceAttrs(axes=(1,), keepdims=True)
    assert keeps_codes(node("reduce_max", axes))
    assert averages(node("reduce_mean", axes))


def test_ops_where_asks_every_definition():
    assert ops_where(lambda d: d.weighted) == ("conv2d", "deconv2d", "fc")
    assert ops_where(lambda d: True) == op_names() == tuple(sorted(RULES))
    with pytest.raises(GraphError, match="does not exist"):
        op_def("conv3d")


FUNCTIONS = ops_where(lambda d: is_function(d) and d.name != "convert")


@pytest.mark.parametrize("op", FUNCTIONS)
def test_bounds_and_sign_hold_of_the_float_function(op):
    d = op_def(op)
    near, far = np.linspace(-12, 12, 4801), np.array([-1e4, -1e3, 1e3, 1e4])
    x = np.concatenate([near, far]).astype(np.float32)
    b = GraphBuilder()
    b.node(op, [b.input("x", *x.shape)], "y")
    with np.errstate(all="ignore"):
        y = evaluate(b.done("y"), {"x": x})["y"]
    low, high = d.bounds
    known = y[np.isfinite(y)]
    assert low - 1e-6 <= known.min()
    assert known.max() <= high + 1e-6
    assert low == -np.inf or known.min() < low + 0.3  # no wider than it need be
    assert high == np.inf or known.max() > high - 0.01
    if d.keeps_sign:
        assert y[x > 0].min() >= 0


def test_operators_have_the_arithmetic_that_their_traits_promise():
    """A table function, a shader function or a reduction without its kernel is found here."""
    assert set(tp_activation.ACTIVATION_OPS) == {*ops_where(on_tp(TpTable.ACTIVATION))}
    assert set(tp_activation.TABLE_LOOKUP_OPS) == {*ops_where(on_tp(TpTable.LOOKUP))}
    assert set(shader.ACTIVATIONS) == set(tp_activation.ACTIVATION_OPS)
    assert set(shader.UNARY) == {
        *ops_where(lambda d: is_function(d) and not d.tp_table and d.name != "convert")
    }
    assert set(eltwise.FUNCTIONS) == {
        *ops_where(
            lambda d: d.elementwise and d.inputs == (2, 2) and not (d.truth or d.half_operand)
        )
    }
    assert set(compare.COMPARISONS) == {*ops_where(lambda d: d.truth and not d.of_truth)}
    assert set(compare.LOGICAL) == {*ops_where(lambda d: d.truth and d.of_truth)}
    assert set(shader_reduce.REDUCTIONS) == {*ops_where(lambda d: d.attrs is ReduceAttrs)}
    load_bindings()
    for op in op_names():
        assert has_binding(op, Engine.TP) or not op_def(op).tp_copy, op
        assert has_binding(op, Engine.SHADER) or op_def(op).tp_table is TpTable.LOOKUP, op


def on_tp(table):
    """Return the condition that an operator is such a table."""
    return lambda d: d.tp_table is table
