"""Whatever happens, a command ends in one line and an exit code that is not a mismatch's."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import npusim
from npusim import edge
from npusim.cli import app
from npusim.errors import ConfigError, in_one_line

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {
    "run": ("--quantize", "f16", "--input", "0.png", "-o"),
    "dump": ("--quantize", "f16", "--input", "0.png", "-o"),
    "analyze": ("--dataset", "list.txt", "-o"),
    "equalize": ("--dataset", "list.txt", "-o"),
    "quantize": ("--quantize", "f16", "-o"),
    "tune": ("--dataset", "list.txt", "-o"),
    "evaluate": ("--dataset", "labels.txt", "--calibration", "list.txt", "-o"),
    "export": ("-o",),
    "report": ("--dataset", "list.txt", "-o"),
    "perf": ("--plot",),
}
ENDINGS = {"export": "onnx", "equalize": "onnx", "report": "html", "evaluate": "json"}
FAULTS = {
    OSError(errno.ENOSPC, "No space left on device"): edge.BAD_INPUT,
    OSError(errno.EROFS, "Read-only file system", "/a/b"): edge.BAD_INPUT,
    MemoryError("4 GiB"): edge.BAD_INPUT,
    EOFError("no more"): edge.UNEXPECTED,
    RuntimeError("can't start new thread"): edge.BAD_INPUT,
    RuntimeError("another one"): edge.UNEXPECTED,
    RecursionError("too deep"): edge.UNEXPECTED,
    KeyError("x\nerror: all is well"): edge.UNEXPECTED,
    ConfigError("no", rule="yes"): edge.BAD_INPUT,
    KeyboardInterrupt(): edge.INTERRUPTED,
}


def result_of(command):
    return f"result.{ENDINGS.get(command, 'npusim')}"


def set_of_pictures(tmp_path):
    (tmp_path / "labels.txt").write_text("0.png 0\n1.png 1\n")


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_is_one_line_and_no_mismatch(command, run, small, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    set_of_pictures(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(command, small[0], *WRITERS[command], tmp_path / result_of(command))
    assert code == edge.BAD_INPUT
    assert "No space left on device" in err
    assert "Traceback" not in err
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()} - before
    assert not [name for name in left if "tmp" in name]


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_in_the_way_of_a_folder_is_one_line(command, run, small, tmp_path):
    set_of_pictures(tmp_path)
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / result_of(command)
    code, _, err = run(command, small[0], *WRITERS[command], place)
    assert code == edge.BAD_INPUT
    assert err.count("error: ") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("options", [(), ("--debug",)])
def test_every_exception_has_its_exit_code(fault, options, run, monkeypatch):
    def fails():
        raise fault

    monkeypatch.setattr("npusim.cli.ops.command", fails)
    code, out, err = run("ops", *options)
    assert code == FAULTS[fault] != 1
    assert not out
    traced = options and not isinstance(fault, KeyboardInterrupt)
    assert ("Traceback" in err) == bool(traced)
    if not traced and not isinstance(fault, ConfigError):
        assert err.count("\n") == 1


def test_debug_stands_before_the_command_too(run):
    assert "Traceback" in run("--debug", "info", "missing.onnx")[2]
    assert "Traceback" not in run("info", "missing.onnx")[2]
    for name in app.COMMANDS:
        assert "--debug" in run(name, "--help")[1]


def test_what_the_system_says_has_file_and_remedy():
    said = in_one_line(OSError(errno.ENOSPC, "No space left on device", "/data/a\x1b[2J"))
    assert said.startswith(r"/data/a\x1b[2J: No space left on device. Remedy: make room")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("command", [("ops",), ("info", "demo"), ("ops", "--json")])
def test_a_full_disk_behind_standard_output(command):
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "npusim", *command], stdout=full, stderr=subprocess.PIPE
        )
    assert ended.returncode == edge.BAD_INPUT
    assert ended.stderr.decode().count("\n") == 1
    assert b"No space left" in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_leaves_is_no_error():
    begun = subprocess.Popen(
        [sys.executable, "-m", "npusim", "ops", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    begun.stdout.close()  # before anything is written
    assert begun.stderr.read() == b""
    begun.stderr.close()
    assert begun.wait() == edge.CLOSED_PIPE


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_nowhere(closed, tmp_path):
    """Nor does a file get their numbers: what is printed would be written into it."""
    command = f"{sys.executable} -m npusim"
    options = "quantize demo --quantize u8 -o m.npusim"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        f"{command} {options} {closed}; echo code $? >code; {command} info nothing.onnx {closed}; "
        "echo code $? >>code",
        shell=True, cwd=tmp_path, env=env, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (tmp_path / "code").read_text() == "code 0\ncode 2\n", done.stderr
    assert "Traceback" not in done.stderr
    assert npusim.load_model(tmp_path / "m.npusim").nodes


def test_a_full_standard_error_changes_no_exit_code(run, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(errno.EFBIG, "File too large")

        def flush(self): ...

    monkeypatch.setattr(sys, "stderr", Full())
    assert edge.guarded(lambda: npusim.load_model("missing.onnx")) == edge.BAD_INPUT
