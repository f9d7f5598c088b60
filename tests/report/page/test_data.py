"""What the page says is what was measured."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim.ir.attrs import AxisAttrs
from npusim.ir.graph import Preprocess
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.report.page.contents import Contents, Remedy
from npusim.report.page.data import page_data
from npusim.report.page.outputs import classes_of, pixels_of
from npusim.report.page.write import render
from npusim.testing import GraphBuilder

SECTIONS = {
    *("schema", "head", "causes", "layers", "edges", "layout", "time", "outputs", "pictures"),
    *("metrics", "vs", "tuning", "missing"),
}


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_all_numbers_are_plain_and_finite(made):
    assert set(made.data) == SECTIONS
    for leaf in leaves(made.data):
        assert leaf is None or type(leaf) in (str, int, float, bool)
        assert not isinstance(leaf, float) or math.isfinite(leaf)
    json.dumps(made.data, allow_nan=False)


def test_layers_are_those_that_run_with_their_measurements(made):
    rows = {row["id"]: row for row in made.data["layers"]}
    graph, analysis = made.contents.network, made.contents.analysis
    assert list(rows) == [node.layer_id for node in graph.nodes]
    for row in analysis.layers:
        found = rows[row.layer]
        assert found["verdict"] == row.verdict
        if row.individual:
            assert found["alone_sqnr_db"] == pytest.approx(
                min(row.worst_alone.sqnr_db, 200), abs=0.01
            )
            assert found["entire_cosine"] == pytest.approx(row.worst.cosine, abs=1e-6)
            assert found["range"]["seen_high"] == pytest.approx(row.seen_high, rel=1e-4)
    costs = {layer.layer_id: layer for layer in made.contents.estimate.layers}
    for name, row in rows.items():
        assert row["time_us"] == pytest.approx(costs[name].time_us, rel=1e-4)
        assert sum(row["cycles"].values()) == pytest.approx(costs[name].cost.cycles, abs=4)


def test_places_and_lines_belong_to_the_layers(made):
    data = made.data
    ids = {row["id"] for row in data["layers"]}
    assert set(data["layout"]["nodes"]) == ids
    assert len(data["layout"]["edges"]) == len(data["edges"])
    for (start, end), line in zip(data["edges"], data["layout"]["edges"], strict=True):
        assert {start, end} <= ids
        x, y, width, height = data["layout"]["nodes"][start]
        assert line[0] == pytest.approx([x + width / 2, y + height], abs=1)


def test_runs_of_layers_fold():
    b = GraphBuilder()
    b.input("x", 1, 4, 8, 8)
    for source, name in (("x", "a"), ("a", "b"), ("b", "c"), ("c", "d"), ("c", "e")):
        b.conv(source, 4, 1, output=name)
    b.node("concat", ["d", "e"], "y", AxisAttrs(axis=1))
    data = npusim.report(b.done("y")).data
    (group,) = data["layout"]["groups"]
    assert group["members"] == [row["id"] for row in data["layers"][:3]]
    assert group["title"] == "3 layers: 3 x conv2d"
    assert [row["group"] for row in data["layers"]] == [group["id"]] * 3 + [None] * 3
    x, y, width, height = group["box"]
    for name, (left, top, wide, high) in data["layout"]["nodes"].items():
        inside = x < left < left + wide < x + width and y < top < top + high < y + height
        assert inside == (name in group["members"])


@pytest.mark.slow
def test_a_page_of_a_detector_stays_below_two_megabytes():
    rng = np.random.default_rng(1)
    b = GraphBuilder(seed=1)
    x = b.input("x", 1, 4, 24, 24)
    for i in range(80):  # 320 layers
        left, right = b.conv(x, 4, 1), b.conv(x, 4, 3, pad=1)
        x = b.conv(
            b.node("concat", [left, right], f"backbone/stage/{i}/cat", AxisAttrs(axis=1)), 4, 1
        )
    feeds = {"x": rng.uniform(-1, 1, (1, 4, 24, 24)).astype(np.float32)}
    made = npusim.report(b.done(x), [("a", feeds)])
    assert len(made.data["layers"]) >= 300
    assert len(render(made.data).encode()) < 2_000_000


def test_root_causes_only_and_what_they_spoil(made):
    causes = [cause for cause in made.data["causes"] if cause["severity"] == "bad"]
    rows = {row["id"]: row for row in made.data["layers"]}
    own = {row.layer for row in made.contents.analysis.bad}
    inherited = {n for n, row in rows.items() if row["verdict"] == "inherited"}
    # the parts of the concat, and what reads them, are wrong because of it
    assert len(own) > 1
    (cause,) = causes
    assert rows[cause["layer"]]["op"] == "concat"
    assert cause["kind"] == "mixed_concat"
    assert {cause["layer"], *cause["inherited"]} == own | inherited
    assert all(rows[name]["cause"] == cause["layer"] for name in own | inherited)
    assert cause["evidence"]
    assert cause["advice"]


def test_parts_of_a_concat_that_lose_precision_are_one_cause():
    rng = np.random.default_rng(2)
    b = GraphBuilder(seed=2)
    b.input("x", 1, 4, 8, 8)
    small = b.node("mul", ["x", b.constant("s", np.float32(0.06))], "small")
    other = b.node("mul", ["x", b.constant("t", np.float32(0.05))], "other")
    b.node("concat", [small, other, "x"], "y", AxisAttrs(axis=1))
    feeds = {"x": rng.uniform(-1, 1, (1, 4, 8, 8)).astype(np.float32)}
    data = npusim.report(b.done("y"), [("a", feeds)]).data
    (cause,) = data["causes"]
    assert cause["severity"] == "warn"
    assert len(cause["inherited"]) >= 1
    notes = {row["id"] for row in data["layers"] if row["severity"] == "warn"}
    assert {cause["layer"], *cause["inherited"]} == notes
    assert data["head"]["severity"] == "warn"


def test_remedies_were_tried_and_their_gain_is_real(faulty, made):
    graph, samples = faulty
    (cause,) = (c for c in made.data["causes"] if c["cost_us"] is not None)
    trials = {trial.remedy: trial for trial in made.contents.trials[cause["layer"]]}
    assert set(trials) == {Remedy.WIDER, Remedy.APART}
    choices = {
        Remedy.WIDER: {"layers": dict.fromkeys(trials[Remedy.WIDER].layers, "i16")},
        Remedy.APART: {"no_join": trials[Remedy.APART].layers},
    }
    before = worst(graph, made.contents.analysis)
    for remedy, trial in trials.items():
        program = npusim.compile(npusim.quantize(graph, samples, **choices[remedy]))
        after = worst(graph, npusim.analyze(graph, program, samples[0][1]))
        assert trial.gain_db == pytest.approx(after - before, abs=0.02)
        cost = estimate(program.graph).total_time_us - made.contents.estimate.total_time_us
        assert trial.cost_us == pytest.approx(cost, rel=1e-3)
    # the concat's own result keeps the joint range: apart, its parts gain nothing behind it
    assert trials[Remedy.WIDER].helps
    assert not trials[Remedy.APART].helps
    assert cause["gain_db"] == pytest.approx(trials[Remedy.WIDER].gain_db, abs=0.01)
    assert sum("not worth it" in line for line in cause["evidence"]) == 1


def worst(graph, analysis):
    rows = [row for row in analysis.layers if row.tensor in graph.outputs]
    return min(row.worst.sqnr_db for row in rows)


def test_what_to_paste_quantizes_again(faulty, made, tmp_path):
    graph, samples = faulty
    pasted = [p for c in made.data["causes"] for p in c["paste"]]
    calls = [p["text"] for p in pasted if p["what"].startswith("command")]
    assert len(calls) == 1  # of the remedy that helps
    for call in calls:
        assert eval(call, {"npusim": npusim, "graph": graph, "dataset": samples}).is_quantized
    cfg = next(p["text"] for p in pasted if p["what"] == "hybrid cfg")
    npusim.quantize(graph, samples, write_cfg=tmp_path / "x.cfg")
    text = (tmp_path / "x.cfg").read_text()
    whole = text.replace("customized_quantize_layers: {}", cfg)
    assert whole != text
    (tmp_path / "x.cfg").write_text(whole)
    ready = npusim.quantize(graph, samples, cfg=tmp_path / "x.cfg")
    assert any(spec.dtype.value == "i16" for spec in ready.tensors.values())


def test_a_concat_shows_its_parts(made):
    row = next(row for row in made.data["layers"] if row["op"] == "concat")
    parts = row["detail"]["operands"]
    assert [part["name"] for part in parts] == row["inputs"]
    assert parts[0]["sqnr_db"] < 20 < parts[1]["sqnr_db"]
    assert parts[0]["range"][1] < 0.01 < parts[1]["range"][1]


def test_histograms_count_every_element_and_points_are_those_of_the_layer(made):
    analysis = made.contents.analysis
    alone = {output.layer: output for output in analysis.individual.layers}
    shown = [row for row in made.data["layers"] if row["detail"]]
    assert shown
    for row in shown:
        output = alone[row["id"]]
        histogram = row["detail"]["histogram"]
        for kind in ("float", "quantized"):
            assert sum(histogram[kind]) == output.stored.size
        known = analysis.values[output.tensor].reshape(-1)
        pairs = np.stack([known, output.real.reshape(-1)], axis=1)
        for pair in row["detail"]["scatter"]:
            assert np.isclose(pairs, pair, rtol=1e-3, atol=1e-6).all(axis=1).any()


def test_price_alone_says_how_the_rest_is_had(faulty):
    graph, _ = faulty
    data = npusim.report(graph).data
    assert data["causes"] == []
    assert data["time"]["total_us"] > 0
    assert data["head"]["severity"] == "ok"
    assert {"causes", "outputs", "metrics", "vs"} <= set(data["missing"])
    assert all(row["verdict"] is None for row in data["layers"])
    assert all(row["origin"] == list(node.origin) for row, node in zip(
        data["layers"], npusim.report(graph).contents.network.nodes, strict=True))  # fmt: skip


def test_a_second_model_stands_beside(faulty, made):
    graph, samples = faulty
    wide = npusim.quantize(graph, samples, scheme="i16")
    data = npusim.report(graph, samples, vs=wide).data
    assert [row["id"] for row in data["vs"]["rows"]] == [row["id"] for row in data["layers"]]
    assert {row["there_format"] for row in data["vs"]["rows"]} == {"i16"}
    assert {row["here_format"] for row in data["vs"]["rows"]} == {"u8"}
    sums = {row["what"]: row for row in data["vs"]["summary"]}
    worst = sums["SQNR of the worst output (dB)"]
    assert worst["there"] > worst["here"] + 20
    assert sums["layers at fault"]["there"] == 0 < sums["layers at fault"]["here"]


def test_a_layer_list_has_a_page_too():
    from npusim import assets
    from npusim.ir.dtypes import DType

    network = load_layer_list(assets.layer_list_path(), DType.U8)
    data = page_data(Contents(network=network, model="demo-layers", estimate=estimate(network)))
    assert len(data["layers"]) == len(network.layers)
    assert len(data["edges"]) >= len(network.layers) - len(network.inputs) - 1
    assert data["time"]["roofline"]["share_not_shown"] == pytest.approx(
        1
        - sum(
            row["time_us"]
            for row in data["layers"]
            if row["id"] in {p["layer"] for p in data["time"]["roofline"]["points"]}
        )
        / data["time"]["total_us"],
        abs=1e-3,
    )


def test_pictures_are_what_the_network_sees():
    pixels = np.arange(2 * 3 * 3).reshape(2, 3, 3) * 10
    how = Preprocess(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0), reorder=(2, 1, 0))
    given = pixels.transpose(2, 0, 1)[None].astype(np.float64)[:, [2, 1, 0]]
    given = (given - np.reshape(how.mean, (1, 3, 1, 1))) / np.reshape(how.std, (1, 3, 1, 1))
    assert (pixels_of(given, how) == pixels).all()
    assert pixels_of(np.zeros((1, 5, 2, 2)), None) is None
    assert pixels_of(np.full((1, 1, 2, 2), np.nan), None) is None


def test_classes_are_the_first_of_either():
    left, right = np.float32([[0.1, 0.9, 0.0]]), np.float32([[0.6, 0.4, 0.0]])
    found = classes_of(left, right, ("a", "b"))
    assert [row["name"] for row in found] == ["b", "a", "class 2"]
    assert [found[0]["float"], found[0]["quantized"]] == pytest.approx([0.9, 0.4])
    assert classes_of(np.zeros((1, 2, 3)), np.zeros((1, 2, 3)), ()) is None


def test_warnings_keep_their_codes(made):
    contents = replace(made.contents, warnings=("it is so (npusim explain shared-range)", "plain"))
    assert page_data(contents)["head"]["warnings"] == [
        {"text": "it is so", "code": "shared-range"},
        {"text": "plain", "code": None},
    ]
