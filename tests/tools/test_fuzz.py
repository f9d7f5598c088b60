"""Past failures are replayed; the fuzzer's own parts do what they say."""

import json
import random
import resource
import signal
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from npusim.errors import NpusimError

ROOT = Path(__file__).resolve().parent.parent.parent
CASES = sorted(path for path in (ROOT / "tests/corpus").iterdir() if path.is_dir())
LONGEST_MESSAGE = 5000


@pytest.fixture(scope="module")
def tools():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return tuple(map(import_module, ("fuzz", "fuzz_mutators", "fuzz_seeds", "fuzz_child")))
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
    loader = tools[2].LOADERS[case.name.partition("-")[0]]
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
    loader = tools[2].LOADERS[name]
    for label, content in next(loader.seeds()).items():
        (tmp_path / label).write_bytes(content)
    result = loader.load(tmp_path)
    assert not loader.check(tmp_path, result)


def test_an_input_follows_from_seed_and_number_alone(tools):
    fuzz, _, seeds, _ = tools
    files = list(seeds.LOADERS["darknet"].seeds())[:4]
    made = [fuzz.made(files, "darknet", 7, number)[1] for number in range(20)]
    assert made == [fuzz.made(files, "darknet", 7, number)[1] for number in range(20)]
    assert len({repr(item) for item in made}) > 15
    assert sum(item not in files for item in made) > 15


def test_mutators_keep_the_format(tools):
    _, mutators, seeds, _ = tools
    (files, *_) = seeds.LOADERS["npusim"].seeds()
    data, draw = files["net.npusim"], random.Random(0)
    sound = 0
    for _ in range(40):
        made = mutators.container(data, draw)
        size = int.from_bytes(made[16:24], "little")
        try:
            json.loads(made[96 : 96 + size])
            sound += 1
        except (ValueError, RecursionError):
            continue
    assert sound > 30
    message = next(seeds.LOADERS["onnx"].seeds())["net.onnx"]
    assert mutators._message(mutators._fields(message)) == message
    text = next(seeds.LOADERS["darknet"].seeds())["net.cfg"]
    assert mutators.words(text, draw) != text


def test_verdicts_tell_faults_apart(tools, tmp_path):
    _, _, seeds, child = tools

    def broken(folder):
        raise NpusimError("no", where="here")

    def odd(folder):
        return {}["x"]

    assert child.judged(seeds.Loader(iter, broken), tmp_path)["verdict"] == "refused"
    found = child.judged(seeds.Loader(iter, odd), tmp_path)
    assert (found["verdict"], found["key"][:8]) == ("exception", "KeyError")
    made = child.judged(seeds.Loader(iter, lambda folder: 1), tmp_path)
    assert made == {"verdict": "ok"}
