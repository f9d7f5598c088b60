"""Digests of everything a path of machine code computes, to compare two computers line by line.

``python tools/path_digests.py [--cases N] [--schemes u8,i8] [NETWORK.onnx ...]`` prints a line per
golden file (the first N cases of every file in tests/golden) and a line per layer output of each
network, quantized on random samples; ``bundled`` is the bundled classifier. Two outputs that are
equal mean equal bits. ``NPUSIM_ISA`` chooses the path. Used by tools/aarch64.sh.

Calibration computes in float, with numpy's exponential, whose last bit depends on the processor:
lines that begin with ``calibrated`` are digests of the ranges found here and may differ. With
``--models FOLDER`` networks are quantized once and stored there, and who comes later loads them.
"""

import argparse
import hashlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import npusim
from npusim import assets
from npusim.conformance.golden import read_golden
from npusim.conformance.replay import prepared
from npusim.runtime import isa
from npusim.runtime.program import Program

GOLDEN = Path("tests") / "golden"
BUNDLED = "bundled"
SAMPLES = 2


def digest(*arrays: Any) -> str:
    """Return a digest of values, types and shapes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:24]


def golden_lines(folder: Path, count: int) -> Iterator[str]:
    """Yield file, cases, those equal to the record, and the digest of all results."""
    for path in sorted(folder.rglob("*.npz")):
        results, equal, cases = [], 0, 0
        for case in itertools.islice(read_golden(path), count):
            graph = prepared(case)
            feeds = {name: case.arrays[name] for name in graph.inputs}
            found = Program(graph).run_stored(feeds)
            same = [np.array_equal(found[n], case.arrays[n]) for n in graph.outputs]
            results += [found[name] for name in graph.outputs]
            cases += 1
            equal += all(same)
        yield f"golden {path.relative_to(folder)} {equal} of {cases} {digest(*results)}"


def network_lines(source: str, scheme: str, models: Path | None) -> Iterator[str]:
    """Yield the digests of scales, of stored weights and of every layer output of a network."""
    path = assets.model_path() if source == BUNDLED else Path(source)
    shapes = {assets.INPUT_NAME: assets.INPUT_SHAPE} if source == BUNDLED else None
    graph = npusim.load_model(path, input_shapes=shapes)
    samples = []
    for seed in range(SAMPLES + 1):
        rng = np.random.default_rng(seed)
        feeds = {
            n: rng.standard_normal(graph.spec(n).shape).astype(np.float32) for n in graph.inputs
        }
        samples.append((str(seed), feeds))
    ready = npusim.quantize(graph, samples[:SAMPLES], scheme=scheme, engine="npusim")
    name = f"{path.stem} {scheme}"
    scales = "".join(repr(ready.spec(tensor).quant) for tensor in ready.tensors).encode()
    yield f"calibrated {name} {hashlib.sha256(scales).hexdigest()[:24]}"
    if models is not None:
        stored = models / f"{path.stem}.{scheme}.npusim"
        if not stored.exists():
            npusim.save(ready, stored)
        ready = npusim.load_model(stored)
    yield f"{name} weights {digest(*(ready.constants[k] for k in sorted(ready.constants)))}"
    lines: list[str] = []
    program = npusim.compile(ready)
    program.run(
        samples[SAMPLES][1],
        preprocessed=True,
        observe=lambda node, tensor, value: lines.append(f"{name} {tensor} {digest(value)}"),
    )
    yield from lines


def main() -> None:
    """Print the lines; what took how long goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="ONNX files, or 'bundled'")
    parser.add_argument("--cases", type=int, default=8, help="golden cases of each file")
    parser.add_argument("--golden", type=Path, default=GOLDEN, help="folder of golden files")
    parser.add_argument("--schemes", default="u8,i8,i16,f16")
    parser.add_argument("--models", type=Path, help="folder of the quantized networks")
    options = parser.parse_args()
    begin = time.perf_counter()
    print(f"path {isa.selected()}", file=sys.stderr)
    for line in golden_lines(options.golden, options.cases) if options.cases else ():
        print(line, flush=True)
    for network in options.networks:
        for scheme in options.schemes.split(","):
            for line in network_lines(network, scheme, options.models):
                print(line, flush=True)
            print(f"{network} {scheme} {time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
