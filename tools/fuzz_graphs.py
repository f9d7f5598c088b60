"""Count, over random whole graphs, where npusim differs from the chip vendor's simulator unsaid.

    python tools/fuzz_graphs.py ORACLE_FOLDER --to FOLDER [--seed 31] [--graphs 2000]

Graph k is drawn from seed and k alone: kinds of ``random_graphs`` and element types take turns.
Each is run by the vendor's simulator and by npusim; a line of FOLDER/results.jsonl holds the
outcome, and graphs that differ are kept beside it as golden files for ``npusim conformance``. Run
again, it goes on behind the last line; ``--table`` prints what is there. Developer's tool.
"""

import argparse
import importlib
import json
import logging
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_arithmetic import record
from random_graphs import GRAPHS
from random_layers import TYPES, Draw

from npusim.conformance.compare import step_distance
from npusim.conformance.golden import read_golden
from npusim.conformance.replay import prepared
from npusim.ir.graph import Graph
from npusim.runtime.program import Program

OUTCOMES = {
    "equal": "bit for bit equal",
    "named": "differs, and a warning names a layer at or before every output that does",
    "missed": "differs, and no warning says so",
    "stops": "npusim stops",
    "refused": "the vendor's simulator refuses or dies",
}


class Warned(logging.Handler):
    """Collects the layers and codes that warnings name."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.layers: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the layers that a warning names and the code it ends in."""
        text = record.getMessage()
        code = re.search(r"npusim explain ([\w-]+)", text)
        if text.startswith("layer "):
            named = re.findall(r"'([^']+)'", text)
            self.layers |= dict.fromkeys(named, code[1] if code else "")


def before(graph: Graph, output: str) -> set[str]:
    """Return the layers that an output follows from."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    found, todo = set(), [output]
    while todo:
        node = makers.get(todo.pop())
        if node and node.name not in found:
            found.add(node.name)
            todo += node.inputs
    return found


def outcome(path: Path) -> dict[str, Any]:
    """Compare the one graph of a golden file with npusim."""
    (case,) = read_golden(path)
    warned = Warned()
    log = logging.getLogger("npusim")
    log.addHandler(warned)
    log.propagate = False
    try:
        graph = prepared(case)
        results = Program(graph).run_stored({name: case.arrays[name] for name in graph.inputs})
    except Exception as error:  # whatever stops a graph is what is looked for
        return {"outcome": "stops", "why": f"{type(error).__name__}: {error}"[:300]}
    finally:
        log.removeHandler(warned)
    differ = {
        name: int((step_distance(results[name], case.arrays[name]) != 0).sum())
        for name in graph.outputs
    }
    unsaid = [
        name for name, n in differ.items() if n and not before(graph, name) & set(warned.layers)
    ]
    which = "missed" if unsaid else "named" if any(differ.values()) else "equal"
    return {
        "outcome": which,
        "elements": sum(results[name].size for name in graph.outputs),
        "differ": sum(differ.values()),
        "codes": sorted(set(warned.layers.values())),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Return a Markdown table of outcomes by kind of graph and their totals."""
    kinds = [kind for kind in GRAPHS if any(line["kind"] == kind for line in lines)]
    rows = ["| kind | graphs | " + " | ".join(OUTCOMES) + " |", "|---" * (2 + len(OUTCOMES)) + "|"]
    for kind in [*kinds, "all"]:
        own = [line for line in lines if kind in (line["kind"], "all")]
        count = Counter(line["outcome"] for line in own)
        cells = [kind, str(len(own)), *(str(count[word]) for word in OUTCOMES)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    """Draw, run, compare; exit code 1 when a difference is not named or npusim stops."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("oracle", type=Path, help="folder with oracle.py")
    parser.add_argument("--to", type=Path, required=True, help="folder for results")
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--table", action="store_true", help="print the outcomes so far, run none")
    options = parser.parse_args(arguments)
    options.to.mkdir(parents=True, exist_ok=True)
    results = options.to / "results.jsonl"
    lines = [json.loads(t) for t in results.read_text().splitlines()] if results.exists() else []
    if not options.table:
        sys.path.insert(0, str(options.oracle))
        oracle = importlib.import_module("oracle")
        runner = oracle.Oracle(timeout=300)
        for k in range(len(lines), options.graphs):
            kind, dtype = list(GRAPHS)[k % len(GRAPHS)], TYPES[k // len(GRAPHS) % len(TYPES)]
            draw = Draw(oracle, np.random.default_rng([options.seed, k]), dtype)
            line = {"graph": k, "kind": kind, "dtype": dtype}
            path = options.to / f"{k:05}_{kind}_{dtype}.npz"
            try:
                ((meta, own),) = record(oracle, runner, kind, [GRAPHS[kind](draw)])
            except oracle.OracleError as error:
                line |= {"outcome": "refused", "why": str(error).strip().splitlines()[-1][:200]}
            else:
                arrays = {f"0.{name}": value for name, value in own.items()}
                np.savez_compressed(path, meta=np.array(json.dumps([meta])), **arrays)
                line |= outcome(path)
                if line["outcome"] == "equal":
                    path.unlink()
            lines.append(line)
            with results.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
    print(table(lines))
    for line in lines:
        if line["outcome"] in ("missed", "stops"):
            print(json.dumps(line))
    return 1 if any(line["outcome"] in ("missed", "stops") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
