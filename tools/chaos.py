"""Disturb the commands that write files, and look at what they leave.

``python tools/chaos.py [--runs N] [--seed S] [--minutes M] [--faults kill,..] [--commands ..]``

Each run takes a folder that holds the whole results of an older run with other options, starts a
command in it, and disturbs it: SIGKILL at a random moment or at a random call of the file system,
SIGINT, a disk (tmpfs) that is full or read-only, a clock that jumps by years, or a second process
with the same command. Then it must be true that

- a set of files is the old one, the new one, or is refused: never half of it, never mixed; after
  SIGINT ``evaluate`` and ``tune`` may have written what they had found so far, and say so;
- the command, when it ended at all, ended with an exit code of its own and no traceback;
- the same command, given again undisturbed, writes the files that an undisturbed run writes, byte
  for byte, and leaves nothing else behind but the temporary files of what was killed.

Commands run in forked children of this process, with kernels loaded. Full and read-only disks need
the right to mount. Exit code 1: something of this is not true.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run in a bare checkout too
os.environ["NPUSIM_NUM_THREADS"] = "1"  # children are forked

import numpy as np
from chaos_commands import COMMANDS, Command, make_inputs

import npusim
from npusim.analysis.dump import INDEX_NAME
from npusim.analysis.dump_folder import read_dump
from npusim.cli import main as command_line
from npusim.cli.app import COMMANDS as APP
from npusim.errors import InputError
from npusim.ir.atomic import ENDING
from npusim.ir.locks import UNFINISHED
from npusim.quantization.hybrid.files import load_hybrid

FAULTS = ("kill", "kill at a call", "interrupt", "full", "read-only", "clock", "pair")
INTERRUPTED = 130
OWN_CODES = {0, 1, 2, INTERRUPTED}
CALLS = ("open", "replace", "fsync", "unlink", "mkdir")
PATIENCE_S, LOOK_S = 120.0, 0.002


def preload(folder: Path) -> None:
    """Import what commands import, and load the kernels: a child has them from the start."""
    for name in APP:
        importlib.import_module(f"npusim.cli.{name}")
    for name in ("onnxruntime", "matplotlib.figure", "matplotlib.backends.backend_svg"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    graph = npusim.load_model(folder / "net.onnx")
    feeds = {"x": np.zeros((1, 3, 9, 8), np.float32)}
    for scheme in ("u8", "i8", "i16", "f16"):
        made = npusim.quantize(graph, [("0", feeds)], scheme=scheme, engine="npusim")
        npusim.compile(made).run(feeds, preprocessed=True)
    npusim.analyze(graph, npusim.compile(made), feeds)
    npusim.estimate(npusim.compile(made))


# ---- running a command in a child


def start(words: tuple[str, ...], folder: Path, before: Callable[[], None] = lambda: None) -> int:
    """Fork a child that runs the command line in a folder; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells switch it off behind &
        said = os.open(os.environ["CHAOS_SAID"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.argv = ["npusim", *words]
        before()
        command_line()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 98
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; return its exit code, or minus its signal."""
    for _ in range(int(PATIENCE_S / LOOK_S)):  # no clock: this process may be stopped as well
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(LOOK_S)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"it hung for {PATIENCE_S:.0f} s")


def said() -> str:
    """Return what the last child printed."""
    return Path(os.environ["CHAOS_SAID"]).read_text(errors="replace")


# ---- what lies in a folder


def digests(folder: Path) -> dict[str, str]:
    """Return file -> digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def is_left_over(name: str) -> bool:
    """Tell whether a file may stay behind after a kill: it is hidden, and removed some day."""
    base = name.rpartition("/")[2]
    return base.startswith(".") and base.endswith((ENDING, ".lock"))


@dataclass(frozen=True)
class Known:
    """Files of undisturbed runs: the older one, the new one, and what both began with."""

    inputs: dict[str, str]
    old: dict[str, str]
    new: dict[str, str]


def state_of(folder: Path, command: Command, known: Known) -> str:
    """Return old, new, or refused; raise an AssertionError where a set is something else."""
    found = digests(folder)
    for name, digest in known.inputs.items():
        assert found.get(name) == digest, f"the input {name} was changed"
    states = []
    for patterns in command.sets:
        names = [n for n in {**known.old, **known.new} if any(_fits(n, p) for p in patterns)]
        own = {name: found[name] for name in names if name in found}
        fits = [
            word
            for word, files in (("old", known.old), ("new", known.new))
            if own == {name: files[name] for name in names if name in files}
        ]
        marked = command.folder and (folder / command.folder / UNFINISHED).exists()
        if fits:
            states.append(fits[-1])
        else:  # pictures of a pattern stand alone; else the index is missing, or the folder marked
            unseen = patterns[0] in names and patterns[0] not in own
            assert unseen or marked or patterns[0].endswith("*"), f"{sorted(own)} are of two runs"
            states.append("refused")
    if command.folder:
        states.append(_dump_state(folder / command.folder, found, command, known))
    assert len(set(states) - {"refused"}) <= 1 or command.folder == "", f"sets are {states}"
    return "refused" if "refused" in states else states[-1]


def _dump_state(folder: Path, found: dict[str, str], command: Command, known: Known) -> str:
    try:
        read_dump(folder)
    except InputError as error:
        if "no whole dump" in str(error) or "no such folder" in str(error):
            return "refused"
        raise AssertionError(str(error)) from error
    names = [name for name in found if name.startswith(f"{command.folder}/")]
    index = f"{command.folder}/{INDEX_NAME}"
    if index in found:
        listed = (folder / INDEX_NAME).read_text()
        names = [index, *(name for name in names if name.rpartition("/")[2] in listed)]
    for word, files in (("new", known.new), ("old", known.old)):
        if all(found[name] == files.get(name) for name in names if not is_left_over(name)):
            return word
    raise AssertionError(f"{command.folder} reads as whole and is of two runs")


def _fits(name: str, pattern: str) -> bool:
    return Path(name).match(pattern) and name.count("/") == pattern.count("/")


def is_so_far(name: str, folder: Path) -> bool:
    """Tell whether the files are what an interrupted command had found, whole and saying so."""
    if name == "evaluate":
        text = (folder / "e.json").read_text(encoding="utf-8")
        return bool(json.loads(text)["interrupted"])
    load_hybrid(folder / "best.json", folder / "best.data")  # checks that they belong together
    return "interrupted; the same command goes on" in said()


# ---- disturbances


def kill(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """SIGKILL at a random moment."""
    child = start(words, folder)
    time.sleep(rng.uniform(0, seconds))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return ended(child)


def kill_at_a_call(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """SIGKILL in front of a random call of the file system."""
    name, left = rng.choice(CALLS), rng.randint(1, 40 if rng.random() < 0.5 else 8)
    return ended(start(words, folder, lambda: _dying(name, left)))


def _dying(name: str, left: int) -> None:
    module = io if name == "open" else os
    inner = getattr(module, name)
    count = 0

    def call(*given, **more):  # type: ignore[no-untyped-def]
        nonlocal count
        where = str(given[0]) if given else ""
        if name != "open" or ENDING in where or where.endswith((UNFINISHED, ".lock", ".jsonl")):
            count += 1
            if count == left:
                os.kill(os.getpid(), signal.SIGKILL)
        return inner(*given, **more)

    setattr(module, name, call)
    if name == "open":
        import builtins

        builtins.open = call


def interrupt(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """SIGINT at a random moment."""
    child = start(words, folder)
    time.sleep(rng.uniform(0.01, seconds))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGINT)
    return ended(child)


def clock(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """Let the clock jump by up to ten years at each look."""
    seed = rng.random()

    def jumping() -> None:
        jump, real = random.Random(seed), time.time
        time.time = lambda: real() + jump.uniform(-3e8, 3e8)
        time.time_ns = lambda: int(time.time() * 1e9)

    return ended(start(words, folder, jumping))


def pair(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """Start the same command twice."""
    first = start(words, folder)
    time.sleep(rng.uniform(0, seconds))
    codes = ended(start(words, folder)), ended(first)
    assert set(codes) <= {0, 1, 2}, f"exit codes {codes}"
    assert min(codes) < 2, "both were refused"
    return max(codes)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Put a file system in memory over a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_disk(words: tuple[str, ...], folder: Path, rng: random.Random, full: bool) -> int:
    """Run on a disk that is full before the end, or that cannot be written."""
    whole = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    room = rng.randrange(0, 12) * 4096 if full else 1 << 22
    with tempfile.TemporaryDirectory() as place, mounted(Path(place), f"size={whole + (1 << 20)}"):
        shutil.copytree(folder, place, dirs_exist_ok=True)
        if full:
            free = os.statvfs(place)
            with open(Path(place) / "filler", "wb") as file:
                file.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        else:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        code = ended(start(words, Path(place)))
        shutil.rmtree(folder)
        shutil.copytree(place, folder, ignore=shutil.ignore_patterns("filler"))
    return code


def full(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """Run on a disk that is full before the end."""
    return small_disk(words, folder, rng, True)


def read_only(words: tuple[str, ...], folder: Path, rng: random.Random, seconds: float) -> int:
    """Run on a disk that cannot be written."""
    return small_disk(words, folder, rng, False)


DISTURB = dict(
    zip(FAULTS, (kill, kill_at_a_call, interrupt, full, read_only, clock, pair), strict=True)
)


# ---- trials


class Trials:
    """Undisturbed runs of every command, and disturbed ones to compare with them."""

    def __init__(self, work: Path) -> None:
        self.work, self.known, self.seconds = work, {}, {}
        os.environ["CHAOS_SAID"] = str(work / "said.txt")
        os.environ["MPLCONFIGDIR"] = str(work)
        make_inputs(self._folder("inputs"))
        preload(work / "inputs")

    def _folder(self, name: str) -> Path:
        path = self.work / name
        path.mkdir()
        return path

    def undisturbed(self, name: str) -> None:
        """Run a command twice with the old and the new options; remember its files and time."""
        command = COMMANDS[name]
        plain, both = self._folder(f"{name}-new"), self._folder(f"{name}-old")
        for folder in (plain, both):
            shutil.copytree(self.work / "inputs", folder, dirs_exist_ok=True)
        begin = time.monotonic()
        self._must(command.words, plain)
        self.seconds[name] = time.monotonic() - begin
        self._must((*command.words, *command.old), both)
        inputs, old = digests(self.work / "inputs"), digests(both)
        shutil.copytree(both, self._folder(f"{name}-both"), dirs_exist_ok=True)
        self._must(command.words, self.work / f"{name}-both")
        new = digests(self.work / f"{name}-both")
        again = digests(plain)
        differ = [n for n in again if again[n] != new.get(n)]
        assert not differ, f"{name}: {differ} are not the same in two runs"
        self.known[name] = Known(inputs, old, new)

    def _must(self, words: tuple[str, ...], folder: Path) -> None:
        code = ended(start(words, folder))
        assert code in (0, 1), f"{' '.join(words)} ended with {code}: {said()}"

    def disturbed(self, name: str, fault: str, rng: random.Random) -> str:
        """Disturb a command once; return in what state it was found."""
        command, known = COMMANDS[name], self.known[name]
        folder = self._folder("trial")
        try:
            shutil.copytree(self.work / f"{name}-old", folder, dirs_exist_ok=True)
            code = DISTURB[fault](command.words, folder, rng, self.seconds[name])
            text = said()
            if code >= 0:
                assert code in OWN_CODES, f"exit code {code}: {text}"
                assert "Traceback" not in text, text
            so_far = code == INTERRUPTED and command.steps and is_so_far(name, folder)
            state = "so far" if so_far else state_of(folder, command, known)
            if code == 0:
                assert state == "new", f"exit code 0, and the files are {state}"
            self._must(command.words, folder)
            assert "Traceback" not in said(), said()
            found = {n: d for n, d in digests(folder).items() if not is_left_over(n)}
            assert found == known.new, f"given again: {_differing(found, known.new)}"
            return state
        finally:
            shutil.rmtree(folder)


def _differing(found: dict[str, str], wanted: dict[str, str]) -> str:
    return ", ".join(n for n in sorted({**found, **wanted}) if found.get(n) != wanted.get(n))


def table(counts: Counter[tuple[str, str]], failed: Counter[str], faults: list[str]) -> str:
    """Return a Markdown table: a line per disturbance."""
    lines = [
        "| disturbance | runs | old files | refused | so far | new files | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in faults:
        cells = [counts[fault, state] for state in ("old", "refused", "so far", "new")]
        lines.append(
            f"| {fault} | {sum(cells) + failed[fault]} | "
            + " | ".join(map(str, [*cells, failed[fault]]))
            + " |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Disturb until the runs or the minutes are over; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--commands", default=",".join(COMMANDS))
    options = parser.parse_args(arguments)
    faults, names = options.faults.split(","), options.commands.split(",")
    end = time.monotonic() + 60 * options.minutes
    counts: Counter[tuple[str, str]] = Counter()
    failed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="npusim-chaos-") as work:
        trials = Trials(Path(work))
        for name in names:
            trials.undisturbed(name)
        for number in range(options.runs):
            if time.monotonic() > end:
                break
            rng = random.Random(f"{options.seed} {number}")
            name, fault = rng.choice(names), rng.choice(faults)
            try:
                counts[fault, trials.disturbed(name, fault, rng)] += 1
            except (AssertionError, OSError) as error:
                failed[fault] += 1
                print(f"run {number}, {name}, {fault}: {error}", flush=True)
            if sys.stderr.isatty() or number % 50 == 49:
                print(f"{number + 1} runs, {sum(failed.values())} failed", file=sys.stderr)
    print(table(counts, failed, faults))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
