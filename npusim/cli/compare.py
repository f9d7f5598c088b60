"""``npusim compare``."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from npusim.analysis.compare import WRONG_BELOW, compare
from npusim.analysis.dump_folder import AUTO, read_dump
from npusim.analysis.recording import Recording, element_types, record_program
from npusim.analysis.source import record_source
from npusim.cli import common
from npusim.errors import ConfigError, InputError
from npusim.ir.graph import Graph
from npusim.report.compare_table import comparison_table, verdict

NAME = "compare"


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="ONNX file, stored npusim model, 'demo', or a folder of layer dumps.",
        ),
    ],
    inputs: common.InputOption = None,
    scheme: common.SchemeOption = None,
    dataset: common.DatasetOption = None,
    algorithm: common.AlgorithmOption = "normal",
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
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Compare this folder of layer dumps (board, vendor's simulator, npusim, snapshot "
            "of accuracy_analysis) with MODEL."
        ),
    ] = None,
    layout: Annotated[
        str, typer.Option(metavar="auto|NHWC|NCHW", help="Axis order of dumps that do not say.")
    ] = AUTO,
    other_model: Annotated[
        str | None, typer.Option(help="Compare with a run of this model instead of the source.")
    ] = None,
    other_scheme: Annotated[
        str | None,
        typer.Option(
            "--other-quantize", metavar="u8|i8|i16|f16", help="Number format of the other run."
        ),
    ] = None,
    other_algorithm: Annotated[
        str | None, typer.Option(help="Calibration statistic of the other run.")
    ] = None,
    other_dataset: Annotated[
        Path | None, typer.Option(help="Calibration list of the other run.")
    ] = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Compare MODEL layer by layer; exit 1 on a wrong layer.

    With its source framework (default), with a folder of dumps (--folder), or with another run
    (--other-...).
    """
    shown = common.console(as_json)
    others = (other_model, other_scheme, other_algorithm, other_dataset)
    if folder is not None and any(option is not None for option in others):
        raise ConfigError(
            "--folder and --other-... are given", rule="one thing to compare with at a time"
        )
    if source_input and (folder is not None or any(option is not None for option in others)):
        raise ConfigError(
            "--source-input has no effect",
            rule="it is what the source framework is fed; --folder and --other-... do not run it",
        )
    label = ""
    if Path(model).is_dir():
        if inputs or scheme or dataset or shape:
            raise ConfigError(
                "a folder of dumps takes no model options",
                where=model,
                rule="its layers are compared as they are",
                remedy="leave --input, --quantize, --dataset and --shape out",
            )
        if folder is None:
            raise ConfigError(
                "a folder alone has nothing to be compared with",
                where=model,
                remedy="give --folder with another dump, or a model with --folder",
            )
        reference = read_dump(folder, layout=layout)
        actual = read_dump(model, like=reference, layout=layout)
    else:
        graph = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder)
        dataset = common.dataset_of(model, dataset)
        ready, run = _recorded(graph, scheme, dataset, algorithm, level, shown)
        label, feeds = common.sample_of(ready, inputs, dataset)
        actual = run(feeds)
        if folder is not None:
            actual, reference = read_dump(folder, like=actual, layout=layout), actual
        elif any(option is not None for option in others):
            other = (
                common.load(other_model, shape=shape, mean=mean, std=std, reorder=reorder)
                if other_model
                else graph
            )
            stored = common.is_quantized(other)
            _, run = _recorded(
                other,
                None if stored else other_scheme or scheme,
                other_dataset or dataset,
                other_algorithm or algorithm,
                level,
                shown,
            )
            reference = run(feeds)
        else:
            if any(node.engine is not None for node in graph.nodes):
                raise ConfigError(
                    "a stored or quantized model does not hold its float source",
                    where=model,
                    remedy="give the float model; it is quantized on the way. Or give --folder or "
                    "--other-model",
                )
            fed = source_feeds(graph, source_input) if source_input else feeds
            reference = record_source(graph, fed)
    comparison = compare(actual, reference, threshold=threshold)
    if not comparison.layers:
        raise InputError(
            f"no layer of {actual.label} has a counterpart in {reference.label}",
            where=str(folder or other_model or model),
            rule="layers are aligned by the source model's nodes",
            remedy="compare runs of one model; give the model to find out which layers a board's "
            "files are",
        )
    if as_json:
        common.print_json(common.finite({"sample": label, **comparison.to_dict()}))
    else:
        title = f"{actual.label} against {reference.label}" + (f" on {label}" if label else "")
        shown.print(comparison_table(comparison, title=title))
        shown.print(verdict(comparison))
    if comparison.first_wrong is not None:
        raise typer.Exit(common.MISMATCH)


class _Run:
    """A compiled program with its label."""

    def __init__(self, ready: Graph, label: str, level: int, shown: Console) -> None:
        self.program = common.compiled(ready, level=level, shown=shown)
        self.label = label

    def __call__(self, feeds: object) -> Recording:
        return record_program(self.program, feeds, preprocessed=True, label=self.label)  # type: ignore[arg-type]


def _recorded(
    graph: Graph,
    scheme: str | None,
    dataset: Path | None,
    algorithm: str,
    level: int,
    shown: Console,
) -> tuple[Graph, _Run]:
    """Return the quantized graph and what records a run of it, labelled with how it was made."""
    given = common.is_quantized(graph)
    ready = common.quantized(graph, scheme, dataset, level=level, algorithm=algorithm, shown=shown)
    label = f"{graph.name} {element_types(ready)}"
    if not given and scheme not in (None, "f16"):
        label += f" {algorithm} ({dataset.name})" if dataset else f" {algorithm}"
    return ready, _Run(ready, label, level, shown)


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
    real: NDArray[np.float32] = value.astype(np.float32)
    return real
