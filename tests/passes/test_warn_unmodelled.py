"""What the chip computes otherwise is said, with the layer's name."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from npusim.ir.attrs import (
    Conv2dAttrs,
    Coordinates,
    GlobalPoolAttrs,
    LrnAttrs,
    MatmulAttrs,
    NormAttrs,
    Pool2dAttrs,
    PoolKind,
    ResizeAttrs,
    ResizeMode,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, DynamicFixedPoint, Float
from npusim.passes.assign_engine import assign_engine
from npusim.passes.warn_unmodelled import warn_unmodelled
from npusim.testing import GraphBuilder

SHAPE = (1, 4, 6, 8)


def stored(build, dtype, fl=4):
    quant = Float() if dtype is DType.F16 else DynamicFixedPoint(fl=fl)
    if dtype is DType.U8:
        quant = Affine(scale=0.05, zero_point=128)
    graph = build.graph
    for name, spec in graph.tensors.items():
        if name not in graph.constants:
            graph.tensors[name] = replace(spec, dtype=dtype, quant=quant)
    return assign_engine(graph)


def net(op, attrs=None, *constants, inputs=1, matrix=(1, 8, 8)):
    build = GraphBuilder()
    square = SHAPE if op != "matmul" else matrix
    names = [build.input(f"x{i}", *square) for i in range(inputs)]
    names += [build.constant(f"c{i}", value) for i, value in enumerate(constants)]
    build.graph.outputs = (build.node(op, names, "y", attrs),)
    return build


def depthwise(kernel, dilation, multiplier=1, channels=4, pad=0):
    build = GraphBuilder()
    x = build.input("x", 1, channels, 40, 40)
    weights = build.constant("w", np.ones((channels * multiplier, 1, *kernel), np.float32))
    bias = build.constant("b", np.zeros(channels * multiplier, np.float32))
    attrs = Conv2dAttrs(dilation=(dilation, dilation), group=channels, pad=(pad,) * 4)
    build.graph.outputs = (build.node("conv2d", (x, weights, bias), "y", attrs),)
    return build


OVERHANG = Pool2dAttrs(
    kind=PoolKind.AVG, kernel=(3, 3), stride=(3, 3), ceil_mode=True, count_include_pad=True
)
PADS_ONLY = Pool2dAttrs(kind=PoolKind.MAX, kernel=(2, 2), stride=(2, 2), pad=(2, 0, 0, 0))
WARNED = [
    (net("pool2d", PADS_ONLY), DType.F16, 0, "its maximum is -65504"),
    (net("pool2d", PADS_ONLY), DType.U8, 0, "its maximum is the lowest code"),
    (depthwise((3, 3), 6), DType.U8, 0, "stores garbage"),
    (depthwise((3, 3), 6), DType.F16, 0, "stores garbage"),
    (depthwise((3, 3), 6, channels=2), DType.U8, 0, "stores garbage"),
    (depthwise((5, 3), 3), DType.U8, 0, "stores garbage"),
    (depthwise((3, 3), 9, pad=9), DType.F16, 0, "stores garbage"),
    (depthwise((7, 7), 2, 2), DType.U8, 0, "6 columns or more"),
    (net("matmul", MatmulAttrs(transpose_b=True), inputs=2), DType.I16, 4, "groups of eight"),
    (
        net("matmul", MatmulAttrs(transpose_b=True), inputs=2, matrix=(1, 8, 12)),
        DType.F16,
        0,
        "last of 12 products five times",
    ),
    (net("lrn", LrnAttrs(size=4)), DType.I16, 4, "zeros for windows"),
    (net("lrn", LrnAttrs(size=7)), DType.I8, 4, "wrong values"),
    (net("mish"), DType.I16, 16, "more than 15 fraction bits"),
    (
        net("layer_norm", NormAttrs(axis=3), np.ones(8), np.zeros(8)),
        DType.I8,
        4,
        "add up to less than 0",
    ),
    (net("pool2d", OVERHANG), DType.U8, 0, "divides it by its full size"),
]
SILENT = [
    (net("pool2d", replace(OVERHANG, count_include_pad=False)), DType.U8, 0),
    (net("pool2d", replace(OVERHANG, kind=PoolKind.MAX)), DType.U8, 0),
    (net("pool2d", replace(OVERHANG, ceil_mode=False)), DType.U8, 0),
    (depthwise((3, 3), 5), DType.U8, 0),
    (depthwise((3, 3), 6), DType.I8, 4),
    (depthwise((3, 3), 16, pad=16), DType.U8, 0),
    (depthwise((7, 7), 2, 2, channels=1), DType.U8, 0),  # of one channel: a plain convolution
    (depthwise((3, 3), 6), DType.I16, 4),
    (depthwise((5, 5), 3, 2), DType.U8, 0),
    (net("matmul", MatmulAttrs(), inputs=2), DType.I16, 4),
    (net("matmul", MatmulAttrs(transpose_b=True), inputs=2), DType.I8, 4),
    (net("matmul", MatmulAttrs(transpose_b=True), inputs=2, matrix=(1, 7, 12)), DType.I8, 4),
    (net("lrn", LrnAttrs(size=5)), DType.I8, 4),
    (net("mish"), DType.I16, 15),
    (net("sigmoid"), DType.I16, 16),
]


@pytest.mark.parametrize(("build", "dtype", "fl", "text"), WARNED)
def test_layers_are_named(build, dtype, fl, text, caplog):
    graph = stored(build, dtype, fl)
    with caplog.at_level(logging.WARNING):
        assert warn_unmodelled(graph) is graph
    assert "layer 'n_y'" in caplog.text
    assert text in caplog.text


@pytest.mark.parametrize(("build", "dtype", "fl"), SILENT)
def test_others_are_not(build, dtype, fl, caplog):
    warn_unmodelled(stored(build, dtype, fl))
    assert not caplog.text


@pytest.mark.parametrize(
    ("op", "dtype", "size", "warns"),
    [
        ("global_pool", DType.F16, (10, 8), True),
        ("pool2d", DType.F16, (10, 8), True),
        ("global_pool", DType.F16, (8, 8), False),
        ("global_pool", DType.F16, (14, 8), False),
        ("global_pool", DType.I8, (10, 8), False),
    ],
)
def test_averages_that_leave_pixels_out(caplog, op, dtype, size, warns):
    build = GraphBuilder()
    attrs = GlobalPoolAttrs(kind=PoolKind.AVG)
    if op == "pool2d":
        attrs = Pool2dAttrs(kind=PoolKind.AVG, kernel=size, stride=size)
    build.node(op, [build.input("x", 1, 4, *size)], attrs=attrs)
    with caplog.at_level(logging.WARNING):
        warn_unmodelled(stored(build, dtype))
    assert ("average-incomplete" in caplog.text) == warns


@pytest.mark.parametrize(
    ("op", "kind", "one", "other", "warns"),
    [
        ("global_pool", "avg", DType.U8, DType.F16, True),
        ("global_pool", "avg", DType.I16, DType.F16, True),
        ("global_pool", "avg", DType.F16, DType.I8, True),
        ("global_pool", "avg", DType.F16, DType.U8, False),
        ("global_pool", "avg", DType.U8, DType.U8, False),
        ("global_pool", "max", DType.U8, DType.F16, False),
        ("pool2d", "avg", DType.U8, DType.I8, True),
        ("pool2d", "max", DType.I16, DType.U8, True),
        ("pool2d", "avg", DType.U8, DType.F16, False),
    ],
)
def test_pools_of_the_shader_between_types(caplog, op, kind, one, other, warns):
    attrs = GlobalPoolAttrs(kind=PoolKind(kind))
    if op == "pool2d":
        attrs = Pool2dAttrs(kind=PoolKind(kind), kernel=(3, 3), stride=(3, 3))

    def layer(dtype):
        build = GraphBuilder()
        build.node(op, [build.input("x", 1, 4, 9, 9)], "y", attrs)
        return stored(build, dtype)

    graph, result = layer(one), layer(other).spec("y")
    nodes = tuple(replace(node, engine=Engine.SHADER) for node in graph.nodes)
    graph = graph.copy(nodes=nodes, tensors={**graph.tensors, "y": result})
    with caplog.at_level(logging.WARNING):
        warn_unmodelled(graph)
    assert ("pool-between-types" in caplog.text) == warns


@pytest.mark.parametrize(
    ("coordinates", "size", "dtype", "warns"),
    [
        ("half_pixel", (4, 6), DType.U8, True),
        ("half_pixel", (2, 6), DType.I16, True),
        ("half_pixel", (4, 6), DType.I8, False),  # on the shader
        ("half_pixel", (4, 3), DType.U8, False),  # columns shrink too
        ("half_pixel", (8, 6), DType.U8, False),  # nothing shrinks
        ("asymmetric", (4, 6), DType.U8, False),  # the first row is meant
    ],
)
def test_resize_that_takes_first_rows(caplog, coordinates, size, dtype, warns):
    build = GraphBuilder()
    attrs = ResizeAttrs(size=size, mode=ResizeMode.NEAREST, coordinates=Coordinates(coordinates))
    build.node("resize", [build.input("x", 1, 4, 8, 6)], attrs=attrs)
    with caplog.at_level(logging.WARNING):
        warn_unmodelled(stored(build, dtype))
    assert ("resize-first-rows" in caplog.text) == warns
