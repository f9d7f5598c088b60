"""Calibration of MobileNetV2 at 224x224 from image files: seconds, samples per second, memory.

    python tools/fetch_models.py && python benchmarks/bench_calibration.py [--samples 200]

Images are crops of photographs that scikit-image and scikit-learn bring, written as jpg files of
another size than the network's, so that decoding and stretching count as well.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tools"), str(HERE.parent)]

import accuracy_samples
import fetch_models
import numpy as np

from npusim.importers import load
from npusim.ir.graph import Preprocess
from npusim.quantization.algorithms import ALGORITHMS, Algorithm
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Plan

MODEL = "mobilenet_v2.onnx"
SIZE = (256, 256)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def write_images(folder: Path, count: int) -> Path:
    """Write jpg files and their list; return the list."""
    rng = np.random.default_rng(1)
    photographs = accuracy_samples.photographs()
    names = []
    for i in range(count):
        picture = photographs[i % len(photographs)]
        width, height = picture.size
        side = int(rng.integers(min(width, height) // 2, min(width, height) + 1))
        left = int(rng.integers(0, width - side + 1))
        top = int(rng.integers(0, height - side + 1))
        names.append(f"{i}.jpg")
        picture.crop((left, top, left + side, top + side)).resize(SIZE).save(
            folder / names[-1], quality=90
        )
    listing = folder / "dataset.txt"
    listing.write_text("\n".join(names) + "\n", encoding="utf-8")
    return listing


def peak_mb() -> float:
    """Return the largest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=fetch_models.cache_folder())
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--engine", default="auto", help="auto, onnxruntime or npusim")
    parser.add_argument("--algorithm", default="normal", choices=ALGORITHMS)
    options = parser.parse_args()
    model = next(m for m in fetch_models.load_list()[1] if m.file == MODEL)
    graph = load(options.models / MODEL, input_shapes={model.input: model.shape})
    graph = graph.copy(preprocess={model.input: Preprocess(mean=MEAN, std=STD)})
    with tempfile.TemporaryDirectory() as folder:
        listing = write_images(Path(folder), options.samples)
        algorithm = Algorithm(name=options.algorithm)
        plan = Plan(dataset=listing, algorithm=algorithm, engine=options.engine)
        job = Quantization(graph, plan)
        before_mb = peak_mb()
        begin = time.perf_counter()
        ranges = job.measure()
        calibrated_s = time.perf_counter() - begin
        begin = time.perf_counter()
        job.quantized(ranges, job.formats)
        applied_s = time.perf_counter() - begin
    found = job.calibration
    print(
        f"{MODEL} {options.algorithm}, {found.engine}: {found.samples} samples in "
        f"{calibrated_s:.1f} s ({found.samples / calibrated_s:.1f} per second), parameters and "
        f"weights in {applied_s:.2f} s, peak memory {peak_mb():.0f} MB ({before_mb:.0f} MB before)"
    )


if __name__ == "__main__":
    main()
