"""Options of the commands that quantize."""

from typing import TYPE_CHECKING, Annotated

import typer

from npusim.cli.uses import NO_FILE
from npusim.errors import ConfigError
from npusim.quantization.eras import DEFAULT_ERA, ERAS

if TYPE_CHECKING:
    from npusim.quantization.algorithms import Algorithm

COMMON = DEFAULT_ERA.toolkit
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
    NO_FILE,
]
BinsOption = Annotated[
    int, typer.Option("--divergence-nbins", help="Histogram bins of kl_divergence.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", metavar="auto|onnxruntime|npusim", help="What runs the float network."
    ),
    NO_FILE,
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
    NO_FILE,
]
CorrectOption = Annotated[
    bool,
    typer.Option(
        "--bias-correction",
        help="CHANGES THE FLOAT MODEL: take the mean error of quantized weights out of biases.",
    ),
]

ToolkitOption = Annotated[
    str,
    typer.Option(
        "--toolkit",
        metavar="RELEASE",
        help=f"RKNN-Toolkit whose rules count: {', '.join(sorted(set(ERAS) - {COMMON}))}, or "
        f"{COMMON} for what they have in common.",
    ),
    NO_FILE,
]
NoJoinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--no-join", metavar="LAYER", help="Concat whose parts keep ranges of their own. Repeat."
    ),
    NO_FILE,
]
AvoidOption = Annotated[
    bool,
    typer.Option(
        "--avoid-driver-faults",
        help="Give concats that the chip's driver would get wrong (npusim explain "
        "concat-of-views) slightly other parameters, so that it copies.",
    ),
]

LayerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="NAME=i16",
        help="Format of a layer, by its name or id (npusim info --layers), or of all whose name "
        "fits, as in 'Concat_*=i16'. Repeatable.",
    ),
    NO_FILE,
]


def layers(texts: list[str] | None) -> dict[str, str]:
    """Return layer -> format of ``--layer`` options.

    Raises
    ------
    ConfigError
        When one has no ``=``.
    """
    pairs = [text.rpartition("=") for text in texts or ()]
    for text, (name, _, word) in zip(texts or (), pairs, strict=True):
        if not (name and word):
            raise ConfigError(
                f"value {text!r}",
                where="--layer",
                rule="NAME=FORMAT, for example Conv_3=i16",
                remedy="name the layer and u8, i8, i16 or f16",
            )
    return {name: word for name, _, word in pairs}


def algorithm(
    name: str, mmse_epoch: int, moving_alpha: float, moving_alpha_weighs: str, divergence_nbins: int
) -> "Algorithm":
    """Return the calibration statistic that the options describe."""
    from npusim.quantization.algorithms import Algorithm

    return Algorithm(
        name=name,
        mmse_epoch=mmse_epoch,
        moving_alpha=moving_alpha,
        moving_alpha_weighs=moving_alpha_weighs,
        divergence_nbins=divergence_nbins,
    )
