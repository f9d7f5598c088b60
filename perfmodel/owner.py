"""A chip's board constants, fitted anew to the times of its owner.

The table has the columns of ``npusim.perfmodel.samples``; tools/board_recipe.py measures one. The
chip's own constants are the prior, so that a few rows move what they tell of and leave the rest.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from npusim.errors import ConfigError, ModelImportError
from npusim.perfmodel.fit import FITTED, Fit, fit
from npusim.perfmodel.machine import LARGEST, Machine, Provenance
from npusim.perfmodel.samples import Sample, load_samples
from npusim.plain import printable

LEAST_ROWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What a table made of a chip.

    Attributes
    ----------
    machine, before : Machine
        With the fitted constants, and without.
    samples : tuple of Sample
    fit : Fit
    errors_before : tuple of float
        Predicted over measured, less one, of ``before``; ``fit.residuals`` are of ``machine``.
    """

    machine: Machine
    before: Machine
    source: str
    samples: tuple[Sample, ...] = field(repr=False)
    fit: Fit = field(repr=False)
    errors_before: tuple[float, ...] = field(repr=False)

    def changes(self) -> list[tuple[str, float, float, float]]:
        """Return (constant, before, now, standard deviation) of what was fitted."""
        return [
            (name, getattr(self.before.board, name), getattr(self.machine.board, name), sigma)
            for name in self.fit.names
            for sigma in [self.fit.sigma(name)]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        rows = zip(self.samples, self.errors_before, self.fit.residuals, strict=True)
        return {
            "source": self.source,
            "rows": [
                {
                    "network": sample.name,
                    "clock_mhz": sample.clock_hz / 1e6,
                    "ms": sample.time_ms,
                    "error_before": round(before, 6),
                    "error": round(after, 6),
                }
                for sample, before, after in rows
            ],
            "constants": [
                {"constant": f"board.{name}", "before": old, "now": new, "sigma": sigma}
                for name, old, new, sigma in self.changes()
            ],
        }


def calibrate(machine: Machine, path: str | Path) -> Calibrated:
    """Fit a chip's board constants to a table of its times.

    Raises
    ------
    ModelImportError
        When the table or a layer list cannot be read, a row is of another chip, or there are too
        few rows; it names file and line.
    """
    samples = tuple(load_samples(path, machine=machine))
    if len(samples) < LEAST_ROWS:
        raise ModelImportError(
            f"has {len(samples)} rows",
            where=str(path),
            rule=f"{LEAST_ROWS} rows at least; every one more moves less by chance",
            remedy="tools/board_recipe.py measures a table",
        )
    found = fit(samples, FITTED)
    board = found.applied(machine.board)
    if lost := [name for name in FITTED if not getattr(board, name) <= LARGEST]:
        raise ModelImportError(
            f"its times lead to {lost[0]} = {getattr(board, lost[0])}",
            where=str(path),
            rule=f"constants of a chip are numbers up to {LARGEST:g}",
            remedy="check the times, and the layer lists that they are of",
        )
    entry = Provenance(
        source=f"fitted to {len(samples)} times of {Path(path).name}", confidence="fitted"
    )
    known = dict(machine.provenance) | {f"board.{name}": entry for name in FITTED}
    before = tuple(s.predicted_ms(machine.board) / s.time_ms - 1 for s in samples)
    return Calibrated(
        machine=replace(machine, board=board, provenance=MappingProxyType(known)),
        before=machine,
        source=Path(path).name,
        samples=samples,
        fit=found,
        errors_before=before,
    )


def machine_text(found: Calibrated, base: str) -> str:
    """Return the calibrated chip as a description that extends ``base``, a name or a TOML file.

    Raises
    ------
    ConfigError
        When the path of ``base`` is no text that a TOML file can hold.
    """
    if printable(base) != base:
        raise ConfigError(
            "the path has characters that no description can name",
            where=base,
            rule="what a calibrated chip extends is named in its file",
            remedy="copy the description to a path of plain characters",
        )
    chip, count = found.machine, len(found.samples)
    lines = [f"# Calibrated on {count} times."]
    for key, text in (("extends", base), ("name", chip.name), ("title", chip.title)):
        lines.append(f"{key} = {_quoted(text)}")
    lines += ["", "[board]"]
    for name, _, value, _ in found.changes():
        entry = chip.provenance[f"board.{name}"]
        lines.append(
            f"{name} = {{ value = {value:.6g}, source = {_quoted(entry.source)}, "
            f"confidence = {_quoted(entry.confidence)} }}"
        )
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a text as TOML writes it, which unlike JSON has no halves of characters."""
    return json.dumps(printable(text), ensure_ascii=False)
