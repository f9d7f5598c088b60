"""``npusim report``."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from npusim.api.reporting import finished, gathered, measure
from npusim.cli import common
from npusim.cli.paging import command_line, quantize_words
from npusim.cli.stored import stored_like
from npusim.errors import ConfigError
from npusim.evaluation.labelled import read_labels
from npusim.report.page.write import require_templates

NAME = "report"
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The page: one HTML file.")]
StoredOption = Annotated[
    Path | None,
    typer.Option(help="Report on this stored model (a hybrid one, say), made from MODEL."),
]
LabelledOption = Annotated[
    Path | None,
    typer.Option(help="Labelled set: a folder per class, or a list of 'path label' lines."),
]
LabelsOption = Annotated[Path | None, typer.Option(help="Class names, one a line.")]
OffsetOption = Annotated[
    int, typer.Option(help="Added to labels: 1 when the network's class 0 is background.")
]
VsOption = Annotated[
    str | None, typer.Option("--vs", metavar="MODEL2", help="Show this model beside.")
]
NodeDataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write the colours for AI Edge Model Explorer: FILE with a word before its "
        "suffix for each.",
    ),
]


def command(
    model: common.ModelArgument,
    output: OutputOption = Path("report.html"),
    inputs: common.InputOption = None,
    scheme: common.SchemeOption = None,
    dataset: common.DatasetOption = None,
    algorithm: common.AlgorithmOption = "normal",
    stored: StoredOption = None,
    labelled: LabelledOption = None,
    labels: LabelsOption = None,
    label_offset: OffsetOption = 0,
    vs: VsOption = None,
    node_data: NodeDataOption = None,
    weights: common.WeightsOption = None,
    part: common.PartOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Write one page to send: which layer, why, what to do, what it costs."""
    given = locals()
    require_templates()
    begin = time.perf_counter()
    shown = common.console(as_json)
    file: dict[str, Any] = {"weights": weights, "part": part, "shape": shape}
    how: dict[str, Any] = {"mean": mean, "std": std, "reorder": reorder}
    with gathered() as warnings:
        graph = common.load(model, **file, **how)
        if common.is_quantized(graph) and (scheme or stored):
            raise ConfigError(
                "this model is already quantized",
                where="--quantize" if scheme else "--stored",
                remedy="leave the option out, or give the float model",
            )
        listed = common.dataset_of(model, dataset)
        names = read_labels(labels) if labels else common.labels_of(model)
        common.tell_of_kernels()
        with common.progress_of(shown, "measuring") as progress:
            contents = measure(
                graph,
                listed if not common.is_quantized(graph) else None,
                quantized=stored_like(stored, graph, "--stored") if stored else None,
                scheme=scheme or "u8",
                algorithm=algorithm,
                files=inputs,
                labelled=labelled,
                labels=names,
                label_offset=label_offset,
                vs=None if vs is None else common.load(vs, shape=shape, **how),
                optimization_level=level,
                model=model,
                vs_model=vs or "",
                progress=progress,
            )
    contents = replace(
        contents,
        command=command_line(NAME, command, given),
        paste=() if stored else quantize_words(given, listed),
    )
    made = finished(contents, warnings, begin)
    path = made.write(output)
    written = [path, *(made.write_node_data(node_data) if node_data is not None else ())]
    if as_json:
        common.print_json(made.data)
        return
    shown.print(made.verdict, soft_wrap=True, highlight=False)
    for one in written:
        size = f" ({one.stat().st_size / 1e3:.0f} kB)"
        shown.print(f"wrote {one}{size}", soft_wrap=True, highlight=False)
