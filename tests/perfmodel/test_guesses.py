"""What an estimate says of constants that nobody found on its chip."""

import json

import pytest
from typer.testing import CliRunner

from npusim.cli.app import app
from npusim.errors import MachineError
from npusim.ir import archive
from npusim.ir.dtypes import DType
from npusim.passes.pipeline import lower
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.guesses import guesses_line, guesses_of
from npusim.perfmodel.machine import load_machine, machine_names
from npusim.report.page.costs import advice_of
from npusim.rknn import RKNN
from tests.perfmodel.graphs import mobile_block

GUESSING = ("rk1806", "rk3399pro", "rv1109", "rv1126")


@pytest.mark.parametrize("chip", machine_names())
def test_guesses_are_the_files_own_and_those_taken_over(chip):
    machine = load_machine(chip)
    found = guesses_of(machine, "board", [DType.U8, DType.F16])
    assert bool(found) == (chip in GUESSING)
    for guess in found:
        entry = machine.provenance[guess.constant]
        assert entry.confidence == "guess"
        assert bool(guess.taken_from) == entry.source.startswith("taken over from rk1808: ")
    assert [bool(g.taken_from) for g in found] == sorted(bool(g.taken_from) for g in found)


def test_what_a_chip_says_itself_is_not_taken_over():
    rv1126, rv1109 = load_machine("rv1126"), load_machine("rv1109")
    for machine in (rv1126, rv1109):
        assert machine.provenance["nn.cores_count"].confidence == "measured"
        assert machine.provenance["nn.launch_cycles"].taken_from == "rk1808"
        assert machine.provenance["board.tp_time_ratio"].confidence == "fitted"
    rk1808 = load_machine("rk1808")
    assert all(not p.taken_from for p in rk1808.provenance.values())
    rk1806 = load_machine("rk1806")
    assert all(p.confidence == "guess" for p in rk1806.provenance.values())
    assert all(getattr(rk1806, s) == getattr(rk1808, s) for s in ("nn", "tp", "shader", "board"))


def test_constants_of_wide_formats_count_with_wide_formats():
    machine = load_machine("rv1126")
    names = {
        dtype: {g.constant for g in guesses_of(machine, "board", [dtype])}
        for dtype in (DType.U8, DType.I16)
    }
    assert "board.cores_16bit_count" in names[DType.I16] - names[DType.U8]
    assert names[DType.U8] < names[DType.I16]


@pytest.mark.parametrize("chip", machine_names())
def test_every_output_says_it(chip):
    run = CliRunner().invoke
    priced = estimate(mobile_block(), chip)
    line = guesses_line(priced.setting.machine, priced.guesses)
    assert bool(line) == (chip in GUESSING)
    command = ["perf", "demo-layers", "--target", chip]
    said = f"guessed for {chip}"
    assert (said in run(app, command).stdout) == bool(line)
    assert (said in run(app, [*command, "--csv"]).stderr) == bool(line)
    found = json.loads(run(app, [*command, "--json"]).stdout)["guesses"]
    assert bool(found) == bool(line)
    assert all(set(g) == {"constant", "value", "source", "taken_from"} for g in found)
    assert any(text.startswith(said) for text in advice_of(priced)) == bool(line)


def test_comparisons_say_it_once():
    command = ["perf", "demo-layers", "--target", "rv1126", "--vs-dtype", "i8"]
    assert CliRunner().invoke(app, command).stdout.count("guessed for rv1126") == 1


@pytest.mark.parametrize("board", [None, "rv1126"])
def test_eval_perf_says_it(tmp_path, capsys, board):
    graph = lower(mobile_block(size=16)).copy(target="rv1126")
    archive.save(graph, tmp_path / "m.rknn")
    rknn = RKNN(verbose=False)
    assert rknn.load_rknn(str(tmp_path / "m.rknn")) == 0
    assert rknn.init_runtime(target=board) == 0
    rknn.eval_perf(is_print=True)
    assert "guessed for rv1126" in capsys.readouterr().out


def test_assumes_names_sections(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text('extends = "rk1808"\nname = "c"\ntitle = "C"\nassumes = ["npu"]\n')
    with pytest.raises(MachineError, match=r"chip\.toml.*assumes"):
        load_machine(path)
    path.write_text('extends = "rk1808"\nname = "c"\ntitle = "C"\nassumes = ["tp"]\n')
    machine = load_machine(path)
    assert machine.provenance["tp.launch_cycles"].taken_from == "rk1808"
    assert machine.provenance["nn.launch_cycles"].confidence == "measured"
