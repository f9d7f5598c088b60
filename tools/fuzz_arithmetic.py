"""Compare npusim with the chip vendor's simulator on random graphs that nobody has seen.

    python tools/fuzz_arithmetic.py ORACLE_FOLDER [FAMILY ...] --to FOLDER [--seed 1] [--cases 8]

Draws cases of every family of ``random_cases`` and element type, records what the vendor's
simulator makes of them as golden files (one per family) and replays those as
``npusim conformance`` does. ORACLE_FOLDER holds ``oracle.py`` (a harness round the vendor's
simulator, set up beforehand). Developer's tool.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_cases import FAMILIES
from random_graphs import GRAPHS
from random_layers import TYPES, Draw, Recipe

from npusim.conformance import replay
from npusim.conformance.__main__ import row
from npusim.conformance.mapping import INPUT_ORDER, TRANSLATIONS
from npusim.errors import NpusimError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.tensor import TensorSpec
from npusim.ops import infer_shapes

Array = NDArray[Any]
ALL = FAMILIES | GRAPHS
ONE_PER_GRAPH = {"conv2d", "depthwise", "grouped", "one_pixel", "fc", "deconv2d", *GRAPHS}


def result_shapes(kind: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any]) -> Any:
    """Return the shapes of an operation's results, as npusim infers them."""
    op, translated = TRANSLATIONS[kind](SimpleNamespace(kind=kind, attrs=attrs), shapes[0])  # type: ignore[arg-type]
    if attrs.get("mult"):
        shapes[1] = (shapes[1][1], shapes[1][0], *shapes[1][2:])
    shapes = [shapes[i] for i in INPUT_ORDER.get(kind, range(len(shapes)))]
    names = [f"i{i}" for i in range(len(shapes))]
    node = Node(name=kind, op=op, inputs=tuple(names), outputs=("y",), attrs=translated, uid=0)
    specs = [
        TensorSpec(name=n, shape=s, dtype=DType.U8) for n, s in zip(names, shapes, strict=True)
    ]
    return infer_shapes(node, specs)


def build(oracle: Any, recipes: list[Recipe]) -> tuple[Any, dict[str, Array]]:
    """Return one oracle graph of several recipes, tensors prefixed by their number."""
    graph, feeds = oracle.Graph(), {}
    for number, recipe in enumerate(recipes):
        shapes: dict[str, tuple[int, ...]] = {}
        for name, (dtype, value, q) in recipe.inputs.items():
            graph.input(f"c{number}_{name}", value.shape, dtype, q)
            feeds[f"c{number}_{name}"] = value
            shapes[name] = value.shape
        for name, (value, q) in recipe.constants.items():
            graph.const(f"c{number}_{name}", value, q)
            shapes[name] = value.shape
        read = {name for _, inputs, _, _ in recipe.ops for name in inputs}
        for kind, inputs, outputs, attrs in recipe.ops:
            results = result_shapes(kind, [shapes[name] for name in inputs], attrs)
            for name, shape in zip(outputs, results, strict=True):
                shapes[name] = shape
                add = graph.tensor if name in read else graph.output
                add(f"c{number}_{name}", shape, *recipe.quants[name])
            graph.op(
                kind,
                [f"c{number}_{n}" for n in inputs],
                [f"c{number}_{n}" for n in outputs],
                **attrs,
            )
    return graph, feeds


def meta_of(graph: Any, number: int, name: str, engines: list[str]) -> dict[str, Any]:
    """Return the golden record of one recipe of a graph."""
    prefix = f"c{number}_"

    def bare(text: str) -> str:
        return text.removeprefix(prefix)

    return {
        "name": name,
        "tensors": {
            bare(key): {
                "role": tensor["role"],
                "shape": tensor["shape"],
                "dtype": tensor["dtype"],
                "q": tensor["q"] and list(tensor["q"]),
            }
            for key, tensor in graph.tensors.items()
            if key.startswith(prefix)
        },
        "ops": [
            op
            | {
                "inputs": [bare(n) for n in op["inputs"]],
                "outputs": [bare(n) for n in op["outputs"]],
            }
            for op in graph.ops
            if op["outputs"][0].startswith(prefix)
        ],
        "engines": engines,
    }


def record(oracle: Any, runner: Any, name: str, recipes: list[Recipe]) -> list[Any]:
    """Run recipes in one graph; return (meta, arrays) of each. Fails as a whole."""
    graph, feeds = build(oracle, recipes)
    results, trace, _ = runner.run_log(graph, feeds)
    engines = [f"{t['target']}:{t['kernel'] or t['operation'].lower()}" for t in trace]
    if len(recipes) > 1:
        engines = sorted(set(engines))
    values = feeds | results
    values |= {n: t["data"] for n, t in graph.tensors.items() if t["role"] == "const"}
    found = []
    for number in range(len(recipes)):
        prefix = f"c{number}_"
        own = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
        found.append((meta_of(graph, number, name, engines), own))
    return found


def record_all(oracle: Any, runner: Any, name: str, recipes: list[Recipe], at_once: int) -> Any:
    """Run recipes in groups; a group that fails runs one by one, what still fails is left out."""
    cases, refused = [], []
    for first in range(0, len(recipes), at_once):
        group = recipes[first : first + at_once]
        try:
            cases += record(oracle, runner, name, group)
            continue
        except (oracle.OracleError, NpusimError) as error:
            if len(group) == 1:
                refused.append(str(error))
                continue
        for recipe in group:
            try:
                cases += record(oracle, runner, name, [recipe])
            except (oracle.OracleError, NpusimError) as error:
                refused.append(str(error))
    return cases, refused


def main(arguments: list[str] | None = None) -> int:
    """Record and replay; exit code 1 when anything differs beyond what is granted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("oracle", type=Path, help="folder with oracle.py")
    parser.add_argument("families", nargs="*", help=f"of: {' '.join(ALL)}")
    parser.add_argument("--to", type=Path, required=True, help="folder for the golden files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=8, help="per family and type")
    parser.add_argument("--types", nargs="+", default=list(TYPES), choices=TYPES)
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(options.oracle))
    oracle = importlib.import_module("oracle")
    runner = oracle.Oracle(timeout=300)
    options.to.mkdir(parents=True, exist_ok=True)
    failed = 0
    for family in options.families or list(ALL):
        for dtype in options.types:
            seconds = time.monotonic()
            numbers = [options.seed, list(ALL).index(family), TYPES.index(dtype)]
            draw = Draw(oracle, np.random.default_rng(numbers), dtype)
            recipes = [recipe for _ in range(options.cases) if (recipe := ALL[family](draw))]
            at_once = 1 if family in ONE_PER_GRAPH else 8
            cases, refused = record_all(oracle, runner, family, recipes, at_once)
            path = options.to / f"{family}_{dtype}_{options.seed}.npz"
            arrays = {f"{k}.{n}": v for k, (_, own) in enumerate(cases) for n, v in own.items()}
            np.savez_compressed(path, meta=np.array(json.dumps([m for m, _ in cases])), **arrays)
            seconds = time.monotonic() - seconds
            print(f"{path.name}: {len(cases)} recorded, {len(refused)} refused, {seconds:.0f} s")
            for message in dict.fromkeys(m.strip().splitlines()[-1][:200] for m in refused):
                print("    refused:", message)
            for result in replay(path):
                failed += not result.ok
                if not result.ok or result.mismatches:
                    print("   ", row(result), *result.errors[:1], flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
