"""``npusim compare``."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from npusim.analysis.compare import WRONG_BELOW, compare_with_source
from npusim.analysis.float_runner import run_source_float
from npusim.cli import common
from npusim.errors import ConfigError, InputError
from npusim.ir.graph import Graph
from npusim.report.compare_table import comparison_table, verdict

NAME = "compare"


def command(
    model: common.ModelArgument,
    inputs: common.InputOption = None,
    scheme: common.SchemeOption = None,
    dataset: common.DatasetOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    threshold: Annotated[
        float, typer.Option(help="Cosine below which a layer counts as wrong.")
    ] = WRONG_BELOW,
    source_input: Annotated[
        list[Path] | None,
        typer.Option(
            help="npy holding what the source framework itself was fed, one per model input; "
            "default: npusim's own preprocessed input. Finds wrong mean, std, reorder or layout."
        ),
    ] = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Run the source model in ONNX Runtime and compare layer by layer; exit 1 on a wrong layer."""
    shown = common.console(as_json)
    graph = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder)
    if common.is_quantized(graph):
        raise ConfigError(
            "a stored model does not hold its float source",
            where=model,
            remedy="give the ONNX file; it is quantized on the way",
        )
    dataset = common.dataset_of(model, dataset)
    ready = common.quantized(graph, scheme, dataset, level=level, shown=shown)
    program = common.compiled(ready, level=level, shown=shown)
    label, feeds = common.sample_of(ready, inputs, dataset)
    tensors = [name for node in program.graph.nodes for name in node.outputs]
    fed = source_feeds(graph, source_input) if source_input else feeds
    source = run_source_float(graph.source.path, fed, tensors=tensors)
    comparison = compare_with_source(program, feeds, source, preprocessed=True, threshold=threshold)
    if as_json:
        common.print_json(common.finite({"sample": label, **comparison.to_dict()}))
    else:
        shown.print(comparison_table(comparison, title=f"{ready.name} on {label}"))
        shown.print(verdict(comparison))
    if comparison.first_wrong is not None:
        raise typer.Exit(common.MISMATCH)


def source_feeds(graph: Graph, paths: list[Path]) -> dict[str, NDArray[np.float32]]:
    """Return the source framework's own inputs, read from npy files in the order of the inputs."""
    if len(paths) != len(graph.inputs):
        raise ConfigError(
            f"{len(paths)} files for {len(graph.inputs)} inputs",
            where="--source-input",
            rule=f"one npy per input: {', '.join(graph.inputs)}",
        )
    return {
        name: read_npy(path, graph.spec(name).shape)
        for name, path in zip(graph.inputs, paths, strict=True)
    }


def read_npy(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array of the wanted shape from an npy file."""
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), rule="a npy file") from None
    if value.shape != shape:
        raise InputError(
            f"array of shape {value.shape}", where=str(path), rule=f"the model's input is {shape}"
        )
    return value.astype(np.float32)
