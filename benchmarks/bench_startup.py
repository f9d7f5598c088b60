"""Start-up times: import, first inference of a cached and of an uncached installation.

    python benchmarks/bench_startup.py [--repetitions N] [--json]

Every figure is the wall time of new processes, interpreter included; medians. The uncached ones
compile into an empty folder that is thrown away. The network is the bundled classifier, u8.
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


def wall_s(arguments: list[str], cache: Path) -> float:
    """Return the seconds a new Python process takes."""
    env = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], env=env, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begin


def measure(repetitions: int) -> dict[str, float]:
    """Return seconds by what was started."""
    with tempfile.TemporaryDirectory() as folder:
        cache, model = Path(folder) / "cache", Path(folder) / "demo" / "model_u8.npusim"
        demo = ["-m", "npusim", "demo", "-o", str(model.parent)]
        cold_demo = wall_s(demo, cache)
        first = ["-c", FIRST_INFERENCE, str(model)]
        cold_inference = wall_s(first, Path(folder) / "empty")

        def median(arguments: list[str]) -> float:
            return statistics.median(wall_s(arguments, cache) for _ in range(repetitions))

        python, imported = median(["-c", "pass"]), median(["-c", "import npusim"])
        cached_demo = median(demo)
        return {
            "python_s": python,
            "import_s": imported,
            "cached_first_inference_s": median(first),
            "uncached_first_inference_s": cold_inference,
            "cached_demo_s": cached_demo,
            "uncached_demo_s": cold_demo,
            "compile_for_demo_s": cold_demo - cached_demo,
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
            print(f"{name:28} {value:8.2f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
