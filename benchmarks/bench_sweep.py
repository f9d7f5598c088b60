"""Processor time of a sweep a variant, and of Arm's Vela on the same variants one at a time.

    python benchmarks/bench_sweep.py LIST [--vela PROGRAM] [--repetitions N] [--json]

LIST is a layer list of convolutions, sums, a global average and fully connected layers, such as
mobilenet_v2.json of ``tools/board_networks.py``. The sweep is 100 variants in one process (25
widths, 4 inputs), its start included. PROGRAM is the ``vela`` of the package ethos-u-vela: nine of
the variants are written as int8 TensorFlow Lite files, and each is compiled by a process of its
own, as Vela is used. Medians; user and system time, byte code and one thread everywhere.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from npusim.ir.attrs import Activation
from npusim.ir.graph import Graph, Node
from npusim.perfmodel.layer_list import read_layer_list
from npusim.perfmodel.scaling import Scaling
from tests.importers.tflite_build import Function, Model

WIDTHS, INPUTS = "width=0.25..1.0:0.03125", "input=160,192,224,256"
VARIANTS = 100
WIDTHS_OF_VELA, INPUTS_OF_VELA = (0.25, 0.625, 1.0), (160, 224, 256)
MAP, WEIGHT = (0.02, 0), 0.01
FUSED = {Activation.NONE: 0, Activation.RELU: 1, Activation.RELU6: 3}  # of the schema


def spent(command: list[str]) -> float:
    """Return the processor time of a command and its children, in seconds."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def written(graph: Graph, path: Path) -> None:
    """Write a float graph as an int8 TensorFlow Lite file with random weights."""
    rng, model = np.random.default_rng(0), Model()
    main = model.function()
    index: dict[str, int] = {}

    def result(name: str) -> int:
        shape = graph.spec(name).shape
        turned = (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
        index[name] = main.tensor(name, turned, "int8", quant=MAP)
        return index[name]

    main.proto.inputs = [result(name) for name in graph.inputs]
    for node in graph.nodes:
        if node.op == "reshape":  # of one pixel: the average is a vector already
            index[node.outputs[0]] = index[node.inputs[0]]
            continue
        if node.op == "global_pool":
            index[node.outputs[0]] = main.tensor(
                node.outputs[0], graph.spec(node.inputs[0]).shape[:2], "int8", quant=MAP
            )
            axes = main.constant(f"{node.name}.axes", np.array([1, 2], np.int32))
            main.op(
                "MEAN", [index[node.inputs[0]], axes], [index[node.outputs[0]]], "ReducerOptions"
            )
        elif node.op == "add":
            inputs = [index[name] for name in node.inputs]
            main.op("ADD", inputs, [result(node.outputs[0])], "AddOptions")
        else:
            _weighted(main, graph, node, index, rng, result(node.outputs[0]))
    main.proto.outputs = [index[name] for name in graph.outputs]
    model.save(path)


def _weighted(
    main: Function,
    graph: Graph,
    node: Node,
    index: dict[str, int],
    rng: np.random.Generator,
    out: int,
) -> None:
    shape = graph.spec(node.inputs[1]).shape
    attrs: Any = node.attrs
    count, axis, options = shape[0], 0, "FullyConnectedOptions"
    kind, fields = "FULLY_CONNECTED", {}
    if node.op == "conv2d":
        fields = {"strideH": attrs.stride[0], "strideW": attrs.stride[1]}
        kind, options, shape = "CONV_2D", "Conv2DOptions", (shape[0], *shape[2:], shape[1])
        if attrs.group > 1:
            kind, options, axis = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", 3
            shape, fields["depthMultiplier"] = (1, *shape[1:3], shape[0]), 1
        fields["fusedActivationFunction"] = FUSED[attrs.activation]
    codes = np.clip(np.rint(rng.standard_normal(shape) * 32), -127, 127).astype(np.int8)
    scales = np.full(count, WEIGHT), np.zeros(count)
    sums = np.full(count, WEIGHT * MAP[0]), np.zeros(count)
    inputs = [
        index[node.inputs[0]],
        main.constant(f"{node.name}.w", codes, quant=(*scales, axis)),
        main.constant(f"{node.name}.b", np.zeros(count, np.int32), quant=sums),
    ]
    main.op(kind, inputs, [out], options, **fields)


def vela_seconds(network: Path, program: str, repetitions: int) -> dict[str, float]:
    """Return the median of every variant that Vela compiles."""
    scaling, found = Scaling(read_layer_list(network)), {}
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS_OF_VELA:
            for size in INPUTS_OF_VELA:
                path = Path(folder) / f"w{width:g}_{size}.tflite"
                written(scaling.variant(width, (size, size)).graph, path)
                command = [program, str(path), "--output-dir", folder]
                command += ["--accelerator-config", "ethos-u65-512"]
                times = [spent(command) for _ in range(repetitions)]
                found[path.stem] = statistics.median(times)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print seconds a variant and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("--vela", help="the program of ethos-u-vela")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    network = options.network.resolve()
    command = [sys.executable, "-m", "npusim", "perf", str(network), "--json"]
    sweep = [*command, "--sweep", WIDTHS, "--sweep", INPUTS]
    spent(command)  # writes the byte code
    row: dict[str, Any] = {
        "sweep_s": statistics.median(spent(sweep) for _ in range(options.repetitions)) / VARIANTS,
        "alone_s": statistics.median(spent(command) for _ in range(options.repetitions)),
    }
    if options.vela:
        row["vela_s"] = vela_seconds(network, options.vela, options.repetitions)
        row["ratio"] = statistics.mean(row["vela_s"].values()) / row["sweep_s"]
    if options.json:
        print(json.dumps(row))
    else:
        for key, value in row.items():
            print(key, value)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
