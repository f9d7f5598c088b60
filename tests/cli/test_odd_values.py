"""Numbers that keep nothing out, places that are no files, names that are no text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import npusim
from npusim import edge
from npusim.assets import layer_list_path

ROOT = Path(__file__).resolve().parents[2]
NO_TEXT = "n\udce9t"  # as Python has a file name with a byte that is not UTF-8


@pytest.mark.parametrize("word", ["nan", "inf", "1e400"])
def test_an_order_of_channels_is_whole_numbers(word, run, small):
    code, _, err = run("run", small[0], "--input", "0.png", "--reorder", f"{word},0,1")
    assert code == edge.BAD_INPUT
    assert "whole numbers" in err


@pytest.mark.parametrize(("option", "value"), [("--mean", "1e39"), ("--std", "1e-46")])
def test_means_and_stds_are_those_of_pictures(option, value, run, small, recwarn):
    code, _, err = run("run", small[0], "--input", "0.png", option, value)
    assert code == edge.BAD_INPUT
    assert "float32" in err
    assert not recwarn.list


@pytest.mark.parametrize(
    "words",
    [
        ("perf", "demo-layers", "--budget-ms", "nan"),
        ("perf", "demo-layers", "--sweep", "width=0.5,1", "--budget-ms", "nan"),
        ("evaluate", "net.onnx", "--dataset", "other.txt", "--max-drop", "nan"),
        ("tune", "net.onnx", "--dataset", "list.txt", "--budget-us", "nan"),
        ("tune", "net.onnx", "--dataset", "list.txt", "--goal", "nan"),
        ("compare", "net.onnx", "--input", "0.png", "--threshold", "nan"),
        ("analyze", "net.onnx", "--dataset", "list.txt", "--threshold", "nan"),
        ("perf", "demo-layers", "--clock-mhz", "1e-300"),
        ("perf", "demo-layers", "--ddr-gbps", "1e-320"),
        ("perf", "demo-layers", "--batch", "1" + "0" * 400),
        ("perf", "demo-layers", "--sweep", "width=0.5", "--batch", "1" + "0" * 400),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_a_limit_that_limits_nothing_is_refused(words, run, small):
    code, _, err = run(*words)
    assert code == edge.BAD_INPUT
    assert "Rule: " in err


@pytest.mark.parametrize("word", ["", " ", ",", ",,"])
def test_options_without_a_word_are_not_left_out_silently(word, run, small, tmp_path):
    (tmp_path / "set.txt").write_text("0.png 0\n")
    calls = [("run", small[0], "--input", "0.png", o) for o in ("--mean", "--std", "--reorder")]
    calls += [("evaluate", small[0], "--dataset", "set.txt", "--quantize")]
    for call in calls:
        code, _, err = run(*call, word)
        assert code == edge.BAD_INPUT
        assert f"error: {call[-1]}: value {word!r}" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("quantize net.onnx --dataset list.txt -o q --moving-alpha-weighs x", "weighs 'x'"),
        ("equalize net.onnx --dataset list.txt -o e.onnx --relu6 keep --engine x", "engine 'x'"),
        ("report net.onnx -o r.html --node-data .", "is no name of a file"),
        ("evaluate net.onnx --dataset set.txt --decoder yolov5", "--decoder would have no effect"),
        ("evaluate net.onnx --dataset set.txt --anchors 1,2", "--anchors would have no effect"),
        ("evaluate net.onnx --dataset set.txt --images .", "--images would have no effect"),
        ("exec /dev/zero", "at most 67108864 bytes"),
    ],
)
def test_words_that_would_mean_nothing_are_refused(words, said, run, small, tmp_path):
    (tmp_path / "set.txt").write_text("0.png 0\n")
    code, _, err = run(*words.split())
    assert code == edge.BAD_INPUT
    assert said in err


@pytest.mark.parametrize("option", ["--shape data=1,3,8,8", "--weights w.bin", "--cut-outputs a"])
def test_what_a_layer_list_does_not_have_is_refused(option, run):
    for more in ((), ("--sweep", "width=0.5")):
        code, _, err = run("perf", layer_list_path(), *option.split(), *more)
        assert code == edge.BAD_INPUT
        assert "no effect" in err


@pytest.mark.parametrize("place", [".", "pipe", "/dev/full"])
def test_a_state_is_a_file(place, run, small, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "set.txt").write_text("0.png 0\n1.png 1\n")
    calls = (
        ("tune", small[0], "--dataset", "list.txt", "--most", "1"),
        ("evaluate", small[0], "--dataset", "set.txt", "--calibration", "list.txt", "--jobs", "1"),
    )
    for call in calls:
        code, _, err = run(*call, "--state", place)
        assert code == edge.BAD_INPUT
        assert ("this is a folder" if place == "." else "a state is a file") in err


@pytest.mark.parametrize("text", ["raise ValueError('no')", "import sys; sys.exit(1)", "1 +"])
def test_faults_of_the_users_functions_are_the_users(text, run, small, tmp_path, monkeypatch):
    name = f"own_{len(text)}"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "set.txt").write_text("0.png 0\n")
    calls = (
        ("tune", small[0], "--dataset", "list.txt", "--metric"),
        ("evaluate", small[0], "--dataset", "set.txt", "--calibration", "list.txt", "--task"),
    )
    for call in calls:
        for function in (f"custom:{name}:f", "custom::"):
            code, _, err = run(*call, function)
            assert code == edge.BAD_INPUT
            assert "fault of npusim" not in err
    assert "posix.getcwd" in run(*calls[0], "custom:os:getcwd")[2]


def test_files_whose_names_are_no_text(run, small, tmp_path):
    made = tmp_path / f"{NO_TEXT}.onnx"
    try:
        Path(small[0]).rename(made)
    except OSError:
        pytest.skip("this file system takes text only")
    (tmp_path / "list.txt").rename(tmp_path / f"{NO_TEXT}.txt")
    how = ("--dataset", f"{NO_TEXT}.txt")
    for call in (
        ("quantize", made, *how, "-o", f"{NO_TEXT}.npusim"),
        ("export", made, "-o", f"{NO_TEXT}.out.onnx"),
        ("tune", made, *how, "--most", "1"),
        ("report", made, *how, "-o", f"{NO_TEXT}.html"),
        ("compare", f"{NO_TEXT}.npusim", "--input", "0.png"),
        ("perf", made, "--plot", "plots"),
    ):
        code, out, err = run(*call)
        assert code in (0, 1), err
        (out + err).encode()
    stored = npusim.load_model(tmp_path / f"{NO_TEXT}.npusim")
    assert stored.name == r"n\udce9t"
    assert stored.source.path == str(made)


def test_names_in_layer_lists_are_text(run, tmp_path):
    listed = json.loads(layer_list_path().read_text())
    listed["name"] += "\ud800"
    (tmp_path / "l.json").write_text(json.dumps(listed))
    code, _, err = run("perf", "l.json")
    assert code == edge.BAD_INPUT
    assert "is no text" in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_whose_encoding_lacks_characters(encoding, small, tmp_path):
    Path(small[0]).rename(tmp_path / "nët-網.onnx")
    found = subprocess.run(
        [sys.executable, "-m", "npusim", "info", "nët-網.onnx"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert found.returncode == 0, found.stderr
    assert r"-\u7db2" in found.stdout.decode(encoding)


@pytest.mark.parametrize("width", ["0", "²", "-5", "wide"])
def test_a_width_that_is_none_is_not_taken(width, run, small, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    code, out, err = run("info", small[0])
    assert code == 0, err
    assert "net" in out
