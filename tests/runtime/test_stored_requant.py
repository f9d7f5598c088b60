"""Bindings store sums as the node says: another requantization gives other bits."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from npusim.errors import GraphError
from npusim.ir.attrs import AxisAttrs, FcAttrs, GlobalPoolAttrs, Pool2dAttrs, PoolKind, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Rounding
from npusim.passes.lower_requant import lower_requant
from npusim.runtime.program import Program
from tests.passes.engine_net import Net

U8, I8, I16, F16 = DType.U8, DType.I8, DType.I16, DType.F16
INTEGERS = (U8, I8, I16)
NO_ZERO_POINT = Affine(scale=0.05, zero_point=0)
WEIGHTS = {
    U8: Affine(scale=0.02, zero_point=120),
    I8: DynamicFixedPoint(fl=6),
    I16: DynamicFixedPoint(fl=13),
    F16: Float(),
}


def filled(net: Net) -> Net:
    """Give every constant values that matter."""
    rng = np.random.default_rng(3)
    for name, value in net.graph.constants.items():
        if value.dtype == np.float16:
            net.graph.constants[name] = rng.normal(size=value.shape).astype(np.float16)
        elif name == "w" or name.endswith(".weights"):
            low, high = (0, 256) if value.dtype == np.uint8 else (-100, 100)
            net.graph.constants[name] = rng.integers(low, high, value.shape).astype(value.dtype)
    return net


def convolution(dtype, quant=None, size=6):
    net = Net(dtype, (1, 8, size, size), quant=quant)
    net.conv(net.x, 8, weight_quant=WEIGHTS[dtype])
    return net


def fully_connected(dtype, quant=None):
    net = Net(dtype, (1, 24), quant=quant)
    weights = net.known("w", (8, 24), WEIGHTS[dtype])
    net.op("fc", net.x, weights, net.known("b", (8,), Float(), DType.I32), attrs=FcAttrs())
    return net


def total(dtype, op="add", size=6, quant=None):
    net = Net(dtype, (1, 8, size, size), quant=quant)
    first, second = (net.conv(net.x, 8, weight_quant=WEIGHTS[dtype], quant=quant) for _ in "ab")
    net.op(op, first, second)
    return net


def average(op, attrs, dtype, size, quant=None):
    net = Net(dtype, (1, 8, size, size), quant=quant)
    net.op(op, net.x, attrs=attrs)
    return net


WINDOW = Pool2dAttrs(kind=PoolKind.AVG, kernel=(3, 3), stride=(1, 1), pad=(0,) * 4)
WHOLE = Pool2dAttrs(kind=PoolKind.AVG, kernel=(7, 7), stride=(1, 1), pad=(0,) * 4)
GLOBAL = GlobalPoolAttrs(kind=PoolKind.AVG)
MEAN = ReduceAttrs(axes=(2, 3), keepdims=True)
NETS = {
    **{f"conv {d.value} on NN": (partial(convolution, d), Engine.NN) for d in INTEGERS},
    **{
        f"conv {d.value} on TP": (
            partial(convolution, d, NO_ZERO_POINT if d is U8 else None, 1),
            Engine.TP,
        )
        for d in INTEGERS
    },
    "fc u8 on NN": (lambda: fully_connected(U8), Engine.NN),
    "fc u8 on TP": (lambda: fully_connected(U8, NO_ZERO_POINT), Engine.TP),
    "fc i16 on TP": (lambda: fully_connected(I16), Engine.TP),
    **{f"add {d.value} on NN": (partial(total, d), Engine.NN) for d in INTEGERS},
    "sub u8 on NN": (lambda: total(U8, "sub"), Engine.NN),
    "add u8 on TP": (lambda: total(U8, size=1, quant=NO_ZERO_POINT), Engine.TP),
    "add i8 on TP": (lambda: total(I8, size=1), Engine.TP),
    "window u8 on NN": (lambda: average("pool2d", WINDOW, U8, 7), Engine.NN),
    "window i8 on TP": (lambda: average("pool2d", WHOLE, I8, 7), Engine.TP),
    "global u8 on NN": (lambda: average("global_pool", GLOBAL, U8, 13), Engine.NN),
    "mean i16 on TP": (lambda: average("reduce_mean", MEAN, I16, 7), Engine.TP),
    "mean u8 on NN": (lambda: average("reduce_mean", MEAN, U8, 7), Engine.NN),
}


def lowered(make, engine):
    net = filled(make())
    graph = lower_requant(net.assigned())
    assert graph.nodes[-1].engine is engine
    return graph


def with_requant(graph, **changes):
    *before, last = graph.nodes
    changed = replace(last, requant=replace(last.requant, **changes))
    return graph.copy(nodes=(*before, changed))


def run(graph):
    spec = graph.spec("x")
    rng = np.random.default_rng(0)
    values = (
        rng.normal(size=spec.shape).astype(np.float16)
        if spec.dtype is F16
        else rng.integers(0, 100, spec.shape).astype(spec.dtype.numpy)
    )
    return Program(graph).run_stored({"x": values})[graph.outputs[0]]


@pytest.mark.parametrize(("make", "engine"), NETS.values(), ids=NETS)
def test_another_multiplier_shift_or_zero_point_changes_the_bits(make, engine):
    graph = lowered(make, engine)
    own = graph.nodes[-1].requant
    expected = run(graph)
    assert len(np.unique(expected)) > 2  # otherwise nothing could be seen
    for changes in ({"shift": own.shift + 2}, {"multiplier": own.multiplier * 3}):
        assert (run(with_requant(graph, **changes)) != expected).any(), changes
    moved = with_requant(graph, zero_point=own.zero_point + 1)
    if isinstance(graph.spec(graph.outputs[0]).quant, Affine):
        assert (run(moved) != expected).any()
    else:
        with pytest.raises(GraphError, match=r"zero point 1(.|\n)*dynamic fixed point"):
            run(moved)
    assert (run(graph) == expected).all()  # no table of the other store is kept


def test_float16_on_nn_rounds_as_the_node_says():
    graph = lowered(lambda: convolution(F16), Engine.NN)
    assert graph.nodes[-1].requant.rounding is Rounding.TRUNCATE_F16
    nearest = with_requant(graph, rounding=Rounding.NEAREST_F16)
    assert (run(nearest) != run(graph)).any()


@pytest.mark.parametrize(("make", "engine"), NETS.values(), ids=NETS)
def test_a_rounding_that_the_engine_lacks_is_refused(make, engine):
    graph = with_requant(lowered(make, engine), rounding=Rounding.NEAREST_F16)
    with pytest.raises(GraphError, match="does not round 'nearest float16"):
        Program(graph)


@pytest.mark.parametrize(("make", "engine"), NETS.values(), ids=NETS)
def test_a_layer_with_sums_must_say_how_they_are_stored(make, engine):
    graph = lowered(make, engine)
    bare = graph.copy(nodes=tuple(replace(node, requant=None) for node in graph.nodes))
    with pytest.raises(GraphError, match="does not say how it stores its sums"):
        Program(bare)


def test_moves_tables_and_programs_have_none():
    net = Net(U8)
    pool = net.op("pool2d", net.x, attrs=replace(WINDOW, kind=PoolKind.MAX))
    net.op("softmax", net.op("relu", pool), attrs=AxisAttrs(axis=1))
    assert [node.requant for node in lower_requant(net.assigned()).nodes] == [None] * 3
