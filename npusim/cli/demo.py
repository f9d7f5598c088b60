"""``npusim demo``: the whole job on the bundled classifier."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

import npusim
from npusim import assets
from npusim.analysis.compare import Comparison, compare_with_source
from npusim.analysis.dump import LayerDump
from npusim.cli import common
from npusim.cli.uses import FOLDER
from npusim.ir.atomic import atomic_write
from npusim.ir.graph import Graph
from npusim.perfmodel.estimate import Estimate
from npusim.reference.evaluate import Evaluator
from npusim.report.compare_table import comparison_table, verdict
from npusim.report.perf_table import layer_table
from npusim.report.table import Sheet, names, numbers, words
from npusim.runtime.program import Program

NAME = "demo"
REPORT = "report.json"
FORMATS = ("float", "f16", "u8")
Feeds = Mapping[str, NDArray[Any]]


def command(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the model, dump and reports."),
        FOLDER,
    ] = Path("npusim-demo"),
    as_json: common.JsonOption = False,
) -> None:
    """Classify text lines in float, float16 and u8; dump, compare and estimate; exit 1 if wrong."""
    begin = time.perf_counter()
    shown = common.console(as_json)
    graph = common.load(common.BUNDLED)
    shown.print(
        f"1. {assets.MODEL_FILE}: {len(graph.nodes)} operators, {_classes()}\n"
        f"2. calibrating on {len(assets.calibration_images())} bundled images, quantizing to u8"
    )
    u8_graph = common.quantized(graph, "u8", assets.calibration_list(), shown=shown)
    shown.print("3. preparing exact kernels (compiled at the first start, then kept)")
    programs = {
        "f16": common.compiled(common.quantized(graph, "f16", None, shown=shown), shown=shown),
        "u8": common.compiled(u8_graph, shown=shown),
    }
    rows = _classify(graph, programs, shown)
    output.mkdir(parents=True, exist_ok=True)
    (output / REPORT).unlink(missing_ok=True)  # it says that all the rest is there
    npusim.save(u8_graph, output / "model_u8.npusim")
    first = npusim.read_input(graph, assets.test_images()[0][0])
    comparison = _dump_and_compare(programs["u8"], graph, first, output / "nn_layer_dump")
    times = npusim.estimate(programs["u8"])
    report: dict[str, Any] = {
        "images": rows,
        "right": {name: _right(rows, name) for name in FORMATS},
        "comparison": common.finite(comparison.to_dict()),
        "performance": times.to_dict(),
        "seconds": time.perf_counter() - begin,
    }
    with atomic_write(output / REPORT) as file:
        file.write(json.dumps(report, indent=1).encode())
    passed = all(report["right"][name] == len(rows) for name in FORMATS)
    if as_json:
        common.print_json(report)
    else:
        _print(shown, rows, comparison, times, output)
        _print_verdict(shown, rows, comparison, times, passed, time.perf_counter() - begin)
    if not passed:
        raise typer.Exit(common.MISMATCH)


def _classes() -> str:
    return "text lines " + " or ".join(f"{label} degrees" for label in assets.LABELS)


def _classify(
    graph: Graph, programs: Mapping[str, Program], shown: Console
) -> list[dict[str, Any]]:
    """Return one row per bundled test image with the class and score of every format."""
    evaluator = Evaluator(graph)
    images = assets.test_images()
    rows = []
    with common.progress_bar(shown) as bar:
        task = bar.add_task("4. classifying", total=len(images))
        for path, label in images:
            feeds = npusim.read_input(graph, path)
            scores = {"float": _only(evaluator.run(feeds))}
            for name, program in programs.items():
                scores[name] = _only(program.run(feeds, preprocessed=True))
            rows.append(
                {
                    "image": path.name,
                    "label": assets.LABELS[label],
                    **{
                        f"{name}_class": assets.LABELS[int(s.argmax())]
                        for name, s in scores.items()
                    },
                    **{f"{name}_score": float(s[label]) for name, s in scores.items()},
                }
            )
            bar.advance(task)
    return rows


def _only(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    (value,) = outputs.values()
    return value.reshape(-1)


def _right(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[f"{name}_class"] == row["label"] for row in rows)


def _dump_and_compare(program: Program, graph: Graph, feeds: Feeds, folder: Path) -> Comparison:
    source: dict[str, NDArray[Any]] = {}
    Evaluator(graph).run(feeds, observe=lambda name, value: source.update({name: np.array(value)}))
    with LayerDump(program, folder) as dump:
        program.run(feeds, preprocessed=True, observe=dump.observe)
        dump.close()
    return compare_with_source(program, feeds, source, preprocessed=True)


def _print(
    shown: Console,
    rows: list[dict[str, Any]],
    comparison: Comparison,
    times: Estimate,
    output: Path,
) -> None:
    columns = [*names("image"), *words("label"), *numbers(*FORMATS)]
    table = Sheet(columns, "4. score of the right class")
    for row in rows:
        cells = [
            f"{row[f'{name}_score']:.4f}"
            + ("" if row[f"{name}_class"] == row["label"] else f" ({row[f'{name}_class']}!)")
            for name in FORMATS
        ]
        table.add(row["image"], row["label"], *cells)
    shown.print(table)
    shown.print(comparison_table(comparison, title="5. u8 against float", most=10))
    shown.print(layer_table(times))
    shown.print(
        f"written to {output}: model_u8.npusim, report.json, nn_layer_dump "
        f"({len(comparison.layers) + len(comparison.unmatched)} layer outputs and an index)"
    )


def _print_verdict(
    shown: Console,
    rows: list[dict[str, Any]],
    comparison: Comparison,
    times: Estimate,
    passed: bool,
    seconds: float,
) -> None:
    counts = ", ".join(f"{name} {_right(rows, name)} of {len(rows)}" for name in FORMATS)
    shown.print(f"\nVerdict: {'right' if passed else 'WRONG'}. Classified right: {counts}.")
    shown.print(verdict(comparison))
    shown.print(
        f"Estimated time on {times.machine}: {times.total_time_us:.0f} us a run "
        f"({times.frames_per_s:.0f} per second). This demo took {seconds:.1f} s."
    )
