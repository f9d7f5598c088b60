"""Makes and runs inputs of ``fuzz.py`` with limits of memory and time; developer's tool.

Three generations: this process makes the seeds and loads the kernels. A fork of it, the worker,
makes and runs thousands of inputs. What does not end well there, or ends the worker, runs again
alone in a fork of its own, and only what comes of that counts: no verdict depends on the inputs
before. ``python tools/fuzz_child.py LOADER SECONDS MEGABYTES SEED`` reads a JSON list a line
([first number, step, end, seconds]) and answers lines of JSON: findings, then a tally.
"""

import base64
import contextlib
import ctypes
import faulthandler
import json
import logging
import mmap
import os
import re
import resource
import select
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuzz_inputs import made, smaller
from fuzz_seeds import LOADERS, ROOT, Files, Loader, run

GOOD = ("ok", "refused")
WARMED = 12
PATIENCE = 300
"""Looks, one a second, at which a process sleeps before it is ended."""

BATCH = 4000
"""Inputs of one worker."""

LONGEST = 3000
"""Characters of a message that somebody reads."""

MEMORY = Path("/dev/shm")
STATE = struct.Struct("<qqq")  # of a worker: its number, and how many were ok and refused
PACKAGE = f"{ROOT}/"

# imported before the forks, which then begin at once
AHEAD = ("onnxruntime", "ai_edge_litert.interpreter", "onnx.reference",
         "onnx.shape_inference", "npusim.reference.evaluate",
         "npusim.importers.onnx.importer", "npusim.importers.tflite.importer",
         "npusim.importers.caffe.importer", "npusim.importers.keras.importer",
         "npusim.importers.tensorflow.importer", "npusim.importers.vendor.importer",
         "npusim.importers.darknet.importer", "npusim.importers.mxnet.importer",
         "npusim.quantization.dataset", "npusim.evaluation.annotations")  # fmt: skip


HDF5_SECONDS = 8.0
"""What the HDF5 library may take for one input; users wait a minute for a damaged file."""


def impatient() -> None:
    """Have files that keep the HDF5 library busy for ever refused soon."""
    from npusim.importers.keras import file

    file.HDF5 = file.HDF5._replace(seconds=HDF5_SECONDS)


# ---- verdicts
def key_of(error: BaseException) -> str:
    """Return the exception's type and the innermost places in npusim."""
    places = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename  # no source lines are read: there are very many refusals
        if file.startswith(PACKAGE) and "/tools/" not in file:
            places.append(f"{file.removeprefix(PACKAGE)}:{frame.f_code.co_name}")
    return f"{type(error).__name__} in " + " < ".join(reversed(places[-3:]))


def judged(loader: Loader, folder: Path) -> dict[str, Any]:
    """Return the verdict on an input."""
    from npusim.errors import NpusimError

    try:
        result = loader.load(folder)
    except NpusimError as error:
        key, text = key_of(error), str(error)
        if not error.what or len(text) > LONGEST:
            return {"verdict": "message", "key": key, "text": text[:200]}
        return {"verdict": "refused", "place": key, "text": text[:200], "rule": _plain(error)}
    except BaseException as error:
        text = traceback.format_exc()[-1500:]
        return {"verdict": "exception", "key": key_of(error), "text": text}
    try:
        wrong = loader.check(folder, result)
    except NpusimError as error:
        return {"verdict": "ok", "text": str(error)[:200]}
    except BaseException as error:
        text = traceback.format_exc()[-1500:]
        return {"verdict": "exception", "key": f"run: {key_of(error)}", "text": text}
    if wrong:
        nodes = getattr(result, "nodes", ())
        kinds = " ".join(sorted({node.op for node in nodes}))
        return {"verdict": "differs", "key": f"differs {kinds}", "text": wrong}
    return {"verdict": "ok"}


def _plain(error: Any) -> str:
    """Return what an error says without what the file said."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\([^)]*\)|\[[^]]*\]", "_", error.what.partition("\n")[0])
    return re.sub(r"-?\d[\w.]*", "0", text)[:60]


def written(files: Files, folder: Path) -> None:
    """Write the files of an input to a folder, which holds nothing else afterwards."""
    for path in folder.iterdir():
        path.unlink()
    for label, content in files.items():
        (folder / label).write_bytes(content)


@dataclass
class Limits:
    """What an input may use."""

    seconds: float
    megabytes: int

    def begin(self) -> None:
        """Set the limits of this process."""
        silent = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(silent, number)
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        # the fork ends when the process that asked is gone
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limit = used + 2 * (self.megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_kib() -> int:
    """Return the most memory that this process has held since it was forked."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def answered(
    pid: int, reading: int, changes: Callable[[], object] = lambda: None
) -> tuple[bytes, bool, int, Any]:
    """Read what a child writes until it ends; return that, whether it slept, status and usage.

    A child that sleeps is ended. No clock tells: busy computers stop both processes for minutes.

    Parameters
    ----------
    changes : callable
        Gives something else when the child has gone on.
    """
    content, naps, last = b"", 0, changes()
    while naps < PATIENCE:
        if select.select([reading], [], [], 1.0)[0]:
            part = os.read(reading, 1 << 16)
            if not part:
                break
            content += part
            continue
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        naps, last = naps + 1 if state == "S" and changes() == last else 0, changes()
    if naps == PATIENCE:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _, status, usage = os.wait4(pid, 0)
    return content, naps == PATIENCE, status, usage


# ---- one input in a fork of its own
def run_one(loader: Loader, folder: Path, limits: Limits) -> dict[str, Any]:
    """Fork, run and judge one input."""
    begin, seconds = time.monotonic(), limits.seconds
    hang = folder.with_name(folder.name + ".hang")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            limits.begin()
            base = peak_kib()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 2, int(seconds) + 2))
            with hang.open("w") as file:
                # processor time: other programs may stop this one
                faulthandler.register(signal.SIGPROF, file=file)
                signal.setitimer(signal.ITIMER_PROF, seconds)
                found = judged(loader, folder)
                signal.setitimer(signal.ITIMER_PROF, 0)
            found["megabytes"] = (peak_kib() - base) >> 10
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
        finally:
            os._exit(99)
    os.close(writing)
    content, asleep, status, usage = answered(pid, reading)
    late = asleep or (not content and usage.ru_utime + usage.ru_stime >= seconds)
    found = json.loads(content) if content else {}
    if late:
        places = [line.strip() for line in hang.read_text().splitlines() if PACKAGE in line]
        shown = [p.replace(PACKAGE, "") for p in places if "/tools/" not in p]
        key = " < ".join(shown[:3]) or "outside"
        found = {"verdict": "hang", "key": f"hang {key}", "text": "\n".join(places)[:1500]}
    elif not content:
        code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        places = hang.read_text().splitlines()[:20]
        found = {"verdict": "crash", "key": f"crash {code}", "text": "\n".join(places)}
    elif found["megabytes"] > limits.megabytes and found["verdict"] in GOOD:
        found |= {"verdict": "blow-up", "key": f"blow-up {found.get('text', '')[-80:]}"}
    hang.unlink(missing_ok=True)
    return found | {"seconds": round(time.monotonic() - begin, 3)}


# ---- many inputs in one fork
@dataclass
class Search:
    """Inputs of one loader."""

    name: str
    seed: int
    limits: Limits
    folder: Path
    seeds: list[Files] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    def alone(self, files: Files) -> dict[str, Any]:
        """Return the verdict on an input that runs alone."""
        place = self.folder / "alone"
        place.mkdir(exist_ok=True)
        written(files, place)
        return run_one(LOADERS[self.name], place, self.limits)

    def finding(self, start: Files, files: Files, answer: dict[str, Any], source: str) -> None:
        """Count a verdict of ``alone``; print a finding that was not there before, made smaller."""
        self.counts[answer["verdict"]] += 1
        key = answer.get("key", "")
        if answer["verdict"] in GOOD or key in self.known:
            return
        self.known.add(key)
        files = smaller(lambda tried: self.alone(tried).get("key", ""), start, files, key)
        packed = {label: base64.b64encode(data).decode() for label, data in files.items()}
        print(json.dumps(answer | {"input": source, "files": packed}), flush=True)

    def sound(self) -> None:
        """Run the seeds themselves."""
        for index, files in enumerate(self.seeds):
            self.finding(files, files, self.alone(files), f"{self.name}, seed file {index}")

    def stretch(self, first: int, step: int, end: int, until: float) -> int:
        """Run inputs in workers until the time is over; return the next number."""
        while first < end and time.monotonic() < until:
            last = min(end, first + BATCH * step)
            shared = mmap.mmap(-1, STATE.size)  # outlives a worker that ends
            shared[:] = STATE.pack(first, 0, 0)
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                try:
                    self._work(range(first, last, step), until, shared, writing)
                    os._exit(0)
                finally:
                    os._exit(99)
            os.close(writing)
            tally, suspect = self._watch(pid, reading, shared)
            self.places.update(tally.get("places", ()))
            self.rules.update(tally.get("rules", ()))
            first, *counts = STATE.unpack(shared[:])
            self.counts.update({word: n for word, n in zip(GOOD, counts, strict=True) if n})
            if suspect:
                start, files = made(self.seeds, self.name, self.seed, first)
                answer, source = self.alone(files), f"{self.name} --seed {self.seed}, input {first}"
                if answer["verdict"] in GOOD and suspect != "memory":
                    key = f"alone it is {answer['verdict']}: {suspect}"
                    answer = answer | {"verdict": "unsteady", "key": key}
                self.finding(start, files, answer, source)
                first += step
        return first

    def _watch(self, pid: int, reading: int, shared: mmap.mmap) -> tuple[dict[str, Any], str]:
        """Wait for a worker; return its tally, and why its last input is to run alone."""
        content, asleep, status, _ = answered(pid, reading, lambda: bytes(shared))
        lines = content.decode().split("\n")
        tally = json.loads(lines[-2]) if len(lines) > 1 else {}
        suspect = tally.pop("suspect", "")
        if asleep or status:
            suspect = "it does not end" if asleep else f"the worker ended with {status}"
        return tally, suspect

    def _work(self, numbers: range, until: float, shared: mmap.mmap, writing: int) -> None:
        """Make and run inputs; write a tally when done, and before anything is suspected."""
        self.limits.begin()
        loader, place = LOADERS[self.name], self.folder / "worker"
        place.mkdir(exist_ok=True)
        counts = dict.fromkeys(GOOD, 0)
        places: set[str] = set()
        rules: set[str] = set()

        def tell(suspect: str) -> None:
            content = {"places": [*places], "rules": [*rules], "suspect": suspect}
            os.write(writing, json.dumps(content).encode() + b"\n")

        base = peak_kib()
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the worker
        for number in numbers:
            shared[:] = STATE.pack(number, *counts.values())
            if time.monotonic() > until:
                break
            _, files = made(self.seeds, self.name, self.seed, number)
            written(files, place)
            signal.setitimer(signal.ITIMER_PROF, self.limits.seconds)
            answer = judged(loader, place)
            signal.setitimer(signal.ITIMER_PROF, 0)
            used = (peak_kib() - base) >> 10
            if answer["verdict"] not in GOOD or used > self.limits.megabytes:
                tell("memory" if answer["verdict"] in GOOD else answer["verdict"])
                return
            counts[answer["verdict"]] += 1
            if "place" in answer:
                places.add(answer["place"])
                rules.add(answer["rule"])
        else:
            shared[:] = STATE.pack(number + numbers.step, *counts.values())
        tell("")


def _warm(loader: Loader, seeds: list[Files]) -> None:
    """Load and run some seeds here, so that kernels are there before the forks."""
    for files in islice(seeds, WARMED):
        with TemporaryDirectory() as place, contextlib.suppress(Exception):
            written(files, Path(place))
            run(Path(place), loader.load(Path(place)))


def main() -> None:
    """Answer until the input ends."""
    name, seconds, megabytes, seed = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    for module in AHEAD:
        import_module(module)
    impatient()
    where = MEMORY if MEMORY.is_dir() else None
    with TemporaryDirectory(prefix="npusim-fuzz-", dir=where) as folder:
        limits = Limits(float(seconds), int(megabytes))
        search = Search(name, int(seed), limits, Path(folder), list(LOADERS[name].seeds()))
        _warm(LOADERS[name], search.seeds)
        for line in sys.stdin:
            first, step, end, given = json.loads(line)
            if first == 0:
                search.sound()
            search.stretch(first, step, end, time.monotonic() + given)
            tally = {"counts": search.counts, "places": [*search.places], "rules": [*search.rules]}
            print(json.dumps(tally), flush=True)


if __name__ == "__main__":
    main()
