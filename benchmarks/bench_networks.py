"""Whole networks, batch 1: npusim against ONNX Runtime's quantized inference, side by side.

    python benchmarks/bench_networks.py [--threads 1 2] [--networks NAME ...] [--dtypes u8] [--json]

ONNX Runtime runs the same float model quantized as QDQ u8 activations x s8 per-channel weights (its
fastest) and u8 x u8 per tensor (the chip's format). The programs take turns; medians are compared.
Needs onnxruntime. Models and QDQ files are kept in a folder beside the user's caches.
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
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(Path(__file__).resolve().parent)]

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "npusim" / "benchmarks"
DET = "ppocr_det"
DET_FILE, DET_SHAPE = "ch_PP-OCRv4_det_infer.onnx", (1, 3, 480, 480)


def names() -> list[str]:
    from zoo import NETWORKS

    return [*NETWORKS, DET]


def float_model(name: str) -> Path:
    """Return the float ONNX file of a network, written once."""
    import onnx
    from zoo import NETWORKS

    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}.onnx"
    if path.exists():
        return path
    if name == DET:
        import fetch_models
        from onnx.tools.update_model_dims import update_inputs_outputs_dims

        source = fetch_models.cache_folder() / DET_FILE
        if not source.exists():
            raise SystemExit(f"{DET_FILE} is missing: run python tools/fetch_models.py first")
        model = onnx.load(source)
        outs = {o.name: [1, 1, *DET_SHAPE[2:]] for o in model.graph.output}
        model = update_inputs_outputs_dims(
            model, {model.graph.input[0].name: list(DET_SHAPE)}, outs
        )
    else:
        model = NETWORKS[name]()
    onnx.save(model, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return path


def sample(path: Path) -> dict[str, np.ndarray]:
    import onnx

    (value,) = onnx.load(path, load_external_data=False).graph.input
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
    part = target.with_suffix(".part")
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


def npusim_runner(path: Path, dtype: str, feeds: dict[str, np.ndarray]) -> tuple[Any, int]:
    import npusim
    from npusim.cli.info import describe

    graph = npusim.load_model(path)
    if dtype == "f16":
        ready = npusim.float16(graph)
    else:
        ready = npusim.quantize(graph, [("random", feeds)], scheme=dtype)
    program = npusim.compile(ready)
    from npusim.runtime.program import quantize

    spec = ready.spec(ready.inputs[0])
    stored = {ready.inputs[0]: quantize(feeds[ready.inputs[0]], spec.dtype, spec.quant)}
    return lambda: program.run_stored(stored), describe(graph)["macs"]


def measure(name: str, dtype: str, threads: int, repetitions: int) -> dict[str, Any]:
    """Return one row; runs in a process of its own so that the peak memory is its own."""
    import resource

    path = float_model(name)
    feeds = sample(path)
    ours, macs = npusim_runner(path, dtype, feeds)
    for _ in range(3):
        ours()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    runners = {"npusim_ms": ours}
    if dtype == "u8":
        runners["ort_u8s8_ms"] = ort_runner(qdq_model(path, True), threads, feeds)
        runners["ort_u8u8_ms"] = ort_runner(qdq_model(path, False), threads, feeds)
    times: dict[str, list[float]] = {key: [] for key in runners}
    for round_number in range(repetitions + 1):
        for key, run in runners.items():
            begin = time.perf_counter()
            run()
            if round_number:
                times[key].append((time.perf_counter() - begin) * 1e3)
    medians = {key: statistics.median(values) for key, values in times.items()}
    ort_s8 = medians.get("ort_u8s8_ms")
    return {
        "network": name,
        "dtype": dtype,
        "threads": threads,
        "npusim_ms": round(medians["npusim_ms"], 3),
        "ort_u8s8_ms": round(ort_s8, 3) if ort_s8 else None,
        "ort_u8u8_ms": round(medians["ort_u8u8_ms"], 3) if ort_s8 else None,
        "ratio_vs_ort_u8s8": round(ort_s8 / medians["npusim_ms"], 3) if ort_s8 else None,
        "gmacs": round(macs / medians["npusim_ms"] / 1e6, 1),
        "peak_mb": round(peak_mb, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", nargs="+", default=None)
    parser.add_argument("--dtypes", nargs="+", default=["u8"])
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--row", nargs=3, metavar=("NETWORK", "DTYPE", "THREADS"), help="one row")
    options = parser.parse_args()
    if options.row:
        name, dtype, threads = options.row
        print(json.dumps(measure(name, dtype, int(threads), options.repetitions)))
        return 0
    rows = []
    for name in options.networks or names():
        for dtype in options.dtypes:
            for threads in options.threads:
                command = [sys.executable, __file__, "--row", name, dtype, str(threads)]
                command += ["--repetitions", str(options.repetitions)]
                done = subprocess.run(
                    command,
                    env={**os.environ, "NPUSIM_NUM_THREADS": str(threads)},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise SystemExit(f"{name} {dtype} with {threads} threads failed")
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                if not options.json:
                    print(" ".join(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
