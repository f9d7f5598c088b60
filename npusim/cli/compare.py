"""``npusim compare``."""

from typing import Annotated

import typer

from npusim.analysis.compare import WRONG_BELOW, compare_with_source
from npusim.analysis.float_runner import run_source_float
from npusim.cli import common
from npusim.errors import ConfigError
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
    source = run_source_float(graph.source.path, feeds, tensors=tensors)
    comparison = compare_with_source(program, feeds, source, preprocessed=True, threshold=threshold)
    if as_json:
        common.print_json(common.finite({"sample": label, **comparison.to_dict()}))
    else:
        shown.print(comparison_table(comparison, title=f"{ready.name} on {label}"))
        shown.print(verdict(comparison))
    if comparison.first_wrong is not None:
        raise typer.Exit(common.MISMATCH)
