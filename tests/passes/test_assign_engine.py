"""Engine rules against what the driver ran for every recorded case, and in small networks."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from npusim.conformance.golden import read_golden
from npusim.conformance.mapping import case_graph
from npusim.errors import GraphError
from npusim.ir.attrs import Conv2dAttrs, Pool2dAttrs, PoolKind, ReduceAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import TensorSpec
from npusim.ops import infer_shapes, op_names
from npusim.passes.assign_engine import assign_engine
from npusim.passes.engine_rules import RULES
from npusim.passes.lower_requant import lower_requant

HERE = Path(__file__).resolve()
SMALL = HERE.parents[1] / "golden"
FULL = Path(os.environ.get("NPUSIM_GOLDEN", HERE.parents[3] / "shared" / "golden"))
FILES = [
    pytest.param(path, id=f"{folder.parent.name}-{path.stem}")
    for folder in (SMALL, FULL)  # the whole set only where it is
    for path in sorted(folder.rglob("*.npz"))
]
# recorded per batch of cases that ran together, so their lists hold the engines of all of them
RECORDED_PER_BATCH = ("reduce.npz", "resize.npz")


def recorded_engines(engines: tuple[str, ...], nodes: int) -> list[str]:
    """Return one engine per node from the driver's list.

    An NN operation may be surrounded by TP reshuffles, TP upsampling and shader copies; in fused
    cases what TP ran behind it by itself is named.
    """
    units = [engine.partition(":")[0] for engine in engines]
    first = next(unit for unit in ("NN", "TP", "SH") if unit in units)
    behind = {"TP:activation", "TP:pooling"}.intersection(engines)
    return [first] if nodes == 1 else [first, "TP" if behind else first]


@pytest.mark.parametrize("file", FILES)
def test_every_recorded_case_runs_where_the_driver_ran_it(file):
    for case in read_golden(file):
        graph = assign_engine(case_graph(case))
        engines = [node.engine.value for node in graph.nodes]
        if file.name in RECORDED_PER_BATCH:
            assert {engine.partition(":")[0] for engine in case.engines} >= set(engines), case.where
        else:
            assert engines == recorded_engines(case.engines, len(engines)), case.where


def test_every_operator_has_rules_with_their_own_reasons():
    assert sorted(RULES) == sorted(op_names())
    for op, rules in RULES.items():
        reasons = [rule.reason for rule in rules]
        assert len(set(reasons)) == len(reasons), op
        assert all(reasons), op
        assert all(rule.when.__doc__ for rule in rules), op


# ---- small networks ----------------------------------------------------------------------------
QUANT: dict[DType, Quant] = {
    DType.U8: Affine(scale=0.05, zero_point=128),
    DType.I8: DynamicFixedPoint(fl=5),
    DType.I16: DynamicFixedPoint(fl=12),
    DType.F16: Float(),
}


class Net:
    """A network of one element type, built node by node."""

    def __init__(self, dtype: DType, shape=(1, 8, 12, 12)) -> None:
        self.dtype = dtype
        self.tensors: dict[str, TensorSpec] = {}
        self.nodes: list[Node] = []
        self.x = self.tensor("x", shape)

    def tensor(self, name, shape, quant=None, dtype=None):
        dtype = dtype or self.dtype
        self.tensors[name] = TensorSpec(
            name=name, shape=tuple(shape), dtype=dtype, quant=quant or QUANT.get(dtype, Float())
        )
        return name

    def op(self, op, *inputs, attrs=None, quant=None, dtype=None):
        number = len(self.nodes)
        more = {"attrs": attrs} if attrs else {}
        node = Node(name=f"n{number}", op=op, inputs=inputs, outputs=(f"t{number}",), **more)
        shapes = infer_shapes(node, [self.tensors[name] for name in inputs])
        self.nodes.append(node)
        return self.tensor(f"t{number}", shapes[0], quant, dtype)

    def conv(self, x, out_c=8, kernel=1, *, stride=1, quant=None, weight_quant=None, dtype=None):
        in_c, number = self.tensors[x].shape[1], len(self.nodes)
        weights = self.tensor(f"w{number}", (out_c, in_c, kernel, kernel), weight_quant)
        bias = self.tensor(f"b{number}", (out_c,), Float(), DType.I32)
        attrs = Conv2dAttrs(stride=(stride, stride), pad=(kernel // 2,) * 4)
        return self.op("conv2d", x, weights, bias, attrs=attrs, quant=quant, dtype=dtype)

    def engine(self, *outputs) -> Engine:
        """Return the engine of the last node; the graph's outputs are ``outputs`` or its result."""
        return self.assigned(*outputs).nodes[-1].engine

    def assigned(self, *outputs) -> Graph:
        known = {name for node in self.nodes for name in node.outputs}
        return assign_engine(
            Graph(
                name="net",
                nodes=tuple(self.nodes),
                inputs=tuple(name for name in self.tensors if name not in known),
                outputs=outputs or self.nodes[-1].outputs,
                tensors=self.tensors,
            )
        )


@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("dtype", [DType.U8, DType.F16])
def test_sum_of_two_hidden_convolutions_is_a_convolution(op, dtype):
    net = Net(dtype)
    net.op(op, net.conv(net.x), net.conv(net.x, kernel=3))
    assert net.engine() is Engine.NN


def test_sum_with_an_exposed_operand_is_a_shader_program():
    net = Net(DType.U8)
    net.op("add", net.conv(net.x), net.x)
    assert net.engine() is Engine.SHADER
    net = Net(DType.U8)
    a, b = net.conv(net.x), net.conv(net.x, kernel=3)
    total = net.op("add", a, b)
    assert net.engine(total, a) is Engine.SHADER


def test_sum_of_sums_and_activations_stays_on_nn():
    net = Net(DType.U8)
    a = net.op("hard_swish", net.conv(net.x))
    b = net.op("add", a, net.conv(net.x))
    net.op("add", b, net.conv(b, kernel=3))
    assert net.engine() is Engine.NN


@pytest.mark.parametrize(
    ("first", "second", "engine"),
    [
        (0.5, 0.999, Engine.NN),
        (0.05, 1.0, Engine.NN),
        (0.04, 1.0, Engine.SHADER),
        (0.6, 1.21, Engine.SHADER),
        (3.0, 5.9, Engine.NN),
        (3.0, 6.1, Engine.SHADER),
    ],
)
def test_scales_far_apart_keep_a_u8_sum_off_the_nn_engine(first, second, engine):
    for scales in ((first, second), (second, first)):
        net = Net(DType.U8)
        a, b = (net.conv(net.x, quant=Affine(scale=scale, zero_point=9)) for scale in scales)
        net.op("add", a, b)
        assert net.engine() is engine


def test_broadcast_and_moved_operands_keep_a_sum_on_the_shader():
    net = Net(DType.U8)
    small = net.op(
        "pool2d",
        net.conv(net.x),
        attrs=Pool2dAttrs(kind=PoolKind.AVG, kernel=(12, 12), stride=(1, 1)),
    )
    net.op("add", net.conv(net.x), small)
    assert net.engine() is Engine.SHADER


def pooled(dtype, *, outputs=(), **more):
    net = Net(dtype)
    conv = net.conv(net.x)
    attrs = {"kind": PoolKind.MAX, "kernel": (2, 2), "stride": (2, 2)} | more
    pool = net.op("pool2d", conv, attrs=Pool2dAttrs(**attrs))
    return net.engine(pool, *({"conv": conv}[name] for name in outputs))


def test_only_a_hidden_2x2_pool_is_fused_into_its_convolution():
    assert pooled(DType.U8) is Engine.NN
    assert pooled(DType.F16) is Engine.NN
    assert pooled(DType.I16) is Engine.TP
    assert pooled(DType.U8, outputs=("conv",)) is Engine.TP
    assert pooled(DType.U8, kernel=(3, 3)) is Engine.TP
    assert pooled(DType.U8, stride=(1, 1)) is Engine.TP


def test_averages_that_the_nn_engine_does_not_take():
    average = {"kind": PoolKind.AVG, "kernel": (3, 3), "pad": (1, 1, 1, 1)}
    assert pooled(DType.U8, **average, count_include_pad=True) is Engine.NN
    assert pooled(DType.U8, **average) is Engine.SHADER
    assert pooled(DType.U8, kind=PoolKind.AVG, kernel=(3, 3), stride=(3, 3)) is Engine.SHADER


@pytest.mark.parametrize(
    ("dtype", "size", "engine"),
    [
        (DType.U8, 11, Engine.NN),
        (DType.I8, 11, Engine.TP),
        (DType.F16, 11, Engine.TP),
        (DType.F16, 12, Engine.SHADER),
        (DType.U8, 12, Engine.SHADER),
    ],
)
def test_mean_over_height_and_width(dtype, size, engine):
    net = Net(dtype, shape=(1, 8, 5, size))
    net.op("reduce_mean", net.x, attrs=ReduceAttrs(axes=(2, 3)))
    assert net.engine() is engine


def test_kernels_per_channel_scales_and_wide_outputs_leave_the_nn_engine():
    net = Net(DType.U8, shape=(1, 8, 20, 20))
    net.conv(net.x, kernel=15)
    assert net.engine() is Engine.SHADER
    net = Net(DType.U8)
    scales = AffinePerChannel(scales=(0.1,) * 8, zero_points=(0,) * 8)
    net.conv(net.x, weight_quant=scales)
    assert net.engine() is Engine.SHADER
    net = Net(DType.U8)
    net.conv(net.x, dtype=DType.I16)
    assert net.engine() is Engine.CPU


def test_a_float32_layer_is_refused_with_the_rules_that_exist():
    net = Net(DType.U8)
    net.tensors["x"] = replace(net.tensors["x"], dtype=DType.F32, quant=Float())
    net.op("relu", "x", dtype=DType.F32, quant=Float())
    with pytest.raises(GraphError, match="no engine runs relu with types f32, f32") as caught:
        net.engine()
    assert "TP: TP activation" in caught.value.rule


def test_engines_and_requantization_are_visible_on_the_nodes():
    net = Net(DType.U8)
    net.op("sigmoid", net.conv(net.x, weight_quant=Affine(scale=0.02, zero_point=100)))
    graph = lower_requant(net.assigned())
    conv, sigmoid = graph.nodes
    assert (conv.engine, conv.reason) == (Engine.NN, "convolution")
    # 0.05 * 0.02 / 0.05 in float32, cut to 16 bits: 40 * 2**-11
    assert conv.requant.multiplier / 2**conv.requant.shift == pytest.approx(0.02, rel=2**-15)
    assert 2**15 <= conv.requant.multiplier < 2**16
    assert conv.requant.zero_point == 128
    assert sigmoid.engine is Engine.TP
