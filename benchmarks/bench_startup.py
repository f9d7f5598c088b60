"""Start-up times: import, first inference of a cached and of an uncached installation.

    python benchmarks/bench_startup.py [--repetitions N] [--json]

Every figure is the wall time of new processes, interpreter included; medians. Modules come from
byte code, as in any installation after its first start, kernels from a folder that the first demo
filled; the uncached ones compile into an empty folder that is thrown away. The network is the
bundled classifier, u8. ``part_..`` divide one such process: medians of what its stages take.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST_INFERENCE = """
import sys
import npusim
from npusim import assets
from npusim.ir import archive
from npusim.quantization.dataset import load_sample
program = npusim.compile(archive.load(sys.argv[1]))
program.run(load_sample([assets.test_images()[0][0]], program.graph), preprocessed=True)
"""
FIRST_RKNN = """
import sys
import numpy as np
from npusim.rknn import RKNN
rknn = RKNN()
rknn.load_rknn(sys.argv[1])
rknn.init_runtime()
rknn.inference(inputs=[np.zeros((48, 192, 3), np.uint8)])
"""
PARTS = """
import json, sys, time
times = [time.perf_counter()]
def lap(): times.append(time.perf_counter())
import numpy as np; lap()
import numba; lap()
import npusim
from npusim import assets
from npusim.ir import archive
from npusim.kernels._jit import Kernel
from npusim.quantization.dataset import load_sample
from npusim.runtime.bindings import load_bindings
npusim.compile; load_bindings(); lap()
loading, load = [0.0], Kernel._compiled
def timed(kernel):
    begin = time.perf_counter()
    found = load(kernel)
    loading[0] += time.perf_counter() - begin
    return found
Kernel._compiled = timed
graph = archive.load(sys.argv[1]); lap()
program = npusim.compile(graph); lap()
program.run(load_sample([assets.test_images()[0][0]], graph), preprocessed=True); lap()
names = "numpy", "numba", "npusim_modules", "model_file", "lowering_and_binding", "first_run"
found = {name: b - a for name, a, b in zip(names, times, times[1:])}
found["kernels"] = loading[0]
found["first_run"] -= loading[0]
print(json.dumps(found))
"""


def environment(cache: Path) -> dict[str, str]:
    """Return the variables of a process that keeps its kernels and its byte code in a folder."""
    own = {
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPYCACHEPREFIX": str(cache / "bytecode"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **own}


def wall_s(arguments: list[str], cache: Path) -> float:
    """Return the seconds a new Python process takes."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], env=environment(cache), check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begin


def parts_s(model: Path, cache: Path, repetitions: int) -> dict[str, float]:
    """Return the seconds of each stage of a first inference."""
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", PARTS, str(model)], env=environment(cache), check=True,
                capture_output=True, text=True,
            ).stdout
        )
        for _ in range(repetitions)
    ]  # fmt: skip
    return {f"part_{name}_s": statistics.median(run[name] for run in found) for name in found[0]}


def measure(repetitions: int) -> dict[str, float]:
    """Return seconds by what was started."""
    with tempfile.TemporaryDirectory() as folder:
        cache, model = Path(folder) / "cache", Path(folder) / "demo" / "model_u8.npusim"
        demo = ["-m", "npusim", "demo", "-o", str(model.parent)]
        cold_demo = wall_s(demo, cache)
        first = ["-c", FIRST_INFERENCE, str(model)]
        cold_inference = wall_s(first, Path(folder) / "empty")
        picture = ROOT / "npusim" / "assets" / "images" / "region_based_0.png"

        def median(*arguments: str) -> float:
            wall_s(list(arguments), cache)  # writes byte code
            return statistics.median(wall_s(list(arguments), cache) for _ in range(repetitions))

        python, imported = median("-c", "pass"), median("-c", "import npusim")
        cached_demo = median(*demo)
        return {
            "python_s": python,
            "import_s": imported,
            "cached_first_inference_s": median(*first),
            "cached_first_inference_rknn_s": median("-c", FIRST_RKNN, str(model)),
            "cached_run_command_s": median(
                "-m", "npusim", "run", str(model), "--input", str(picture)
            ),
            "uncached_first_inference_s": cold_inference,
            "cached_demo_s": cached_demo,
            "uncached_demo_s": cold_demo,
            "compile_for_demo_s": cold_demo - cached_demo,
            **parts_s(model, cache, repetitions),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {name: round(value, 3) for name, value in measure(options.repetitions).items()}
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:31} {value:8.2f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
