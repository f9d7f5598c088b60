"""Pages that commands write: the words that repeat a command, and ``--html``."""

import inspect
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from npusim.report.page.contents import Remedy, Repair

HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page to send there (npusim[report])."),
]
QUANTIZED_WITH = (
    "weights",
    "part",
    "shape",
    "mean",
    "std",
    "reorder",
    "algorithm",
    "scheme",
    "level",
)
REPAIRED = "repaired.npusim"
OPTIONS: dict[Remedy, tuple[str, ...]] = {
    Remedy.WIDER: ("--layer",),
    Remedy.APART: ("--no-join",),
    Remedy.MMSE: ("--algorithm", "mmse"),
    Remedy.EQUALIZE: ("--equalize", "restrict"),
}
NAMED: dict[Remedy, Callable[[str], str]] = {
    Remedy.WIDER: lambda name: f"{name}=i16",
    Remedy.APART: lambda name: name,
}


def command_line(name: str, command: Callable[..., None], given: Mapping[str, Any]) -> str:
    """Return the words that repeat a call of a command: options that differ from the defaults.

    Parameters
    ----------
    name : str
    command : callable
        The command's function.
    given : mapping
        Parameter -> value, as the function got them.
    """
    return shlex.join(["npusim", name, *_words(command, given, given.keys())])


def repair_with(given: Mapping[str, Any], dataset: Path | None) -> Repair:
    """Return what makes the ``npusim quantize`` that quantizes again with a remedy.

    Parameters
    ----------
    given : mapping
        Parameter -> value of the command that analysed.
    dataset : Path, optional
        The calibration list.
    """
    from npusim.cli.quantize import command

    begin = ["npusim", "quantize", str(given["model"])]
    if dataset is not None and given.get("dataset") is not None:
        begin += ["--dataset", str(dataset)]

    def repair(remedy: Remedy, layers: tuple[str, ...]) -> str:
        known = {k: v for k, v in given.items() if k in QUANTIZED_WITH}
        options = OPTIONS[remedy]
        if remedy is Remedy.MMSE:
            known.pop("algorithm", None)
        if remedy in NAMED:
            options = tuple(word for name in layers for word in (*options, NAMED[remedy](name)))
        return shlex.join([*begin, *_words(command, known, known), *options, "-o", REPAIRED])

    return repair


def _words(command: Callable[..., None], given: Mapping[str, Any], names: Any) -> list[str]:
    """Return options, spelled as the command takes them, whose values are not the defaults."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    words: list[str] = []
    for name in names:
        value, parameter = given.get(name), parameters.get(name)
        if parameter is None or value is None or value is False or value == parameter.default:
            continue
        info = hints[name].__metadata__[0]
        if isinstance(info, typer.models.ArgumentInfo):
            words.append(str(value))
            continue
        # typer takes the first word of an annotated option for its default
        spelled = info.default if isinstance(info.default, str) else None
        spelled = spelled or next(iter(info.param_decls or ()), f"--{name.replace('_', '-')}")
        for one in value if isinstance(value, list) else [value]:
            words += [spelled] if one is True else [spelled, str(one)]
    return words
