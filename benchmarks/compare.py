"""Speed against a recorded baseline: a loss above 10 % fails.

    python benchmarks/compare.py [--baseline FILE] [--limit PERCENT] [--json]
    python benchmarks/compare.py --record

A baseline (benchmarks/baseline.json) holds the figures of each kind of computer by processor and
path of machine code; another computer is refused until it has recorded its own. Figures are the
least processor time of one thread over several runs, in ms: inference of networks of ``zoo.py`` in
each number format, import, calibration and compilation of MobileNetV2. They are divided by the time
of a fixed product of matrices measured beside them, which takes out the clock rate. What seems
slower is measured again before it counts. Exit code 1: a loss; 2: no baseline of this computer.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

for variable in ("NPUSIM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # processor time is counted
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import numpy as np
import onnx
from zoo import mobilenet_v2, yolov5s

import npusim
from npusim.runtime import isa

BASELINE = Path(__file__).resolve().parent / "baseline.json"
LIMIT = 10.0
ROUNDS = 9
AGAIN = 3
FORMATS = ("u8", "i8", "i16", "f16")
MODELS = {
    "mobilenet_v2": mobilenet_v2,
    "yolov5n_silu_256": lambda: yolov5s("silu", 256, 0.5),
}


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def works() -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    found: dict[str, Callable[[], Any]] = {}
    for name, make in MODELS.items():
        model = make()
        graph = loaded(name, model)
        rng = np.random.default_rng(0)
        feeds = {n: rng.random(graph.spec(n).shape, np.float32) for n in graph.inputs}
        for scheme in FORMATS:
            ready = npusim.quantize(graph, [("0", feeds)], scheme=scheme, engine="npusim")
            program = npusim.compile(ready)

            def infer(program: Any = program, feeds: Any = feeds) -> Any:
                return program.run(feeds, preprocessed=True)

            found[f"{name} {scheme}"] = infer
            if name == "mobilenet_v2" and scheme == "u8":
                found["compile"] = lambda ready=ready: npusim.compile(ready)
        if name == "mobilenet_v2":
            found["import"] = lambda name=name, model=model: loaded(name, model)
            found["calibrate"] = lambda graph=graph, feeds=feeds: npusim.quantize(
                graph, [("0", feeds)], engine="npusim"
            )
    return found


def loaded(name: str, model: onnx.ModelProto) -> Any:
    """Return the graph of a model, which is kept as a file."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "npusim" / "compare"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    data = model.SerializeToString()
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)
    return npusim.load_model(path)


def least_ms(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the least processor time of a thread."""
    work()
    times = []
    for _ in range(rounds):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return min(times) * 1e3


def clock_ms() -> float:
    """Return the time of a fixed product of matrices."""
    a = np.random.default_rng(0).random((384, 384), np.float32)
    return least_ms(lambda: [a @ a for _ in range(8)])


def measure(chosen: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Return milliseconds by name, and the clock's."""
    clock = clock_ms()
    figures = {name: round(least_ms(work), 4) for name, work in chosen.items()}
    return {"clock": round(min(clock, clock_ms()), 4), **figures}


def losses(
    old: Mapping[str, float], new: Mapping[str, float], limit: float
) -> dict[str, tuple[float, float, float]]:
    """Return what is slower by more than the limit: name -> (old ms, new ms, percent)."""
    rate = new["clock"] / old["clock"]
    found = {}
    for name, before in old.items():
        if name == "clock" or name not in new:
            continue
        percent = (new[name] / rate / before - 1) * 100
        if percent > limit:
            found[name] = (before, new[name], percent)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--limit", type=float, default=LIMIT, help="percent")
    parser.add_argument("--record", action="store_true", help="write this computer's figures")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    known: dict[str, dict[str, float]] = {}
    if options.baseline.is_file():
        known = json.loads(options.baseline.read_text(encoding="utf-8"))
    key = f"{processor()}, {isa.selected()}"
    if not options.record and key not in known:
        print(f"{options.baseline.name} has no figures of {key}: --record", file=sys.stderr)
        return 2
    chosen = works()
    new = measure(chosen)
    if options.record:
        known[key] = new
        text = json.dumps(dict(sorted(known.items())), indent=1)
        options.baseline.write_text(text + "\n", encoding="utf-8")
        print(f"{len(new)} figures of {key} are in {options.baseline.name}")
        return 0
    old = known[key]
    found = losses(old, new, options.limit)
    for _ in range(AGAIN):
        if not found:
            break
        again = measure({name: chosen[name] for name in found})
        found = losses({n: old[n] for n in ("clock", *found)}, again, options.limit)
    if options.json:
        print(json.dumps({"baseline": old, "now": new, "losses": found}, indent=1))
    for name, (before, now, percent) in found.items():
        print(f"{name}: {before:.3f} ms, now {now:.3f} ms: {percent:.1f} % slower", file=sys.stderr)
    missing = sorted(set(old) - set(new))
    if missing:
        print(f"no longer measured: {', '.join(missing)}", file=sys.stderr)
    if not found and not missing:
        print(f"{len(old) - 1} figures, none slower by more than {options.limit:g} %")
    return 1 if found or missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
