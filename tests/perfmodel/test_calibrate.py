"""Constants fitted to an owner's times: a changed chip is recovered, bad tables are refused."""

import json
import os
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from npusim.cli.app import app
from npusim.errors import ConfigError, MachineError, ModelImportError
from npusim.perfmodel import calibration
from npusim.perfmodel.design import gains
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.owner import calibrate, machine_text
from npusim.perfmodel.samples import family_of, load_samples

TOOLS = Path(__file__).resolve().parents[2] / "tools"
HEAD = "network,target,dtype,clock_mhz,ms\n"
TRUE = {
    "ddr_bytes_per_s": 5.2e9,
    "operation_cycles": 16000.0,
    "nn_time_ratio": 1.3,
    "tp_time_ratio": 1.2,
    "shader_cycles_per_value": 2.2,
}


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    """A folder with the layer lists of the probes."""
    sys.path.insert(0, str(TOOLS))
    try:
        made = [make() for make in import_module("board_probes").PROBES]
    finally:
        sys.path.remove(str(TOOLS))
    folder = tmp_path_factory.mktemp("owner")
    for block in made:
        (folder / f"{block['name']}.json").write_text(json.dumps(block))
    return folder


def write_times(folder, chip="rk1808", clock_mhz=700.0, name="times.csv", **true):
    """Write the times that a changed chip would have."""
    machine = load_machine(chip)
    board = replace(machine.board, **true)
    path = folder / name
    rows = [f"{p.name},{chip},u8,{clock_mhz},1" for p in sorted(folder.glob("*.json"))]
    path.write_text(HEAD + "\n".join(rows) + "\n")
    times = [sample.predicted_ms(board) for sample in load_samples(path)]
    rows = [row.rsplit(",", 1)[0] + f",{ms:.6f}" for row, ms in zip(rows, times, strict=True)]
    path.write_text(HEAD + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def times(probes):
    return write_times(probes, **TRUE)


def test_a_changed_chip_is_recovered(times):
    found = calibrate(load_machine("rk1808"), times)
    assert max(map(abs, found.errors_before)) > 0.15
    assert max(map(abs, found.fit.residuals)) < 0.01
    for name, _, now, sigma in found.changes():
        assert now == pytest.approx(TRUE[name], rel=0.06), name
        assert 0 < sigma < TRUE[name]
    assert found.machine.provenance["board.tp_time_ratio"].confidence == "fitted"


def test_without_a_change_nothing_moves(probes):
    path = write_times(probes, chip="rv1126", clock_mhz=934.0, name="same.csv")
    found = calibrate(load_machine("rv1126"), path)
    for _, before, now, _ in found.changes():
        assert now == pytest.approx(before, rel=0.01, abs=100)


def test_what_the_rows_say_nothing_of_stays(times, tmp_path):
    lines = times.read_text().splitlines()
    kept = [line for line in lines if line.startswith(("network", "launches", "products"))]
    for path in times.parent.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "few.csv").write_text("\n".join(kept) + "\n")
    found = calibrate(load_machine("rk1808"), tmp_path / "few.csv")
    now = {name: (before, after) for name, before, after, _ in found.changes()}
    assert now["tp_time_ratio"][1] == pytest.approx(now["tp_time_ratio"][0], rel=0.02)
    assert now["nn_time_ratio"][1] > 1.2


def test_samples_are_priced_as_estimates_are(times):
    for sample in load_samples(times):
        path = times.parent / f"{sample.name}.json"
        whole = estimate(load_layer_list(path), "rk1808", clock_mhz=700.0)
        board = sample.machine.board
        assert sample.predicted_ms(board) == pytest.approx(whole.total_time_us / 1e3)


def test_the_command_prices_with_it_and_writes_it(times, tmp_path):
    chip = tmp_path / "mine.toml"
    command = ["perf", "demo-layers", "--json"]
    refit = [*command, "--calibrate", str(times), "--write-machine", str(chip)]
    result = CliRunner().invoke(app, refit)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["calibration"]["rows"]) == 7
    assert "tp_time_ratio: 0.9 -> " in result.stderr
    assert "mean error" in result.stderr
    again = json.loads(CliRunner().invoke(app, [*command, "--target", str(chip)]).stdout)
    assert again["total_time_us"] == pytest.approx(found["total_time_us"], rel=1e-4)
    plain = json.loads(CliRunner().invoke(app, command).stdout)
    assert plain["total_time_us"] < 0.998 * found["total_time_us"]


def test_a_written_chip_extends_its_base(times):
    found = calibrate(load_machine("rk1808"), times)
    text = machine_text(found, "rk1808")
    assert 'extends = "rk1808"' in text
    assert "times.csv" in text


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("memory.json,rk1808,u8,792", "line 3: lacks ms"),
        ("memory.json,rk1808,u8,792,fast", "line 3: ms = 'fast'"),
        ("memory.json,rk1808,u8,0,1", "line 3: clock_mhz = '0'"),
        ("memory.json,rk1808,u8,792,-1", "line 3: ms = '-1'"),
        ("memory.json,rk1808,u8,792,nan", "line 3: ms = 'nan'"),
        ("memory.json,rk1808,u8,792,1e-300", "line 3: ms = '1e-300'"),
        ("memory.json,rk1808,u8,1e-320,1", "line 3: clock_mhz = '1e-320'"),
        ("pipe,rk1808,u8,792,1", r"line 3: .*pipe: this is a pipe"),
        ("memory.json,rk1808,u9,792,1", "line 3: dtype 'u9'"),
        ("gone.json,rk1808,u8,792,1", r"line 3: .*gone\.json"),
    ],
)
def test_bad_rows_name_file_line_and_rule(probes, row, words):
    path = probes / "bad.csv"
    if not (probes / "pipe").exists():
        os.mkfifo(probes / "pipe")
    path.write_text(f"{HEAD}memory.json,rk1808,u8,792,3\n{row}\n")
    with pytest.raises(ModelImportError, match=rf"(?s)bad\.csv, {words}"):
        calibrate(load_machine("rk1808"), path)
    result = CliRunner().invoke(app, ["perf", "demo-layers", "--calibrate", str(path)])
    assert isinstance(result.exception, ModelImportError)
    assert "correct the row" in str(result.exception)


def test_rows_of_another_chip_are_refused(probes):
    path = probes / "other.csv"
    path.write_text(f"{HEAD}memory.json,rk1808,u8,792,3\nmemory.json,rv1126,u8,934,3\n")
    with pytest.raises(ModelImportError, match=r"(?s)line 3: target 'rv1126'.*times of rk1808"):
        calibrate(load_machine("rk1808"), path)


def test_one_row_is_too_few(probes):
    path = probes / "one.csv"
    path.write_text(f"{HEAD}memory.json,rk1808,u8,792,3\n")
    with pytest.raises(ModelImportError, match=r"(?s)has 1 rows.*2 rows at least"):
        calibrate(load_machine("rk1808"), path)


def test_a_chip_without_a_table_is_refused(tmp_path):
    command = ["perf", "demo-layers", "--write-machine", str(tmp_path / "m.toml")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ConfigError)
    assert "--calibrate FILE" in str(result.exception)


def test_a_measurement_makes_predictions_surer(times):
    samples = load_samples(times)
    found = calibration.calibrate(samples, calibration.die_of("rk1808")[1])
    result = gains(found, samples, samples)
    assert [gain.after for gain in result] == sorted(gain.after for gain in result)
    assert all(gain.after < gain.before for gain in result)


def test_the_report_predicts_families_from_others(times):
    samples = load_samples(times)
    found = calibration.calibrate(samples, calibration.die_of("rk1808")[1])
    text = calibration.report(samples, found)
    assert "family memory@rk1808" in text
    assert "family left out" in text
    errors = [abs(e) for e in found.left_out]
    assert sum(errors) >= sum(map(abs, found.residuals))


def test_versions_are_families():
    names = ("yolov5n_silu", "yolov5s_seg", "yolov8n", "yolox_s", "resnet50_v2", "mobilenet_v1")
    assert [family_of(n) for n in names] == [
        "yolov5", "yolov5", "yolov8", "yolox", "resnet", "mobilenet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["\U0001f600.csv", "a\x7f\x1b.csv", 'a"b\\c.csv'])
def test_a_written_chip_is_read_whatever_its_table_is_called(times, name):
    table = times.with_name(name)
    table.write_bytes(times.read_bytes())
    try:
        text = machine_text(calibrate(load_machine("rk1808"), table), "rk1808")
    finally:
        table.unlink()
    chip = times.with_name("mine.toml")
    chip.write_text(text, encoding="utf-8")
    assert load_machine(chip).name == "rk1808"


def test_a_base_that_no_file_can_name_is_refused(times):
    found = calibrate(load_machine("rk1808"), times)
    with pytest.raises(ConfigError, match=r"n\\udce9t"):
        machine_text(found, "/n\udce9t.toml")


def test_a_chip_whose_base_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "base.toml")
    chip = tmp_path / "chip.toml"
    chip.write_text(f'extends = "{tmp_path}/base.toml"\n')
    with pytest.raises(MachineError, match="this is a pipe"):
        load_machine(chip)
