"""Two estimates side by side."""

import csv
import io
import json
from dataclasses import replace

import pytest

from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from npusim.report.perf_compare import CSV_COLUMNS, compare, figures, to_csv, to_json, verdict
from tests.report.estimates import layer_list, tiny


def test_the_same_network_pairs_every_layer():
    both = compare(tiny(), tiny(DType.I16))
    assert both.common == len(both.pairs) == 7
    total = sum(both.difference_us(pair) for pair in both.pairs)
    assert total == pytest.approx(both.b.total_time_us - both.a.total_time_us)
    assert verdict(both).startswith("A is ")
    assert verdict(compare(tiny(DType.I16), tiny())).startswith("B is ")
    assert verdict(compare(tiny(), tiny())).startswith("A and B take the same time")


def test_layers_of_one_side_keep_their_place():
    data = layer_list()
    del data["layers"][2]
    data["layers"][2]["inputs"] = ["body"]
    both = compare(tiny(), estimate(parse_layer_list(data)))
    names = [pair.name for pair in both.pairs]
    assert names == ["stem", "body.linear", "body", "spp", "gap", "head", "prob"]
    (alone,) = [pair for pair in both.pairs if pair.b is None]
    assert alone.name == "spp"
    assert both.difference_us(alone) == pytest.approx(-alone.a.time_us)
    assert both.common == len(both.pairs) - 1


def test_batches_are_compared_per_image():
    network = replace(parse_layer_list(layer_list()), batch=4)
    both = compare(tiny(), estimate(network))
    assert all(both.difference_us(pair) == pytest.approx(0, abs=1e-9) for pair in both.pairs)
    rows = {row.name: row for row in figures(both) if row.kind == "total"}
    assert rows["time_us"].ratio == pytest.approx(1)
    assert rows["activation_peak_bytes"].ratio == pytest.approx(4, rel=0.01)


def test_figures_have_engines_and_operators_of_both_sides():
    both = compare(tiny(), tiny(DType.F16))
    rows = figures(both)
    for side in ("a", "b"):
        estimate_ = getattr(both, side)
        for kind in ("engine", "op"):
            spent = sum(getattr(row, side) for row in rows if row.kind == kind)
            assert spent == pytest.approx(estimate_.total_time_us)


def test_json_and_csv():
    both = compare(tiny(), tiny(clock_mhz=400))
    data = to_json(both)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(data) == {"a", "b", "figures", "layers"}
    assert data["b"]["clock_mhz"] == 400
    assert set(data["figures"][0]) == {"kind", "name", "unit", "a", "b", "ratio"}
    rows = list(csv.DictReader(io.StringIO(to_csv(both))))
    assert tuple(rows[0]) == CSV_COLUMNS == tuple(data["layers"][0])
    assert [row["name"] for row in rows] == [row["name"] for row in data["layers"]]
