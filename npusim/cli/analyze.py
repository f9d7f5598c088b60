"""``npusim analyze``."""

from pathlib import Path
from typing import Annotated, Any

import typer

import npusim
from npusim.analysis.analyze import Analysis, require_float_source
from npusim.analysis.compare import WRONG_BELOW
from npusim.analysis.snapshot import check_file_type, write_snapshot
from npusim.cli import common
from npusim.cli.stored import stored_like
from npusim.errors import ConfigError
from npusim.ir.graph import Graph
from npusim.report.analysis_table import analysis_table, analysis_verdict, write_analysis

NAME = "analyze"
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the dumps and tables of accuracy_analysis."),
]
StoredOption = Annotated[
    Path | None,
    typer.Option(help="Analyse this stored model (a hybrid one, say), made from MODEL, instead."),
]
FileTypeOption = Annotated[
    str, typer.Option(metavar="tensor|npy", help="Text or numpy files in the dumps.")
]
BriefOption = Annotated[bool, typer.Option("--brief", help="Show only layers with a finding.")]


def command(
    model: common.ModelArgument,
    output: OutputOption = None,
    inputs: common.InputOption = None,
    scheme: common.SchemeOption = "u8",
    dataset: common.DatasetOption = None,
    algorithm: common.AlgorithmOption = "normal",
    stored: StoredOption = None,
    weights: common.WeightsOption = None,
    part: common.PartOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    file_type: FileTypeOption = "tensor",
    threshold: common.ThresholdOption = WRONG_BELOW,
    brief: BriefOption = False,
    everything: common.AllOption = False,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Run one sample quantized as a whole and layer by layer against float; exit 1 when wrong."""
    shown = common.console(as_json)
    check_file_type(file_type)
    file: dict[str, Any] = {"weights": weights, "part": part, "shape": shape}
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder)
    if common.is_quantized(graph):
        raise ConfigError(
            "a stored or quantized model does not hold its float source",
            where=model,
            remedy="give the float model; it is quantized on the way",
        )
    require_float_source(graph)
    dataset = common.dataset_of(model, dataset)
    how: dict[str, Any] = {"algorithm": algorithm, "optimization_level": level}
    ready = (
        stored_like(stored, graph, "--stored")
        if stored
        else common.quantized(graph, scheme, dataset, shown=shown, **how)
    )
    program = common.compiled(ready, level=level, shown=shown)
    label, feeds = common.sample_of(ready, inputs, dataset)
    with common.progress_of(shown, "running layers alone") as progress:
        found = npusim.analyze(
            graph, program, feeds, sample=label, threshold=threshold, progress=progress
        )
    if output is not None and (removed := write(found, graph, output, file_type)):
        shown.print(f"warning: {removed} files of an earlier analysis were replaced")
    if as_json:
        common.print_json(common.finite(found.to_dict()))
    else:
        title = f"{graph.name} {found.label} on {label}"
        shown.print(analysis_table(found, title=title, brief=brief, everything=everything))
        shown.print(analysis_verdict(found), soft_wrap=True, highlight=False)
        if output is not None:
            shown.print(f"written to {output}: dumps, error files, analysis.csv, analysis.json")
    if found.first_wrong is not None or found.bad:
        raise typer.Exit(common.MISMATCH)


def write(found: Analysis, graph: Graph, output: Path, file_type: str) -> int:
    """Write dumps and tables; return how many files of an earlier analysis were replaced."""
    removed = write_snapshot(found, graph, output, file_type=file_type)
    write_analysis(found, output)
    return removed
