"""``html=`` of accuracy_analysis and eval_perf: the page that ``npusim report`` writes."""

import json
import re

import pytest


def data_of(path):
    (found,) = re.findall(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    return json.loads(found)


@pytest.fixture
def built(new, convnet, images):
    rknn = new()
    rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3])
    assert rknn.load_onnx(convnet()) == 0
    assert rknn.build(dataset=images(4).path) == 0
    return rknn


def test_accuracy_analysis_writes_a_page(built, images, work):
    one = images(1, name="one.txt").path
    assert built.accuracy_analysis(one, output_dir="out", html="a.html") == 0
    data, table = data_of(work / "a.html"), json.loads((work / "out/analysis.json").read_text())
    verdicts = {row["id"]: row["verdict"] for row in data["layers"]}
    assert verdicts == {row["layer"]: row["verdict"] for row in table["layers"]}
    assert data["time"]["total_us"] > 0
    assert data["pictures"]
    assert "npusim report" in data["missing"]["metrics"]
    assert not re.search(r"(?<![\w-])--[a-z]", json.dumps(data["missing"]))


def test_eval_perf_writes_a_page_of_the_same_times(built, work):
    assert built.init_runtime() == 0
    found = built.eval_perf(is_print=False, html=work / "p.html")
    data = data_of(work / "p.html")
    assert data["time"]["total_us"] == pytest.approx(found["total_time"], rel=0.1)
    assert data["causes"] == []


@pytest.mark.parametrize("path", [3, "", "absent/p.html"])
def test_a_page_that_cannot_be_written_is_an_error(built, path, work, capsys):
    assert built.init_runtime() == 0
    assert built.eval_perf(is_print=False, html=path) is None
    assert "html" in capsys.readouterr().err
