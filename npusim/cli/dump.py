"""``npusim dump``."""

from pathlib import Path
from typing import Annotated

import typer

from npusim.analysis.dump import FILE_NAMES, NPY, TEXT, DumpOptions, LayerDump
from npusim.cli import common
from npusim.cli.uses import NO_FILE, folder_with

NAME = "dump"


def command(
    model: common.ModelArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write into."), folder_with(*FILE_NAMES)
    ],
    inputs: common.InputOption = None,
    scheme: common.RunSchemeOption = None,
    dataset: common.DatasetOption = None,
    algorithm: common.AlgorithmOption = "normal",
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    fit: common.FitOption = None,
    layout: Annotated[
        str, typer.Option(help="NHWC, or NCHW as the driver writes."), NO_FILE
    ] = "NHWC",
    file_type: Annotated[
        str | None,
        typer.Option(
            metavar="npy|txt", help="numpy files (the default), or text as NN_LAYER_DUMP writes."
        ),
        NO_FILE,
    ] = None,
    number_format: Annotated[
        str,
        typer.Option("--format", help="printf format, for text; default: exact decimals."),
        NO_FILE,
    ] = "",
    level: common.LevelOption = 3,
    driver_faults: common.DriverFaultsOption = "correct",
    as_json: common.JsonOption = False,
) -> None:
    """Write one file per layer output and an index; --file-type txt: as NN_LAYER_DUMP does."""
    shown = common.console(as_json)
    options = DumpOptions(
        layout=layout.upper(),
        number_format=number_format,
        file_type=file_type or (TEXT if number_format else NPY),
    )
    file = common.source(weights, cut_inputs, cut_outputs, shape)
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit)
    dataset = common.dataset_of(model, dataset)
    ready = common.quantized(
        graph, scheme, dataset, shown=shown, algorithm=algorithm, optimization_level=level
    )
    program = common.compiled(ready, level=level, shown=shown, driver_faults=driver_faults)
    label, feeds = common.sample_of(ready, inputs, dataset)
    with LayerDump(program, output, options) as dump:
        results = program.run(feeds, preprocessed=True, observe=dump.observe)
        index = dump.close(results)
    if as_json:
        common.print_json({"folder": str(output), "index": index.name, "sample": label})
    else:
        shown.print(f"{label}: {len(program.graph.nodes)} layers in {output}, index {index.name}")
