"""Past failures are replayed; the fuzzer's own parts do what they say."""

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import time
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npusim.errors import NpusimError

ROOT = Path(__file__).resolve().parent.parent.parent
CASES = sorted(path for path in (ROOT / "tests/corpus").iterdir() if path.is_dir())
LONGEST_MESSAGE = 3000


@pytest.fixture(scope="module")
def tools():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        names = ("inputs", "mutators", "seeds", "child", "protobuf", "guided")
        return SimpleNamespace(**{name: import_module(f"fuzz_{name}") for name in names})
    finally:
        sys.path.remove(str(ROOT / "tools"))


@contextmanager
def limits(*, gigabytes=2, seconds=20):
    """Let memory and time run out as errors of this test."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (gigabytes << 30), old[1]))

    def late(*_):
        raise TimeoutError(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_past_failures_end_in_a_sentence(tools, case):
    loader = tools.seeds.LOADERS[case.name.partition("-")[0]]
    words = (case / "expected.txt").read_text().strip()
    said = ""
    with limits():
        try:
            loader.load(case)
        except NpusimError as error:
            said = str(error)
    assert words in said
    assert len(said) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    "name",
    [
        "onnx",
        "caffe",
        "darknet",
        "mxnet",
        "npusim",
        "vendor",
        "dataset",
        "hybrid",
        "project",
        "golden",
    ],
)
def test_seeds_are_sound(tools, name, tmp_path):
    loader = tools.seeds.LOADERS[name]
    for label, content in next(loader.seeds()).items():
        (tmp_path / label).write_bytes(content)
    result = loader.load(tmp_path)
    assert not loader.check(tmp_path, result)


def test_an_input_follows_from_seed_and_number_alone(tools):
    files = list(tools.seeds.LOADERS["darknet"].seeds())[:4]
    made = [tools.inputs.made(files, "darknet", 7, number)[1] for number in range(20)]
    assert made == [tools.inputs.made(files, "darknet", 7, number)[1] for number in range(20)]
    assert len({repr(item) for item in made}) > 15
    assert sum(item not in files for item in made) > 15


def test_mutators_keep_the_format(tools):
    (files, *_) = tools.seeds.LOADERS["npusim"].seeds()
    data, draw = files["net.npusim"], random.Random(0)
    sound = 0
    for _ in range(40):
        made = tools.mutators.container(data, draw)
        size = int.from_bytes(made[16:24], "little")
        try:
            json.loads(made[96 : 96 + size])
            sound += 1
        except (ValueError, RecursionError):
            continue
    assert sound > 30
    text = next(tools.seeds.LOADERS["darknet"].seeds())["net.cfg"]
    assert tools.mutators.words(text, draw) != text


def test_protocol_buffers_are_taken_apart_and_put_together(tools):
    onnx = pytest.importorskip("onnx")
    message, draw = next(tools.seeds.LOADERS["onnx"].seeds())["net.onnx"], random.Random(0)
    assert tools.protobuf.message(tools.protobuf.opened(message)) == message
    made = [tools.mutators.protobuf(message, draw) for _ in range(60)]
    assert sum(one != message for one in made) > 50
    assert all(onnx.ModelProto.FromString(one) for one in made[:20])


def test_what_names_a_digest_names_the_new_one(tools):
    def digest(data):
        return sha256(data).hexdigest().encode()

    start = {"a.txt": b"old", "index.csv": b"a.txt," + digest(b"old")}
    made = tools.inputs.repaired(start, start | {"a.txt": b"new"})
    assert made == {"a.txt": b"new", "index.csv": b"a.txt," + digest(b"new")}
    assert tools.inputs.repaired(start, start) == start


def test_a_smaller_input_has_the_same_finding(tools):
    start = {"a": bytes(range(64)), "b": b"xyz"}
    files = {"a": bytes(63 - n for n in range(64)), "b": b"abc"}

    def key_of(tried):
        return "found" if tried["a"][5] == files["a"][5] else ""

    made = tools.inputs.smaller(key_of, start, files, "found")
    assert made["b"] == start["b"]
    changed = [n for n in range(64) if made["a"][n] != start["a"][n]]
    assert 5 in changed
    assert len(changed) <= 4


@pytest.mark.parametrize("word", ["exception", "crash", "hang", "blow-up"])
def test_a_worker_goes_on_behind_what_it_finds(tools, tmp_path, monkeypatch, capsys, word):
    child = tools.child

    def load(folder):
        if (folder / "a.txt").read_bytes()[:1] not in b"a":
            return 1
        if word == "crash":
            faulthandler.disable()  # nobody wants to read where
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == "blow-up":
            return b"x" * (60 << 20)
        while word == "hang":
            pass
        raise KeyError("x")

    monkeypatch.setitem(child.LOADERS, "toy", tools.seeds.Loader(iter, load))
    monkeypatch.setattr(child, "made", lambda seeds, name, seed, n: (seeds[0], seeds[n % 8 == 5]))
    limits = child.Limits(0.2, 40)
    search = child.Search("toy", 1, limits, tmp_path, [{"a.txt": b"sound"}, {"a.txt": b"a"}])
    assert search.stretch(0, 1, 16, time.monotonic() + 100) == 16
    assert search.counts == {"ok": 14, word: 2}
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["verdict"], found["input"]) == (word, "toy --seed 1, input 5")


def test_an_input_that_sleeps_is_a_hang(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(tools.child, "PATIENCE", 2)
    place = tmp_path / "x"
    place.mkdir()
    loader = tools.seeds.Loader(iter, lambda folder: time.sleep(60))
    found = tools.child.run_one(loader, place, tools.child.Limits(5, 100))
    assert found["verdict"] == "hang"


def test_a_finding_that_needs_other_inputs_is_told(tools, tmp_path, monkeypatch, capsys):
    child, seen = tools.child, []

    def load(folder):
        seen.append(1)
        return {}["x"] if len(seen) == 3 else 1

    monkeypatch.setitem(child.LOADERS, "toy", tools.seeds.Loader(iter, load))
    monkeypatch.setattr(child, "made", lambda seeds, name, seed, n: (seeds[0], seeds[0]))
    search = child.Search("toy", 1, child.Limits(5, 100), tmp_path, [{"a.txt": b"sound"}])
    search.stretch(0, 1, 4, time.monotonic() + 100)
    assert search.counts == {"ok": 3, "unsteady": 1}
    assert json.loads(capsys.readouterr().out)["key"] == "alone it is ok: exception"


def test_verdicts_tell_faults_apart(tools, tmp_path):
    seeds, child = tools.seeds, tools.child

    def broken(folder):
        raise NpusimError("no", where="here")

    def odd(folder):
        return {}["x"]

    assert child.judged(seeds.Loader(iter, broken), tmp_path)["verdict"] == "refused"
    found = child.judged(seeds.Loader(iter, odd), tmp_path)
    assert (found["verdict"], found["key"][:8]) == ("exception", "KeyError")
    made = child.judged(seeds.Loader(iter, lambda folder: 1), tmp_path)
    assert made == {"verdict": "ok"}


@given(st.dictionaries(st.text(max_size=4), st.binary(max_size=9), min_size=1, max_size=3))
def test_files_of_a_guided_input_come_back(tools, files):
    assert tools.guided.unpacked(tools.guided.packed(files)) == files


@given(st.binary(max_size=40))
def test_bytes_that_are_no_files_are_none(tools, data):
    files = tools.guided.unpacked(data)
    assert files is None or tools.guided.unpacked(tools.guided.packed(files)) == files


def test_guided_changes_follow_from_their_number_and_fit(tools):
    start = {"net.cfg": b"[net]\nwidth=32\nheight=32\n", "net.weights": bytes(40)}
    data = tools.guided.packed(start)
    made = [tools.guided.changed(data, 1 << 20, number) for number in range(30)]
    assert made == [tools.guided.changed(data, 1 << 20, number) for number in range(30)]
    assert len(set(made)) > 10
    assert all(tools.guided.unpacked(new).keys() == start.keys() for new in made)
    assert tools.guided.changed(data, len(data) - 1, 3) in (data, *made)
    assert tools.guided.changed(b"none", 100, 1) == b"none"


def test_a_guided_search_keeps_each_finding_once(tools, tmp_path):
    findings = tools.guided.Findings(tmp_path)
    for key in ("a", "b", "a"):
        findings.add({"verdict": "exception", "key": key}, {"x": key.encode()})
    findings.add({"verdict": "ok"}, {"x": b"sound"})
    assert sorted(path.read_bytes() for path in tmp_path.glob("*/x")) == [b"a", b"b"]


def test_inputs_that_the_time_left_out_are_told(tools, monkeypatch, tmp_path, capsys):
    sys.path.insert(0, str(ROOT / "tools"))
    fuzz = import_module("fuzz")
    sys.path.remove(str(ROOT / "tools"))

    def search(name, options, tally, share, minutes):
        tally.add(name, {"counts": {"ok": 7}, "places": [], "rules": []})

    monkeypatch.setattr(fuzz, "search", search)
    command = ["fuzz.py", "onnx", "keras", "--inputs", "20", "--jobs", "2", "--to", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    assert fuzz.main() == 0
    told = capsys.readouterr().out
    assert "6 inputs of onnx were not read" in told
    assert "6 inputs of keras were not read" in told
