"""What the commands share: options, loading, feeds, printing."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

import npusim
from npusim import assets
from npusim.api.stages import is_quantized as is_quantized
from npusim.cli.uses import NO_FILE, READ, Read
from npusim.errors import ConfigError
from npusim.importers.common.builder import refuse_absent
from npusim.importers.common.two_files import NO_WEIGHTS, WEIGHTS_FOUND
from npusim.importers.formats import importable, is_stored
from npusim.ir.graph import Graph, Preprocess
from npusim.ir.targets import CHIPS, checked_target
from npusim.plain import name_of, printable
from npusim.quantization.schemes import Scheme, scheme_named

# Everything that brings Numba is imported where it is used: commands that do not run, start fast.
if TYPE_CHECKING:
    from npusim.runtime.program import Program

log = logging.getLogger("npusim")

MISMATCH = 1
BUNDLED = "demo"
FILE_WIDTH = 160
MODEL = Read(words=(BUNDLED,))
MODEL_FILES = f"{', '.join(importable()[:-1])} or {importable()[-1]} file"

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{MODEL_FILES}, stored npusim model, or 'demo'.",
    ),
    MODEL,
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights of a Caffe, Darknet or MXNet network."),
    READ,
]
CutInputsOption = Annotated[
    str | None,
    typer.Option("--cut-inputs", metavar="A,B", help="Cut the model: begin at these tensors."),
    NO_FILE,
]
CutOutputsOption = Annotated[
    str | None,
    typer.Option("--cut-outputs", metavar="A,B", help="Cut the model: end at these tensors."),
    NO_FILE,
]
Cuts = Mapping[str, list[str]]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=1,3,224,224", help="Shape of an input. Repeatable."),
    NO_FILE,
]
MeanOption = Annotated[
    str | None,
    typer.Option("--mean", metavar="M0,M1,M2", help="Mean per channel (0..255)."),
    NO_FILE,
]
StdOption = Annotated[
    str | None, typer.Option("--std", metavar="S0,S1,S2", help="Divisor per channel."), NO_FILE
]
ReorderOption = Annotated[
    str | None,
    typer.Option("--reorder", metavar="2,1,0", help="Source channel of each channel."),
    NO_FILE,
]
FitOption = Annotated[
    str | None,
    typer.Option(
        "--fit",
        metavar="stretch|letterbox|crop",
        help="How pictures of another shape get the input's: stretched (default, as the toolkit), "
        "within grey borders, or cut.",
    ),
    NO_FILE,
]
DatasetOption = Annotated[
    Path | None, typer.Option("--dataset", help="Calibration list: one sample a line."), READ
]
_SCHEME: dict[str, Any] = {"metavar": "u8|i8|i16|f16"}
SchemeOption = Annotated[
    str | None, typer.Option("--quantize", help="Number format. Default: u8.", **_SCHEME), NO_FILE
]
RunSchemeOption = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        help="Number format. Default: f16, which needs no calibration; the command says so.",
        **_SCHEME,
    ),
    NO_FILE,
]
AlgorithmOption = Annotated[
    str,
    typer.Option(
        "--algorithm",
        metavar="normal|moving_average|kl_divergence|mmse",
        help="Calibration statistic.",
    ),
    NO_FILE,
]
InputOption = Annotated[
    list[Path] | None,
    typer.Option("--input", help="Image or npy, one per model input. Default: first sample."),
    READ,
]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", help=f"One of {', '.join(CHIPS)}. Default: the model's own."),
    NO_FILE,
]
LevelOption = Annotated[
    int, typer.Option("--optimization-level", min=0, max=3, help="Graph rewrites, 0 to 3.")
]
DriverFaultsOption = Annotated[
    str,
    typer.Option(
        "--driver-faults",
        metavar="correct|reproduce",
        help="Where the chip's driver loses data in a concat: the true values, or what the chip "
        "stores (npusim explain concat-of-views).",
    ),
    NO_FILE,
]
ThresholdOption = Annotated[float, typer.Option(help="Cosine below which a layer counts as wrong.")]
AllOption = Annotated[
    bool,
    typer.Option(
        "--all", help="Print all layers in the order of execution, those with inherited errors too."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class PlainConsole(Console):
    """Prints texts with names in them as they are: no markup, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text with control characters spelled out, as everything that is printed."""
        return super().render_str(printable(text, lines=True), **options)


def console(as_json: bool = False) -> Console:
    """Return the console for text; with JSON, text goes to standard error.

    Tables need some width: a narrow terminal wraps them, a file gets them whole. The variable
    COLUMNS decides where it is set; rich has read it.
    """
    shown = PlainConsole(stderr=as_json)
    if not os.environ.get("COLUMNS", "").isdigit():
        shown.width = max(shown.width, 100) if shown.is_terminal else FILE_WIDTH
    return shown


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain")


def finite(value: Any) -> Any:
    """Return nested plain data with NaN and infinity as None, which JSON can say."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _numbers(text: str | None, option: str) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        numbers = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        numbers = ()
    if not numbers:  # an empty variable of a shell, say
        raise ConfigError(f"value {text!r}", where=option, rule="numbers, comma separated")
    return numbers


def _shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    shapes = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        try:
            shapes[name] = tuple(int(word) for word in sizes.replace("x", ",").split(","))
        except ValueError:
            name = ""
        if not name:
            raise ConfigError(
                f"value {text!r}", where="--shape", rule="NAME=1,3,224,224", remedy="name the input"
            )
    return shapes or None


def source(
    weights: Path | None, inputs: str | None, outputs: str | None, shape: list[str] | None
) -> dict[str, Any]:
    """Return what ``load`` takes of the options that say which network it is."""
    return {"weights": weights, "part": cuts(inputs, outputs), "shape": shape}


def cuts(inputs: str | None, outputs: str | None) -> Cuts:
    """Return the inputs and outputs that a model is cut at."""
    found = {}
    for side, text in {"inputs": inputs, "outputs": outputs}.items():
        if text is None:
            continue
        found[side] = [name.strip() for name in text.split(",") if name.strip()]
        if not found[side]:
            raise ConfigError(
                f"value {text!r}", where=f"--cut-{side}", rule="names of tensors, comma between"
            )
    return found


def load(
    model: str,
    *,
    weights: Path | None = None,
    part: Cuts | None = None,
    shape: list[str] | None = None,
    mean: str | None = None,
    std: str | None = None,
    reorder: str | None = None,
    fit: str | None = None,
    target: str | None = None,
    as_source: bool = False,
    known: Sequence[str] = (),
) -> Graph:
    """Load any model the command line accepts, with its preprocessing.

    A model that came quantized is made ready to compile, unless ``as_source``. ``known`` are words
    besides 'demo' that the command takes for a model.
    """
    if target is not None:
        target = checked_target(target, where="--target")
    path = assets.model_path() if model == BUNDLED else Path(model)
    cut: dict[str, Any] = dict(part or {})
    refuse_absent(path, known=[BUNDLED, *known])
    shapes = _shapes(shape)
    means = None if mean is None else _numbers(mean, "--mean")
    stds = None if std is None else _numbers(std, "--std")
    order = None if reorder is None else _order(reorder)
    if is_stored(path):
        graph = npusim.load_model(path, weights=weights, input_shapes=shapes, **cut)
        given = {"mean": means, "std": stds, "reorder": order, "fit": fit}
        _refuse_changes(graph, model, given, target)
        return graph
    if model == BUNDLED and shapes is None:
        shapes = {assets.INPUT_NAME: assets.INPUT_SHAPE}
    graph = npusim.load_model(path, weights=weights, input_shapes=shapes, **cut)
    # exporters call all their graphs alike
    graph = graph.copy(name=name_of(path) if model != BUNDLED else BUNDLED)
    for note in graph.notes:
        if note.startswith((WEIGHTS_FOUND, NO_WEIGHTS)):
            console(True).print(note, soft_wrap=True, highlight=False)
    if graph.is_quantized and not as_source:
        graph = npusim.float16(graph)
    usual = Preprocess(**bundled_preprocess()) if model == BUNDLED else Preprocess()
    how = Preprocess(
        mean=usual.mean if means is None else means,
        std=usual.std if stds is None else stds,
        reorder=usual.reorder if order is None else order,
        fit=usual.fit if fit is None else fit,
    )
    pictures = [name for name in graph.inputs if len(graph.spec(name).shape) == 4]
    if not pictures:
        _refuse_without_pictures(graph, model, mean=mean, std=std, reorder=reorder, fit=fit)
    return graph.copy(preprocess=dict.fromkeys(pictures, how), target=target or graph.target)


def load_beside(model: str, how: Mapping[str, Any]) -> Graph:
    """Return another model to look at beside one that ``load`` was given ``how`` for.

    It has weights and ends of its own, and a stored one its own shapes.
    """
    own = dict.fromkeys(("weights", "part", *(("shape",) if is_stored(model) else ())))
    return load(model, **{**how, **own})


def _refuse_without_pictures(graph: Graph, model: str, **given: object) -> None:
    """Refuse preprocessing of a model that it could not reach: only maps have channels."""
    if useless := [f"--{name}" for name, value in given.items() if value is not None]:
        shapes = ", ".join(f"{name!r} {graph.spec(name).shape}" for name in graph.inputs)
        raise ConfigError(
            f"{' and '.join(useless)} would have no effect",
            where=model,
            rule=f"they are for inputs with four axes, N, C, H, W; this model has {shapes}",
            remedy="leave them out, and prepare the values in the npy files",
        )


def _refuse_changes(
    graph: Graph, model: str, given: Mapping[str, object], target: str | None
) -> None:
    """Refuse options that contradict what is inside a stored model."""
    if not graph.preprocess:
        _refuse_without_pictures(graph, model, **given)
    changed = [
        f"--{name}"
        for name, numbers in given.items()
        if numbers is not None
        and any(getattr(how, name) != numbers for how in graph.preprocess.values())
    ]
    if target not in (None, graph.target):
        changed.append("--target")
    if changed:
        raise ConfigError(
            f"{' and '.join(changed)} {'differ' if changed[1:] else 'differs'} from what is stored "
            "in the model",
            where=model,
            rule=f"it has its own preprocessing, and the target {graph.target}",
            remedy="leave them out, or quantize the source model with them",
        )


def bundled_preprocess() -> dict[str, Any]:
    """Return mean, std and reorder of the bundled classifier."""
    return {
        "mean": tuple(assets.MEAN_VALUES),
        "std": tuple(assets.STD_VALUES),
        "reorder": tuple(int(word) for word in assets.REORDER_CHANNEL.split()),
    }


def _order(text: str) -> tuple[int, ...]:
    numbers = _numbers(text, "--reorder")
    if not all(number.is_integer() for number in numbers):
        raise ConfigError(f"value {text!r}", where="--reorder", rule="whole numbers, such as 2,1,0")
    return tuple(int(number) for number in numbers)


def dataset_of(model: str, dataset: Path | None) -> Path | None:
    """Return the calibration list; the bundled model brings its own."""
    return assets.calibration_list() if dataset is None and model == BUNDLED else dataset


def progress_bar(shown: Console) -> Progress:
    """Return a progress display with counts, elapsed time and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=shown,
        transient=True,
    )


@contextmanager
def progress_of(shown: Console, text: str) -> Iterator[Callable[..., None]]:
    """Yield what is called with (done, total or 0, what was done last); the first call shows it."""
    bar = progress_bar(shown)
    task = bar.add_task(text, total=None)

    def told(done: int, total: int, *_: Any) -> None:
        bar.start()  # does nothing when it was started
        bar.update(task, completed=done, total=total or None, visible=done != total)

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()


def quantized(
    graph: Graph, scheme: str | None, dataset: Path | None, *, shown: Console, **choices: Any
) -> Graph:
    """Return the graph in the wanted number format; a stored one must not be asked again.

    ``choices`` are those of ``npusim.quantize``. Without a scheme a float model becomes float16,
    which is said.
    """
    if is_quantized(graph):
        if scheme is not None:
            raise ConfigError(
                "this model is already quantized",
                where="--quantize",
                remedy="leave the option out, or give the float model",
            )
        _refuse_without_calibration(graph, choices)
        return graph
    chosen = scheme_named(scheme) if scheme else Scheme.F16
    if scheme is None:
        log.info("%s: float16, since no --quantize is given", graph.name)
    with progress_of(shown, "calibrating") as progress:
        return npusim.quantize(graph, dataset, scheme=chosen, progress=progress, **choices)


def _refuse_without_calibration(graph: Graph, choices: Mapping[str, Any]) -> None:
    """Refuse choices that a quantized model makes ineffective."""
    algorithm = choices.get("algorithm", "normal")
    algorithm = algorithm if isinstance(algorithm, str) else algorithm.name
    level = choices.get("optimization_level", 3)
    given = {
        f"--algorithm {algorithm}": algorithm != "normal",
        f"--optimization-level {level}": level != 3 and graph.is_lowered,
    }
    if useless := [option for option, changed in given.items() if changed]:
        raise ConfigError(
            f"{' and '.join(useless)} would have no effect",
            where=graph.source.path or graph.name,
            rule="this model is already quantized: nothing is calibrated or rewritten",
            remedy="leave the option out, or give the float model",
        )


def compiled(
    graph: Graph, *, level: int = 3, shown: Console, driver_faults: str = "correct"
) -> "Program":
    """Return the program of a quantized graph, with progress."""
    tell_of_kernels()
    with progress_of(shown, "preparing kernels") as progress:
        return npusim.compile(
            graph, optimization_level=level, driver_faults=driver_faults, progress=progress
        )


def tell_of_kernels() -> None:
    """Say from now on which kernels are compiled."""
    from npusim.kernels import _jit

    _jit.ON_COMPILED[:] = [_tell_compiled]


def _tell_compiled(kernel: str, seconds: float, is_kept: bool) -> None:
    """Say on standard error what a first start is waiting for."""
    kept = ", kept for the next start" if is_kept else ""
    print(f"compiled {kernel} in {seconds:.1f} s{kept}", file=sys.stderr)


def sample_of(
    graph: Graph, inputs: list[Path] | None, dataset: Path | None
) -> tuple[str, Mapping[str, NDArray[Any]]]:
    """Return (label, preprocessed feeds) from files, else the first sample of the list."""
    if inputs:
        return " ".join(path.name for path in inputs), npusim.read_input(graph, inputs)
    if dataset is None:
        raise ConfigError(
            "there is nothing to run on",
            where="--input",
            remedy="give one image or npy per model input, or --dataset",
        )
    from npusim.quantization.dataset import open_dataset

    return next(iter(open_dataset(dataset, graph)))
