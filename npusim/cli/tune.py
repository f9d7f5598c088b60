"""``npusim tune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

import npusim
from npusim.cli import common, paging, quantize_options
from npusim.cli.uses import NO_FILE, READ, Given, Written
from npusim.ir import archive
from npusim.plain import name_of
from npusim.quantization.hybrid.files import file_names
from npusim.report.table import Sheet, numbers, words

if TYPE_CHECKING:
    from npusim.report.page.contents import Contents
    from npusim.tuning.search import Progress
    from npusim.tuning.tune import Tuning

NAME = "tune"
INTERRUPTED = 130
AS_GIVEN = ("metric", "budget_us", "goal", "samples", "most")
MetricOption = Annotated[
    str,
    typer.Option(
        metavar="sqnr|cosine|lowest-cosine|top1|custom:module:function",
        help="What counts: agreement of the outputs with the float model's.",
    ),
    NO_FILE,
]
BudgetOption = Annotated[
    float | None, typer.Option(help="Largest estimated time of the network, microseconds.")
]
GoalOption = Annotated[float | None, typer.Option(help="Stop when the metric reaches it.")]
ToOption = Annotated[
    str, typer.Option(metavar="i16|f16|i16,f16", help="Format that layers are raised to."), NO_FILE
]


def _files(output: str | None, model: str) -> tuple[str, Path | None]:
    """Return the stem of all files, and the model file where one is wanted."""
    if output and Path(output).suffix in archive.SUFFIXES:
        return str(Path(output).with_suffix("")), Path(output)
    return output or name_of(Path(model)), None


def _results(output: str | None, given: Given) -> list[Path]:
    stem, model_file = _files(output, given["model"])
    return [model_file] if model_file else [Path(name) for name in file_names(stem)]


def _state(state: Path | None, given: Given) -> list[Path]:
    return [state or Path(f"{_files(given['output'], given['model'])[0]}.tune.json")]


OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.npusim|STEM",
        help="Store the best choice as a model, or write STEM.json, STEM.data and "
        "STEM.quantization.cfg of it. Default: the model's name as STEM.",
    ),
    Written(_results),
]
EvaluateOption = Annotated[
    Path | None,
    typer.Option(help="List of samples for the metric. Default: the calibration list."),
    READ,
]
SamplesOption = Annotated[int, typer.Option(min=1, help="Samples used for the metric.")]
MostOption = Annotated[int | None, typer.Option(help="Stop after so many new measurements.")]
StateOption = Annotated[
    Path | None, typer.Option(help="Progress file. Default: STEM.tune.json."), Written(_state)
]
RestartOption = Annotated[bool, typer.Option(help="Forget an earlier search.")]


def command(
    model: common.ModelArgument,
    dataset: common.DatasetOption = None,
    metric: MetricOption = "sqnr",
    budget_us: BudgetOption = None,
    goal: GoalOption = None,
    to: ToOption = "i16",
    output: OutputOption = None,
    evaluate: EvaluateOption = None,
    samples: SamplesOption = 16,
    most: MostOption = None,
    state: StateOption = None,
    restart: RestartOption = False,
    scheme: common.SchemeOption = "u8",
    algorithm: common.AlgorithmOption = "normal",
    equalize: quantize_options.EqualizeOption = None,
    bias_correction: quantize_options.CorrectOption = False,
    toolkit: quantize_options.ToolkitOption = "1.7",
    no_join: quantize_options.NoJoinOption = None,
    engine: quantize_options.EngineOption = "auto",
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    fit: common.FitOption = None,
    target: common.TargetOption = None,
    level: common.LevelOption = 3,
    html: paging.HtmlOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Raise layers to a wider format where that gains most; write the cfg file.

    Can be interrupted at any time: what was measured is in the progress file, the best choice so
    far in the cfg file, and the same command goes on where it was.
    """
    page = paging.Page(NAME, command, locals())
    shown, file = common.console(as_json), common.source(weights, cut_inputs, cut_outputs, shape)
    graph = common.load(model, **file, mean=mean, std=std, reorder=reorder, fit=fit, target=target)
    how: dict[str, Any] = {"equalize": equalize, "bias_correction": bias_correction}
    how |= {"toolkit": toolkit, "no_join": no_join or ()}
    stem, model_file = _files(output, model)
    with common.progress_of(shown, "calibrating") as progress:
        found = npusim.tune(
            graph,
            common.dataset_of(model, dataset),
            **{name: page.given[name] for name in AS_GIVEN},
            to=to.split(","),
            scheme=scheme or "u8",
            algorithm=algorithm,
            **how,
            evaluate=evaluate,
            state=_state(state, page.given)[0],
            restart=restart,
            engine=engine,
            optimization_level=level,
            progress=progress,
            report=lambda step: _tell(step, shown),
            say=shown.print,
        )
    page.write(lambda: _contents(found), shown)
    again = paging.again(
        model, file, mean, std, reorder, fit, target, dataset if model_file else None
    )
    _finish(found, stem, again, model_file, shown, as_json=as_json)


def _contents(found: "Tuning") -> "Contents":
    from npusim.api.report_run import tuned

    return tuned(found)


def _finish(found: "Tuning", *args: Any, as_json: bool) -> None:
    _report(found, *args, as_json=as_json)
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


def _tell(progress: "Progress", shown: Console) -> None:
    point = progress.point
    mark = "kept" if progress.kept else "    "
    last = f"  {len(point.layers)} layers" if point.layers else "  none"
    shown.print(
        f"{mark} {point.metric:10.6f} {point.time_us:10.0f} us{last}, {progress.left} left",
        highlight=False,
    )


def _report(
    found: "Tuning",
    stem: str,
    again: str,
    model_file: Path | None,
    shown: Console,
    *,
    as_json: bool,
) -> None:
    """Write the files of the best choice and print what was found."""
    base, budget_us = found.base, found.budget_us
    if base is not None and budget_us is not None and base.time_us > budget_us:
        shown.print(
            f"warning: without any raise the network already takes {base.time_us:.0f} us, more "
            f"than the budget of {budget_us:.0f} us",
        )
    if found.best is None:
        return
    if model_file:
        npusim.save(found.graph(), model_file)
    else:
        found.write(stem)
    if as_json:
        written = {"file": str(model_file)} if model_file else {"cfg": f"{stem}.quantization.cfg"}
        common.print_json({**found.to_dict(), **written})
        return
    shown.print(_table(found))
    if found.best.parts:
        shown.print(_parts_text(found.best.parts, found.metric), highlight=False)
    cfg = f"{stem}.quantization.cfg"
    if model_file:
        shown.print(f"{model_file} is the marked choice")
        following = f"npusim analyze {again} --stored {model_file}"
    else:
        shown.print(f"{stem}.json, {stem}.data and {cfg} hold the marked choice")
        following = f"npusim quantize {again} --hybrid {cfg} -o {stem}.npusim"
    shown.print(f"next: {following}", soft_wrap=True, highlight=False)
    if found.interrupted:
        shown.print("interrupted; the same command goes on where this one stopped")


def _table(found: "Tuning") -> Sheet:
    columns = [*words(""), *numbers(found.metric, "time (us)"), *words("format")]
    table = Sheet([*columns, *numbers("layers")], "accuracy against time", notes=["*: the choice"])
    for point in found.front:
        table.add(
            "*" if point == found.best else "",
            f"{point.metric:.6f}",
            f"{point.time_us:.0f}",
            point.scheme if point.layers else "-",
            len(point.layers),
        )
    return table


def _parts_text(parts: dict[str, float], metric: str) -> str:
    """Say what the metric of each part is, the worst first: it is the one that counts."""
    order = sorted(parts, key=lambda name: parts[name])
    said = ", ".join(f"{name} {parts[name]:.6g}" for name in order)
    return f"{metric} of each kind of values, the worst counts: {said}"
