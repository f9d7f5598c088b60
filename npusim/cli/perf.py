"""``npusim perf``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from npusim.cli import common
from npusim.cli.pricing import Request, price
from npusim.errors import ConfigError
from npusim.perfmodel.estimate import Estimate
from npusim.report import perf_compare, perf_data, perf_table

NAME = "perf"
VS = "Second configuration"
Format = typer.Option(metavar="u8|i8|i16|f16", help="Number format to price. Default: u8.")
Profile = typer.Option(metavar="board|vendor", help="Silicon, or the vendor's own estimator.")


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="ONNX file, stored npusim model, layer list (.json), 'demo' or 'demo-layers'.",
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(metavar="CHIP", help="Chip name or .toml file. Default: the model's."),
    ] = None,
    profile: Annotated[str, Profile] = "board",
    dtype: Annotated[str | None, Format] = None,
    clock_mhz: Annotated[float | None, typer.Option(help="NPU clock.")] = None,
    ddr_gbps: Annotated[float | None, typer.Option(help="Sustained DDR rate, 1e9 B/s.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images in one run.")] = None,
    sram: Annotated[
        str, typer.Option(metavar="on|off", help="Keep maps in the AXI SRAM where they fit.")
    ] = "off",
    shape: common.ShapeOption = None,
    level: common.LevelOption = 3,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Print the N longest layers only.")
    ] = None,
    traffic: Annotated[
        bool, typer.Option("--bytes", help="Print bytes by memory and kind, and tiles.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Print the memory of a run.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write roofline and layer times there.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a timeline for Perfetto.")
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Exit with 1 when one run takes longer.")
    ] = None,
    as_json: common.JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line per layer.")] = False,
    vs: Annotated[
        str | None,
        typer.Option(metavar="MODEL", rich_help_panel=VS, help="Compare with this model."),
    ] = None,
    vs_target: Annotated[
        str | None, typer.Option(metavar="CHIP", rich_help_panel=VS, help="... on this chip.")
    ] = None,
    vs_profile: Annotated[
        str | None,
        typer.Option(metavar="board|vendor", rich_help_panel=VS, help="... in this profile."),
    ] = None,
    vs_dtype: Annotated[
        str | None,
        typer.Option(metavar="u8|i8|i16|f16", rich_help_panel=VS, help="... in this format."),
    ] = None,
    vs_clock_mhz: Annotated[
        float | None, typer.Option(rich_help_panel=VS, help="... at this clock.")
    ] = None,
    vs_ddr_gbps: Annotated[
        float | None, typer.Option(rich_help_panel=VS, help="... at this DDR rate.")
    ] = None,
    vs_batch: Annotated[
        int | None, typer.Option(rich_help_panel=VS, help="... with this batch.")
    ] = None,
    vs_sram: Annotated[
        str | None,
        typer.Option(metavar="on|off", rich_help_panel=VS, help="... with maps in the SRAM."),
    ] = None,
    vs_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=1,3,224,224", rich_help_panel=VS, help="... with this input shape."
        ),
    ] = None,
) -> None:
    """Estimate the time of a model or of a layer list on the chip, layer by layer."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other", remedy="leave one of them out")
    request = Request(
        model=model,
        target=target,
        profile=profile,
        dtype=dtype,
        clock_mhz=clock_mhz,
        ddr_gbps=ddr_gbps,
        batch=batch,
        sram=sram,
        shape=tuple(shape or ()),
        level=level,
    )
    changes = {
        "model": vs,
        "target": vs_target,
        "profile": vs_profile,
        "dtype": vs_dtype,
        "clock_mhz": vs_clock_mhz,
        "ddr_gbps": vs_ddr_gbps,
        "batch": vs_batch,
        "sram": vs_sram,
        "shape": tuple(vs_shape) if vs_shape else None,
    }
    estimates = [price(request)]
    if other := _other(request, changes):
        estimates.append(price(other))
    shown = common.console(as_json or as_csv)
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
    if as_json:
        common.print_json(common.finite(_json(estimates, buffers=memory)))
    elif as_csv:
        typer.echo(_csv(estimates), nl=False)
    else:
        shown.print(_text(estimates, shown.width, top=top, traffic=traffic, memory=memory))
    if budget_ms is not None and estimates[0].total_time_us > budget_ms * 1e3:
        spent = estimates[0].total_time_us / 1e3
        common.console(True).print(f"{spent:.3f} ms exceed the budget of {budget_ms} ms")
        raise typer.Exit(common.MISMATCH)


def _other(request: Request, changes: dict[str, Any]) -> Request | None:
    """Return the second configuration: the first with what was changed; None without changes."""
    given = {name: value for name, value in changes.items() if value is not None}
    if "model" in given and "shape" not in given and given["model"] != request.model:
        given["shape"] = ()  # names of the first model's inputs
        return replace(request, **given)
    return replace(request, **given) if given else None


def _json(estimates: list[Estimate], *, buffers: bool) -> dict[str, Any]:
    if len(estimates) == 2:
        return perf_compare.to_json(perf_compare.compare(*estimates))
    return perf_data.to_json(estimates[0], buffers=buffers)


def _csv(estimates: list[Estimate]) -> str:
    if len(estimates) == 2:
        return perf_compare.to_csv(perf_compare.compare(*estimates))
    return perf_data.to_csv(estimates[0])


def _text(
    estimates: list[Estimate], width: int, *, top: int | None, traffic: bool, memory: bool
) -> Any:
    if len(estimates) == 2:
        return perf_compare.comparison_report(
            perf_compare.compare(*estimates), width=width, top=top
        )
    return perf_table.full_report(
        estimates[0], width=width, top=top, traffic=traffic, memory=memory
    )
