"""What the commands share: options, loading, feeds, printing."""

import json
import sys
from collections.abc import Mapping
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

from npusim import assets
from npusim.errors import ConfigError, NpusimError
from npusim.ir import archive
from npusim.ir.graph import Graph, Preprocess
from npusim.passes.pipeline import upgraded
from npusim.quantization.schemes import Scheme, scheme_named

# Everything that brings Numba is imported where it is used: commands that do not run, start fast.
if TYPE_CHECKING:
    from npusim.quantization.calibrate import Calibration
    from npusim.quantization.job import Quantization
    from npusim.runtime.program import Program

MISMATCH = 1
BUNDLED = "demo"
FILE_WIDTH = 160

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="ONNX, TensorFlow Lite or TorchScript file, stored npusim model, or 'demo'.",
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=1,3,224,224", help="Shape of an input. Repeatable."),
]
MeanOption = Annotated[
    str | None, typer.Option("--mean", metavar="M0,M1,M2", help="Mean per channel (0..255).")
]
StdOption = Annotated[
    str | None, typer.Option("--std", metavar="S0,S1,S2", help="Divisor per channel.")
]
ReorderOption = Annotated[
    str | None, typer.Option("--reorder", metavar="2,1,0", help="Source channel of each channel.")
]
DatasetOption = Annotated[
    Path | None, typer.Option("--dataset", help="Calibration list: one sample a line.")
]
SchemeOption = Annotated[
    str | None, typer.Option("--quantize", metavar="u8|i8|i16|f16", help="Number format.")
]
AlgorithmOption = Annotated[
    str,
    typer.Option(
        "--algorithm",
        metavar="normal|moving_average|kl_divergence|mmse",
        help="Calibration statistic.",
    ),
]
InputOption = Annotated[
    list[Path] | None,
    typer.Option("--input", help="Image or npy, one per model input. Default: first sample."),
]
TargetOption = Annotated[str, typer.Option("--target", help="rk1808 or rk3399pro.")]
LevelOption = Annotated[
    int, typer.Option("--optimization-level", min=0, max=3, help="Graph rewrites, 0 to 3.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def console(as_json: bool = False) -> Console:
    """Return the console for text; with JSON, text goes to standard error.

    Tables need some width: a narrow terminal wraps them, a file gets them whole.
    """
    shown = Console(stderr=as_json)
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


def print_error(error: NpusimError) -> None:
    """Print an error the way every command does."""
    Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(f"error: {error}")


def _numbers(text: str | None, option: str) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise ConfigError(
            f"value {text!r}", where=option, rule="numbers, comma separated"
        ) from None


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


def load(
    model: str,
    *,
    shape: list[str] | None = None,
    mean: str | None = None,
    std: str | None = None,
    reorder: str | None = None,
    target: str = "rk1808",
    as_source: bool = False,
) -> Graph:
    """Load any model the command line accepts, with its preprocessing.

    A model that came quantized is made ready to compile, unless ``as_source``.
    """
    path = assets.model_path() if model == BUNDLED else Path(model)
    if archive.is_archive(path):
        return upgraded(archive.load(path))
    from npusim.importers import load as load_source

    shapes = _shapes(shape)
    if model == BUNDLED and shapes is None:
        shapes = {assets.INPUT_NAME: assets.INPUT_SHAPE}
    graph = load_source(path, input_shapes=shapes)
    if graph.is_quantized and not as_source:
        from npusim.api import float16

        graph = float16(graph)
    means, stds = _numbers(mean, "--mean"), _numbers(std, "--std")
    order = tuple(int(n) for n in _numbers(reorder, "--reorder"))
    if model == BUNDLED and not (means or stds or order):
        means, stds, order = bundled_preprocess()
    how = Preprocess(mean=means, std=stds, reorder=order)
    pictures = [name for name in graph.inputs if len(graph.spec(name).shape) == 4]
    return graph.copy(preprocess=dict.fromkeys(pictures, how), target=target)


def bundled_preprocess() -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """Return mean, std and reorder of the bundled classifier."""
    order = tuple(int(word) for word in assets.REORDER_CHANNEL.split())
    return tuple(assets.MEAN_VALUES), tuple(assets.STD_VALUES), order


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


def quantized(
    graph: Graph,
    scheme: str | None,
    dataset: Path | None,
    *,
    level: int = 3,
    algorithm: str = "normal",
    shown: Console,
) -> Graph:
    """Return the graph in the wanted number format; a stored one must not be asked again."""
    from npusim.api import float16

    if is_quantized(graph):
        if scheme is not None:
            raise ConfigError(
                "this model is already quantized",
                where="--quantize",
                remedy="leave the option out, or give the float model",
            )
        return graph
    from npusim.quantization.algorithms import Algorithm
    from npusim.quantization.job import Quantization

    chosen = scheme_named(scheme or "f16")
    if chosen is Scheme.F16:
        return float16(graph, optimization_level=level)
    job = Quantization(graph, scheme=chosen, algorithm=Algorithm(name=algorithm), level=level)
    return job.apply(calibrated(job, dataset, shown=shown).ranges)


def calibrated(
    job: "Quantization", dataset: Path | None, *, engine: str = "auto", shown: Console
) -> "Calibration":
    """Run the calibration of a job on a list, with a progress bar."""
    from npusim.quantization.dataset import open_dataset

    if dataset is None:
        raise ConfigError(
            f"quantizing to {job.formats.default.value} needs calibration data",
            where="--dataset",
            remedy="give a text file with one image or npy per line",
        )
    samples = open_dataset(dataset, job.graph)
    with progress_bar(shown) as bar:
        task = bar.add_task("calibrating", total=len(samples) * job.passes)
        return job.calibrate(samples, engine=engine, progress=lambda _, label: bar.advance(task))


def is_quantized(graph: Graph) -> bool:
    """Tell whether the model came quantized, or its inputs already have a chip type."""
    return graph.is_quantized or any(
        graph.spec(n).dtype.value not in ("f32", "i32", "i64") for n in graph.inputs
    )


def compiled(graph: Graph, *, level: int = 3, shown: Console) -> "Program":
    """Return the program of a quantized graph, with progress."""
    from npusim.api import compile
    from npusim.kernels import _jit

    _jit.ON_COMPILED[:] = [_tell_compiled]
    with progress_bar(shown) as bar:
        task = bar.add_task("preparing kernels", total=len(graph.nodes))
        return compile(
            graph,
            optimization_level=level,
            progress=lambda done, total, _: bar.update(task, completed=done, total=total),
        )


def _tell_compiled(kernel: str, seconds: float) -> None:
    """Say on standard error what a first start is waiting for."""
    print(f"compiled {kernel} in {seconds:.1f} s, kept for the next start", file=sys.stderr)


def sample_of(
    graph: Graph, inputs: list[Path] | None, dataset: Path | None
) -> tuple[str, Mapping[str, NDArray[Any]]]:
    """Return (label, preprocessed feeds) from files, else the first sample of the list."""
    from npusim.quantization.dataset import load_sample, open_dataset

    if inputs:
        return " ".join(path.name for path in inputs), load_sample(inputs, graph)
    if dataset is None:
        raise ConfigError(
            "there is nothing to run on",
            where="--input",
            remedy="give one image or npy per model input, or --dataset",
        )
    return next(iter(open_dataset(dataset, graph)))
