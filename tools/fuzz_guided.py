"""Look for damaged inputs that reach new places in npusim, by its coverage; developer's tool.

    python -m pip install atheris
    python tools/fuzz_guided.py LOADER --minutes N [--seed S] [--to FOLDER]

The same seeds, changes and verdicts as ``fuzz.py``, but libFuzzer chooses what is changed next: an
input that runs code no other ran is kept and changed further. So it gets behind checks that chance
seldom passes. Inputs are not numbered; each finding, once by its innermost places, is kept in
FOLDER/LOADER/, what reached new code in FOLDER/corpus-LOADER/. Exit code 1: there is a finding.
"""

import argparse
import json
import logging
import pkgutil
import random
import subprocess
import sys
import warnings
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuzz_child import GOOD, MEMORY, judged, written
from fuzz_inputs import repaired
from fuzz_mutators import mutated
from fuzz_seeds import LOADERS, SHAPES, Files

LONGEST = 1 << 20  # bytes of an input
SECONDS, MEGABYTES = 20, 2000  # an input that needs more ends the run, as a finding of libFuzzer's
STRETCH = 100  # inputs between two tallies
TALLY, FINDING = "tally.json", "finding.json"
LOOKED_AT = ("npusim.importers", "npusim.ir", "npusim.reading", "npusim.passes", "npusim.ops")


def packed(files: Files) -> bytes:
    """Return files as one text of bytes: their names and sizes in a line of JSON, then they."""
    head = json.dumps({label: len(content) for label, content in files.items()})
    return b"\n".join((head.encode(), b"".join(files.values())))


def unpacked(data: bytes) -> Files | None:
    """Return the files that ``packed`` made one; None of anything else."""
    head, _, content = data.partition(b"\n")
    try:
        sizes = json.loads(head)
    except ValueError:
        return None
    whole = isinstance(sizes, dict) and all(type(size) is int for size in sizes.values())
    if not whole or min(sizes.values(), default=0) < 0 or sum(sizes.values()) != len(content):
        return None
    files, begin = {}, 0
    for label, size in sizes.items():
        files[label] = content[begin : begin + size]
        begin += size
    return files


def changed(data: bytes, most: int, number: int) -> bytes:
    """Return an input with one more change by the rules of its formats."""
    files = unpacked(data)
    if files is None:
        return data
    draw = random.Random(number)
    label = draw.choice(sorted(files.keys() - {SHAPES}))
    new = repaired(files, files | {label: mutated(label, files[label], draw)})
    result = packed(new)
    return result if len(result) <= most else data


def instrumented(atheris: Any) -> None:
    """Import what is looked at, with its branches counted."""
    with atheris.instrument_imports(include=list(LOOKED_AT)):
        for package in LOOKED_AT:
            found = import_module(package)
            for module in pkgutil.walk_packages(found.__path__, f"{package}."):
                if "pytorch" not in module.name:  # torch is not tested here
                    import_module(module.name)


class Findings:
    """Verdicts on inputs, and the findings among them, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: Counter[str] = Counter()
        self._known: set[str] = set()

    def add(self, verdict: dict[str, Any], files: Files) -> None:
        """Count a verdict; keep the input when it is a finding that is not known."""
        self._counts[verdict["verdict"]] += 1
        if sum(self._counts.values()) % STRETCH == 0:
            (self._folder / TALLY).write_text(json.dumps(self._counts))
        if verdict["verdict"] in GOOD or verdict["key"] in self._known:
            return
        self._known.add(verdict["key"])
        kept = self._folder / str(len(self._known))
        kept.mkdir(exist_ok=True)
        written(files | {FINDING: json.dumps(verdict, indent=1).encode()}, kept)


def search(name: str, seed: int, minutes: float, folder: Path, place: Path) -> None:
    """Run libFuzzer in this process, which ends with it; inputs are written to ``place``."""
    import atheris

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    instrumented(atheris)
    loader, findings, corpus = LOADERS[name], Findings(folder / name), folder / f"corpus-{name}"
    for number, files in enumerate(loader.seeds()):
        if len(content := packed(files)) <= LONGEST:
            (corpus / f"seed-{number}").write_bytes(content)

    def one(data: bytes) -> None:
        files = unpacked(data)
        if files is not None:
            written(files, place)
            findings.add(judged(loader, place), files)

    atheris.Setup(
        [
            sys.argv[0], str(corpus), f"-seed={seed}", f"-max_len={LONGEST}",
            f"-max_total_time={minutes * 60:.0f}", f"-timeout={SECONDS}",
            f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={folder / name}/",
        ],
        one,
        custom_mutator=changed,
    )  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loader", choices=sorted(LOADERS))
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=1, help="from 1 on")
    parser.add_argument("--to", type=Path, default=Path("fuzz-guided"))
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)  # of the child
    options = parser.parse_args()
    name, folder = options.loader, options.to.absolute()
    if options.place:
        search(name, options.seed, options.minutes, folder, options.place)
    if find_spec("atheris") is None:
        parser.error("it needs the package atheris: python -m pip install atheris")
    for made in (folder / name, folder / f"corpus-{name}"):
        made.mkdir(parents=True, exist_ok=True)
    (folder / name / TALLY).write_text("{}")
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--place", place], check=False, stderr=subprocess.PIPE
        )
    told = done.stderr.decode("utf-8", "replace").splitlines()
    kept = sorted(folder.glob(f"{name}/*/{FINDING}"))
    tally = json.loads((folder / name / TALLY).read_text())
    print(f"{name}: {tally}; {len(kept)} findings")
    reached = [line for line in told if " cov: " in line]
    print(*(reached[:1] + reached[-1:]), sep="\n")
    for path in kept:
        print(path, json.loads(path.read_text())["key"])
    if done.returncode:
        print(*told[-20:], sep="\n")
    return 1 if kept or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
