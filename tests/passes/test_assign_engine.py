"""Engine rules against what the driver ran for every recorded case, and in small networks."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from npusim.conformance.golden import read_golden
from npusim.conformance.replay import prepared
from npusim.errors import GraphError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.ir.quant import Affine, AffinePerChannel, Float
from npusim.ops import op_names
from npusim.passes.engine_rules import RULES
from npusim.passes.lower_requant import lower_requant
from npusim.passes.pipeline import lower, upgraded
from npusim.runtime.binding import has_binding
from npusim.runtime.bindings import load_bindings
from tests.passes.engine_net import Net

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


HELPERS = {"TP:reshuffle", "TP:upsample", "TP:tensor_trans", "TP:reorg2"}  # part of an NN operation


def recorded_engines(engines: tuple[str, ...], nodes: int) -> list[str]:
    """Return one engine per node from the driver's list.

    An NN operation may be surrounded by TP rearrangements and shader copies, and one per sample or
    group; in cases of two nodes what TP ran behind the first by itself is named.
    """
    units = [engine.partition(":")[0] for engine in engines if engine not in HELPERS]
    if nodes > 2:
        return units
    units = units or ["TP"]
    first = next(unit for unit in ("NN", "TP", "SH") if unit in units)
    behind = {"TP:activation", "TP:pooling"}.intersection(engines)
    return [first] if nodes == 1 else [first, "TP" if behind else first]


@pytest.mark.parametrize("file", FILES)
def test_every_recorded_case_runs_where_the_driver_ran_it(file):
    for case in read_golden(file):
        graph = prepared(case)
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


def test_every_rule_leads_to_a_binding_and_every_binding_has_a_rule():
    load_bindings()
    rules = {(op, rule.engine) for op, rules in RULES.items() for rule in rules}
    unbound = {(op, engine) for op, engine in rules if not has_binding(op, engine)}
    assert unbound == {("conv2d", Engine.CPU)}  # said by the rule's reason, refused by ``bind``
    bound = {(op, e) for op in op_names() for e in Engine if has_binding(op, e)}
    assert bound <= rules


def test_kernels_per_channel_scales_and_wide_outputs_leave_the_nn_engine():
    net = Net(DType.U8, shape=(1, 8, 20, 20))
    net.conv(net.x, kernel=12)
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
    net.graph.tensors["x"] = replace(net.graph.tensors["x"], dtype=DType.F32, quant=Float())
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


def test_older_stored_graphs_get_forms_and_nothing_else():
    net = Net(DType.U8)
    net.op("relu", net.op("add", net.conv(net.x), net.conv(net.x)))
    lowered = lower(net.done(), level=0)
    assert lower(lowered, level=3) is lowered
    old = lowered.copy(nodes=tuple(replace(node, form=None) for node in lowered.nodes))
    assert upgraded(old).nodes == lowered.nodes
    assert upgraded(lowered) is lowered
    float_graph = lowered.copy(
        nodes=tuple(replace(node, engine=None, form=None) for node in lowered.nodes)
    )
    assert upgraded(float_graph) is float_graph
