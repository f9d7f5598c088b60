"""Engine and form are decided by the passes; the performance model prices what they say."""

import re
from pathlib import Path

import pytest

from npusim.errors import GraphError
from npusim.ir.attrs import (
    AxisAttrs,
    Conv2dAttrs,
    GlobalPoolAttrs,
    LrnAttrs,
    Pool2dAttrs,
    PoolKind,
    ReduceAttrs,
    ResizeAttrs,
    ResizeMode,
    SliceAttrs,
    TransposeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Form
from npusim.ir.quant import Affine, Float
from npusim.ops import op_names
from npusim.passes.engine_rules import RULES
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.perfmodel.lowering import PLANS, LoweredLayer, lower
from npusim.perfmodel.network import Layer, Network, from_graph
from tests.passes.engine_net import Net

NN, TP, SH = Engine.NN, Engine.TP, Engine.SHADER
U8, I8, I16, F16 = DType.U8, DType.I8, DType.I16, DType.F16
NO_ZERO_POINT = Affine(scale=0.05, zero_point=0)
SHAPE = (1, 16, 12, 12)


def lowered(net: Net, *outputs: str) -> LoweredLayer:
    """Return the last layer's operations; its place is the passes' own."""
    graph = net.assigned(*outputs)
    low = lower(from_graph(graph))[-1]
    assert (low.layer.engine, low.layer.form) == (graph.nodes[-1].engine, graph.nodes[-1].form)
    return low


def works(net: Net, *outputs: str) -> str:
    """Return the operations of the last layer as the vendor's estimator lists them."""
    return " ".join(f"{w.engine.value}:{w.operation}" for w in lowered(net, *outputs).works)


def test_every_rule_has_a_price():
    assert {(rule.engine, rule.form) for op in op_names() for rule in RULES[op]} <= set(PLANS)


def test_a_place_without_a_price_is_named():
    layer = Layer(
        name="odd", uid=0, op="relu", inputs=("x",), outputs=("y",), engine=NN, form=Form.TABLE
    )
    shapes, dtypes = dict.fromkeys("xy", SHAPE), dict.fromkeys("xy", U8)
    network = Network(
        name="n", layers=(layer,), inputs=("x",), outputs=("y",), shapes=shapes, dtypes=dtypes
    )
    with pytest.raises(GraphError, match=r"layer 'odd' \(relu\): table look-up on NN has no price"):
        lower(network)


def test_no_shape_or_type_decides_over_a_place():
    """The folder prices what ``engine`` and ``form`` say; it compares neither to choose another."""
    folder = Path(__file__).resolve().parents[2] / "perfmodel"
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(engine|form)=(Engine|Form)\.", text), path.name


# ---- what was measured: operations of single layers behind a convolution -------------------------
@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        ("abs", U8, "TP:ACTIVATION"),
        ("square", U8, "TP:ACTIVATION"),
        ("neg", U8, "TP:TENSOR_TABLE_LOOKUP"),
        ("log", I8, "TP:TENSOR_TABLE_LOOKUP"),
        ("gelu", U8, "TP:TENSOR_TABLE_LOOKUP"),
        ("softplus", U8, "SH:SOFTPLUS"),
        ("relu6", F16, "TP:ACTIVATION"),
    ],
)
def test_functions(op, dtype, expected):
    net = Net(dtype, SHAPE)
    net.op(op, net.conv(net.x))
    assert works(net) == expected


@pytest.mark.parametrize(
    ("dtype", "size", "attrs", "op", "expected"),
    [
        (U8, 12, Pool2dAttrs(kind=PoolKind.AVG, kernel=(3, 3), stride=(1, 1), pad=(0,) * 4),
         "pool2d", "NN:CONVOLUTION"),
        (U8, 12, Pool2dAttrs(kind=PoolKind.AVG, kernel=(2, 2), stride=(2, 2), pad=(0,) * 4),
         "pool2d", "NN:CONVOLUTION"),
        (I16, 12, Pool2dAttrs(kind=PoolKind.AVG, kernel=(2, 2), stride=(2, 2), pad=(0,) * 4),
         "pool2d", "TP:RESHUFFLE NN:CONVOLUTION"),
        (U8, 7, Pool2dAttrs(kind=PoolKind.AVG, kernel=(7, 7), stride=(1, 1), pad=(0,) * 4),
         "pool2d", "NN:CONVOLUTION"),
        (I8, 7, Pool2dAttrs(kind=PoolKind.AVG, kernel=(7, 7), stride=(1, 1), pad=(0,) * 4),
         "pool2d", "TP:FULLYCONNECTED"),
        (U8, 7, ReduceAttrs(axes=(2, 3), keepdims=True), "reduce_mean", "NN:CONVOLUTION"),
        (I8, 7, ReduceAttrs(axes=(2, 3), keepdims=True), "reduce_mean", "TP:FULLYCONNECTED"),
        (U8, 2, GlobalPoolAttrs(kind=PoolKind.AVG), "global_pool", "NN:CONVOLUTION"),
        (U8, 13, GlobalPoolAttrs(kind=PoolKind.AVG), "global_pool", "NN:FULLYCONNECTED"),
        (U8, 7, GlobalPoolAttrs(kind=PoolKind.AVG), "global_pool", "SH:GLOBAL_POOL"),
    ],
)  # fmt: skip
def test_averages(dtype, size, attrs, op, expected):
    net = Net(dtype, (1, 16, size, size))
    net.op(op, net.conv(net.x, 16), attrs=attrs)
    assert works(net) == expected


def test_an_average_by_channel_runs_once_for_every_channel():
    net = Net(U8, (1, 16, 13, 13))
    net.op("global_pool", net.conv(net.x, 16), attrs=GlobalPoolAttrs(kind=PoolKind.AVG))
    (work,) = lowered(net).works
    assert (work.count, work.in_c, work.out_c) == (16, 169, 1)


@pytest.mark.parametrize(
    ("dtype", "size", "expected", "channels"),
    [
        (U8, (24, 24), "NN:CONVOLUTION TP:REORG2", 64),
        (I16, (36, 36), "NN:CONVOLUTION TP:REORG2", 144),
        (U8, (6, 6), "TP:TENSOR_COPY TP:TENSOR_COPY", 0),
        (I8, (24, 24), "SH:RESIZE", 0),
        (U8, (18, 18), "SH:RESIZE", 0),
    ],
)
def test_nearest_resizes(dtype, size, expected, channels):
    net = Net(dtype, SHAPE)
    net.op("resize", net.conv(net.x, 16), attrs=ResizeAttrs(size=size, mode=ResizeMode.NEAREST))
    assert works(net) == expected
    if channels:
        assert lowered(net).works[0].out_c == channels


def test_local_response_normalization():
    for size, expected in ((5, "TP:NORMALIZATION"), (7, "SH:LRN")):
        net = Net(U8, SHAPE)
        net.op("lrn", net.conv(net.x, 16), attrs=LrnAttrs(size=size))
        assert works(net) == expected


# ---- max pools behind convolutions ---------------------------------------------------------------
def pooled(dtype=U8, size=12, kernel=2, stride=2, **conv):
    net = Net(dtype, (1, 8, size, size))
    before = net.conv(net.x, **conv)
    attrs = Pool2dAttrs(kind=PoolKind.MAX, kernel=(kernel,) * 2, stride=(stride,) * 2)
    net.op("pool2d", before, attrs=attrs)
    return lower(from_graph(net.assigned()))


@pytest.mark.parametrize("dtype", [U8, I8, F16])
def test_a_fused_pool_has_its_own_row_and_no_operation(dtype):
    conv, pool = pooled(dtype)
    assert (pool.layer.engine, pool.layer.form, pool.works) == (NN, Form.FUSED, ())
    assert [other.name for other in conv.fused] == [pool.layer.name]
    assert (conv.works[-1].pool, conv.works[-1].final_w) == (2, 6)


@pytest.mark.parametrize(("dtype", "size"), [(U8, 13), (I8, 33), (U8, 63), (F16, 13), (F16, 31)])
def test_odd_maps_of_short_rows_fuse_a_3x3_pool(dtype, size):
    conv, pool = pooled(dtype, size, 3)
    assert pool.layer.form is Form.FUSED
    assert (conv.works[-1].pool, conv.works[-1].final_w) == (3, size // 2)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (I16, {}),
        (U8, {"size": 13}),
        (U8, {"size": 14, "kernel": 3}),
        (U8, {"size": 65, "kernel": 3}),
        (F16, {"size": 33, "kernel": 3}),
        (I16, {"size": 13, "kernel": 3}),
        (U8, {"stride": 1}),
    ],
)
def test_other_pools_are_passes_of_their_own(dtype, options):
    conv, pool = pooled(dtype, **options)
    assert pool.layer.form is Form.POOLING
    assert not conv.fused
    assert [work.operation for work in pool.works] == ["POOLING"]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "sizes"),
    [
        (13, 5, 1, 1, [14, 13, 12, 11]),
        (13, 5, 1, 0, [12, 11, 10, 9]),
        (12, 4, 4, 0, [6, 3]),
        (13, 5, 2, 0, [12, 11, 10, 5]),
        (20, 8, 2, 0, [19, 18, 17, 16, 15, 14, 7]),
        (32, 16, 16, 0, [16, 8, 4, 2]),
    ],
)
def test_large_max_pools_are_chains_as_measured(size, kernel, stride, pad, sizes):
    net = Net(U8, (1, 16, size, size))
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX, kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(pad,) * 4
    )
    net.op("pool2d", net.x, attrs=attrs)
    assert [work.out_bytes for work in lowered(net).works] == [16 * n * n for n in sizes]


# ---- fully connected layers and sums -------------------------------------------------------------
def test_a_squeezed_layer_is_fully_connected_on_tp():
    net = Net(U8, (1, 16, 1, 1), quant=NO_ZERO_POINT)
    net.conv(net.x, 24)
    (work,) = lowered(net).works
    assert (work.operation, work.in_c, work.out_c) == ("FULLYCONNECTED", 16, 24)
    assert lowered(net).layer.form is Form.FULLY_CONNECTED
    with_zero_point = Net(U8, (1, 16, 1, 1))
    with_zero_point.conv(with_zero_point.x, 24)
    assert works(with_zero_point) == "NN:CONVOLUTION"


def test_a_depthwise_layer_over_its_whole_input_is_stored_dense():
    net = Net(I8, (1, 16, 7, 7))
    weights, bias = net.known("w", (16, 1, 7, 7)), net.known("b", (16,), Float(), DType.I32)
    net.graph.constants[weights][:] = 1
    net.op("conv2d", net.x, weights, bias, attrs=Conv2dAttrs(group=16))
    (work,) = lowered(net).works
    assert (work.in_c, work.out_c) == (16 * 49, 16)
    assert work.zero_fraction == 1 - 1 / 16


def test_a_sum_that_joins_a_concat_runs_on_the_shader():
    net = Net(U8, SHAPE)
    a, b, c = (net.conv(net.x, 16) for _ in range(3))
    joined = net.op("concat", a, c, attrs=AxisAttrs(axis=1))
    net.op("add", a, b)
    assert works(net, joined, "t4") == "SH:ADD"


@pytest.mark.parametrize("axis", [2, 3])
def test_a_concat_along_height_or_width_copies_and_leaves_its_parts_free(axis):
    net = Net(U8, SHAPE)
    a, b, c = (net.conv(net.x, 16) for _ in range(3))
    net.op("concat", a, c, attrs=AxisAttrs(axis=axis))
    assert works(net) == "TP:CONCAT_INDEFINITE TP:CONCAT_INDEFINITE"
    net.op("add", a, b)
    assert works(net, "t3", "t4") == "NN:CONVOLUTION"


# ---- moves ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("op", "attrs", "form", "expected"),
    [
        ("slice", SliceAttrs(begin=(0, 0, 0, 0), end=(1, 8, 12, 12), step=(1,) * 4),
         Form.VIEW, ""),
        ("slice", SliceAttrs(begin=(0, 0, 3, 0), end=(1, 16, 9, 12), step=(1,) * 4),
         Form.COPY, "TP:TENSOR_COPY"),
        ("slice", SliceAttrs(begin=(0, 0, 0, 0), end=(1, 16, 12, 12), step=(1, 1, 2, 2)),
         Form.COPY, "TP:TENSOR_STRIDED_SLICE"),
        ("transpose", TransposeAttrs(perm=(0, 2, 1, 3)), Form.TRANSPOSITION, "TP:TENSOR_TRANS"),
        ("transpose", TransposeAttrs(perm=(0, 1, 2, 3)), Form.VIEW, ""),
    ],
)  # fmt: skip
def test_parts_and_transposes(op, attrs, form, expected):
    net = Net(U8, SHAPE)
    part = net.op(op, net.conv(net.x, 16), attrs=attrs)
    net.conv(part, 8)
    low = lower(from_graph(net.assigned()))[-2]
    assert low.layer.form is form
    assert " ".join(f"{w.engine.value}:{w.operation}" for w in low.works) == expected


def test_a_part_that_is_an_output_is_copied():
    net = Net(U8, SHAPE)
    attrs = SliceAttrs(begin=(0, 0, 0, 0), end=(1, 8, 12, 12), step=(1,) * 4)
    net.op("slice", net.conv(net.x, 16), attrs=attrs)
    assert works(net) == "TP:TENSOR_COPY"


def test_parts_of_other_tensors_are_copied_into_a_concat_in_place():
    """The split of a C2f block: its parts are copied, the convolutions write in place."""
    net = Net(U8, SHAPE)
    x = net.conv(net.x, 16)
    p = net.op("slice", x, attrs=SliceAttrs(begin=(0, 0, 0, 0), end=(1, 8, 12, 12), step=(1,) * 4))
    net.op("concat", p, net.conv(p, 8), attrs=AxisAttrs(axis=1))
    low = lowered(net)
    assert low.layer.form is Form.IN_PLACE
    assert [work.operation for work in low.works] == ["TENSOR_COPY"]


def test_only_the_first_concat_of_a_tensor_gets_it_in_place():
    net = Net(U8, SHAPE)
    a, b = net.conv(net.x, 16), net.conv(net.x, 16)
    net.op("concat", a, b, attrs=AxisAttrs(axis=1))
    assert works(net) == ""
    net.op("concat", a, b, attrs=AxisAttrs(axis=1))
    assert works(net, "t2", "t3") == "TP:TENSOR_COPY TP:TENSOR_COPY"


def test_a_concat_with_an_input_of_the_network_copies_everything():
    net = Net(U8, SHAPE)
    net.op("concat", net.conv(net.x, 16), net.x, attrs=AxisAttrs(axis=1))
    assert works(net) == "TP:CONCAT_INDEFINITE TP:CONCAT_INDEFINITE"


# ---- one network, told in three ways -------------------------------------------------------------
C2F = {
    "name": "c2f",
    "input": [1, 16, 12, 12],
    "outputs": ["end"],
    "layers": [
        {"name": "a", "op": "conv", "inputs": ["data"], "out": [1, 16, 12, 12]},
        {"name": "m1", "op": "conv", "inputs": ["a"], "out": [1, 16, 12, 12]},
        {"name": "s1", "op": "add", "inputs": ["a", "m1"], "out": [1, 16, 12, 12]},
        {"name": "m2", "op": "conv", "inputs": ["s1"], "out": [1, 16, 12, 12]},
        {"name": "s2", "op": "add", "inputs": ["s1", "m2"], "out": [1, 16, 12, 12]},
        {"name": "j", "op": "concat", "inputs": ["a", "s1", "s2"], "out": [1, 48, 12, 12]},
        {"name": "end", "op": "conv", "inputs": ["j"], "out": [1, 16, 12, 12]},
    ],
}


def test_graph_and_layer_list_of_a_c2f_block_agree():
    net = Net(U8, SHAPE)
    a = net.conv(net.x, 16)
    s1 = net.op("add", a, net.conv(a, 16))
    s2 = net.op("add", s1, net.conv(s1, 16))
    net.conv(net.op("concat", a, s1, s2, attrs=AxisAttrs(axis=1)), 16)
    ours = [(x.op, x.engine, x.form) for x in from_graph(net.assigned()).layers]
    theirs = [(x.op, x.engine, x.form) for x in parse_layer_list(C2F).layers]
    assert ours == theirs
    assert [engine for op, engine, _ in ours if op == "add"] == [SH, SH]


def test_an_unplaced_graph_is_placed_by_the_same_passes():
    net = Net(U8, SHAPE)
    net.op("neg", net.conv(net.x, 16))
    placed = net.assigned()
    bare = placed.copy(nodes=tuple(net.graph.nodes))
    assert from_graph(bare).layers == from_graph(placed).layers
    assert estimate(bare).to_dict() == estimate(placed).to_dict()


@pytest.mark.parametrize("dtype", [U8, I8, I16, F16])
def test_another_number_format_is_placed_anew(dtype):
    net = Net(I8, (1, 64, 1, 1))
    net.conv(net.x, 32)
    (layer,) = from_graph(net.assigned(), dtype).layers
    # u8 has an input zero point when nobody has measured ranges
    assert layer.engine is (NN if dtype is U8 else TP)
