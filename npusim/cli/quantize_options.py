"""Options of the commands that quantize, and what they do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from npusim.cli import common
from npusim.errors import ConfigError

if TYPE_CHECKING:
    from npusim.ir.graph import Graph
    from npusim.quantization.job import Quantization

MmseOption = Annotated[int, typer.Option("--mmse-epoch", help="Rounds of the mmse search.")]
AlphaOption = Annotated[float, typer.Option("--moving-alpha", help="Weight of moving_average.")]
WeighsOption = Annotated[
    str,
    typer.Option(
        "--moving-alpha-weighs",
        metavar="old|new",
        help="What the weight belongs to: the average so far (as measured on the vendor's tool) "
        "or the newest sample (as its manual words it).",
    ),
]
BinsOption = Annotated[
    int, typer.Option("--divergence-nbins", help="Histogram bins of kl_divergence.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", metavar="auto|onnxruntime|npusim", help="What runs the float network."
    ),
]
EqualizeOption = Annotated[
    str | None,
    typer.Option(
        "--equalize",
        metavar="keep|restrict|replace",
        help="CHANGES THE FLOAT MODEL: equalize weights across layers (Nagel 2019). The word says "
        "what to do with relu6: leave such layers alone, scale only channels that stay below 6 on "
        "the dataset, or make it a relu.",
    ),
]
CorrectOption = Annotated[
    bool,
    typer.Option(
        "--bias-correction",
        help="CHANGES THE FLOAT MODEL: take the mean error of quantized weights out of biases.",
    ),
]


def relu6_word(word: str | None) -> str | None:
    """Return a word of ``--equalize``, checked."""
    from npusim.quantization.equalize import Relu6

    if word is not None and word not in [mode.value for mode in Relu6]:
        raise ConfigError(
            f"value {word!r}", where="--equalize", rule="keep, restrict or replace (relu6)"
        )
    return word


def job(
    graph: "Graph",
    *,
    scheme: str,
    algorithm: str,
    mmse_epoch: int = 3,
    moving_alpha: float = 0.01,
    moving_alpha_weighs: str = "old",
    divergence_nbins: int = 1024,
    equalize: str | None = None,
    bias_correction: bool = False,
    level: int = 3,
) -> "Quantization":
    """Return the quantization that the options describe."""
    from npusim.quantization.algorithms import Algorithm
    from npusim.quantization.equalize import Relu6
    from npusim.quantization.job import Quantization
    from npusim.quantization.schemes import scheme_named

    word = relu6_word(equalize)
    return Quantization(
        graph,
        scheme=scheme_named(scheme),
        algorithm=Algorithm(
            name=algorithm,
            mmse_epoch=mmse_epoch,
            moving_alpha=moving_alpha,
            moving_alpha_weighs=moving_alpha_weighs,
            divergence_nbins=divergence_nbins,
        ),
        level=level,
        equalized=Relu6(word) if word else None,
        corrected=bias_correction,
    )


def run(
    job: "Quantization",
    dataset: Path | None,
    *,
    hybrid: Path | None,
    write_cfg: Path | None,
    engine: str,
    shown: Console,
) -> "Graph":
    """Return the quantized graph; read and write cfg files."""
    from npusim.quantization.hybrid.cfg import write_cfg as write
    from npusim.quantization.hybrid.records import edited, ranges_in_cfg, records_of

    scheme = job.formats.default
    if hybrid is not None and dataset is None:
        if job.equalized or job.corrected:
            raise ConfigError(
                "equalization and bias correction need calibration data",
                where="--dataset",
                remedy="give --dataset",
            )
        ranges = ranges_in_cfg(hybrid, job.graph, job.source, scheme)
        job.notes = (f"ranges from {hybrid.name}",)
    else:
        found = common.calibrated(job, dataset, engine=engine, shown=shown)
        ranges = job.constrained(found.ranges)
    if hybrid is not None:
        change = edited(hybrid, job.graph, job.source, ranges, scheme)
        job.formats, ranges = change.formats, change.ranges
        for note in change.notes:
            shown.print(f"warning: {note}", markup=False, highlight=False)
    if write_cfg is not None:
        records = [slot.record for slot in records_of(job.graph, job.source, ranges, scheme)]
        write(write_cfg, records, {})
    return job.apply_constrained(ranges)
