"""``npusim compare``."""

import logging
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

import npusim
from npusim.analysis.compare import WRONG_BELOW, Comparison
from npusim.analysis.dump_folder import AUTO
from npusim.analysis.recording import Recording, element_types, record_float
from npusim.api.report_run import compared
from npusim.cli import common, paging
from npusim.cli.stored import is_vendors, own_reference
from npusim.cli.two_models import Choices, compare_models
from npusim.cli.uses import NO_FILE, READ
from npusim.errors import ConfigError, InputError
from npusim.ir.graph import Graph
from npusim.reading import arrays
from npusim.report.compare_table import comparison_table, verdict

log = logging.getLogger("npusim")

NAME = "compare"
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{common.MODEL_FILES}, stored npusim model, 'demo', or a folder of layer dumps.",
    ),
    common.MODEL,
]
OtherArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="OTHER",
        help="A second model: stored parameters and codes are compared tensor by tensor, such as "
        "an .rknn of the vendor's toolkit with its source. A float one is quantized with --dataset "
        "or with the ranges that the quantized one stores.",
    ),
    common.MODEL,
]
ToolkitOption = Annotated[
    str | None,
    typer.Option(
        metavar="RELEASE",
        help="RKNN-Toolkit whose rules count for a float MODEL or OTHER; default: that of the "
        "vendor file it is compared with.",
    ),
    NO_FILE,
]
SourceInputOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="npy holding what the source framework itself was fed, one per model input; "
        "default: npusim's own preprocessed input. Finds wrong mean, std, reorder or layout."
    ),
    READ,
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        help="Compare this folder of layer dumps (board, vendor's simulator, npusim, snapshot "
        "of accuracy_analysis) with MODEL."
    ),
    READ,
]
LayoutOption = Annotated[
    str,
    typer.Option(metavar="auto|NHWC|NCHW", help="Axis order of dumps that do not say."),
    NO_FILE,
]
ReferenceOption = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="auto|framework|npusim",
        help="What runs the source: its own framework where it is installed (ONNX Runtime, LiteRT, "
        "OpenCV, TensorFlow), or npusim's evaluator.",
    ),
    NO_FILE,
]
OtherModelOption = Annotated[
    str | None,
    typer.Option(
        "--vs", "--other-model", metavar="MODEL", help="Compare with a run of this model instead."
    ),
    common.MODEL,
]
OtherSchemeOption = Annotated[
    str | None,
    typer.Option(
        "--vs-quantize",
        "--other-quantize",
        metavar="u8|i8|i16|f16",
        help="Number format of the other run.",
    ),
    NO_FILE,
]
OtherAlgorithmOption = Annotated[
    str | None,
    typer.Option(
        "--vs-algorithm", "--other-algorithm", help="Calibration statistic of the other run."
    ),
    NO_FILE,
]
OtherDatasetOption = Annotated[
    Path | None,
    typer.Option("--vs-dataset", "--other-dataset", help="Calibration list of the other run."),
    READ,
]


def command(
    model: ModelArgument,
    other: OtherArgument = None,
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
    threshold: common.ThresholdOption = WRONG_BELOW,
    source_input: SourceInputOption = None,
    folder: FolderOption = None,
    layout: LayoutOption = AUTO,
    reference_of: ReferenceOption = "auto",
    other_model: OtherModelOption = None,
    other_scheme: OtherSchemeOption = None,
    other_algorithm: OtherAlgorithmOption = None,
    other_dataset: OtherDatasetOption = None,
    toolkit: ToolkitOption = None,
    everything: common.AllOption = False,
    level: common.LevelOption = 3,
    driver_faults: common.DriverFaultsOption = "correct",
    html: paging.HtmlOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Compare MODEL layer by layer; exit 1 on a wrong layer.

    With its source framework (default), with a folder of dumps (--folder), or with another run
    (--vs...). With OTHER: parameters and codes of two models; exit 1 when any differs.
    """
    page = paging.Page(NAME, command, locals())
    shown = common.console(as_json)
    how = common.source(weights, cut_inputs, cut_outputs, shape) | {"mean": mean, "std": std}
    how |= {"reorder": reorder, "fit": fit}
    others = (other_model, other_scheme, other_dataset, other_algorithm)
    second = any(option is not None for option in others)
    _refuse_mixtures(folder, second, source_input)
    _refuse_beside(other, second, folder or source_input, toolkit or everything)
    if other is not None:
        shared = (inputs, scheme, dataset, algorithm, toolkit, threshold, level, driver_faults)
        compare_models(model, other, how, Choices(*shared, everything, as_json))
        return
    label = ""
    if Path(model).is_dir():
        given = inputs or scheme or dataset or shape or weights or cut_inputs or cut_outputs or html
        _refuse_options(model, given, folder)
        reference = npusim.read_dump(str(folder), layout=layout)
        actual = npusim.read_dump(model, like=reference, layout=layout)
    else:
        graph = common.load(model, **how)
        dataset = common.dataset_of(model, dataset)
        first = _Maker(scheme, dataset, algorithm, level, driver_faults)
        ready = first.quantized(graph, shown)
        label, feeds = common.sample_of(ready, inputs, dataset)
        actual = first.record(graph, ready, feeds, shown)
        if folder is not None:
            actual, reference = npusim.read_dump(folder, like=actual, layout=layout), actual
        elif second:
            reference = first.record_other(graph, others, how, feeds, shown)
        else:
            reference = _source(graph, model, source_input, feeds, reference_of)
    found = npusim.compare(actual, reference, threshold=threshold)
    _refuse_strangers(found, str(folder or other_model or model))
    page.write(lambda: compared(ready, feeds, found, sample=label, level=level), shown)
    _finish(shown, found, label, everything=everything, as_json=as_json)


def _finish(
    shown: Console, found: Comparison, label: str, *, everything: bool, as_json: bool
) -> None:
    if as_json:
        common.print_json(common.finite({"sample": label, **found.to_dict()}))
    else:
        title = f"{found.actual} against {found.reference}" + (f" on {label}" if label else "")
        shown.print(comparison_table(found, title=title, everything=everything))
        shown.print(verdict(found))
    if found.first_wrong is not None:
        raise typer.Exit(common.MISMATCH)


def _refuse_mixtures(folder: Path | None, second: bool, source_input: list[Path] | None) -> None:
    if folder is not None and second:
        raise ConfigError(
            "--folder and --vs... are given", rule="one thing to compare with at a time"
        )
    if source_input and (folder is not None or second):
        raise ConfigError(
            "--source-input has no effect",
            rule="it is what the source framework is fed; --folder and --vs... do not run it",
        )


def _refuse_beside(other: str | None, second: bool, single: Any, of_two: Any) -> None:
    """Refuse what the comparison of two models does not do, and what only it does."""
    if other is not None and (second or single):
        raise ConfigError(
            f"OTHER and {'--other-...' if second else '--folder or --source-input'} are given",
            rule="one thing to compare with at a time",
        )
    if other is None and of_two:
        raise ConfigError("--toolkit and --all need OTHER", rule="they belong to two models")


def _refuse_options(model: str, options: Any, folder: Path | None) -> None:
    """Refuse what a folder of dumps cannot do."""
    if options:
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


def _refuse_strangers(found: Comparison, where: str) -> None:
    if not found.layers:
        raise InputError(
            f"no layer of {found.actual} has a counterpart in {found.reference}",
            where=where,
            rule="layers are aligned by the source model's nodes",
            remedy="compare runs of one model; give the model to find out which layers a board's "
            "files are",
        )


@dataclass(frozen=True, slots=True)
class _Maker:
    """How the program of one run is made."""

    scheme: str | None
    dataset: Path | None
    algorithm: str
    level: int
    driver_faults: str

    def changed(
        self, graph: Graph, scheme: str | None, dataset: Path | None, algorithm: str | None
    ) -> "_Maker":
        """Return the maker of the other run: the same but for what was given."""
        made = common.is_quantized(graph)  # then the first run's choices are none of its own
        return replace(
            self,
            scheme=None if made else scheme or self.scheme,
            dataset=dataset or self.dataset,
            algorithm=algorithm or ("normal" if made else self.algorithm),
            level=3 if made else self.level,
        )

    def record_other(
        self, graph: Graph, others: tuple[Any, ...], how: dict[str, Any], feeds: Any, shown: Console
    ) -> Recording:
        """Run the sample through the other run: model, format, dataset and algorithm."""
        model, *changes = others
        other = common.load_beside(model, how) if model else graph
        made = self.changed(other, *changes)
        return made.record(other, made.quantized(other, shown), feeds, shown)

    def quantized(self, graph: Graph, shown: Console) -> Graph:
        """Return the graph in the run's number format."""
        return common.quantized(
            graph,
            self.scheme,
            self.dataset,
            shown=shown,
            algorithm=self.algorithm,
            optimization_level=self.level,
        )

    def record(self, graph: Graph, ready: Graph, feeds: Any, shown: Console) -> Recording:
        """Run a sample and keep every layer, labelled with how the program was made."""
        label = f"{graph.name} {element_types(ready)}"
        if not common.is_quantized(graph) and self.scheme not in (None, "f16"):
            label += f" {self.algorithm}" + (f" ({self.dataset.name})" if self.dataset else "")
        program = common.compiled(
            ready, level=self.level, shown=shown, driver_faults=self.driver_faults
        )
        return npusim.record_program(program, feeds, preprocessed=True, label=label)


def _source(
    graph: Graph, model: str, source_input: list[Path] | None, feeds: Any, reference: str
) -> Recording:
    if is_vendors(graph):
        if source_input:
            raise ConfigError("--source-input has no effect", rule="this file holds no source")
        return record_float(own_reference(graph), feeds, label="its own numbers in float32")
    if any(node.engine is not None for node in graph.nodes):
        raise ConfigError(
            "a stored or quantized model does not hold its float source",
            where=model,
            remedy="give the float model; it is quantized on the way. Or give --folder or --vs",
        )
    given = source_feeds(graph, source_input) if source_input else feeds
    return npusim.record_source(graph, given, reference=reference)


def source_feeds(graph: Graph, paths: list[Path]) -> dict[str, NDArray[np.float32]]:
    """Return the source framework's own inputs, read from npy files in the order of the inputs."""
    if len(paths) != len(graph.inputs):
        raise ConfigError(
            f"{len(paths)} files for {len(graph.inputs)} inputs",
            where="--source-input",
            rule=f"one npy per input: {', '.join(graph.inputs)}",
        )
    found = {}
    for name, path in zip(graph.inputs, paths, strict=True):
        found[name] = read_npy(path, graph.spec(name).shape)
        log.info("input %r of the source framework: %s, as it is", name, path.name)
    return found


def read_npy(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array of the wanted shape from an npy file."""
    try:
        value = arrays.read_npy(path, 8 * prod(shape))
    except arrays.DAMAGE as error:
        raise InputError(f"cannot be read: {error}", where=str(path), rule="a npy file") from None
    if value.shape != shape:
        raise InputError(
            f"array of shape {value.shape}", where=str(path), rule=f"the model's input is {shape}"
        )
    real: NDArray[np.float32] = value.astype(np.float32)
    return real
