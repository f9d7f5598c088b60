"""Record tiny Darknet networks with the real program, for tests/importers/darknet_recorded.jsonl.

    apt-get install darknet
    python tools/record_darknet.py                  writes the records again
    python tools/record_darknet.py --random 500     compares random networks instead, writes nothing

The networks and their numbers are made here from a seed; libdarknet (Debian, the original program)
runs them. The form of the records is that of ``npusim.conformance.importer_cases``.
"""

import argparse
import base64
import ctypes
import json
import os
import random
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from npusim.conformance.importer_cases import ImporterCase
from npusim.conformance.importers import replay_case
from npusim.importers.darknet.importer import load_darknet
from npusim.importers.darknet.weights_file import Numbers

LIBRARY = "/usr/lib/darknet/libdarknet.so"
RECORDS = ROOT / "tests" / "importers" / "darknet_recorded.jsonl"
PROGRAM = "Darknet, Debian 0.0.0+git20180914.61c9d02e-2+b4, CPU"
FEW_BITS = 64.0
Array = NDArray[Any]
ACTIVATIONS = [
    "linear",
    "relu",
    "leaky",
    "logistic",
    "loggy",
    "tanh",
    "elu",
    "relie",
    "ramp",
    "plse",
    "stair",
    "hardtan",
    "lhtan",
    "unknown",
]


class Darknet:
    """The real program as a library."""

    def __init__(self, path: str = LIBRARY) -> None:
        self.lib = ctypes.CDLL(path)
        self.lib.load_network.restype = ctypes.c_void_p
        self.lib.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
        self.lib.set_batch_network.argtypes = [ctypes.c_void_p, ctypes.c_int]
        self.lib.network_predict.restype = ctypes.POINTER(ctypes.c_float)
        self.lib.network_predict.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_float)]
        self.lib.free_network.argtypes = [ctypes.c_void_p]

    def run(self, cfg: Path, weights: Path, x: Array, count: int) -> Array:
        """Return the first ``count`` numbers of the last layer.

        In a process of its own: the program ends the process where it dislikes a network.
        """
        result = cfg.with_name("result.npy")
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            np.save(result, self._run(cfg, weights, x, count))
            os._exit(0)
        os.waitpid(child, 0)
        if not result.exists():
            raise RuntimeError("the program ends without a result")
        return np.asarray(np.load(result))

    def _run(self, cfg: Path, weights: Path, x: Array, count: int) -> Array:
        network = self.lib.load_network(str(cfg).encode(), str(weights).encode(), 0)
        self.lib.set_batch_network(network, 1)
        data = np.ascontiguousarray(x, np.float32)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        out = self.lib.network_predict(network, pointer)
        return np.ctypeslib.as_array(out, (count,)).copy()


def section(kind: str, **options: Any) -> str:
    """Return a section as text."""
    return "\n".join([f"[{kind}]", *(f"{key}={value}" for key, value in options.items())]) + "\n"


def convolution(rng: random.Random, **options: Any) -> str:
    """Return a random convolutional section."""
    size = options.pop("size", rng.choice([1, 2, 3, 5]))
    chosen = {
        "batch_normalize": rng.randint(0, 1),
        "filters": rng.choice([1, 2, 3, 4, 6]),
        "size": size,
        "stride": 1 if size == 1 else rng.choice([1, 1, 2, 3]),
        **({"pad": 1} if rng.random() < 0.7 else {"padding": rng.randint(0, size // 2)}),
        "activation": rng.choice(ACTIVATIONS),
    }
    return section("convolutional", **{**chosen, **options})


def random_network(rng: random.Random) -> tuple[str, str]:
    """Return a label and a configuration: a convolution or two with another layer behind them.

    Without ``local`` and ``batchnorm``: the program often ends there, it writes outside its arrays.
    ``l2norm`` gets no zeros: the program divides them by zero, the chip gives zeros.
    """
    channels = rng.choice([1, 2, 4])
    size = rng.choice([4, 5, 6, 7])
    head = section("net", channels=channels, height=size, width=rng.choice([size, size + 1, 6]))
    first = convolution(rng, filters=4, size=rng.choice([1, 3]), stride=1, pad=1)
    kinds = {
        "convolutional": lambda: convolution(rng),
        "grouped": lambda: convolution(rng, filters=4, groups=rng.choice([2, 4])),
        "flipped": lambda: convolution(rng, flipped=1),
        "maxpool": lambda: section(
            "maxpool",
            size=rng.choice([1, 2, 3, 4]),
            stride=rng.choice([1, 2, 3]),
            **({"padding": rng.randint(0, 2)} if rng.random() < 0.4 else {}),
        ),
        "avgpool": lambda: section("avgpool"),
        "connected": lambda: section(
            "connected",
            output=rng.randint(1, 4),
            activation=rng.choice(ACTIVATIONS),
            batch_normalize=rng.randint(0, 1),
        ),
        "upsample": lambda: section("upsample", stride=rng.choice([1, 2, 3])),
        "shortcut": lambda: (
            convolution(rng, filters=rng.choice([2, 4, 6]), size=3, stride=1, pad=1)
            + section("shortcut", **{"from": -2}, activation=rng.choice(ACTIVATIONS))
        ),
        "route": lambda: (
            convolution(rng, size=3, stride=1, pad=1) + section("route", layers="-1,-2")
        ),
        "reorg": lambda: section("reorg", stride=2, reverse=1),
        "softmax": lambda: section("softmax", temperature=rng.choice([1, 2, 0.5])),
        "normalization": lambda: section("normalization", size=rng.choice([3, 5]), alpha=0.1),
        "activation": lambda: section("activation", activation=rng.choice(ACTIVATIONS)),
        "l2norm": lambda: convolution(rng, activation="logistic") + section("l2norm"),
        "dropout": lambda: section("dropout", probability=0.5),
        "crop": lambda: section("crop", crop_height=3, crop_width=2, noadjust=rng.randint(0, 1)),
    }
    kind = rng.choice(list(kinds))
    return kind, head + first + kinds[kind]()


def count_numbers(cfg: Path) -> tuple[int, tuple[int, ...], tuple[int, ...], str]:
    """Return how many weights a network has, the shapes of its ends and the name of the last."""
    asked = []
    original = Numbers.take

    def take(self: Numbers, shape: tuple[int, ...], what: str, where: str, *, fill: float) -> Array:
        asked.append((int(np.prod(shape)), what))
        return original(self, shape, what, where, fill=fill)

    Numbers.take = take  # type: ignore[method-assign]
    try:
        graph = load_darknet(cfg, False, program="pjreddie")
    finally:
        Numbers.take = original  # type: ignore[method-assign]
    name = graph.outputs[0]
    sizes = tuple(graph.spec(graph.inputs[0]).shape), tuple(graph.spec(name).shape)
    count_numbers.asked = asked  # type: ignore[attr-defined]
    return sum(n for n, _ in asked), *sizes, name


def weights_of(asked: list[tuple[int, str]], rng: random.Random) -> bytes:
    """Return a weights file with numbers of few bits; variances are positive."""
    numbers = []
    for count, what in asked:
        low = 0.25 if "variance" in what else -1.0
        numbers += [round(rng.uniform(low, 1.0) * FEW_BITS) / FEW_BITS for _ in range(count)]
    return struct.pack("<iiiq", 0, 2, 0, 0) + np.array(numbers, "<f4").tobytes()


def record(program: Darknet, label: str, cfg: str, rng: random.Random) -> dict[str, Any]:
    """Return a record of a network: files, input, output."""
    with tempfile.TemporaryDirectory() as folder:
        path, weights = Path(folder, "net.cfg"), Path(folder, "net.weights")
        path.write_text(cfg)
        _, in_shape, out_shape, name = count_numbers(path)
        content = weights_of(count_numbers.asked, rng)  # type: ignore[attr-defined]
        weights.write_bytes(content)
        count = int(np.prod(in_shape))
        x = np.array([round(rng.uniform(-2, 2) * FEW_BITS) / FEW_BITS for _ in range(count)])
        y = program.run(path, weights, x, int(np.prod(out_shape)))
    numbers = ["nan" if np.isnan(v) else float(f"{v:.9g}") for v in y]
    return {
        "label": label,
        "framework": "darknet",
        "program": PROGRAM,
        "layers": [line[1:-1] for line in cfg.splitlines() if line.startswith("[")][1:],
        "files": {
            "net.cfg": cfg,
            "net.weights": {"base64": base64.b64encode(content).decode()},
        },
        "inputs": {"x": {"shape": list(in_shape), "data": [float(v) for v in x]}},
        "outputs": {name: {"shape": list(out_shape), "data": numbers}},
    }


def compare(found: dict[str, Any]) -> tuple[str, str]:
    """Return how npusim differs from a record."""

    def array(value: dict[str, Any]) -> Array:
        return np.array([float(n) for n in value["data"]], np.float32).reshape(value["shape"])

    weights = base64.b64decode(found["files"]["net.weights"]["base64"])
    case = ImporterCase(
        framework="darknet",
        label=found["label"],
        program=PROGRAM,
        layers=tuple(found["layers"]),
        files={"net.cfg": found["files"]["net.cfg"].encode(), "net.weights": weights},
        inputs={name: array(value) for name, value in found["inputs"].items()},
        outputs={name: array(value) for name, value in found["outputs"].items()},
        error="",
    )
    return replay_case(case)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--random", type=int, default=0, metavar="N", help="compare N networks")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    program, rng = Darknet(), random.Random(options.seed)
    if options.random:
        wrong = 0
        for index in range(options.random):
            label, cfg = random_network(rng)
            try:
                found = record(program, f"{index} {label}", cfg, rng)
            except Exception as error:
                print(f"{index} {label}: not run: {' '.join(str(error).split())[:160]}")
                continue
            outcome, what = compare(found)
            if outcome:
                wrong += 1
                print(f"{found['label']}: {outcome}: {what}\n{cfg}")
        print(f"{options.random} networks, {wrong} differ")
        return wrong > 0
    seen: dict[str, int] = {}
    lines = []
    while len(lines) < 32:
        label, cfg = random_network(rng)
        if seen.get(label, 0) == 3:
            continue
        try:
            lines.append(json.dumps(record(program, f"{label} {len(lines)}", cfg, rng)))
        except Exception as error:  # a network that npusim refuses is not recorded
            print(f"{label}: not recorded: {' '.join(str(error).split())[:160]}")
            continue
        seen[label] = seen.get(label, 0) + 1
    RECORDS.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} networks in {RECORDS.relative_to(ROOT)}, {RECORDS.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
