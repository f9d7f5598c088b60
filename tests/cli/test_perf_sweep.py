"""``npusim perf --sweep`` and ``--transport``."""

import csv
import io
import json

import pytest

from npusim import assets
from npusim.api.pricing import listed_network
from npusim.api.sweeping import sweep
from npusim.perfmodel.engines import nn_traffic, nn_weights
from npusim.perfmodel.engines.nn_plan import plan
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.pricing import price
from npusim.quantization.schemes import Scheme
from npusim.report.eval_perf import simulator_text


def points(run, *arguments):
    code, out, _ = run("perf", *arguments, "--json")
    assert code == 0
    return json.loads(out)["points"]


def test_the_front_is_what_no_other_point_beats(run):
    found = points(
        run, "demo-layers", "--sweep", "width=0.25..1:0.25", "--sweep", "input=96,160x128"
    )
    assert len(found) == 8
    assert [p["width"] for p in found] == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1]
    assert found[1]["input"] == [160, 128]

    def beats(one, other):
        better = (one["macs"], -one["total_time_us"], -one["npu_bytes"])
        than = (other["macs"], -other["total_time_us"], -other["npu_bytes"])
        return better != than and all(a >= b for a, b in zip(better, than, strict=True))

    for point in found:
        assert point["front"] == (not any(beats(other, point) for other in found))


def test_every_point_costs_what_it_costs_alone():
    swept = sweep(
        assets.layer_list_path(), widths=(0.5, 0.75, 1.0), sizes=((96, 96), (128, 160), None)
    )
    assert len(swept.points) == 9
    for point in swept.points:
        for remembered in (price, plan, nn_traffic._fetch, nn_weights._slice_codes):
            remembered.cache_clear()
        alone = estimate(listed_network(point.layers, Scheme.U8, 3))
        assert alone.layers == point.estimate.layers
        assert alone.cost == point.estimate.cost
        assert alone.memory == point.estimate.memory
        assert sum(layer.share for layer in alone.layers) == pytest.approx(1)


def test_width_one_is_the_list_itself(run):
    (point,) = points(run, "demo-layers", "--sweep", "width=1")
    code, out, _ = run("perf", "demo-layers", "--json")
    assert code == 0
    assert point["total_time_us"] == json.loads(out)["total_time_us"]


def test_a_models_variants_cost_what_its_list_costs(run):
    (point,) = points(run, "demo", "--sweep", "width=1")
    code, out, _ = run("perf", "demo", "--json")
    assert code == 0
    assert point["total_time_us"] == json.loads(out)["total_time_us"]


def test_one_variant_is_written_as_a_list(run, tmp_path):
    half = tmp_path / "half.json"
    arguments = ("--sweep", "width=0.5", "--sweep", "input=96")
    (point,) = points(run, "demo-layers", *arguments, "--write-layers", str(half))
    code, out, _ = run("perf", str(half), "--json")
    assert code == 0
    assert json.loads(out)["total_time_us"] == pytest.approx(point["total_time_us"], abs=0.01)
    assert load_layer_list(half).shapes["data"][2:] == (96, 96)
    assert run("perf", "demo-layers", "--sweep", "width=0.5,1", "--write-layers", str(half))[0] == 2


def test_text_and_csv(run):
    code, out, _ = run("perf", "demo-layers", "--sweep", "width=0.5,1")
    assert code == 0
    assert "Pareto front" in out
    assert "2 of 2 variants are on the front" in out
    code, out, _ = run("perf", "demo-layers", "--sweep", "width=0.5,1", "--csv")
    assert code == 0
    assert [row["width"] for row in csv.DictReader(io.StringIO(out))] == ["0.5", "1.0"]


def test_what_does_not_fit_is_said_and_the_rest_is_priced(run, tmp_path):
    up = {
        "name": "up", "input": [1, 3, 32, 32], "outputs": ["sum"],
        "layers": [
            {"name": "side", "op": "conv", "inputs": ["data"], "channels": 16},
            {"name": "down", "op": "conv", "inputs": ["side"], "channels": 16, "stride": 2},
            {"name": "big", "op": "resize", "inputs": ["down"], "factor": 2},
            {"name": "sum", "op": "add", "inputs": ["big", "side"]},
        ],
    }  # fmt: skip
    file = tmp_path / "up.json"
    file.write_text(json.dumps(up))
    code, out, _ = run("perf", str(file), "--sweep", "input=31,32")
    assert code == 1
    assert "not priced: up, width 1, input 31x31, layer 'sum' (add)" in out
    code, _, err = run("perf", str(file), "--sweep", "input=31")
    assert code == 2
    assert "layer 'sum' (add)" in err


def test_a_budget_that_nothing_meets_is_an_exit_code(run):
    assert run("perf", "demo-layers", "--sweep", "width=0.5,1", "--budget-ms", "1000")[0] == 0
    assert run("perf", "demo-layers", "--sweep", "width=0.5,1", "--budget-ms", "0.001")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sweep", "depth=1,2"), "one of width, input"),
        (("--sweep", "width=wide"), "'wide'"),
        (("--sweep", "width=1..0.5:0.1"), "upwards"),
        (("--sweep", "width=0"), "'0'"),
        (("--sweep", "width=20"), "at most 16"),
        (("--sweep", "input=1x2x3"), "1x2x3"),
        (("--sweep", "input=96.5"), "96.5"),
        (("--sweep", "width=1", "--sweep", "width=2"), "twice"),
        (("--sweep", "width=0.001..1:0.0001", "--sweep", "input=1..9:1"), "at most"),
        (("--sweep", "width=1", "--vs-target", "rv1126"), "--vs-target"),
        (("--sweep", "width=1", "--bytes"), "--bytes"),
        (("--transport", "adb", "--vs-target", "rv1126"), "--vs"),
        (("--transport", "wifi"), "onboard, usb, ntb, adb"),
    ],
)
def test_what_cannot_be_is_refused_with_its_rule(run, arguments, said):
    code, _, err = run("perf", "demo-layers", *arguments)
    assert code == 2
    assert said in err


def test_transport_stands_under_the_chips_time(run):
    code, plain, _ = run("perf", "demo-layers")
    assert code == 0
    code, out, _ = run("perf", "demo-layers", "--transport", "adb")
    assert code == 0
    assert out.startswith(plain.rstrip())
    assert "beside the chip's time, adb" in out
    code, out, _ = run("perf", "demo-layers", "--transport", "usb", "--json")
    found = json.loads(out)
    assert found["transport"]["whole_us"] > found["total_time_us"]
    code, out, _ = run("perf", "demo-layers", "--json")
    assert json.loads(out)["transport"] is None


def test_600_mhz_is_one_number_at_both_doors(run):
    priced = estimate(load_layer_list(assets.layer_list_path()), clock_mhz=800)
    (line,) = (x for x in simulator_text(priced).splitlines() if x.startswith("FPS(600MHz)"))
    code, out, _ = run("perf", "demo-layers", "--clock-mhz", "600", "--json")
    assert code == 0
    # eval_perf adds up whole microseconds
    assert float(line.split()[-1]) == pytest.approx(json.loads(out)["frames_per_s"], rel=2e-3)


def test_the_bundled_list_has_variants(run):
    assert assets.layer_list_path().exists()
    assert len(points(run, "demo-layers", "--sweep", "width=0.25..1.0:0.125")) == 7
