"""``npusim evaluate``."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import npusim
from npusim import assets
from npusim.api.arguments import checked_limit
from npusim.api.measuring import AUTO
from npusim.api.report_run import evaluated
from npusim.cli import common, paging
from npusim.cli.stored import stored_like
from npusim.cli.uses import KEPT, NO_FILE, READ, WRITTEN
from npusim.errors import ConfigError
from npusim.evaluation.annotations import open_boxes, open_masks
from npusim.evaluation.decoders import DECODERS
from npusim.evaluation.detection import DETECTION, detector_of, refuse_boxes_elsewhere
from npusim.evaluation.evaluate import Evaluation
from npusim.evaluation.labelled import Item, open_labelled, read_labels
from npusim.evaluation.segmentation import SEGMENTATION
from npusim.evaluation.task import CLASSIFICATION, class_count, task_named
from npusim.evaluation.worker import FLOAT
from npusim.ir.atomic import atomic_write
from npusim.ir.graph import Graph
from npusim.plain import name_of
from npusim.report.evaluate_table import accuracy_table, evaluation_verdict, worst_table
from npusim.words import FrontEnd, speaking

NAME = "evaluate"
INTERRUPTED = 130  # as shells say of a command that was interrupted
LabelledOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with one folder per class, or a list of 'path label' lines. Detection: COCO "
        "json, VOC or YOLO folder, or 'picture annotation' lines. Segmentation: a folder "
        "with images/ and masks/, or 'picture mask' lines."
    ),
    READ,
]
TaskOption = Annotated[
    str,
    typer.Option(
        metavar="classification|detection|segmentation|custom:module:function",
        help="What is measured. A function takes (list of outputs, label) and returns numbers.",
    ),
    NO_FILE,
]
DecoderOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(DECODERS),
        help="Detection: what the outputs mean. YOLO: a decoded output, or heads.",
    ),
    NO_FILE,
]
AnchorsOption = Annotated[
    str,
    typer.Option(
        metavar="W,H,W,H,...",
        help="YOLO heads: anchors in input pixels, the finest grid's first. Default: COCO's.",
    ),
    NO_FILE,
]
PriorsOption = Annotated[
    Path | None,
    typer.Option(help="SSD: npy or text file of priors, centre and size as parts of the input."),
    READ,
]
ImagesOption = Annotated[Path | None, typer.Option(help="Folder of a COCO file's pictures."), READ]
SchemesOption = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        metavar="u8,i8,i16,f16",
        help="Number formats, comma separated. Default: u8.",
    ),
    NO_FILE,
]
AlsoOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--vs",
        "--also",
        help="Stored model of the same network (a tuned one, say) to run beside. Repeatable.",
    ),
    READ,
]
CalibrationOption = Annotated[
    Path | None, typer.Option(help="Calibration list: one sample a line, no labels."), READ
]
LabelsOption = Annotated[
    Path | None, typer.Option(help="Class names, one a line, when labels are names."), READ
]
OffsetOption = Annotated[
    int, typer.Option(help="Added to labels: 1 when the network's class 0 is background.")
]
JobsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Processes; default: one per processor, one for few samples."),
]
SchedulerOption = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Run on the Dask cluster of this scheduler."), NO_FILE
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        help="File that keeps what is done; default: one in the working directory, removed "
        "when all is done."
    ),
    KEPT,
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="JSON file for the whole result."), WRITTEN
]
WorstOption = Annotated[int, typer.Option(min=0, help="Samples shown that lose most.")]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        help="Exit 1 when top-1, mAP@.5:.95 or mIoU falls by more than so many points from float."
    ),
]


def command(
    model: common.ModelArgument,
    dataset: LabelledOption = None,
    task: TaskOption = CLASSIFICATION,
    decoder: DecoderOption = "",
    anchors: AnchorsOption = "",
    priors: PriorsOption = None,
    images: ImagesOption = None,
    scheme: SchemesOption = None,
    also: AlsoOption = None,
    calibration: CalibrationOption = None,
    algorithm: common.AlgorithmOption = "normal",
    labels: LabelsOption = None,
    label_offset: OffsetOption = 0,
    jobs: JobsOption = None,
    scheduler: SchedulerOption = "",
    state: StateOption = None,
    output: OutputOption = None,
    worst: WorstOption = 10,
    max_drop: MaxDropOption = None,
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    fit: common.FitOption = None,
    level: common.LevelOption = 3,
    html: paging.HtmlOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run float and quantized networks over a labelled set; interrupted, it can be gone on with.

    Exit 1 when the first network is no better than guessing, or beyond --max-drop.
    """
    page = paging.Page(NAME, command, locals())
    shown = common.console(as_json)
    checked_limit(max_drop, "--max-drop")
    how = _task(task, decoder, anchors, priors, images)
    file = common.source(weights, cut_inputs, cut_outputs, shape)
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit)
    items = _items(model, dataset, graph, task, labels, images)
    networks = _networks(graph, model, scheme, calibration, algorithm, level, shown)
    networks |= {name_of(path): _beside(path, graph) for path in also or ()}
    with common.progress_of(shown, "evaluating") as progress:
        found = npusim.evaluate(
            networks,
            items,
            **how,
            labels=labels or (),
            label_offset=label_offset,
            jobs=jobs,
            scheduler=scheduler,
            state=state or AUTO,
            optimization_level=level,
            progress=progress,
            say=shown.print,
        )
    _report(found, f"{graph.name}, {task}", shown, output=output, worst=worst, as_json=as_json)
    page.write(lambda: evaluated(networks, found, level), shown, dataset=calibration)
    if found.interrupted:
        shown.print(f"interrupted; the same command goes on with {found.state}")
        raise typer.Exit(INTERRUPTED)
    if found.at_chance or (max_drop is not None and _drop(found) > max_drop):
        raise typer.Exit(common.MISMATCH)


def _report(
    found: Evaluation,
    title: str,
    shown: Console,
    *,
    output: Path | None,
    worst: int,
    as_json: bool,
) -> None:
    report = common.finite(found.to_dict())
    if output is not None:
        with atomic_write(output) as file:
            file.write(json.dumps(report, indent=1, allow_nan=False).encode())
    if as_json:
        common.print_json(report)
        return
    shown.print(accuracy_table(found, title=title))
    if worst and found.measured:
        shown.print(worst_table(found, count=worst))
    shown.print(evaluation_verdict(found), soft_wrap=True, highlight=False)


def _beside(path: Path, graph: Graph) -> Graph:
    """Return a stored model of the same network, with the same preprocessing."""
    found = stored_like(path, graph, "--vs")
    if found.preprocess != graph.preprocess:
        raise ConfigError(
            f"it was made with {found.preprocess}",
            where=f"--vs {path}",
            rule="all networks see the same preprocessing",
            remedy="give the --mean, --std and --reorder that it was made with",
        )
    return found


def _task(
    task: str, decoder: str, anchors: str, priors: Path | None, images: Path | None
) -> dict[str, Any]:
    """Return the task as ``evaluate`` takes it; a mistake shows before the model is quantized."""
    table: dict[str, Any] = {"anchors": anchors, "priors": priors or ()}
    refuse_boxes_elsewhere(task, decoder=decoder, **table, images=images)
    detector = detector_of(decoder, **table) if task == DETECTION else None
    task_named(task, search=os.getcwd(), detector=detector)
    return {"task": task, "decoder": decoder, **table}


def _items(
    model: str,
    dataset: Path | None,
    graph: Graph,
    task: str,
    labels: Path | None,
    images: Path | None,
) -> tuple[Item, ...]:
    if task == CLASSIFICATION:
        class_count(graph)
    if dataset is not None and task == DETECTION:
        return open_boxes(dataset, labels=read_labels(labels) if labels else (), images=images)
    if dataset is not None and task == SEGMENTATION:
        return open_masks(dataset)
    if dataset is not None:
        return open_labelled(dataset, inputs=len(graph.inputs))
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


def _networks(
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
        return {"model": common.quantized(graph, schemes, None, shown=shown)}
    names = dict.fromkeys((schemes if schemes is not None else "u8").replace(",", " ").split())
    if not names:
        raise ConfigError(
            f"value {schemes!r}", where="--quantize", rule="number formats, comma between"
        )
    dataset = common.dataset_of(model, calibration)
    choices = {"algorithm": algorithm, "optimization_level": level}
    with speaking(FrontEnd.CLI, dataset="--calibration"):
        return {FLOAT: graph} | {
            scheme: common.quantized(graph, scheme, dataset, shown=shown, **choices)
            for scheme in names
        }


def _drop(found: Evaluation) -> float:
    """Return by how many points the worst quantized network is below float."""
    first, *others = found.accuracies
    wanted = first.headline
    if first.name != FLOAT or wanted is None:
        raise ConfigError(
            "there is no float figure to compare with",
            where="--max-drop",
            rule="a float model and the task classification, detection or segmentation",
        )
    figures = [run.headline or ("", 0.0) for run in others]
    return max((100 * (wanted[1] - figure[1]) for figure in figures), default=0.0)
