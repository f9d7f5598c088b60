"""What a command reads is not written over, and no two of its outputs share a file."""

import inspect
import os
import shutil
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from npusim import edge
from npusim.cli import app, uses

CLASHES = {
    "trace": ("perf net.onnx --trace net.onnx", "MODEL", "--trace"),
    "page": ("perf net.onnx --html net.onnx", "MODEL", "--html"),
    "layers": ("perf net.json --write-layers net.json", "MODEL", "--write-layers"),
    "chip": (
        "perf net.onnx --target c.toml --calibrate t.csv --write-machine c.toml",
        "--target",
        "--write-machine",
    ),
    "table": (
        "perf net.onnx --calibrate t.csv --write-machine t.csv",
        "--calibrate",
        "--write-machine",
    ),
    "second model": ("perf demo --vs net.onnx --trace net.onnx", "--vs", "--trace"),
    "two of perf": ("perf demo --trace x.json --write-layers x.json", "--trace", "--write-layers"),
    "labelled": ("evaluate net.onnx --dataset labels.txt -o labels.txt", "--dataset", "--output"),
    "state": ("evaluate demo --state s -o s", "--state", "--output"),
    "list": ("quantize net.onnx --dataset list.txt -o list.txt", "--dataset", "--output"),
    "weights": ("quantize n.cfg --weights n.bin -o n.bin", "--weights", "--output"),
    "cfg": ("quantize net.onnx --hybrid a.cfg --write-cfg a.cfg -o x", "--hybrid", "--write-cfg"),
    "two of quantize": ("quantize net.onnx -o ./x --write-cfg x", "--output", "--write-cfg"),
    "two of tune": ("tune net.onnx --state best.json -o best", "--state", "--output"),
    "default of tune": ("tune net.json --dataset list.txt", "MODEL", "--output"),
    "state of tune": ("tune net.onnx --evaluate net.tune.json", "--evaluate", "--state"),
    "one input of many": (
        "dump net.onnx --input 0.png --input 1.png -o 1.png",
        "--input",
        "--output",
    ),
    "outputs of a run": ("run net.onnx --input o/output_0.npy -o o", "--input", "--output"),
    "layers of a dump": (
        "dump net.onnx --input o/NodeID_1_x_out_0.npy -o o",
        "--input",
        "--output",
    ),
    "result of a dump": ("dump net.onnx --input o/Host_0_x_out_0.npy -o o", "--input", "--output"),
    "layers of an analysis": (
        "analyze net.onnx --input s/fp32/x_out0_nhwc_4.npy -o s",
        "--input",
        "--output",
    ),
    "folder": ("dump saved --input 0.png -o saved", "MODEL", "--output"),
    "page of dumps": ("compare net.onnx --folder saved --html saved", "--folder", "--html"),
    "cfg of analyze": (
        "analyze net.onnx --dataset list.txt --write-cfg list.txt",
        "--dataset",
        "--write-cfg",
    ),
    "stored": ("report net.onnx --stored s.npusim -o s.npusim", "--stored", "--output"),
    "colours": (
        "report net.onnx --labels n-time.json --node-data n.json",
        "--labels",
        "--node-data",
    ),
    "export": ("export net.onnx -o net.onnx", "MODEL", "--output"),
    "equalize": ("equalize net.onnx --dataset list.txt -o net.onnx", "MODEL", "--output"),
}
MADE = Path("made")
GIVEN = {"model": "net.onnx", "output": None}
FILES = "net.json c.toml t.csv labels.txt n.cfg n.bin a.cfg net.tune.json s.npusim n-time.json"

PLACED = "o/output_0.npy o/NodeID_1_x_out_0.npy o/Host_0_x_out_0.npy o/cat.npy saved/saved_model.pb"
PLACED += " s/fp32/x_out0_nhwc_4.npy"


@pytest.fixture
def files(small, tmp_path):
    """Write a file for every input of the commands, and return a function: path -> content."""
    for name in FILES.split():
        (tmp_path / name).write_text(f"this is {name}")
    for name in PLACED.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"this is {name}")
    return lambda: {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("words", "first", "second"), CLASHES.values(), ids=CLASHES.keys())
def test_a_file_with_two_uses_is_refused_with_both(words, first, second, run, files):
    before = files()
    code, out, err = run(*words.split())
    assert code == edge.BAD_INPUT
    assert first in err
    assert second in err
    assert ("itself" in err) != ("also what" in err)
    assert not out
    assert files() == before


@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard", "symbolic"])
def test_links_lead_to_the_same_file(link, run, files, tmp_path):
    link(tmp_path / "net.onnx", tmp_path / "other.json")
    before = files()
    code, _, err = run("perf", "net.onnx", "--trace", "other.json")
    assert code == edge.BAD_INPUT
    assert "--trace: other.json is MODEL itself" in err
    assert files() == before


def outputs(*, folders):
    """Yield command and spelling of every option that names an output."""
    for name in app.COMMANDS:
        module = import_module(f"npusim.cli.{name}")
        for spelling, use in uses.declared(module.command).values():
            if isinstance(use, uses.Written) and use.is_folder is folders:
                yield name, spelling


NEEDED = {
    "quantize": ("-o", "made"),
    "dump": ("-o", "made"),
    "equalize": ("-o", "made"),
    "export": ("-o", "made"),
    "report": ("-o", "made"),
    "evaluate": ("--dataset", "labels.txt"),
}


@pytest.mark.parametrize(("command", "option"), list(outputs(folders=False)))
def test_no_work_is_done_for_a_file_that_cannot_be_written(command, option, run, files):
    before = files()
    for place, why in (
        ("saved", "this is a folder"),
        ("no/x", "no is missing"),
        ("net.onnx/x", "net.onnx is no folder"),
        ("/proc/x", "/proc cannot be written to"),
        ("/dev/no/x", "/dev/no is missing"),
    ):
        if (command, option, place) in ANYWAY or (
            place == "/proc/x" and os.access("/proc", os.W_OK)
        ):
            continue
        code, out, err = run(command, "none.onnx", *NEEDED.get(command, ()), option, place)
        assert code == edge.BAD_INPUT
        assert "cannot be written: " in err
        assert why in err
        assert not out
    assert files() == before


ANYWAY = {  # its files are called saved.json, .., and its colours saved-time, ..
    ("tune", "--output", "saved"),
    ("report", "--node-data", "saved"),
}


@pytest.mark.parametrize(("command", "option"), list(outputs(folders=True)))
def test_no_work_is_done_for_a_folder_that_cannot_be_made(command, option, run, files):
    before = files()
    model = () if command == "demo" else ("none.onnx",)
    for place in ("net.onnx", "net.onnx/a/b"):
        code, out, err = run(command, *model, *NEEDED.get(command, ()), option, place)
        assert code == edge.BAD_INPUT
        assert "net.onnx is no folder" in err
        assert not out
    assert files() == before


def test_words_that_name_no_file_clash_with_none(run, tmp_path):
    for name in ("demo", "rk1808", "demo-layers"):
        (tmp_path / name).write_text("")
        for model in ("demo", "demo-layers"):
            code, _, err = run("perf", model, "--target", "rk1808", "--trace", name)
            assert code == 0, err


def test_other_files_of_an_output_folder_may_be_read(run, small, tmp_path):
    np.save(tmp_path / "cat.npy", np.zeros((9, 8, 3), np.float32))
    for command in ("run", "dump"):
        for _ in range(2):
            words = (small[0], "--quantize", "f16", "--input", "cat.npy", "-o", ".")
            assert run(command, *words)[0] == 0


def test_a_device_may_be_every_output(run):
    code, _, err = run("perf", "demo", "--trace", os.devnull, "--html", os.devnull)
    assert code == 0, err


def test_a_state_is_read_and_written(run, small):
    words = ("tune", *small, "--state", "kept.json", "--most", "2", "-o", "best.npusim")
    for _ in range(2):
        code, _, err = run(*words)
        assert code == 0, err


# ---- every command


def commands():
    return {name: import_module(f"npusim.cli.{name}").command for name in app.COMMANDS}


def may_be_a_file(hint):
    inner = {hint, *get_args(hint)} | {arg for one in get_args(hint) for arg in get_args(one)}
    return bool(inner & {str, Path})


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_text_and_path_declares_what_is_done_with_it(name):
    """A parameter is READ, WRITTEN (or KEPT), or NO_FILE: npusim.cli.uses."""
    command = commands()[name]
    plain = get_type_hints(command)
    files = {key for key, hint in plain.items() if key != "return" and may_be_a_file(hint)}
    declared = uses.declared(command)
    assert files == set(declared), f"undeclared: {sorted(files - set(declared))}"
    paths = {key for key in files if Path in {plain[key], *get_args(plain[key])}}
    loose = [key for key in paths if isinstance(declared[key][1], uses.NoFile)]
    assert not loose, f"paths that are called none: {loose}"
    for key, hint in get_type_hints(command, include_extras=True).items():
        marks = [
            m for m in getattr(hint, "__metadata__", ()) if type(m).__module__ == uses.__name__
        ]
        assert len(marks) <= 1, key


def inputs_and_outputs():
    """Return (command, output, input) of all commands."""
    return [
        (name, written, read)
        for name, command in commands().items()
        for written in keys(command, uses.Written)
        for read in keys(command, uses.Read)
    ]


def two_outputs():
    """Return (command, output, output) of all commands, outputs that make names of theirs first."""
    return [
        (name, *two)
        for name, command in commands().items()
        for two in combinations(keys(command, uses.Written), 2)
    ]


def keys(command, kind):
    found = {key: use for key, (_, use) in uses.declared(command).items() if isinstance(use, kind)}
    return sorted(found, key=lambda key: found[key] in (uses.READ, uses.WRITTEN))


@pytest.mark.parametrize(("name", "written", "read"), inputs_and_outputs())
def test_every_output_is_held_against_every_input(name, written, read, run, files, tmp_path):
    command = commands()[name]
    known = uses.declared(command)
    place = next(iter(known[written][1].files(MADE, GIVEN)))
    shutil.copy(tmp_path / "net.onnx", tmp_path / place)
    before = files()
    given = {"model": "net.onnx", read: str(place), written: str(MADE)}
    code, _, err = run(name, *words_of(command, known, given))
    assert code == edge.BAD_INPUT
    assert f"{known[written][0]}: {place} is {known[read][0]} itself" in err
    assert files() == before


@pytest.mark.parametrize(("name", "first", "second"), two_outputs())
def test_every_output_is_held_against_every_other(name, first, second, run, files):
    command = commands()[name]
    known = uses.declared(command)
    one, other = (known[key][1].files for key in (first, second))
    (shared, *_), given = map(str, one(MADE, GIVEN)), {**GIVEN, first: str(MADE)}
    assert str(next(iter(other(Path(shared), given)))) == shared
    before = files()
    code, _, err = run(name, *words_of(command, known, given | {second: shared}))
    assert code == edge.BAD_INPUT
    assert "also what" in err
    assert known[first][0] in err
    assert known[second][0] in err
    assert files() == before


def words_of(command, known, given):
    """Return the words of a command line; outputs that must be given get a free name."""
    words = []
    for key, parameter in inspect.signature(command).parameters.items():
        value = given.get(key)
        if value is None and parameter.default is parameter.empty and key in known:
            value = "free.out"
        if value is None or key not in known:
            continue
        option = known[key][0]
        words += [option, value] if option.startswith("-") else [value]
    return words
