"""Compare the operations that npusim plans with those of the chip vendor's own driver.

    python tools/compare_lowering.py ORACLE_FOLDER [--dtype u8] [--only TEXT] [--all] [LIST.json ..]

Every block of ``tools/block_lists.py`` (or every layer list that is named) is compiled by the
driver; its operations are compared with npusim's by engine, name, sizes, kernel and fused pool, in
any order. ORACLE_FOLDER holds ``oracle.py`` (a harness round the vendor's simulator, set up
beforehand); it is a developer's tool and neither tests nor users need it.
"""

import argparse
import importlib
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from block_builder import Block
from block_lists import all_blocks
from oracle_bridge import Emitter

from npusim.errors import NpusimError
from npusim.ir.attrs import Activation
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ops import op_def
from npusim.passes.uniform import uniform
from npusim.perfmodel.layer_list import layer_graph, read_layer_list
from npusim.perfmodel.lowering import lower
from npusim.perfmodel.network import from_graph
from npusim.perfmodel.workload import NnWork, ShaderWork, Work

OTHER_NAMES = {"unkown operation type": "TENSOR_STRIDED_SLICE"}  # the driver has no name for it
WEIGHT_SCALE = 0.25  # of the largest code: weights as the performance tables have them


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One network: operations that only one side has."""

    name: str
    family: str
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    refused: str = ""

    @property
    def equal(self) -> bool:
        """Tell whether both lists are the same."""
        return not (self.missing or self.extra or self.refused)


def with_values(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return a stored graph whose placeholders are random codes."""
    graph = graph.copy()
    weights = {node.inputs[1] for node in graph.nodes if op_def(node.op).weighted}
    for name in graph.constants:
        spec = graph.spec(name)
        if spec.dtype.is_float:
            value = rng.standard_normal(spec.shape) * 0.1
        elif name in weights:
            middle = 128 if spec.dtype is DType.U8 else 0
            value = (
                rng.standard_normal(spec.shape) * spec.dtype.max * WEIGHT_SCALE / (1 + middle / 128)
            )
            value = np.clip(np.rint(value + middle), spec.dtype.min, spec.dtype.max)
        else:
            value = np.zeros(spec.shape)
        graph.constants[name] = value.astype(spec.dtype.numpy)
    return graph


def driver_operations(oracle: Any, runner: Any, graph: Graph) -> list[dict[str, Any]]:
    """Return the driver's blocks for a stored graph."""
    emitter = Emitter(oracle, graph)
    for tensor in graph.inputs:
        emitter.feed(tensor, np.zeros(graph.spec(tensor).shape, graph.spec(tensor).dtype.numpy))
    for node in graph.nodes:
        if getattr(node.attrs, "activation", None) is Activation.RELU6:
            # inside a layer relu6 is what saturation does; here it must cost what relu costs
            node = replace(node, attrs=replace(node.attrs, activation=Activation.RELU))
        emitter.emit(node, lambda tensor: tensor in graph.outputs)
    blocks: list[dict[str, Any]] = runner.perf(emitter.target)
    return blocks


def block_key(block: dict[str, Any]) -> str:
    """Return one operation of the driver in words."""
    ins = "x".join(str(block[f"OrigInImage{axis}"]) for axis in "XYZ")
    out = "x".join(
        str(block.get(f"FinalOutImage{axis}", block[f"OutImage{axis}"])) for axis in "XYZ"
    )
    size = block["OrigInImageX"] * block["OrigInImageY"] * block["OrigInImageZ"]
    size_out = block["OutImageX"] * block["OutImageY"] * block["OutImageZ"]
    if block["target"] == "NN":
        pool = max(1, block["PoolingSize"])
        kernel = f"{block['KernelX']}x{block['KernelY']}"
        return f"NN {block['operation_name']} {ins} -> {out} kernel {kernel} pool {pool}"
    if block["target"] == "TP":
        name = OTHER_NAMES.get(block["operation_name"], block["operation_name"])
        return f"TP {name} {size} -> {size_out}"
    return f"SH {size} -> {size_out}"


def work_key(work: Work, itemsize: int) -> str:
    """Return one planned operation in the same words."""
    if isinstance(work, NnWork):
        ins = f"{work.in_w}x{work.in_h}x{work.in_c}"
        out = f"{work.final_w}x{work.final_h}x{work.out_c}"
        kernel = f"{work.kernel_w}x{work.kernel_h}"
        return f"NN {work.operation} {ins} -> {out} kernel {kernel} pool {work.pool}"
    sizes = f"{work.in_bytes // itemsize} -> {work.out_bytes // itemsize}"
    if isinstance(work, ShaderWork):
        return f"SH {sizes}"
    return f"TP {work.operation} {sizes}"


def compare(
    graph: Graph, dtype: DType, oracle: Any, runner: Any, *, name: str, family: str
) -> Compared:
    """Return the differences of one layer list's graph."""
    planned: Counter[str] = Counter()
    stored = with_values(uniform(graph, dtype), np.random.default_rng(0))
    try:
        for low in lower(from_graph(stored)):
            for work in low.works:
                planned[work_key(work, dtype.itemsize)] += getattr(work, "count", 1)
    except NpusimError as error:
        return Compared(name=name, family=family, refused=f"npusim: {error}")
    try:
        blocks = driver_operations(oracle, runner, stored)
    except oracle.OracleError as error:
        return Compared(name=name, family=family, refused=f"driver: {str(error)[-200:]}")
    listed = Counter(map(block_key, blocks))
    return Compared(
        name=name,
        family=family,
        missing=tuple((listed - planned).elements()),
        extra=tuple((planned - listed).elements()),
    )


def graphs(paths: Iterable[Path], only: str) -> Iterable[tuple[str, str, Graph]]:
    """Yield family, name and graph of what is to be compared."""
    blocks: list[tuple[str, Block]] = [] if paths else all_blocks()
    for path in paths:
        yield path.stem, path.stem, read_layer_list(path).graph
    for family, block in blocks:
        if only in f"{family} {block['name']}":
            yield family, block["name"], layer_graph(block, block["name"]).graph


def main(arguments: list[str] | None = None) -> int:
    """Print differences and shares of equal lists; 1 when less than 95 % are equal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("oracle", type=Path, help="folder with oracle.py")
    parser.add_argument("lists", type=Path, nargs="*", help="layer lists instead of the blocks")
    parser.add_argument("--dtype", default="u8")
    parser.add_argument("--only", default="", help="blocks whose name contains this text")
    parser.add_argument("--all", action="store_true", help="name equal ones too")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(options.oracle))
    oracle = importlib.import_module("oracle")
    runner = oracle.Oracle(contiguous=0x40000000, timeout=300)
    rows = []
    for family, name, graph in graphs(options.lists, options.only):
        row = compare(graph, DType(options.dtype), oracle, runner, name=name, family=family)
        rows.append(row)
        if options.all or not row.equal:
            print(f"{'=' if row.equal else '!'} {name}  {row.refused}", flush=True)
        for sign, texts in (("-", row.missing), ("+", row.extra)):
            for text, count in sorted(Counter(texts).items()):
                print(f"    {sign} {text}" + (f"  x{count}" if count > 1 else ""))
    for family in dict.fromkeys(row.family for row in rows):
        mine = [row for row in rows if row.family == family]
        print(f"{family:<16}{sum(row.equal for row in mine):>4} of {len(mine)} equal")
    equal = sum(row.equal for row in rows)
    print(f"{equal} of {len(rows)} operation lists are equal ({equal / max(1, len(rows)):.1%})")
    return 0 if equal >= 0.95 * len(rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
