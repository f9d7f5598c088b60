"""``npusim run``."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from npusim.analysis.dump import LayerDump, options_from_environment
from npusim.cli import common, quantize_options
from npusim.cli.codes import codes_of
from npusim.cli.uses import folder_with
from npusim.ir.atomic import atomic_set
from npusim.report.table import Sheet, names, numbers, prose, words

if TYPE_CHECKING:
    from npusim.runtime.program import Program

NAME = "run"


def command(
    model: common.ModelArgument,
    inputs: common.InputOption = None,
    scheme: common.RunSchemeOption = None,
    dataset: common.DatasetOption = None,
    algorithm: common.AlgorithmOption = "normal",
    layer: quantize_options.LayerOption = None,
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    fit: common.FitOption = None,
    target: common.TargetOption = None,
    level: common.LevelOption = 3,
    codes: Annotated[
        bool,
        typer.Option("--codes", help="Inputs and outputs are codes, as other runtimes have them."),
    ] = False,
    driver_faults: common.DriverFaultsOption = "correct",
    top: Annotated[int, typer.Option(min=1, help="Largest elements shown per output.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the outputs as npy files."),
        folder_with("output_*.npy"),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run one sample. NN_LAYER_DUMP=1 writes every layer into the working directory."""
    shown = common.console(as_json)
    file = common.source(weights, cut_inputs, cut_outputs, shape)
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit, target=target)
    dataset = common.dataset_of(model, dataset)
    ready = common.quantized(
        graph,
        scheme,
        dataset,
        shown=shown,
        algorithm=algorithm,
        layers=quantize_options.layers(layer),
        optimization_level=level,
    )
    program = common.compiled(ready, level=level, shown=shown, driver_faults=driver_faults)
    label, feeds = codes_of(ready, inputs) if codes else common.sample_of(ready, inputs, dataset)
    results, host_s = _run(program, feeds, codes, shown)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        with atomic_set() as files:
            for number, value in enumerate(results.values()):
                with files.write(output / f"output_{number}.npy") as npy:
                    np.save(npy, value)
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


def _run(
    program: "Program", feeds: Mapping[str, NDArray[Any]], codes: bool, shown: Console
) -> tuple[dict[str, NDArray[Any]], float]:
    """Return the results and the seconds they took; dump the layers if the environment says so."""
    options = options_from_environment()
    dump = LayerDump(program, Path.cwd(), options) if options else None
    observe = dump.observe if dump else None
    with dump or nullcontext():
        begin = time.perf_counter()
        results: dict[str, NDArray[Any]] = (
            program.run_codes(feeds, observe=observe)
            if codes
            else {**program.run(feeds, preprocessed=True, observe=observe)}
        )
        host_s = time.perf_counter() - begin
        index = dump.close(results) if dump else Path()
    if dump:
        shown.print(
            f"layer dump: {index.name} and {len(program.graph.nodes)} layers in {index.parent}"
        )
        if dump.overwritten:
            shown.print(f"warning: {dump.overwritten} files of an earlier dump were replaced")
    return results, host_s


def _table(rows: list[dict[str, Any]], *, title: str, top: int) -> Sheet:
    columns = [*names("output"), *words("shape"), *numbers("min", "max")]
    table = Sheet([*columns, *prose(f"largest {top} (index: value)")], title)
    for row in rows:
        best = "  ".join(f"{i}: {v:.6g}" for i, v in zip(row["index"], row["value"], strict=True))
        table.add(
            row["name"],
            "x".join(map(str, row["shape"])) or "scalar",
            f"{row['min']:.6g}",
            f"{row['max']:.6g}",
            best,
        )
    return table


def describe(name: str, value: NDArray[Any], top: int) -> dict[str, Any]:
    """Return name, shape, limits and the largest elements of an output."""
    flat = value.reshape(-1)
    if not flat.size:  # a host layer that finds nothing
        limits = {"min": float("nan"), "max": float("nan")}
        return {"name": name, "shape": list(value.shape), **limits, "index": [], "value": []}
    index = np.argsort(-flat.astype(np.float64), kind="stable")[:top]  # codes have no minus
    return {
        "name": name,
        "shape": list(value.shape),
        "min": float(flat.min()),
        "max": float(flat.max()),
        "index": [int(i) for i in index],
        "value": [float(flat[i]) for i in index],
    }
