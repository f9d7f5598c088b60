"""``npusim equalize``."""

from pathlib import Path
from typing import Annotated

import typer

import npusim
from npusim.cli import common, quantize_options
from npusim.cli.uses import NO_FILE, WRITTEN

NAME = "equalize"
Relu6Option = Annotated[
    str,
    typer.Option(
        metavar="keep|restrict|replace",
        help="Layers around relu6: leave alone, scale only channels that stay below 6 on the "
        "dataset, or make it a relu (changes the function).",
    ),
    NO_FILE,
]


def command(
    model: common.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write."), WRITTEN],
    relu6: Relu6Option = "restrict",
    dataset: common.DatasetOption = None,
    engine: quantize_options.EngineOption = "auto",
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
    """Equalize a float model's weights across layers and write it as ONNX, opset 12.

    This changes the float model: batch normalisations are folded, weights are rescaled. Its
    function stays the same up to rounding, except where relu6 is replaced.
    """
    from npusim.exporters.onnx import save_onnx

    shown = common.console(as_json)
    file = common.source(weights, cut_inputs, cut_outputs, shape)
    source = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit)
    with common.progress_of(shown, "measuring channels") as progress:
        done = npusim.equalize(
            source,
            common.dataset_of(model, dataset),
            relu6=relu6,
            optimization_level=level,
            engine=engine,
            progress=progress,
        )
    save_onnx(done.graph, output)
    if as_json:
        common.print_json({"file": str(output), **done.to_dict()})
        return
    shown.print(f"{output}: {done.note}", highlight=False)
    if done.restricted_channels:
        shown.print(
            f"{done.restricted_channels} of {done.channels} channels scaled less than wanted, "
            "so that relu6 changes nothing on the dataset"
        )
    if done.left_pairs:
        shown.print(
            f"{done.left_pairs} pairs of layers around relu6 were left alone; --relu6 restrict "
            "with --dataset or --relu6 replace would include them"
        )
