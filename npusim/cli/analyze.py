"""``npusim analyze``."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import npusim
from npusim.analysis.analyze import Analysis, require_float_source
from npusim.analysis.compare import WRONG_BELOW
from npusim.analysis.snapshot import FILE_GLOB, FOLDERS, check_file_type, write_snapshot
from npusim.api.report_run import analysed
from npusim.cli import common, paging
from npusim.cli.stored import is_vendors, own_reference, stored_like
from npusim.cli.uses import NO_FILE, READ, WRITTEN, folder_with
from npusim.errors import ConfigError
from npusim.ir.graph import Graph
from npusim.quantization.hybrid.cfg import raise_in_cfg
from npusim.quantization.schemes import Scheme, scheme_named
from npusim.report.analysis_table import analysis_table, analysis_verdict, write_analysis

NAME = "analyze"
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the dumps and tables of accuracy_analysis."),
    folder_with(*(f"{name}/{FILE_GLOB}" for name in FOLDERS)),
]
StoredOption = Annotated[
    Path | None,
    typer.Option(help="Analyse this stored model (a hybrid one, say), made from MODEL, instead."),
    READ,
]
WriteCfgOption = Annotated[
    Path | None,
    typer.Option(
        metavar="CFG",
        help="Write a quantization.cfg with the layers to blame raised; npusim quantize --hybrid "
        "takes it.",
    ),
    WRITTEN,
]
FileTypeOption = Annotated[
    str,
    typer.Option(
        metavar="npy|tensor", help="numpy files in the dumps, or text as accuracy_analysis writes."
    ),
    NO_FILE,
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
    write_cfg: WriteCfgOption = None,
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    fit: common.FitOption = None,
    file_type: FileTypeOption = "npy",
    threshold: common.ThresholdOption = WRONG_BELOW,
    brief: BriefOption = False,
    everything: common.AllOption = False,
    level: common.LevelOption = 3,
    html: paging.HtmlOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Run one sample quantized as a whole and layer by layer against float; exit 1 when wrong."""
    page = paging.Page(NAME, command, locals())
    shown = common.console(as_json)
    check_file_type(file_type)
    file = common.source(weights, cut_inputs, cut_outputs, shape)
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit)
    ready = graph if is_vendors(graph) and stored is None else None
    graph = graph if ready is None else own_reference(graph)
    _refuse_quantized(graph, model)
    dataset = common.dataset_of(model, dataset)
    how: dict[str, Any] = {"algorithm": algorithm, "optimization_level": level}
    wide = _wider(scheme, ready or stored) if write_cfg else None
    how |= {"write_cfg": write_cfg} if write_cfg else {}
    if ready is None:
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
    of_page: dict[str, Any] = {"sample": label, "analysis": found}
    page.write(lambda: analysed(graph, program, feeds, **of_page), shown, dataset=dataset)
    if write_cfg and wide:
        raise_in_cfg(write_cfg, dict.fromkeys(found.to_raise, wide))
    if as_json:
        common.print_json(common.finite(found.to_dict()))
    else:
        _print(shown, found, graph.name, output, brief=brief, everything=everything)
        if write_cfg and wide:
            _tell_cfg(
                shown, write_cfg, wide, found, paging.again(model, file, mean, std, reorder, fit)
            )
    if found.first_wrong is not None or found.bad:
        raise typer.Exit(common.MISMATCH)


def _refuse_quantized(graph: Graph, model: str) -> None:
    if common.is_quantized(graph):
        raise ConfigError(
            "a stored or quantized model does not hold its float source",
            where=model,
            remedy="give the float model; it is quantized on the way",
        )
    require_float_source(graph)


def _wider(scheme: str | None, stored: object) -> Scheme:
    """Return the format that layers are raised to.

    Raises
    ------
    ConfigError
        Where there is none, or no calibration whose ranges could be written.
    """
    if stored is not None:
        raise ConfigError(
            "a stored model is analysed",
            where="--write-cfg",
            rule="the cfg file holds the ranges of a calibration",
            remedy="leave --stored or --write-cfg out",
        )
    default = scheme_named(scheme or "u8")
    if default is Scheme.F16:
        raise ConfigError("there is no wider format than f16", where="--write-cfg")
    return Scheme.F16 if default is Scheme.I16 else Scheme.I16


def _print(
    shown: Console,
    found: Analysis,
    name: str,
    output: Path | None,
    *,
    brief: bool,
    everything: bool,
) -> None:
    title = f"{name} {found.label} on {found.sample}"
    shown.print(analysis_table(found, title=title, brief=brief, everything=everything))
    shown.print(analysis_verdict(found), soft_wrap=True, highlight=False)
    if output is not None:
        shown.print(f"written to {output}: dumps, error files, analysis.csv, analysis.json")


def _tell_cfg(shown: Console, cfg: Path, wide: Scheme, found: Analysis, again: str) -> None:
    names = found.to_raise
    if not names:
        shown.print(f"{cfg}: no layer is to blame, so none is raised", highlight=False)
        return
    text = f"{cfg}: {len(names)} layers raised to {wide.value}: {', '.join(names)}\nnext: "
    text += f"npusim quantize {again} --hybrid {cfg} -o better.npusim"
    shown.print(text, soft_wrap=True, highlight=False)


def write(found: Analysis, graph: Graph, output: Path, file_type: str) -> int:
    """Write dumps and tables; return how many files of an earlier analysis were replaced."""
    tables = partial(write_analysis, found, output)
    return write_snapshot(found, graph, output, file_type=file_type, more=tables)
