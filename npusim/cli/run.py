"""``npusim run``."""

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from npusim.analysis.dump import LayerDump, options_from_environment
from npusim.cli import common

NAME = "run"


def command(
    model: common.ModelArgument,
    inputs: common.InputOption = None,
    scheme: common.SchemeOption = None,
    dataset: common.DatasetOption = None,
    weights: common.WeightsOption = None,
    part: common.PartOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    target: common.TargetOption = None,
    level: common.LevelOption = 3,
    top: Annotated[int, typer.Option(min=1, help="Largest elements shown per output.")] = 5,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the outputs as npy files.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run one sample. NN_LAYER_DUMP=1 writes every layer into the working directory."""
    shown = common.console(as_json)
    file: dict[str, Any] = {"weights": weights, "part": part, "shape": shape}
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, target=target)
    dataset = common.dataset_of(model, dataset)
    ready = common.quantized(graph, scheme, dataset, shown=shown, optimization_level=level)
    program = common.compiled(ready, level=level, shown=shown)
    label, feeds = common.sample_of(ready, inputs, dataset)
    options = options_from_environment()
    dump = LayerDump(program, Path.cwd(), options) if options else None
    begin = time.perf_counter()
    results = program.run(feeds, preprocessed=True, observe=dump.observe if dump else None)
    host_s = time.perf_counter() - begin
    if dump:
        index = dump.close()
        shown.print(
            f"layer dump: {index.name} and {len(program.graph.nodes)} layers in {index.parent}"
        )
        if dump.overwritten:
            shown.print(f"warning: {dump.overwritten} files of an earlier dump were replaced")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        for number, value in enumerate(results.values()):
            np.save(output / f"output_{number}.npy", value)
    rows = [describe(name, value, top) for name, value in results.items()]
    if as_json:
        common.print_json(
            {
                "model": model,
                "sample": label,
                "host_seconds": host_s,
                "outputs": common.finite(rows),
            }
        )
        return
    title = f"{ready.name} on {label} ({host_s * 1e3:.1f} ms on this computer)"
    shown.print(_table(rows, title=title, top=top))


def _table(rows: list[dict[str, Any]], *, title: str, top: int) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title)
    for heading in ("output", "shape", "min", "max", f"largest {top} (index: value)"):
        table.add_column(heading)
    for row in rows:
        best = "  ".join(f"{i}: {v:.6g}" for i, v in zip(row["index"], row["value"], strict=True))
        table.add_row(
            row["name"],
            "x".join(map(str, row["shape"])),
            f"{row['min']:.6g}",
            f"{row['max']:.6g}",
            best,
        )
    return table


def describe(name: str, value: NDArray[Any], top: int) -> dict[str, Any]:
    """Return name, shape, limits and the largest elements of an output."""
    flat = value.reshape(-1)
    index = np.argsort(-flat, kind="stable")[:top]
    return {
        "name": name,
        "shape": list(value.shape),
        "min": float(flat.min()),
        "max": float(flat.max()),
        "index": [int(i) for i in index],
        "value": [float(flat[i]) for i in index],
    }
