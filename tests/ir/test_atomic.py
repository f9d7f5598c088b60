"""A set of files is complete or it is not there; one process at a time; nothing stays behind."""

import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from npusim.errors import ConfigError
from npusim.ir import atomic
from npusim.ir.atomic import ENDING, OLD_S, atomic_set, atomic_write
from npusim.ir.locks import UNFINISHED, Unfinished, state_lock, unfinished

NAMES = ("index.json", "a.data", "b.cfg")
# writes a set and is killed at the given call of a function of the system
KILLED = """
import os, signal, sys
from npusim.ir.atomic import atomic_set
name, at = sys.argv[1], int(sys.argv[2])
inner, calls = getattr(os, name), 0
def counted(*given, **more):
    global calls
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(*given, **more)
setattr(os, name, counted)
with atomic_set("index.json") as files:
    for name in ("a.data", "b.cfg", "index.json"):
        with files.write(name) as file:
            file.write(b"new " + name.encode())
"""


def write_set(folder, word):
    with atomic_set(folder / NAMES[0]) as files:
        for name in NAMES:
            with files.write(folder / name) as file:
                file.write(f"{word} {name}".encode())


def contents(folder):
    return {name: (folder / name).read_text().split()[0] for name in os.listdir(folder)}


def test_a_set_takes_its_names_together(tmp_path):
    write_set(tmp_path, "old")
    with suppress(KeyError), atomic_set(tmp_path / NAMES[0]) as files:
        with files.write(tmp_path / NAMES[1]) as file:
            file.write(b"new")
        raise KeyError
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")
    write_set(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "new")


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("at", [("fsync", 1), ("fsync", 3), *(("replace", n) for n in (1, 2, 3))])
def test_a_set_whose_writer_is_killed_is_the_old_one_or_none(tmp_path, at):
    write_set(tmp_path, "old")
    program = [sys.executable, "-c", KILLED, at[0], str(at[1])]
    ended = subprocess.run(program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert ended.returncode == -9
    found = {k: v for k, v in contents(tmp_path).items() if not k.endswith(ENDING)}
    if NAMES[0] in found:  # the set is there
        assert found == dict.fromkeys(NAMES, "old")
    else:
        assert at[0] == "replace"
    write_set(tmp_path, "newer")
    assert {contents(tmp_path)[name] for name in NAMES} == {"newer"}


def test_left_over_files_go_after_a_day_and_others_stay(tmp_path, monkeypatch):
    now = time.time()
    ages = {
        f".a.txt.0123abcd{ENDING}": OLD_S + 60,
        f".a.txt.0123abce{ENDING}": OLD_S - 3600,
        f".a.txt.0123abcd{ENDING}.txt": OLD_S + 60,
        f"a.0123abcd{ENDING}": OLD_S + 60,
        f".of.others.tmp{ENDING}": OLD_S + 60,
    }
    for name, age in ages.items():
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (now - age, now - age))
    monkeypatch.setattr(atomic, "_swept", set())
    with atomic_write(tmp_path / "b") as file:
        file.write(b"1")
    assert {path.name for path in tmp_path.iterdir()} == {*list(ages)[1:], "b"}


def test_the_file_of_a_run_that_lives_stays_whatever_the_clock_says(tmp_path, monkeypatch):
    with atomic_set() as files:
        with files.write(tmp_path / "a") as file:
            file.write(b"1")
        (temporary,) = tmp_path.iterdir()
        os.utime(temporary, (0, 0))
        monkeypatch.setattr(atomic, "_swept", set())
        with atomic_write(tmp_path / "b") as file:
            file.write(b"2")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "1", "b": "2"}


def test_a_second_holder_is_refused_until_the_first_has_ended(tmp_path):
    for _ in range(2):
        held = state_lock(tmp_path / "state.json")
        with pytest.raises(ConfigError, match="another run uses the state"):
            state_lock(tmp_path / "state.json")
        assert len(os.listdir(tmp_path)) == 1
        held.free(remove=True)
        assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_holder_holds_nothing(tmp_path):
    program = (
        "import os; from npusim.ir.locks import Unfinished; u = Unfinished('.', 'dump');"
        "os.kill(os.getpid(), 9)"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env)
    first = unfinished(tmp_path)
    assert first.startswith("The dump of run ")
    with suppress(KeyError), Unfinished(tmp_path, "other"):
        assert unfinished(tmp_path) != first
        raise KeyError
    assert unfinished(tmp_path).startswith("The other of run ")
    with Unfinished(tmp_path, "third"):
        pass
    assert not (tmp_path / UNFINISHED).exists()


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("before", [None, "The dump of run 0 was not finished.\n"])
def test_a_full_disk_under_the_mark_is_one_error_and_an_older_mark_stays(tmp_path, before):
    if before is not None:
        (tmp_path / UNFINISHED).write_text(before)
    program = (
        "import resource; from npusim.ir.locks import Unfinished\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: Unfinished('.', 'dump')\n"
        "except OSError as error: print(error.strerror)"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("File too large\n", "")
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def write_half(path):
    with atomic_write(path) as file:
        file.write(b"half")
        raise ZeroDivisionError


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_or_device_gets_the_content_and_keeps_its_name(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    content = bytes(range(256)) * 1000
    with atomic_write(pipe) as file:
        file.write(content[:10])
        file.seek(0)
        file.write(content)
    reader.join(20)
    assert found == [content]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]
    with pytest.raises(ZeroDivisionError):
        write_half(pipe)  # nothing is written, so nobody has to read


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_device_is_an_error(monkeypatch):
    def never(*names):
        raise AssertionError("a device would have lost its name")

    monkeypatch.setattr(os, "replace", never)
    with pytest.raises(OSError, match="No space"), atomic_write("/dev/full") as file:
        file.write(b"x" * 100_000)
