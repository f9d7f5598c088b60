"""Feed damaged and hostile files to every reader of npusim; developer's tool.

    python tools/fuzz.py [LOADER...] --minutes N --seed S [--jobs J] [--to FOLDER]

Sound files (``fuzz_seeds.py``) are changed by mutators that know their format
(``fuzz_mutators.py``) and read in a process of their own with limits of memory and time
(``fuzz_child.py``). Verdicts:

========= ==========================================================================
refused   an error of npusim: one sentence, file, place, rule, remedy
ok        it loads, runs, and gives what the reference gives where there is one
exception any other exception
message   an error that nobody reads to its end
differs   the reference (ONNX Runtime, LiteRT) gives other numbers
hang      more than ``--seconds`` of processor time
blow-up   more than ``--megabytes``
crash     the process ended
========= ==========================================================================

Everything but the first two is a finding: found twice it counts once (by its innermost places in
npusim), it is made smaller and kept in FOLDER/LOADER/, and the run ends with exit code 1. Input k
of a loader follows from the seed and k alone. Findings that were mended belong into
``tests/corpus``, where the tests replay them.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from fuzz_mutators import mutated
from fuzz_seeds import LOADERS, SHAPES, Files

GOOD = ("ok", "refused")
TRIES = 60
"""Runs that making a finding smaller may take."""


@dataclass
class Child:
    """A process that runs inputs of one loader."""

    name: str
    seconds: float
    megabytes: int
    folder: Path
    process: Any = None
    count: int = 0

    def judge(self, files: Files) -> dict[str, Any]:
        """Write an input to a folder of its own, run it and return the verdict."""
        if self.process is None:
            arguments = [self.name, str(self.seconds), str(self.megabytes)]
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fuzz_child.py")), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.count += 1
        place = self.folder / f"{self.name}-{self.count}"
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        self.process.stdin.write(f"{place}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        for path in place.iterdir():
            path.unlink()
        place.rmdir()
        if not line:
            raise RuntimeError(f"the child of {self.name} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


@dataclass
class Tally:
    """What was found."""

    to: Path
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    found: dict[tuple[str, str], str] = field(default_factory=dict)
    lock: Any = field(default_factory=Lock)

    def add(self, name: str, answer: dict[str, Any]) -> bool:
        """Count a verdict; tell whether it is a finding that was not there before."""
        with self.lock:
            self.verdicts.setdefault(name, Counter())[answer["verdict"]] += 1
            key = name, answer.get("key", "")
            if answer["verdict"] in GOOD or key in self.found:
                return False
            self.found[key] = answer["verdict"]
            return True

    def keep(self, name: str, files: Files, answer: dict[str, Any], source: str) -> Path:
        """Write a finding to its folder."""
        digest = sha256(repr(sorted(files.items())).encode()).hexdigest()[:10]
        place = self.to / name / digest
        place.mkdir(parents=True, exist_ok=True)
        for label, content in files.items():
            (place / label).write_bytes(content)
        (place / "finding.json").write_text(json.dumps(answer | {"input": source}, indent=1))
        return place


def made(seeds: list[Files], name: str, seed: int, number: int) -> tuple[Files, Files]:
    """Return the seed and the input of a number."""
    draw = random.Random(f"{name} {seed} {number}")
    start = draw.choice(seeds)
    files = dict(start)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        label = draw.choice(sorted(files.keys() - {SHAPES}))
        files[label] = mutated(label, files[label], draw)
    return start, files


def smaller(child: Child, start: Files, files: Files, key: str) -> Files:
    """Return an input with the same finding and less that differs from the seed."""
    left = TRIES

    def same(tried: Files) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and child.judge(tried).get("key") == key

    for label in sorted(files):
        if files[label] != start[label] and same(files | {label: start[label]}):
            files = files | {label: start[label]}
    for label in sorted(files):
        whole = start[label]
        step = max(1, len(whole) // 4)
        while step and left > 0 and len(files[label]) == len(whole) and files[label] != whole:
            for begin in range(0, len(whole), step):
                own = files[label]
                if own[begin : begin + step] == whole[begin : begin + step]:
                    continue
                tried = own[:begin] + whole[begin : begin + step] + own[begin + step :]
                if same(files | {label: tried}):
                    files = files | {label: tried}
            step = 0 if step == 1 else step // 2
    return files


def search(name: str, options: argparse.Namespace, tally: Tally, share: int, until: float) -> None:
    """Run inputs of one loader until the time is over; shares take turns."""
    seeds = list(LOADERS[name].seeds())
    with TemporaryDirectory(prefix="npusim-fuzz-") as folder:
        child = Child(name, options.seconds, options.megabytes, Path(folder))
        number = share
        if share == 0:
            for index, files in enumerate(seeds):
                answer = child.judge(files)
                if tally.add(name, answer):
                    report(name, tally.keep(name, files, answer, f"seed file {index}"), answer)
        while time.monotonic() < until and number < options.inputs:
            start, files = made(seeds, name, options.seed, number)
            answer = child.judge(files)
            if tally.add(name, answer):
                kept = smaller(child, start, files, answer["key"])
                source = f"{name} --seed {options.seed}, input {number}"
                report(name, tally.keep(name, kept, answer, source), answer)
            number += options.jobs
        child.close()


def report(name: str, place: Path, answer: dict[str, Any]) -> None:
    """Print a finding."""
    last = (answer.get("text") or "").strip().splitlines()[-1:] or [""]
    print(
        f"{name}: {answer['verdict']}: {answer.get('key')}: {last[0][:160]}\n  {place}", flush=True
    )


def main() -> int:
    """Search, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loaders", nargs="*", metavar="LOADER", help=", ".join(LOADERS))
    parser.add_argument("--minutes", type=float, default=2.0, help="for all loaders together")
    parser.add_argument("--inputs", type=float, default=inf, help="of each loader, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes beside each other")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one input")
    parser.add_argument("--megabytes", type=int, default=700, help="of one input")
    parser.add_argument("--to", type=Path, default=Path("npusim-fuzz"), help="folder of findings")
    options = parser.parse_args()
    names = options.loaders or list(LOADERS)
    if unknown := sorted(set(names) - set(LOADERS)):
        parser.error(f"no loader {', '.join(unknown)}; there are {', '.join(LOADERS)}")
    tally = Tally(options.to)
    each = 60 * options.minutes / len(names)
    for name in names:
        until = time.monotonic() + each
        with ThreadPoolExecutor(options.jobs) as shares:
            for done in [
                shares.submit(search, name, options, tally, share, until)
                for share in range(options.jobs)
            ]:
                done.result()
    for name, counts in tally.verdicts.items():
        row = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
        print(f"{name:<11} {sum(counts.values()):>6} inputs: {row}")
    print(f"{len(tally.found)} findings" + (f" in {options.to}" if tally.found else ""))
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
