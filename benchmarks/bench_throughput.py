"""Images per second of labelled runs over many JPEG files, against ONNX Runtime, both in u8.

    python benchmarks/bench_throughput.py [--images 500] [--networks mobilenet_v2 resnet50]
                                          [--threads 2] [--batch 1] [--json]

Both sides read the same files with npusim's loader, a few images ahead in other threads: decoded,
stretched to 224x224, mean and std. ONNX Runtime runs QDQ forms (u8s8 per channel, its fastest, and
u8u8), with its own threads. Networks are those of ``zoo.py``. Decoding alone is measured as well.
Needs onnxruntime.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tools"), str(HERE.parent)]

NETWORKS = ("mobilenet_v2", "resnet50")
Feeds = dict[str, np.ndarray]
Run = Callable[[Feeds], Any]


def images_per_second(samples: Iterable[tuple[str, Feeds]], run: Run) -> float:
    """Return how many samples are read and run in a second."""
    count, begin = 0, time.perf_counter()
    for _, feeds in samples:
        run(feeds)
        count += 1
    return count / (time.perf_counter() - begin)


def measure(name: str, images: int, threads: int, batch: int) -> dict[str, Any]:
    """Return one row."""
    from bench_calibration import MEAN, STD, write_images
    from bench_networks import float_model, ort_runner, qdq_model

    import npusim
    from npusim.ir.graph import Preprocess
    from npusim.quantization.dataset import open_dataset

    path = float_model(name)
    graph = npusim.load_model(path)
    (name_of_input,) = graph.inputs
    graph = graph.copy(preprocess={name_of_input: Preprocess(mean=MEAN, std=STD)})
    with tempfile.TemporaryDirectory() as folder:
        listing = write_images(Path(folder), images)
        first = [sample for sample, _ in zip(open_dataset(listing, graph), range(8), strict=False)]
        ready = npusim.quantize(graph, first, engine="npusim")
        program = npusim.compile(ready.copy(batch=batch))
        waiting: list[Feeds] = []
        held: Feeds = {}

        def onnxruntime(signed: bool) -> Run:
            run = ort_runner(qdq_model(path, signed), threads, held)

            def one(feeds: Feeds) -> Any:
                held.update(feeds)
                return run()

            return one

        def ours(feeds: Feeds) -> Any:
            if batch == 1:
                return program.run(feeds, preprocessed=True)
            waiting.append(feeds)
            if len(waiting) == batch:
                joined = {key: np.concatenate([one[key] for one in waiting]) for key in feeds}
                waiting.clear()
                return program.run(joined, preprocessed=True)
            return None

        runs: dict[str, Run] = {
            "npusim": ours,
            "ort_u8s8": onnxruntime(True),
            "ort_u8u8": onnxruntime(False),
            "reading": lambda feeds: None,
        }
        row: dict[str, Any] = {
            "network": name,
            "threads": threads,
            "images": images,
            "batch": batch,
        }
        for key, run in runs.items():
            for _, feeds in first:
                run(feeds)
            row[key] = round(images_per_second(open_dataset(listing, graph), run), 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="images of one run of npusim")
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    options = parser.parse_args()
    os.environ["NPUSIM_NUM_THREADS"] = str(options.threads)
    rows = []
    for name in options.networks:
        rows.append(measure(name, options.images, options.threads, options.batch))
        if not options.json:
            print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
