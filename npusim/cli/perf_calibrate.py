"""``npusim perf --calibrate``: the chip's board constants, fitted to the times of its owner."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from npusim.cli.pricing import Request
from npusim.errors import ConfigError, ModelImportError
from npusim.ir.atomic import atomic_write
from npusim.perfmodel.calibration import abs_mean, worst
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.owner import Calibrated, calibrate, machine_text
from npusim.reading.tables import read_table


def apply(
    request: Request, table: Path | None, write: Path | None, shown: Console
) -> tuple[Request, dict[str, Any]]:
    """Return a configuration on the calibrated chip, and what JSON says of it.

    Raises
    ------
    ModelImportError
        When the table cannot be used; file and line are named.
    ConfigError
        When the description cannot be written, or a table is missing.
    """
    if table is None:
        if write is not None:
            raise ConfigError("needs a table", where="--write-machine", rule="--calibrate FILE")
        return request, {}
    chip = request.target or _first_target(table)
    assert not isinstance(chip, Machine)  # options name chips
    found = calibrate(load_machine(chip), table)
    for line in lines(found):
        shown.print(line, soft_wrap=True, highlight=False)
    if write is not None:
        _write(found, str(chip), write)
        shown.print(f"wrote {write}", soft_wrap=True, highlight=False)
    return replace(request, target=found.machine), {"calibration": found.to_dict()}


def _first_target(table: Path) -> str:
    for _, row in read_table(table, ModelImportError):
        if row.get("target"):
            return row["target"]
    raise ModelImportError("names no chip", where=str(table), rule="a column target")


def _write(found: Calibrated, base: str, path: Path) -> None:
    if path.suffix != ".toml":
        raise ConfigError(
            f"{path.name} is no chip's file", where="--write-machine", rule="a name ends in .toml"
        )
    if base.endswith(".toml"):
        base = str(Path(base).absolute())
    try:
        with atomic_write(path) as file:
            file.write(machine_text(found, base).encode())
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", where=str(path), remedy="check the folder"
        ) from error


def lines(found: Calibrated) -> list[str]:
    """Return what changed, and the errors of every time before and after."""
    text = [f"{found.machine.name}, calibrated on {len(found.samples)} times of {found.source}"]
    for name, old, new, sigma in found.changes():
        text.append(f"  {name}: {old:.5g} -> {new:.5g} +- {sigma:.2g}")
    rows = zip(found.samples, found.errors_before, found.fit.residuals, strict=True)
    text += [
        f"  {sample.name} at {sample.clock_hz / 1e6:g} MHz, {sample.time_ms:.3f} ms: "
        f"{before:+.1%} before, {after:+.1%} after"
        for sample, before, after in rows
    ]
    before, after = found.errors_before, found.fit.residuals
    text.append(
        f"  mean error {abs_mean(before):.1%} (worst {worst(before):.1%}) before, "
        f"{abs_mean(after):.1%} (worst {worst(after):.1%}) after"
    )
    return text
