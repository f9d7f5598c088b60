"""Whole networks, batch 1: npusim against ONNX Runtime's quantized inference, side by side.

    python benchmarks/bench_networks.py [--threads 1 2] [--networks NAME ...] [--dtypes u8 i16 f16]
                                        [--repetitions N] [--cpu-time] [--json]
    python benchmarks/bench_networks.py --layers NAME [--dtypes u8] [--threads 1]
    python benchmarks/bench_networks.py --batch 8 [--networks NAME ...] [--threads 1 2]

Both take and return float32. ONNX Runtime runs the same float model quantized as QDQ u8 activations
x s8 per-channel weights (its fastest) and u8 x u8 per tensor (the chip's format). The programs take
turns; medians are compared. ``--cpu-time`` counts the processor time of one thread instead of wall
time, for a machine with other load. Networks are those of ``zoo.py``, with random weights. Needs
onnxruntime. Models are kept in a folder beside the user's caches; each row is measured in a process
of its own, whose peak memory before ONNX Runtime is loaded is reported. ``--batch`` compares one
run of so many images with as many runs of one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "npusim" / "benchmarks"
PAUSE_S = 0.05  # ONNX Runtime's idle threads spin for a while and would hold a processor
WARM_UP = 2


def network_names() -> list[str]:
    from zoo import NETWORKS

    return list(NETWORKS)


def float_model(name: str) -> Path:
    """Return the float ONNX file of a network, written once for every state of zoo.py."""
    import hashlib

    import onnx
    import zoo

    CACHE.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(Path(zoo.__file__).read_bytes()).hexdigest()[:8]
    path = CACHE / f"{name}.{digest}.onnx"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        onnx.save(zoo.NETWORKS[name](), part)
        part.rename(path)
    return path


def sample(path: Path) -> dict[str, np.ndarray]:
    import onnx

    (value,) = onnx.load(path).graph.input
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    rng = np.random.default_rng(7)
    return {value.name: rng.normal(size=shape).astype(np.float32)}


def qdq_model(path: Path, signed: bool) -> Path:
    """Return the QDQ form of a float model, made once by ONNX Runtime's own tool."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = path.with_suffix(".u8s8.onnx" if signed else ".u8u8.onnx")
    if target.exists():
        return target

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [sample(path)]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    prepared = path.with_suffix(".prepared.onnx")
    if not prepared.exists():
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    part = target.with_suffix(f".{os.getpid()}")
    quantize_static(
        str(prepared),
        str(part),
        Reader(),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        per_channel=signed,
    )
    part.rename(target)
    return target


def ort_runner(path: Path, threads: int, feeds: dict[str, np.ndarray]) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def npusim_program(path: Path, dtype: str, feeds: dict[str, np.ndarray]) -> tuple[Any, int]:
    """Return the network ready to run, and its multiply-adds."""
    import npusim
    from npusim.cli.info import describe

    graph = npusim.load_model(path)
    macs = describe(graph)["macs"]
    if dtype == "f16":
        return npusim.compile(npusim.float16(graph)), macs
    samples = [("random", feeds)]
    ready = npusim.quantize(graph, samples, scheme=dtype, engine="npusim")
    return npusim.compile(ready), macs


def measure(
    name: str, dtype: str, threads: int, repetitions: int, *, cpu_time: bool
) -> dict[str, Any]:
    """Return one row."""
    import resource

    path = float_model(name)
    feeds = sample(path)
    program, macs = npusim_program(path, dtype, feeds)

    def ours() -> Any:
        return program.run(feeds, preprocessed=True)

    ours()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    runners = {"npusim_ms": ours}
    if dtype == "u8":
        runners["ort_u8s8_ms"] = ort_runner(qdq_model(path, True), threads, feeds)
        runners["ort_u8u8_ms"] = ort_runner(qdq_model(path, False), threads, feeds)
    clock = time.thread_time if cpu_time else time.perf_counter
    times: dict[str, list[float]] = {key: [] for key in runners}
    for round_number in range(repetitions + WARM_UP):
        for key, run in runners.items():
            if threads > 1:  # let others' threads fall asleep, one's own find their processors
                time.sleep(PAUSE_S)
                run()
            begin = clock()
            run()
            if round_number >= WARM_UP:
                times[key].append((clock() - begin) * 1e3)
    medians = {key: statistics.median(values) for key, values in times.items()}
    ort_s8, ort_u8 = medians.get("ort_u8s8_ms"), medians.get("ort_u8u8_ms")
    return {
        "network": name,
        "dtype": dtype,
        "threads": threads,
        "npusim_ms": round(medians["npusim_ms"], 3),
        "ort_u8s8_ms": round(ort_s8, 3) if ort_s8 else None,
        "ort_u8u8_ms": round(ort_u8, 3) if ort_u8 else None,
        "ratio_vs_ort_u8s8": round(ort_s8 / medians["npusim_ms"], 3) if ort_s8 else None,
        "gmacs": round(macs / medians["npusim_ms"] / 1e6, 1),
        "peak_mb": round(peak_mb, 1),
    }


def measure_batch(name: str, threads: int, repetitions: int, batch: int) -> dict[str, Any]:
    """Return milliseconds an image, alone and in a batch; both take turns."""
    import npusim

    path = float_model(name)
    feeds = sample(path)
    single, _ = npusim_program(path, "u8", feeds)
    several = npusim.compile(single.graph.copy(batch=batch))
    joined = {key: np.concatenate([value] * batch) for key, value in feeds.items()}
    times: dict[str, list[float]] = {"alone": [], "batch": []}
    for _ in range(repetitions + WARM_UP):
        begin = time.perf_counter()
        for _ in range(batch):
            single.run(feeds, preprocessed=True)
        middle = time.perf_counter()
        several.run(joined, preprocessed=True)
        times["alone"].append((middle - begin) / batch * 1e3)
        times["batch"].append((time.perf_counter() - middle) / batch * 1e3)
    return {
        "network": name,
        "threads": threads,
        "batch": batch,
        **{f"{key}_ms": round(statistics.median(v[WARM_UP:]), 3) for key, v in times.items()},
    }


def in_own_process(arguments: list[str], threads: int) -> str:
    """Run this script again with a number of threads and return what it prints."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env={**os.environ, "NPUSIM_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} with {threads} threads failed")
    return done.stdout


def show_layers(name: str, dtype: str, repetitions: int) -> None:
    from layers import layer_times, print_layers
    from peaks import fma_peak, pairs_peak, vnni_peak

    from npusim.runtime.real_codes import quantize

    path = float_model(name)
    feeds = sample(path)
    program, _ = npusim_program(path, dtype, feeds)
    spec = program.graph.spec(program.graph.inputs[0])
    stored = {spec.name: quantize(feeds[spec.name], spec.dtype, spec.quant)}
    print_layers(
        layer_times(program, stored, repetitions), (vnni_peak() or pairs_peak() or fma_peak()) / 1e9
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", nargs="+", choices=network_names(), default=network_names())
    parser.add_argument("--dtypes", nargs="+", choices=["u8", "i8", "i16", "f16"], default=["u8"])
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--cpu-time", action="store_true", help="not wall time; one thread")
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--layers", choices=network_names(), help="time every layer of a network")
    parser.add_argument("--batch", type=int, help="images of a run, against as many runs")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cpu_time and options.threads != [1]:
        parser.error("--cpu-time needs --threads 1")
    common = ["--repetitions", str(options.repetitions)]
    common += ["--cpu-time", "--threads", "1"] if options.cpu_time else []
    common += ["--batch", str(options.batch)] if options.batch else []
    if options.row:
        name, dtype, threads = options.row
        if options.batch:
            row = measure_batch(name, int(threads), options.repetitions, options.batch)
        else:
            row = measure(name, dtype, int(threads), options.repetitions, cpu_time=options.cpu_time)
        print(json.dumps(row))
        return 0
    if options.layers:
        os.environ["NPUSIM_NUM_THREADS"] = str(options.threads[0])
        show_layers(options.layers, options.dtypes[0], options.repetitions)
        return 0
    rows = []
    for name in options.networks:
        for dtype in options.dtypes:
            for threads in options.threads:
                arguments = ["--row", name, dtype, str(threads), *common]
                rows.append(json.loads(in_own_process(arguments, threads).splitlines()[-1]))
                if not options.json:
                    print(" ".join(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
