"""The model against reference data: sampled rows, pinned numbers, broken tables."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from npusim.cli.app import app
from npusim.errors import ModelImportError
from npusim.perfmodel.agreement import group_error, table_errors, table_kind
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import parse_layer_list
from tests.perfmodel.test_properties import conv, network

DATA = Path(__file__).parent / "data"
ROWS = DATA / "layers.csv"


def test_sampled_rows_of_the_vendors_table():
    errors = {e.group: e for e in table_errors(ROWS)}
    assert set(errors) == {"nn8", "nn8_bytes", "nn16", "nn16_bytes", "sh", "tp"}
    assert errors["nn8"].rows > 40
    assert errors["nn8"].median_error < 0.02
    assert errors["nn8"].p95_error < 0.15
    assert errors["nn8_bytes"].median_error < 0.01
    assert errors["nn16"].median_error < 0.08
    assert errors["tp"].median_error < 0.005
    assert errors["sh"].p95_error < 0.01


@pytest.mark.parametrize("case", json.loads((DATA / "pinned.json").read_text()), ids=str)
def test_pinned_estimates(case):
    result = estimate(network(*case["network"]), case["machine"], profile=case["profile"])
    assert result.total_time_us == pytest.approx(case["time_us"], rel=1e-6)


def test_bias_is_signed_and_the_tail_is_the_95th_percentile():
    error = group_error("layers", "tp", [0.9] * 95 + [2.0] * 5)
    assert error.bias == pytest.approx(-0.045)
    assert (error.median_error, error.p95_error) == (pytest.approx(0.1), pytest.approx(1.0))
    assert not error.ok


def test_a_table_is_known_by_its_columns(tmp_path):
    renamed = tmp_path / "fresh.csv"
    shutil.copy(ROWS, renamed)
    assert table_kind(renamed) == "layers"
    assert table_kind(write_boards(tmp_path, "networks/any.json")) == "boards"
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ModelImportError, match="is no table"):
        table_errors(other)


def test_a_broken_row_names_the_file(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text(ROWS.read_text().replace(",conv,", ",conv,", 1).replace("u8", "u9"))
    with pytest.raises(ModelImportError, match=r"layers\.csv"):
        table_errors(path)


def write_boards(folder, network_path):
    path = folder / "boards.csv"
    path.write_text(
        "network,target,dtype,clock_mhz,ms,trust,source\n"
        f"{network_path},rk1808,u8,792,1.0,high,made up\n"
    )
    return path


def test_layer_lists_are_found_beside_the_table(tmp_path):
    layers = [conv("a", "data", (1, 16, 32, 32)), conv("b", "a", (1, 16, 32, 32))]
    data = {"name": "tiny", "input": [1, 8, 32, 32], "outputs": ["b"], "layers": layers}
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "tiny.json").write_text(json.dumps(data))
    row, *groups = table_errors(write_boards(tmp_path, "networks/tiny.json"))
    assert row.group == "tiny@rk1808"
    assert [g.group for g in groups] == ["family tiny@rk1808", "rk1808", "all"]
    expected = estimate(parse_layer_list(data), "rk1808").total_time_us / 1e3 - 1
    assert row.bias == pytest.approx(expected)


def test_a_missing_layer_list_is_named(tmp_path):
    with pytest.raises(ModelImportError, match=r"gone\.json"):
        table_errors(write_boards(tmp_path, "networks/gone.json"))


def test_conformance_takes_tables_in_json():
    result = CliRunner().invoke(app, ["conformance", str(ROWS), "--json"])
    rows = json.loads(result.stdout)
    wanted = {"table", "group", "rows", "median_error", "p95_error", "mean_error", "worst_error"}
    wanted |= {"bias"}
    assert all(set(row) == wanted for row in rows)
    assert {row["table"] for row in rows} == {"layers"}
    assert result.exit_code == int(not all(e.ok for e in table_errors(ROWS)))


def test_conformance_takes_vectors_and_tables_together(tmp_path):
    golden = Path(__file__).parent.parent / "golden" / "nn" / "fc_u8.npz"
    shutil.copy(golden, tmp_path / "fc_u8.npz")
    shutil.copy(ROWS, tmp_path / "layers.csv")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    result = CliRunner().invoke(app, ["conformance", str(tmp_path), "--json"])
    rows = json.loads(result.stdout)
    assert {"file" in row for row in rows} == {True, False}
