"""Use npusim for a long time: memory, descriptors, threads and temporary files stay flat.

``python tools/soak.py [--minutes M | --rounds N] [--seed S]`` draws, again and again: inferences of
one object from several threads at once, objects that are made, loaded, run and released, whole
conversions of a float model, failing calls, layer dumps, and children by fork and by spawn. Every
result is compared with the first. What a process holds is looked at after each round; the last
third of the rounds is compared with the second. Linux only: it reads /proc. Exit code 1: something
grew, or a result differed.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run in a bare checkout too

import numpy as np
from chaos_commands import make_inputs

from npusim.rknn import RKNN

SHAPE = (9, 8, 3)
GROWN_MB, GROWN_SHARE = 4.0, 0.02  # memory: what allocators keep differs by this much
INFERENCES = 200
Held = dict[str, float]


def picture(number: int) -> np.ndarray:
    """Return one of a few inputs."""
    return np.random.default_rng(number % 5).integers(0, 256, SHAPE, np.uint8)


def results(rknn: RKNN) -> list[bytes]:
    """Return the outputs for all inputs."""
    found = [rknn.inference(inputs=[picture(n)]) for n in range(5)]
    return [out[0].tobytes() if out else b"" for out in found]


def opened() -> RKNN:
    """Return an object that has loaded the stored model."""
    rknn = RKNN()
    assert rknn.load_rknn("net.rknn") == 0
    assert rknn.init_runtime() == 0
    return rknn


def converted() -> RKNN:
    """Return an object that has made the model of its float source."""
    rknn = RKNN()
    rknn.config(mean_values=[[127.5] * 3], std_values=[[127.5] * 3])
    assert rknn.load_onnx("net.onnx") == 0
    assert rknn.build(do_quantization=True, dataset="list.txt") == 0
    assert rknn.init_runtime() == 0
    return rknn


def child(expected: list[bytes]) -> None:
    """Load and run in another process."""
    sys.exit(0 if results(opened()) == expected else 1)


class Soak:
    """The rounds and what they check."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        with converted() as made:
            assert made.export_rknn("net.rknn") == 0
            self.expected = results(made)
        self.shared = opened()
        self.done: Counter[str] = Counter()

    def threads(self) -> None:
        """Several threads, some with objects of their own."""
        wrong = []

        def work(rknn: RKNN, first: int) -> None:
            for n in range(first, first + INFERENCES):
                out = rknn.inference(inputs=[picture(n)])
                if not out or out[0].tobytes() != self.expected[n % 5]:
                    wrong.append(n)

        objects = [self.shared, self.shared, opened(), opened()]
        begun = [threading.Thread(target=work, args=(o, i)) for i, o in enumerate(objects)]
        for one in begun:
            one.start()
        for one in begun:
            one.join()
        for one in objects[2:]:
            one.release()
        self.done["inferences"] += INFERENCES * len(objects)
        assert not wrong, f"{len(wrong)} results differ"

    def cycles(self) -> None:
        """Load, run, release."""
        for _ in range(10):
            with opened() as rknn:
                assert results(rknn) == self.expected
        self.done["load and release"] += 10

    def conversions(self) -> None:
        """Make the model anew."""
        with converted() as rknn:
            assert results(rknn) == self.expected
        self.done["conversions"] += 1

    def failures(self) -> None:
        """Make calls that fail."""
        with RKNN() as rknn:
            assert rknn.load_onnx("missing.onnx") == -1
            assert rknn.inference(inputs=[]) is None
            assert self.shared.inference(inputs=[np.zeros((3, 3), np.uint8)]) is None
        self.done["failing calls"] += 3

    def dumps(self) -> None:
        """Write every layer."""
        os.environ["NN_LAYER_DUMP"] = "1"
        try:
            assert results(self.shared) == self.expected
        finally:
            del os.environ["NN_LAYER_DUMP"]
        self.done["layer dumps"] += 5

    def forks(self) -> None:
        """Fork while another thread infers."""
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                self.shared.inference(inputs=[picture(1)])

        other = threading.Thread(target=work)
        other.start()
        try:
            made = os.fork()
            if not made:
                os._exit(0 if results(self.shared) == self.expected else 1)
            code = os.waitstatus_to_exitcode(os.waitpid(made, 0)[1])
        finally:
            stop.set()
            other.join()
        assert code == 0, f"a forked child ended with {code}"
        self.done["forks"] += 1

    def spawns(self) -> None:
        """Start a process anew."""
        process = multiprocessing.get_context("spawn").Process(target=child, args=(self.expected,))
        process.start()
        process.join()
        assert process.exitcode == 0, f"a spawned child ended with {process.exitcode}"
        process.close()
        self.done["spawns"] += 1

    def round(self) -> None:
        """Do everything once, in a drawn order; processes are started now and then."""
        works: list[Callable[[], None]] = [
            *(self.threads, self.cycles, self.conversions, self.failures, self.dumps, self.forks)
        ]
        if self.rng.random() < 0.1:
            works.append(self.spawns)
        self.rng.shuffle(works)
        for work in works:
            work()


def held() -> Held:
    """Return what this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = sum(len(names) for _, _, names in os.walk(tempfile.gettempdir()))
    return {
        "memory (MB)": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "files": files,
    }


def main(arguments: list[str] | None = None) -> int:
    """Do rounds until the time is over; print what was done and a table of what is held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=0, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    seen: list[Held] = []
    with tempfile.TemporaryDirectory(prefix="npusim-soak-") as folder, contextlib.chdir(folder):
        tempfile.tempdir = folder  # what is left behind in it counts
        os.environ["TMPDIR"] = folder
        make_inputs(Path(folder))
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
            soak = Soak(random.Random(options.seed))
            soak.spawns()  # Python's own helper of spawned processes stays, with a pipe
            end = time.monotonic() + 60 * options.minutes
            while len(seen) < (options.rounds or 6) or (
                not options.rounds and time.monotonic() < end
            ):
                soak.round()
                seen.append(held())
    third = len(seen) // 3
    print(f"{len(seen)} rounds: " + ", ".join(f"{n} {what}" for what, n in soak.done.items()))
    print("| | second third | last third | highest |\n|---|---|---|---|")
    grew = []
    for name in seen[0]:
        before, after = (
            statistics.median(one[name] for one in part)
            for part in (seen[third : 2 * third], seen[-third:])
        )
        room = GROWN_MB + GROWN_SHARE * before if name.startswith("memory") else 0
        grew += [name] if after > before + room else []
        print(f"| {name} | {before:.6g} | {after:.6g} | {max(o[name] for o in seen):.6g} |")
    print(f"grew: {', '.join(grew)}" if grew else "nothing grew")
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())
