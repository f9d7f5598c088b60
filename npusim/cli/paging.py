"""Pages that commands write: the words that repeat a command, and ``--html``."""

import inspect
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console

from npusim.cli.log import warnings_so_far
from npusim.cli.uses import WRITTEN, spelled
from npusim.report.page.write import require_place, require_templates

# What a page is made of brings Numba; commands that write none start without it.
if TYPE_CHECKING:
    from npusim.report.page.contents import Contents, Remedy, Repair

HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write a page to send there; needs the extra 'report'."
    ),
    WRITTEN,
]
QUANTIZED_WITH = (
    "weights",
    "cut_inputs",
    "cut_outputs",
    "shape",
    "mean",
    "std",
    "reorder",
    "fit",
    "algorithm",
    "scheme",
    "level",
)
REPAIRED = "repaired.npusim"
OPTIONS: dict[str, tuple[str, ...]] = {
    "WIDER": ("--layer",),
    "APART": ("--no-join",),
    "MMSE": ("--algorithm", "mmse"),
    "EQUALIZE": ("--equalize", "restrict"),
}
NAMED: dict[str, Callable[[str], str]] = {
    "WIDER": lambda name: f"{name}=i16",
    "APART": lambda name: name,
}


class Page:
    """The page that a command's ``--html`` asks for; without the option nothing is written.

    Made where a command begins, so that a missing package is said before anything runs.

    Parameters
    ----------
    name : str
        The command's name.
    command : callable
        Its function.
    given : mapping
        Parameter -> value, as the function got them: ``html``, ``model`` and the rest.
    """

    def __init__(self, name: str, command: Callable[..., None], given: Mapping[str, Any]) -> None:
        self._path: Path | None = given["html"]
        if self._path is not None:
            require_templates()
            require_place(self._path)
        self._begin = time.perf_counter()
        self._name, self._command, self.given = name, command, dict(given)

    def write(
        self, make: "Callable[[], Contents]", shown: Console, *, dataset: Path | None = None
    ) -> None:
        """Write what ``make`` returns, when it was asked for."""
        if self._path is None:
            return
        from npusim.api.reporting import finished

        contents = replace(
            make(),
            model=self.given["model"],
            command=command_line(self._name, self._command, self.given),
            repair=repair_with(self.given, dataset),
            dataset=str(self.given.get("dataset") or ""),
        )
        path = finished(contents, warnings_so_far(), self._begin).write(self._path)
        shown.print(f"wrote {path}", soft_wrap=True, highlight=False)


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


def repair_with(given: Mapping[str, Any], dataset: Path | None) -> "Repair":
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

    def repair(remedy: "Remedy", layers: tuple[str, ...]) -> str:
        known = {k: v for k, v in given.items() if k in QUANTIZED_WITH}
        options = OPTIONS[remedy.name]
        if "--algorithm" in options:
            known.pop("algorithm", None)
        if spell := NAMED.get(remedy.name):
            options = tuple(word for name in layers for word in (*options, spell(name)))
        return shlex.join([*begin, *_words(command, known, known), *options, "-o", REPAIRED])

    return repair


def again(
    model: str,
    file: Mapping[str, Any],
    mean: str | None,
    std: str | None,
    reorder: str | None,
    fit: str | None = None,
    target: str | None = None,
    dataset: Path | None = None,
) -> str:
    """Return the words of a command that load a model once more: to be pasted."""
    said = [model]
    for name, value in {
        "weights": file["weights"],
        **{f"cut-{side}": ",".join(names) for side, names in file["part"].items()},
        "mean": mean,
        "std": std,
        "reorder": reorder,
        "fit": fit,
        "target": target,
        "dataset": dataset,
    }.items():
        said += [f"--{name}", str(value)] if value is not None else []
    for shape in file["shape"] or ():
        said += ["--shape", shape]
    return shlex.join(said)


def _words(command: Callable[..., None], given: Mapping[str, Any], names: Any) -> list[str]:
    """Return options, spelled as the command takes them, whose values are not the defaults."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    words: list[str] = []
    for name in names:
        value, parameter = given.get(name), parameters.get(name)
        if parameter is None or value is None or value is False or value == parameter.default:
            continue
        if isinstance(hints[name].__metadata__[0], typer.models.ArgumentInfo):
            words.append(str(value))
            continue
        option = spelled(name, hints[name])
        for one in value if isinstance(value, list) else [value]:
            words += [option] if one is True else [option, str(one)]
    return words
