"""``npusim perf --sweep``: many variants of one design."""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import typer

from npusim.api.sweeping import MOST_POINTS, sweep
from npusim.cli import common
from npusim.cli.pricing import Request, is_list, list_of, model_of, switch, write_json
from npusim.errors import ConfigError
from npusim.perfmodel.layer_writer import layer_list_of
from npusim.perfmodel.scaling import Size
from npusim.perfmodel.sweep import Sweep
from npusim.report import perf_sweep as report

OPTION = "--sweep"
KNOWN = ("width", "input")
_RULE = (
    "width=0.25..1.0:0.125, width=0.5,1, input=192,224 or input=160x224,..; a range is A..B:STEP"
)
_RANGE = re.compile(r"([0-9.]+?)\.\.([0-9.]+):([0-9.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for: the values of each parameter."""

    widths: tuple[float, ...] = (1.0,)
    sizes: tuple[Size | None, ...] = (None,)


def parse(texts: list[str]) -> Asked:
    """Return the values of all ``--sweep`` options.

    Raises
    ------
    ConfigError
        When a parameter does not exist, is given twice, or a value cannot be read.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if name not in KNOWN:
            raise ConfigError(
                f"parameter {name!r}", where=OPTION, rule=f"one of {', '.join(KNOWN)}"
            )
        if name in found:
            raise ConfigError(f"{name} is given twice", where=OPTION, rule="once, with all values")
        read = _size if name == "input" else _number
        found[name] = tuple(dict.fromkeys(read(v, text) for v in _values(values, text)))
    return Asked(widths=found.get("width", (1.0,)), sizes=found.get("input", (None,)))


def _values(text: str, whole: str) -> list[str]:
    found = []
    for part in text.split(","):
        span = _RANGE.fullmatch(part.strip())
        if span is None:
            found.append(part.strip())
            continue
        first, last, step = (_number(word, whole) for word in span.groups())
        count = (last - first) / step
        if not 0 <= count <= MOST_POINTS:
            raise ConfigError(
                f"the range {part.strip()!r}", where=f"{OPTION} {whole}", rule="upwards, A..B:STEP"
            )
        found += [f"{first + i * step:.10g}" for i in range(int(count + 1e-9) + 1)]
    return found


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigError(f"value {text!r}", where=f"{OPTION} {whole}", rule=_RULE)
    return value


def _size(text: str, whole: str) -> Size:
    numbers = [_number(part, whole) for part in text.lower().split("x")]
    if len(numbers) > 2 or any(n != int(n) for n in numbers):
        raise ConfigError(f"value {text!r}", where=f"{OPTION} {whole}", rule=_RULE)
    return int(numbers[0]), int(numbers[-1])


def run(
    request: Request,
    texts: list[str],
    *,
    budget_ms: float | None,
    as_json: bool,
    as_csv: bool,
    write_layers: Path | None,
    refused: dict[str, object],
) -> None:
    """Print the front of the variants of a request's model.

    Parameters
    ----------
    refused : dict
        Option -> value, of the options that have no meaning beside ``--sweep``.
    """
    given = [option for option, value in refused.items() if value not in (None, False, [])]
    if given:
        raise ConfigError(f"{given[0]} cannot go with {OPTION}", remedy="leave one of them out")
    asked = parse(texts)
    if write_layers is not None and len(list(product(asked.widths, asked.sizes))) > 1:
        raise ConfigError(
            "several variants", where="--write-layers", rule="one point: one value of each"
        )
    found = sweep(
        _source(request),
        widths=asked.widths,
        sizes=asked.sizes,
        target=request.target,
        scheme=request.dtype,
        batch=request.batch,
        optimization_level=request.level,
        budget_us=None if budget_ms is None else budget_ms * 1e3,
        profile=request.profile,
        clock_mhz=request.clock_mhz,
        ddr_gbps=request.ddr_gbps,
        sram=switch(request.sram),
    )
    shown = common.console(as_json or as_csv)
    if write_layers is not None:
        _write(found, write_layers)
        shown.print(f"wrote {write_layers}", soft_wrap=True, highlight=False)
    if as_json:
        common.print_json(common.finite(report.to_json(found)))
    elif as_csv:
        typer.echo(report.to_csv(found), nl=False)
    else:
        shown.print(report.sweep_report(found, _heading(found), budget_ms))
    if found.refused or not found.front:
        why = (
            f"not priced: {len(found.refused)}"
            if found.refused
            else (f"no variant takes {budget_ms:g} ms or less")
        )
        common.console(True).print(why)
        raise typer.Exit(common.MISMATCH)


def _source(request: Request) -> Any:
    return list_of(request) if is_list(request.model) else model_of(request)


def _heading(found: Sweep) -> str:
    first = found.points[0].estimate
    return (
        f"{first.network} on {first.machine}, profile {first.profile}, "
        f"{first.clock_hz / 1e6:.0f} MHz, DDR {first.ddr_bytes_per_s / 1e9:.2f} GB/s: Pareto front "
        "of products, time and memory"
    )


def _write(found: Sweep, path: Path) -> None:
    layers = found.points[0].layers
    listed = layer_list_of(layers.graph, layers.zero_fractions)
    if not layers.usual_ranges:
        listed["ranges"] = "one"
    write_json(listed, path)
