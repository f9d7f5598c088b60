"""Feed damaged and hostile files to every reader of npusim; developer's tool.

    python tools/fuzz.py [LOADER...] --minutes N --seed S [--jobs J] [--to FOLDER]

Sound files (``fuzz_seeds.py``) are changed by mutators that know their format
(``fuzz_mutators.py``) and read with limits of memory and time in processes that are forks of one
that has loaded everything (``fuzz_child.py``). Verdicts:

========= ==========================================================================
refused   an error of npusim: one sentence, file, place, rule, remedy
ok        it loads, runs, and gives what the reference gives where there is one
exception any other exception
message   an error that nobody reads to its end
differs   the reference (ONNX Runtime, LiteRT) gives other numbers
hang      more than ``--seconds`` of processor time
blow-up   more than ``--megabytes``
crash     the process ended
unsteady  a finding behind other inputs, and none when the input runs alone
========= ==========================================================================

Everything but the first two is a finding: found twice it counts once (by its innermost places in
npusim), it is made smaller and kept in FOLDER/LOADER/, and the run ends with exit code 1. Input k
of a loader follows from the seed and k alone. The table says from how many places in npusim
refusals came, and in how many sentences (without names and numbers): few of many inputs means that
a first check keeps the others from being looked at. Findings that were mended belong into
``tests/corpus``, where the tests replay them.
"""

import argparse
import base64
import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from fuzz_seeds import LOADERS

MOST = 1 << 60


@dataclass
class Tally:
    """What was found."""

    to: Path
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=dict)
    rules: dict[str, set[str]] = field(default_factory=dict)
    found: set[tuple[str, str]] = field(default_factory=set)
    lock: Any = field(default_factory=Lock)

    def add(self, name: str, answer: dict[str, Any]) -> None:
        """Take a line of a child: a finding, which is kept and printed once, or its tally."""
        with self.lock:
            if "counts" in answer:
                self.verdicts.setdefault(name, Counter()).update(answer["counts"])
                self.places.setdefault(name, set()).update(answer["places"])
                self.rules.setdefault(name, set()).update(answer["rules"])
            elif (name, answer["key"]) not in self.found:
                self.found.add((name, answer["key"]))
                self._keep(name, answer)

    def _keep(self, name: str, answer: dict[str, Any]) -> None:
        files = {label: base64.b64decode(data) for label, data in answer.pop("files").items()}
        digest = sha256(repr(sorted(files.items())).encode()).hexdigest()[:10]
        place = self.to / name / digest
        place.mkdir(parents=True, exist_ok=True)
        for label, content in files.items():
            (place / label).write_bytes(content)
        (place / "finding.json").write_text(json.dumps(answer, indent=1))
        last = (answer.get("text") or "").strip().splitlines()[-1:] or [""]
        print(
            f"{name}: {answer['verdict']}: {answer['key']}: {last[0][:160]}\n  {place}", flush=True
        )

    def row(self, name: str) -> str:
        """Return a line of the table."""
        counts = self.verdicts[name]
        words = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
        depth = f"{len(self.places[name])} places, {len(self.rules[name])} sentences"
        return f"{name:<11} {sum(counts.values()):>7} inputs: {words}; {depth}"


def search(
    name: str, options: argparse.Namespace, tally: Tally, share: int, minutes: float
) -> None:
    """Run inputs of one loader in a child until the time is over; shares take turns."""
    command = [name, options.seconds, options.megabytes, options.seed]
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("fuzz_child.py")), *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        wanted = [options.first + share, options.jobs, options.first + options.inputs, 60 * minutes]
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{json.dumps(wanted)}\n")
        child.stdin.close()
        last: dict[str, Any] = {}
        for line in child.stdout:
            last = json.loads(line)
            tally.add(name, last)
    if "counts" not in last:
        raise RuntimeError(f"the child of {name} ended with {child.returncode}")


def main() -> int:
    """Search, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loaders", nargs="*", metavar="LOADER", help=", ".join(LOADERS))
    parser.add_argument("--minutes", type=float, default=2.0, help="for all loaders together")
    parser.add_argument("--inputs", type=int, default=MOST, help="of each loader, at most")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
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
    for name in names:
        with ThreadPoolExecutor(options.jobs) as shares:
            for done in [
                shares.submit(search, name, options, tally, share, options.minutes / len(names))
                for share in range(options.jobs)
            ]:
                done.result()
        print(tally.row(name), flush=True)
        missing = options.inputs - sum(tally.verdicts[name].values())
        if options.inputs < MOST and missing > 0:
            print(f"  time is over: {missing} inputs of {name} were not read", flush=True)
    total = sum(sum(counts.values()) for counts in tally.verdicts.values())
    print(
        f"{total} inputs, {len(tally.found)} findings"
        + (f" in {options.to}" if tally.found else "")
    )
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
