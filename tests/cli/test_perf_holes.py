"""``npusim perf`` of a model with layers without a counterpart."""

import json

import numpy as np

from tests.importers.test_holes import onnx_file


def test_perf_prices_the_rest_and_says_what_is_missing(run, tmp_path):
    path = str(onnx_file(tmp_path))
    code, out, err = run("perf", path)
    assert code == 2
    assert "total " in out
    assert "not in these times: 1 layer without a counterpart" in out
    assert "'odd': Magic, an operator of another domain" in out
    assert "1 behind them, whose inputs have no known shape: 'behind'" in out
    assert "the whole network has no total" in out
    assert "1 unsupported node" in err
    code, out, err = run("perf", path, "--json")
    assert code == 2
    data = json.loads(out)
    assert [hole["layer"] for hole in data["holes"]] == ["odd"]
    assert data["not_priced"] == ["behind"]
    assert len(data["layers"]) == 2
    assert np.isfinite(data["total_time_us"])


def test_what_needs_the_whole_model_is_refused_as_before(run, tmp_path):
    path = str(onnx_file(tmp_path))
    for arguments in (["--vs-target", "rv1126"], ["--write-layers", str(tmp_path / "l.json")]):
        code, out, _ = run("perf", path, *arguments)
        assert code == 2
        assert "total " not in out
