"""``npusim evaluate``."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from npusim import assets
from npusim.cli import common
from npusim.cli.stored import stored_like
from npusim.environment import thread_count
from npusim.errors import ConfigError
from npusim.evaluation.evaluate import Evaluation, evaluate, fingerprint
from npusim.evaluation.labelled import Item, open_labelled, read_labels
from npusim.evaluation.task import CLASSIFICATION, task_named
from npusim.evaluation.worker import FLOAT, Job
from npusim.ir.atomic import atomic_write
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower
from npusim.report.evaluate_table import accuracy_table, evaluation_verdict, worst_table

NAME = "evaluate"
FEW = 256  # samples that are done before other processes have started
INTERRUPTED = 130  # as shells say of a command that was interrupted


def command(
    model: common.ModelArgument,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Folder with one folder per class, or a list of 'path label' lines."),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="classification|custom:module:function",
            help="What is measured. A function takes (list of outputs, label) and returns numbers.",
        ),
    ] = CLASSIFICATION,
    scheme: Annotated[
        str | None,
        typer.Option(
            "--quantize",
            metavar="u8,i8,i16,f16",
            help="Number formats, comma separated. Default: u8.",
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            help="Stored model of the same network (a tuned one, say) to run beside. Repeatable."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Calibration list: one sample a line, no labels.")
    ] = None,
    algorithm: common.AlgorithmOption = "normal",
    labels: Annotated[
        Path | None, typer.Option(help="Class names, one a line, when labels are names.")
    ] = None,
    label_offset: Annotated[
        int, typer.Option(help="Added to labels: 1 when the network's class 0 is background.")
    ] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; default: one per processor, one for few samples."),
    ] = None,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on the Dask cluster of this scheduler.")
    ] = "",
    state: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps what is done; default: one in the working directory, removed "
            "when all is done."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file for the whole result.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Samples shown that lose most.")] = 10,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Exit 1 when top-1 falls by more than so many points against float."),
    ] = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Run float and quantized networks over a labelled set; interrupted, it can be gone on with."""
    shown = common.console(as_json)
    task_named(task, search=os.getcwd())  # a mistake in it shows before the model is quantized
    graph = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder)
    items = _items(model, dataset, len(graph.inputs))
    graphs = _graphs(graph, model, scheme, calibration, algorithm, level, shown)
    for path in also or ():
        graphs[path.stem] = stored_like(path, graph, "--also")
        if graphs[path.stem].preprocess != graph.preprocess:
            raise ConfigError(
                f"it was made with {graphs[path.stem].preprocess}",
                where=f"--also {path}",
                rule="all networks see the same preprocessing",
                remedy="give the --mean, --std and --reorder that it was made with",
            )
    job = Job(
        graphs=graphs,
        task=task,
        labels=read_labels(labels) if labels else (),
        offset=label_offset,
        search=os.getcwd(),
    )
    kept = state or Path(f"npusim-evaluate-{fingerprint(job, items)[:12]}.jsonl")
    if kept.exists():
        shown.print(f"going on with {kept}")
    with common.progress_bar(shown) as bar:
        bar_task = bar.add_task("evaluating", total=len(items))
        found = evaluate(
            job,
            items,
            jobs=jobs or (1 if len(items) < FEW else thread_count()),
            scheduler=scheduler,
            state=kept,
            progress=lambda done, _total: bar.update(bar_task, completed=done),
        )
    if state is None and not found.interrupted:
        kept.unlink(missing_ok=True)
    report = common.finite(found.to_dict())
    if output is not None:
        with atomic_write(output) as file:
            file.write(json.dumps(report, indent=1, allow_nan=False).encode())
    if as_json:
        common.print_json(report)
    else:
        shown.print(accuracy_table(found, title=f"{graph.name}, {task}"))
        if worst and found.measured:
            shown.print(worst_table(found, count=worst))
        shown.print(evaluation_verdict(found), soft_wrap=True, highlight=False)
    if found.interrupted:
        shown.print(f"interrupted; the same command goes on with {kept}")
        raise typer.Exit(INTERRUPTED)
    if max_drop is not None and _drop(found) > max_drop:
        raise typer.Exit(common.MISMATCH)


def _items(model: str, dataset: Path | None, inputs: int) -> tuple[Item, ...]:
    if dataset is not None:
        return open_labelled(dataset, inputs=inputs)
    if model != common.BUNDLED:
        raise ConfigError(
            "there is no labelled set",
            where="--dataset",
            rule="a folder with one folder per class, or a list of 'path label' lines",
        )
    return tuple(
        Item(index=i, name=path.name, paths=(str(path),), label=str(label))
        for i, (path, label) in enumerate(assets.test_images())
    )


def _graphs(
    graph: Graph,
    model: str,
    schemes: str | None,
    calibration: Path | None,
    algorithm: str,
    level: int,
    shown: Console,
) -> dict[str, Graph]:
    """Return float and quantized graphs by name; a quantized model has only itself."""
    if common.is_quantized(graph):
        if calibration is not None:
            raise ConfigError(
                "this model is already quantized",
                where="--calibration",
                remedy="leave the option out, or give the float model",
            )
        return {"model": lower(common.quantized(graph, schemes, None, shown=shown), level=level)}
    found = {FLOAT: graph}
    for scheme in dict.fromkeys((schemes or "u8").replace(",", " ").split()):
        ready = common.quantized(
            graph,
            scheme,
            common.dataset_of(model, calibration),
            level=level,
            algorithm=algorithm,
            shown=shown,
        )
        found[scheme] = lower(ready, level=level)
    return found


def _drop(found: Evaluation) -> float:
    """Return by how many points the worst quantized network's top-1 is below float."""
    first, *others = found.accuracies
    if first.name != FLOAT or first.top1 is None:
        raise ConfigError(
            "there is no float top-1 to compare with",
            where="--max-drop",
            rule="a float model and the task classification",
        )
    return max((100 * (first.top1 - (run.top1 or 0.0)) for run in others), default=0.0)
