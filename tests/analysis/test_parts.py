"""Values of several units in one output are measured apart, and the worst of them counts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npusim
from npusim.analysis.parts import Parts, channel_groups, output_parts, part_differences, worst_part
from npusim.ir.attrs import AxisAttrs, Conv2dAttrs, ReshapeAttrs, TransposeAttrs
from npusim.report.analysis_table import analysis_verdict
from npusim.report.compare_table import verdict
from npusim.testing import GraphBuilder
from tests.detectors import BOXES, SCORES, detector, pictures


@pytest.fixture(scope="module")
def measured():
    graph, samples = detector(), pictures()
    u8 = npusim.compile(npusim.quantize(graph, samples))
    feeds = samples[0][1]
    run = npusim.record_program(u8, feeds, preprocessed=True)
    return graph, u8, feeds, run


def test_dead_scores_beside_boxes_make_the_figure_of_compare(measured):
    graph, _, feeds, run = measured
    found = npusim.compare(run, npusim.record_source(graph, feeds, reference="npusim"))
    last = found.layers[-1]
    assert last.difference.cosine > 0.999  # what boxes make of it
    assert [part.name for part in last.parts] == [BOXES, SCORES]
    assert (last.worst.cosine, last.worst_name) == (0.0, SCORES)
    assert last.is_wrong(0.98)
    assert found.first_wrong == found.costliest.layer == "n_scores_16"
    assert f"cosine 0.000000 in its worst part, {SCORES}" in verdict(found)
    said = json.loads(json.dumps(found.to_dict()["layers"][-1]["parts"]))
    assert [part["name"] for part in said] == [BOXES, SCORES]


def test_dead_scores_beside_boxes_make_the_figure_of_analyze(measured):
    graph, program, feeds, _ = measured
    found = npusim.analyze(graph, program, feeds)
    last = found.layers[-1]
    assert last.worst.cosine == last.worst_alone.cosine == 0.0
    assert f"in its worst part, {SCORES}" in analysis_verdict(found)
    # what only moves the codes inherits
    assert [row.op for row in found.bad] == ["sigmoid", "concat"]
    assert [row.verdict for row in found.layers[-2:]] == ["inherited", "inherited"]
    assert found.to_dict()["layers"][-1]["parts"][1]["difference"]["cosine"] == 0.0


def test_ways_name_the_layers_that_store_a_part(measured):
    parts = output_parts(measured[0]).joined["output"]
    chain = ("n_joined", "n_flat", "n_output")
    assert parts.ways == (("n_boxes", *chain), ("n_scores", *chain))


def scales(*, inner: bool):
    """Two maps of different sizes, flattened and joined place after place, as YOLO heads are."""
    b = GraphBuilder()
    heads = []
    for i, side in enumerate((4, 2)):
        source = b.input(f"x{i}", 1, 3, side, side)
        made = []
        for name, channels in (("a", 4), ("b", 2)) if inner else (("a", 6),):
            weights = b.constant(f"w{name}{i}", np.ones((channels, 3, 1, 1)))
            bias = b.constant(f"b{name}{i}", np.zeros(channels))
            made.append(b.node("conv2d", [source, weights, bias], f"{name}{i}", Conv2dAttrs()))
        last = b.node("concat", made, f"c{i}", AxisAttrs(axis=1)) if inner else made[0]
        flat = b.node("reshape", [last], f"f{i}", ReshapeAttrs(shape=(1, 6, side * side)))
        heads.append(b.node("transpose", [flat], f"t{i}", TransposeAttrs(perm=(0, 2, 1))))
    return b.done(b.node("concat", heads, "y", AxisAttrs(axis=1)))


def test_scales_of_one_quantity_are_one_part():
    assert not output_parts(scales(inner=False)).joined


def test_counterparts_of_several_scales_are_one_part():
    found = output_parts(scales(inner=True)).joined["y"]
    assert found.names == ("a0 and 1 more", "b0 and 1 more")
    assert (found.labels == np.array([0, 0, 0, 0, 1, 1])).all()
    assert found.ways[1] == ("n_b0", "n_c0", "n_f0", "n_t0", "n_b1", "n_c1", "n_f1", "n_t1", "n_y")


def test_channels_are_grouped_by_reach_only_where_neighbours_are_alike():
    value = np.ones((1, 8, 40)) * np.array([300, 300, 300, 300, 1, 1, 1, 1])[None, :, None]
    found = channel_groups(value)
    assert found.names == ("channels 0..3", "channels 4..7")
    assert channel_groups(value.transpose(0, 2, 1)).labels[0, 0].tolist() == [0] * 4 + [1] * 4
    scattered = np.ones((1, 8, 40)) * np.array([300, 1, 300, 1, 300, 1, 300, 1])[None, :, None]
    assert channel_groups(scattered) is None  # classes that this picture does not hold
    assert channel_groups(np.array([[1e-5, 0.9, 1e-4]])) is None  # a classifier's scores


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    count=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_parts_hold_every_element_once_and_the_worst_is_no_better_than_any(shape, count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, shape, dtype=np.int32)
    parts = Parts(tuple(f"p{i}" for i in range(count)), labels)
    one, other = rng.normal(size=shape), rng.normal(size=shape)
    cut = parts.split(one)
    assert sorted(np.concatenate([*cut.values()])) == sorted(one.reshape(-1))
    found = part_differences(parts, one, other)
    assert sum(part.elements for part in found) == one.size
    assert worst_part(found).difference.cosine == min(p.difference.cosine for p in found)
    squares = sum(part.difference.euclidean**2 for part in found)
    assert squares == pytest.approx(np.square(one - other).sum())


@pytest.mark.parametrize("how", [{"equalize": "keep"}, {"bias_correction": True}])
def test_models_changed_on_purpose_are_compared_at_their_outputs_only(how):
    b = GraphBuilder(name="pair")
    last = b.input("x", 1, 3, 8, 8)
    for i in range(2):
        weights = np.random.default_rng(i).normal(size=(3, 3, 1, 1)) * [[[[9.0]]], [[[1]]], [[[1]]]]
        inputs = [last, b.constant(f"w{i}", weights), b.constant(f"b{i}", np.zeros(3))]
        last = b.node("conv2d", inputs, f"c{i}", Conv2dAttrs())
        last = b.node("relu", [last], f"r{i}")
    graph = b.done(last)
    samples = [("s", {"x": np.random.default_rng(3).normal(size=(1, 3, 8, 8)).astype(np.float32)})]
    program = npusim.compile(npusim.quantize(graph, samples, **how))
    word = "equalized" if "equalize" in how else "bias-corrected"
    run = npusim.record_program(program, samples[0][1], preprocessed=True)
    found = npusim.compare(run, npusim.record_float(graph, samples[0][1]))
    assert [row.tensor for row in found.layers] == ["r1"]
    assert f"u8 is {word} and float" in verdict(found)
    analysis = npusim.analyze(graph, program, samples[0][1])
    assert [row.verdict for row in analysis.layers] == ["no_reference", "ok"]
    assert analysis.layers[1].individual is None
    assert "only outputs are compared" in analysis.layers[0].reason
    assert "only outputs are compared" in analysis_verdict(analysis)
    again = npusim.compare(run, run)  # one and the same model: everywhere
    assert len(again.layers) == 2


def test_places_that_are_computed_move_nothing_that_is_known():
    """Which rows a gather takes is no constant here: its result is one part."""
    net = GraphBuilder()
    rows = net.input("rows", 5, 4)
    places = net.input("places", 3)
    graph = net.done(net.node("gather", [rows, places], attrs=AxisAttrs(axis=0)))
    assert output_parts(graph).joined == {}
