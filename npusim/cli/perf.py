"""``npusim perf``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from npusim.api.arguments import checked_limit
from npusim.cli import common, paging
from npusim.cli.pricing import BUNDLED_LIST, Request, price, price_around, write_list
from npusim.cli.uses import FOLDER, NO_FILE, READ, WRITTEN, Read
from npusim.errors import ConfigError, UnsupportedOpError
from npusim.ir.holes import Rest
from npusim.ir.targets import CHIPS
from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.guesses import guesses_line
from npusim.perfmodel.transport import Transfer, transfer
from npusim.report import perf_compare, perf_data, perf_table

if TYPE_CHECKING:
    from npusim.report.page.contents import Contents

NAME = "perf"
VS = "Second configuration"
COMPARED = (
    "model", "target", "profile", "dtype", "clock_mhz", "ddr_gbps", "batch", "sram", "weights",
    "shape",
)  # fmt: skip
MODEL = Read(words=(common.BUNDLED, BUNDLED_LIST))
CHIP = Read(words=tuple(CHIPS))
FORMATS, PROFILES, SHAPE = "u8|i8|i16|f16", "board|vendor", "NAME=1,3,224,224"


def _second(help_text: str, metavar: str | None = None, *spelled: str) -> Any:
    """Return an option of the second configuration."""
    return typer.Option(*spelled, metavar=metavar, rich_help_panel=VS, help=help_text)


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{common.MODEL_FILES}, stored npusim model, layer list (.json), 'demo' or "
        "'demo-layers'.",
    ),
    MODEL,
]
TargetOption = Annotated[
    str | None,
    typer.Option(metavar="CHIP", help="Chip name or .toml file. Default: the model's."),
    CHIP,
]
ProfileOption = Annotated[
    str, typer.Option(metavar=PROFILES, help="Silicon, or the vendor's own estimator."), NO_FILE
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--quantize", "--dtype", metavar=FORMATS, help="Number format to price. Default: u8."
    ),
    NO_FILE,
]
ClockOption = Annotated[float | None, typer.Option(help="NPU clock.")]
DdrOption = Annotated[float | None, typer.Option(help="Sustained DDR rate, 1e9 B/s.")]
BatchOption = Annotated[int | None, typer.Option(help="Images in one run.")]
SramOption = Annotated[
    str,
    typer.Option(
        metavar="auto|on|off",
        help="Keep maps in the AXI SRAM where they fit: as boards do, in all of it, none.",
    ),
    NO_FILE,
]
TopOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Print the N longest layers only.")
]
BytesOption = Annotated[
    bool, typer.Option("--bytes", help="Print bytes by memory and kind, and tiles.")
]
MemoryOption = Annotated[bool, typer.Option("--memory", help="Print the memory of a run.")]
PlotOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write roofline and layer times there."), FOLDER
]
TraceOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a timeline for Perfetto."), WRITTEN
]
WriteLayersOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the model as a layer list."), WRITTEN
]
TransportOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(("onboard", "usb", "ntb", "adb")),
        help="Also price what a call costs beside the chip's time.",
    ),
    NO_FILE,
]
InputTypeOption = Annotated[
    str,
    typer.Option(metavar="u8|f32", help="What the caller hands over, with --transport."),
    NO_FILE,
]
SweepOption = Annotated[
    list[str] | None,
    typer.Option(metavar="width|input=..", help="Price variants, print the front. Repeatable."),
    NO_FILE,
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Fit the chip's board constants to a table of its times."),
    READ,
]
WriteMachineOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the calibrated chip (.toml)."), WRITTEN
]
BudgetOption = Annotated[float | None, typer.Option(help="Exit with 1 when one run takes longer.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV, a line per layer.")]


def command(
    model: ModelArgument,
    target: TargetOption = None,
    profile: ProfileOption = "board",
    dtype: DtypeOption = None,
    clock_mhz: ClockOption = None,
    ddr_gbps: DdrOption = None,
    batch: BatchOption = None,
    sram: SramOption = "auto",
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    level: common.LevelOption = 3,
    top: TopOption = None,
    traffic: BytesOption = False,
    memory: MemoryOption = False,
    plot: PlotOption = None,
    trace: TraceOption = None,
    write_layers: WriteLayersOption = None,
    transport: TransportOption = None,
    input_type: InputTypeOption = "u8",
    sweep: SweepOption = None,
    calibrate: CalibrateOption = None,
    write_machine: WriteMachineOption = None,
    budget_ms: BudgetOption = None,
    as_json: common.JsonOption = False,
    as_csv: CsvOption = False,
    html: paging.HtmlOption = None,
    vs: Annotated[str | None, _second("Compare with this model.", "MODEL"), MODEL] = None,
    vs_target: Annotated[str | None, _second("... on this chip.", "CHIP"), CHIP] = None,
    vs_profile: Annotated[str | None, _second("... in this profile.", PROFILES), NO_FILE] = None,
    vs_dtype: Annotated[
        str | None, _second("... in this format.", FORMATS, "--vs-quantize", "--vs-dtype"), NO_FILE
    ] = None,
    vs_clock_mhz: Annotated[float | None, _second("... at this clock.")] = None,
    vs_ddr_gbps: Annotated[float | None, _second("... at this DDR rate.")] = None,
    vs_batch: Annotated[int | None, _second("... with this batch.")] = None,
    vs_sram: Annotated[
        str | None, _second("... with maps in the SRAM.", "auto|on|off"), NO_FILE
    ] = None,
    vs_weights: Annotated[Path | None, _second("... with these weights.", "FILE"), READ] = None,
    vs_shape: Annotated[
        list[str] | None, _second("... with this input shape.", SHAPE), NO_FILE
    ] = None,
) -> None:
    """Estimate the time of a model or of a layer list on the chip, layer by layer."""
    given = locals()
    shown = _console(as_json, as_csv)
    checked_limit(budget_ms, "--budget-ms")
    page = paging.Page(NAME, command, given)
    request = Request(
        **{name: given[name] for name in COMPARED},
        level=level,
        part=common.cuts(cut_inputs, cut_outputs),
    )
    request, refit = _calibrated(request, calibrate, write_machine, shown)
    if sweep:
        from npusim.cli import perf_sweep

        seconds = {f"--vs-{name}".replace("_", "-"): given[f"vs_{name}"] for name in COMPARED[1:]}
        perf_sweep.run(
            request,
            sweep,
            budget_ms=budget_ms,
            as_json=as_json,
            as_csv=as_csv,
            write_layers=write_layers,
            refused={"--vs": vs, "--html": html, "--plot": plot, "--trace": trace, "--top": top}
            | {"--bytes": traffic, "--memory": memory, "--transport": transport}
            | seconds,
        )
        return
    changes = {name: given["vs" if name == "model" else f"vs_{name}"] for name in COMPARED}
    other = _other(request, changes)
    estimates, rest, incomplete = _first(request, whole=bool(other or write_layers or html))
    if other:
        estimates.append(price(other))
    through = _through(estimates, transport, input_type)
    _write_files(estimates, plot, trace, shown)
    if write_layers is not None:
        shown.print(f"wrote {write_list(request, write_layers)}", soft_wrap=True, highlight=False)
    page.write(lambda: _contents(estimates, vs or model), shown)
    if as_json:
        common.print_json(common.finite(_json(estimates, memory, through, rest) | refit))
    elif as_csv:
        _print_csv(estimates)
    else:
        shown.print(_text(estimates, through, rest, top=top, traffic=traffic, memory=memory))
    if incomplete is not None:
        raise incomplete
    _keep_budget(estimates[0], budget_ms)


def _calibrated(
    request: Request, table: Path | None, write: Path | None, shown: Console
) -> tuple[Request, dict[str, Any]]:
    if not (table or write):
        return request, {}
    from npusim.cli import perf_calibrate  # what fits constants takes time to import

    return perf_calibrate.apply(request, table, write, shown)


def _keep_budget(estimate: Estimate, budget_ms: float | None) -> None:
    """End with 1 when a run takes longer than it may."""
    if budget_ms is not None and estimate.total_time_us > budget_ms * 1e3:
        spent = estimate.total_time_us / 1e3
        common.console(True).print(f"{spent:.3f} ms exceed the budget of {budget_ms} ms")
        raise typer.Exit(common.MISMATCH)


def _contents(estimates: list[Estimate], second: str) -> "Contents":
    """Return what a page shows of one estimate, or of two beside one another."""
    from npusim.report.page.contents import Contents

    other = None
    if len(estimates) == 2:
        other = Contents(network=estimates[1].source, model=second, estimate=estimates[1])
    return Contents(network=estimates[0].source, model="", estimate=estimates[0], other=other)


def _write_files(
    estimates: list[Estimate], plot: Path | None, trace: Path | None, shown: Console
) -> None:
    if plot is not None:
        from npusim.report.perf_plots import write_plots

        folders = [plot] if len(estimates) == 1 else [plot / "a", plot / "b"]
        for result, folder in zip(estimates, folders, strict=True):
            for path in write_plots(result, folder):
                shown.print(f"wrote {path}", soft_wrap=True, highlight=False)
    if trace is not None:
        from npusim.report.perf_trace import write_trace

        write_trace(estimates, trace)
        shown.print(f"wrote {trace}", soft_wrap=True, highlight=False)


def _other(request: Request, changes: dict[str, Any]) -> Request | None:
    """Return the second configuration: the first with what was changed; None without changes."""
    given = {name: value for name, value in changes.items() if value not in (None, [])}
    if "model" in given and given["model"] != request.model:
        # names of the first model's inputs, and its second file
        return replace(request, **({"shape": None, "weights": None, "part": None} | given))
    return replace(request, **given) if given else None


def _through(estimates: list[Estimate], name: str | None, input_type: str) -> Transfer | None:
    """Return what a call costs beside the run; None when nobody asked."""
    if name is None:
        return None
    if len(estimates) > 1:
        raise ConfigError("--transport cannot go with --vs", remedy="leave one of them out")
    return transfer(estimates[0], name, input_type=input_type)


def _first(
    request: Request, *, whole: bool
) -> tuple[list[Estimate], Rest | None, UnsupportedOpError | None]:
    """Return the estimate of a model; with holes that around them, and the error to end in.

    ``whole``: what else was asked for needs a model without holes.
    """
    try:
        return [price(request)], None, None
    except UnsupportedOpError as error:
        rest: Rest | None = None if whole else error.find_rest()
        if rest is None:
            raise
        return [price_around(rest, request)], rest, error


def _json(
    estimates: list[Estimate], buffers: bool, through: Transfer | None, rest: Rest | None
) -> dict[str, Any]:
    if len(estimates) == 2:
        return perf_compare.to_json(perf_compare.compare(*estimates))
    return perf_data.to_json(estimates[0], buffers=buffers, through=through, rest=rest)


def _console(as_json: bool, as_csv: bool) -> Console:
    """Return where text goes: beside JSON and CSV, which exclude each other."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other", remedy="leave one of them out")
    return common.console(as_json or as_csv)


def _print_csv(estimates: list[Estimate]) -> None:
    """Print the table; guesses, for which it has no place, go to the other stream."""
    if len(estimates) == 2:
        table = perf_compare.to_csv(perf_compare.compare(*estimates))
    else:
        table = perf_data.to_csv(estimates[0])
    typer.echo(table, nl=False)
    lines = (guesses_line(found.setting.machine, found.guesses) for found in estimates)
    for line in dict.fromkeys(filter(None, lines)):
        common.console(True).print(line, soft_wrap=True, highlight=False)


def _text(
    estimates: list[Estimate],
    through: Transfer | None,
    rest: Rest | None,
    *,
    top: int | None,
    traffic: bool,
    memory: bool,
) -> Any:
    if len(estimates) == 2:
        return perf_compare.comparison_report(perf_compare.compare(*estimates), top=top)
    return perf_table.full_report(
        estimates[0], top=top, traffic=traffic, memory=memory, through=through, rest=rest
    )
