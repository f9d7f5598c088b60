"""``npusim report``."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from npusim import assets
from npusim.api.report_run import Request, measure
from npusim.api.reporting import chosen_detector, finished, gathered
from npusim.cli import common
from npusim.cli.evaluate import AnchorsOption, ImagesOption, PriorsOption
from npusim.cli.paging import command_line, repair_with
from npusim.cli.stored import stored_like
from npusim.cli.uses import NO_FILE, READ, WRITTEN, Given, Written
from npusim.errors import ConfigError
from npusim.evaluation.decoders import DECODERS
from npusim.evaluation.labelled import read_labels
from npusim.quantization.schemes import Scheme, scheme_named
from npusim.report.page.node_data import LANES, lane_file
from npusim.report.page.write import require_place, require_templates

NAME = "report"
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="The page: one HTML file."), WRITTEN
]
StoredOption = Annotated[
    Path | None,
    typer.Option(help="Report on this stored model (a hybrid one, say), made from MODEL."),
    READ,
]
LabelledOption = Annotated[
    Path | None,
    typer.Option(
        help="Labelled set: a folder per class, or a list of 'path label' lines; of a detector, as "
        "for evaluate."
    ),
    READ,
]
LabelsOption = Annotated[Path | None, typer.Option(help="Class names, one a line."), READ]
OffsetOption = Annotated[
    int, typer.Option(help="Added to labels: 1 when the network's class 0 is background.")
]
DecoderOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(DECODERS),
        help="Of a detector, what its outputs mean: boxes are drawn over the sample's picture.",
    ),
    NO_FILE,
]
VsOption = Annotated[
    str | None, typer.Option("--vs", metavar="MODEL2", help="Show this model beside."), common.MODEL
]


def _lanes(path: Path | None, given: Given) -> list[Path]:
    del given
    return [lane_file(path, word) for word in LANES] if path else []


NodeDataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write the colours for AI Edge Model Explorer: FILE with a word before its "
        "suffix for each.",
    ),
    Written(_lanes),
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
    decoder: DecoderOption = "",
    anchors: AnchorsOption = "",
    priors: PriorsOption = None,
    images: ImagesOption = None,
    vs: VsOption = None,
    node_data: NodeDataOption = None,
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    fit: common.FitOption = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Write one page to send: which layer, why, what to do, what it costs."""
    given = locals()
    require_templates()
    require_place(output)
    begin = time.perf_counter()
    shown = common.console(as_json)
    listed = common.dataset_of(model, dataset)
    with gathered() as warnings:
        request = _request(given, listed)
        common.tell_of_kernels()
        with common.progress_of(shown, "measuring") as progress:
            contents = measure(request, progress)
    contents = replace(
        contents,
        command=command_line(NAME, command, given),
        repair=None if stored else repair_with(given, listed),
    )
    made = finished(contents, warnings, begin)
    written = [made.write(output)]
    written += made.write_node_data(node_data) if node_data is not None else ()
    if as_json:
        common.print_json(made.data)
        return
    shown.print(made.verdict, soft_wrap=True, highlight=False)
    for path in written:
        size = f" ({path.stat().st_size / 1e3:.0f} kB)"
        shown.print(f"wrote {path}{size}", soft_wrap=True, highlight=False)


def _request(given: dict[str, Any], dataset: Path | None) -> Request:
    """Return what the options ask for."""
    model, stored, scheme, vs = (given[name] for name in ("model", "stored", "scheme", "vs"))
    how = {name: given[name] for name in ("shape", "mean", "std", "reorder", "fit")}
    cut = common.cuts(given["cut_inputs"], given["cut_outputs"])
    graph = common.load(model, weights=given["weights"], part=cut, **how)
    ready = common.is_quantized(graph)
    if ready and (scheme or stored):
        raise ConfigError(
            "this model is already quantized",
            where="--quantize" if scheme else "--stored",
            remedy="leave the option out, or give the float model",
        )
    return Request(
        graph=graph,
        dataset=None if ready else dataset,
        quantized=stored_like(stored, graph, "--stored") if stored else None,
        scheme=scheme_named(scheme or Scheme.U8.value),
        algorithm=given["algorithm"],
        files=given["inputs"],
        labelled=given["labelled"],
        labels=read_labels(given["labels"]) if given["labels"] else (),
        names=assets.LABELS if model == common.BUNDLED else (),
        label_offset=given["label_offset"],
        detector=chosen_detector(
            given["decoder"],
            anchors=given["anchors"],
            priors=given["priors"] or (),
            offset=given["label_offset"],
        ),
        images=given["images"],
        vs=None if vs is None else common.load_beside(vs, how),
        level=given["level"],
        model=model,
        vs_model=vs or "",
    )
