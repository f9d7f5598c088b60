"""Record tiny MXNet networks with the real program, for tests/importers/mxnet_recorded.jsonl.

    python3.9 -m venv MX && MX/bin/pip install mxnet==1.9.1 "numpy<1.24"
    python tools/record_mxnet.py MX/bin/python                writes the records again
    python tools/record_mxnet.py MX/bin/python --random 500   compares random networks instead

The networks and their numbers are made here from a seed (tools/random_mxnet.py); MXNet runs them in
its own interpreter. The form of the records is that of ``npusim.conformance.importer_cases``.
"""

import argparse
import base64
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from npusim.conformance.importer_cases import ImporterCase
from npusim.conformance.importers import replay_case
from tests.importers.mxnet_build import params
from tools.random_mxnet import MAKERS, Sample

RECORDS = ROOT / "tests" / "importers" / "mxnet_recorded.jsonl"
PROGRAM = "MXNet 1.9.1 (CPU wheel)"
Array = NDArray[Any]

# Runs in MXNet's interpreter: a line of JSON in, a line out.
WORKER = """
import json, sys
import numpy as np
np.bool = bool
import mxnet as mx
for line in sys.stdin:
    case = json.loads(line)
    try:
        symbol = mx.sym.load_json(case["symbol"])
        arrays = {k: np.array(v["data"], "float32").reshape(v["shape"])
                  for k, v in case["arrays"].items()}
        shapes = {k: v.shape for k, v in arrays.items() if k in symbol.list_arguments()}
        found, _, aux = symbol.infer_shape(**shapes)
        args = {k: mx.nd.array(arrays[k]) if k in arrays else mx.nd.zeros(s)
                for k, s in zip(symbol.list_arguments(), found)}
        states = {k: mx.nd.array(arrays[k]) for k in symbol.list_auxiliary_states()}
        run = symbol.bind(mx.cpu(), args, aux_states=states, grad_req="null")
        out = [o.asnumpy() for o in run.forward(is_train=False)]
        reply = {"outputs": {
            n: {"shape": list(o.shape), "data": o.astype("float64").ravel().tolist()}
            for n, o in zip(symbol.list_outputs(), out)}}
    except Exception as error:
        reply = {"error": str(error).strip().splitlines()[-1][:200] if str(error) else repr(error)}
    print(json.dumps(reply), flush=True)
"""


class Program:
    """MXNet in an interpreter of its own."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._start()

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [self._python, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, sample: Sample) -> dict[str, Any]:
        """Return outputs, or the error."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        arrays = {
            name: {"shape": list(value.shape), "data": value.ravel().tolist()}
            for name, value in {**sample.inputs, **sample.parameters}.items()
        }
        line = json.dumps({"symbol": sample.symbol, "arrays": arrays})
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        for answer in self._child.stdout:
            if answer.startswith("{"):  # the program prints remarks as well
                found: dict[str, Any] = json.loads(answer)
                return found
        self._start()
        return {"error": "the program ends without a message"}


def record(sample: Sample, answer: dict[str, Any]) -> dict[str, Any]:
    """Return a case as a line holds it."""
    files: dict[str, Any] = {"net-symbol.json": sample.symbol}
    if sample.parameters:
        content = params(sample.parameters)
        files["net-0000.params"] = {"base64": base64.b64encode(content).decode()}
    found: dict[str, Any] = {
        "label": sample.label,
        "framework": "mxnet",
        "program": PROGRAM,
        "layers": sorted({n["op"] for n in json.loads(sample.symbol)["nodes"]} - {"null"}),
        "files": files,
    }
    if "error" in answer:
        return {**found, "error": answer["error"]}
    inputs = {
        name: {"shape": list(value.shape), "data": value.ravel().tolist()}
        for name, value in sample.inputs.items()
    }
    outputs = {
        name: {
            "shape": value["shape"],
            "data": [float(f"{n:.9g}") for n in value["data"]],
        }
        for name, value in answer["outputs"].items()
    }
    return {**found, "inputs": inputs, "outputs": outputs}


def as_case(line: dict[str, Any]) -> ImporterCase:
    """Return a record as the replay takes it."""
    files = {
        name: value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
        for name, value in line["files"].items()
    }

    def arrays(key: str) -> dict[str, Array]:
        return {
            name: np.array(value["data"], np.float32).reshape(value["shape"])
            for name, value in line.get(key, {}).items()
        }

    return ImporterCase(
        framework="mxnet",
        label=line["label"],
        program=line["program"],
        layers=tuple(line["layers"]),
        files=files,
        inputs=arrays("inputs"),
        outputs=arrays("outputs"),
        error=line.get("error", ""),
    )


def compare(program: Program, count: int, seed: int, only: str) -> int:
    """Compare random networks; return how many differ."""
    rng, bad, tally = random.Random(seed), 0, Counter[str]()
    for _ in range(count):
        name, make = rng.choice([entry for entry in MAKERS.items() if only in entry[0]])
        sample = make(rng)
        line = record(sample, program.run(sample))
        outcome, what = replay_case(as_case(line))
        tally["refused by both" if line.get("error") and not outcome else outcome or "agree"] += 1
        if outcome:
            bad += 1
            print(f"{name}: {line['label']}: {outcome}: {what[:300]}")
    print(dict(tally))
    return bad


def main() -> int:
    """Write the records or compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="interpreter that has MXNet 1.9.1")
    parser.add_argument("--random", type=int, default=0, help="compare so many random networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of the networks to compare")
    options = parser.parse_args()
    program = Program(options.python)
    if options.random:
        return int(compare(program, options.random, options.seed, options.only) > 0)
    lines = []
    for name, make in MAKERS.items():
        for number in range(2):
            sample = make(random.Random(f"{name} {number}"))
            answer = program.run(sample)
            if "error" not in answer:
                lines.append(json.dumps(record(sample, answer)))
    RECORDS.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} records in {RECORDS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
