"""Commands on a model whose names would clear the screen, forge lines and start formulas."""

import csv

import numpy as np
import pytest
from onnx import helper

from npusim.analysis.dump import INDEX_NAME
from npusim.analysis.dump_folder import read_dump
from npusim.rknn import RKNN
from tests.rknn.conftest import conv_weights, write_onnx
from tests.test_plain import is_plain

EVIL = "\x1b[2J\x1b]0;title\x07\r\nFORGED: all is well\u202e [red]"


@pytest.fixture
def hostile(tmp_path, small):
    weights = {f"=1+{k}{EVIL}": v for k, v in conv_weights(4, 3, seed=2).items()}
    w, b = weights
    nodes = [
        helper.make_node("Conv", ["x", w, b], [f"c{EVIL}"], name=f"=c{EVIL}", pads=[1] * 4),
        helper.make_node("Relu", [f"c{EVIL}"], [f"r{EVIL}"], name=f"@r{EVIL}"),
        helper.make_node("GlobalAveragePool", [f"r{EVIL}"], [f"-p{EVIL}"], name=f"+p{EVIL}"),
        helper.make_node("Flatten", [f"-p{EVIL}"], [f"y{EVIL}"], name=f"f{EVIL}"),
    ]
    return write_onnx(
        tmp_path / "hostile.onnx", nodes, {"x": (1, 3, 9, 8)}, {f"y{EVIL}": (1, 4)}, weights
    )


def check(said):
    assert is_plain(said, lines=True)
    assert not [line for line in said.split("\n") if line.startswith("FORGED")]


COMMANDS = {
    "info": ("--layers",),
    "run": ("--quantize", "u8", "--dataset", "list.txt"),
    "compare": ("--quantize", "u8", "--dataset", "list.txt"),
    "analyze": ("--dataset", "list.txt", "--all", "-o", "out"),
    "perf": (),
    "perf --csv": ("--csv",),
    "quantize": ("--dataset", "list.txt", "-o", "q.npusim"),
    "tune": ("--dataset", "list.txt", "-o", "best"),
    "export": ("-o", "e.onnx"),
    "equalize": ("--dataset", "list.txt", "-o", "eq.onnx"),
    "no such cut": ("--cut-outputs", f"nothing{EVIL}"),
    "no such layer": ("--dataset", "list.txt", "-o", "q.npusim", "--layer", f"n{EVIL}=i16"),
}
WORDS = {"perf --csv": "perf", "no such cut": "info", "no such layer": "quantize"}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_say_hostile_names_as_text(name, run, hostile):
    code, out, err = run(WORDS.get(name, name), hostile, *COMMANDS[name])
    assert code in (0, 1) or name.startswith("no such")
    check(out)
    check(err)


def test_a_hostile_line_of_a_list(run, hostile, tmp_path):
    (tmp_path / "evil.txt").write_text(f"no\x1b[2J.png\x85FORGED\n{EVIL}.png\n")
    code, _, err = run("run", hostile, "--quantize", "u8", "--dataset", "evil.txt")
    assert code == 2
    check(err)


def test_files_for_tables_have_no_formulas_and_read_back(run, hostile, tmp_path):
    assert run("dump", hostile, "--quantize", "f16", "--input", "0.png", "-o", "d")[0] == 0
    assert run("analyze", hostile, "--dataset", "list.txt", "-o", "a")[0] in (0, 1)
    for path in (tmp_path / "d" / INDEX_NAME, tmp_path / "a" / "analysis.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert len(rows) > 2
        for found in (found for row in rows for found in row):
            assert is_plain(found)
            if found.startswith(("=", "+", "-", "@")):
                assert np.isfinite(float(found)) or found == "-inf"
    assert len(read_dump(tmp_path / "d").layers) == len(list((tmp_path / "d").glob("NodeID_*")))
    code, out, err = run(
        "compare", hostile, "--quantize", "f16", "--input", "0.png", "--folder", "d"
    )
    assert code == 0, err
    check(out)


def test_the_class_says_hostile_names_as_text(hostile, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rknn = RKNN(verbose=True)
    rknn.config(mean_values=[[0, 0, 0]], std_values=[[1, 1, 1]])
    assert rknn.load_onnx(str(hostile), inputs=["x"], input_size_list=[[3, 9, 8]]) == 0
    assert rknn.build(do_quantization=True, dataset="list.txt") == 0
    rknn.init_runtime()
    rknn.eval_perf()
    rknn.eval_memory()
    assert rknn.accuracy_analysis(inputs="other.txt") == 0
    assert rknn.load_onnx(f"missing{EVIL}.onnx") == -1
    said = capsys.readouterr()
    check(said.out)
    check(said.err)
