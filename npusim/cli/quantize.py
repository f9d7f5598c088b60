"""``npusim quantize``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import npusim
from npusim.cli import common, quantize_options
from npusim.cli.uses import READ, WRITTEN
from npusim.errors import ConfigError
from npusim.explain import see
from npusim.ir.archive import OWN_FILE
from npusim.quantization.eras import DEFAULT_ERA

if TYPE_CHECKING:
    from npusim.ir.graph import Graph

NAME = "quantize"
HybridOption = Annotated[
    Path | None,
    typer.Option(
        metavar="CFG",
        help="quantization.cfg: formats of layers, edited ranges. Without --dataset all ranges "
        "come from it.",
    ),
    READ,
]
WriteCfgOption = Annotated[
    Path | None,
    typer.Option(metavar="CFG", help="Write a quantization.cfg to edit, as step 1 does."),
    WRITTEN,
]


def command(
    model: common.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write."), WRITTEN],
    scheme: common.SchemeOption = None,
    dataset: common.DatasetOption = None,
    algorithm: common.AlgorithmOption = "normal",
    mmse_epoch: quantize_options.MmseOption = 3,
    moving_alpha: quantize_options.AlphaOption = 0.01,
    moving_alpha_weighs: quantize_options.WeighsOption = "old",
    divergence_nbins: quantize_options.BinsOption = 1024,
    engine: quantize_options.EngineOption = "auto",
    hybrid: HybridOption = None,
    layer: quantize_options.LayerOption = None,
    write_cfg: WriteCfgOption = None,
    equalize: quantize_options.EqualizeOption = None,
    bias_correction: quantize_options.CorrectOption = False,
    toolkit: quantize_options.ToolkitOption = "1.7",
    no_join: quantize_options.NoJoinOption = None,
    avoid_driver_faults: quantize_options.AvoidOption = False,
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
    as_json: common.JsonOption = False,
) -> None:
    """Quantize a model with a calibration list (default u8) and store it in npusim's container.

    A model that came quantized is stored with its own parameters.
    """
    shown, file = common.console(as_json), common.source(weights, cut_inputs, cut_outputs, shape)
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit, target=target)
    dataset = common.dataset_of(model, dataset) if hybrid is None else dataset
    given = common.is_quantized(graph)
    if given:
        _refuse_calibration(hybrid, write_cfg, equalize, bias_correction, no_join, dataset, layer)
        _refuse_calibration("--avoid-driver-faults" * avoid_driver_faults)
        if toolkit != DEFAULT_ERA.toolkit or algorithm != "normal":
            _refuse_calibration(toolkit, algorithm)
    how: dict[str, Any] = {"equalize": equalize, "bias_correction": bias_correction}
    how |= {"toolkit": toolkit, "no_join": no_join or ()}
    ready = common.quantized(
        graph,
        scheme if given else scheme or "u8",
        dataset,
        shown=shown,
        algorithm=quantize_options.algorithm(
            algorithm, mmse_epoch, moving_alpha, moving_alpha_weighs, divergence_nbins
        ),
        cfg=hybrid,
        layers=quantize_options.layers(layer),
        write_cfg=write_cfg,
        **how,
        avoid_driver_faults=avoid_driver_faults,
        engine=engine,
        optimization_level=level,
    )
    npusim.save(ready, output)
    _print(ready, output, "" if given else scheme or "u8", shown=shown, as_json=as_json)


def _refuse_calibration(*options: object) -> None:
    """Refuse what only a calibration can follow."""
    if any(options):
        raise ConfigError(
            "the model is already quantized: there is nothing to calibrate",
            where=" ".join(str(option) for option in options if option),
            rule="it is stored with its own parameters: --dataset, --algorithm, --toolkit, "
            "--no-join, --avoid-driver-faults, --layer, --hybrid, --write-cfg, --equalize, "
            "--bias-correction are for float models",
            remedy="leave these options out, or give the float model",
        )


def _print(
    ready: "Graph",
    output: Path,
    scheme: str,
    *,
    shown: Console,
    as_json: bool,
) -> None:
    scheme = scheme or "its own parameters"
    size_bytes = output.stat().st_size
    if as_json:
        common.print_json(
            {
                "file": str(output),
                "bytes": size_bytes,
                "layers": len(ready.nodes),
                "scheme": scheme,
                "notes": list(ready.notes),
            }
        )
        return
    for note in ready.notes:
        shown.print(note, highlight=False)
    shown.print(f"{output}: {len(ready.nodes)} layers, {size_bytes} bytes, {scheme}")
    shown.print(f"{OWN_FILE} {see('own-container')}", highlight=False)
