"""Fit the board constants of a chip to published times, and say how far to trust the fit.

    python -m npusim.perfmodel.calibration boards.csv [--target rk1808]

The constants named in ``DIES`` come from the table; ``npusim.perfmodel.fit`` has the method. The
machine files hold what is printed, rounded within its uncertainty. Chips that share a design
(rv1126 and rv1109) are fitted together, at both clocks. Every time is also predicted with its
family of networks left out, and the errors are summed up by family and by chip.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path

import numpy as np

from npusim.errors import ModelImportError, NpusimError
from npusim.perfmodel.fit import FITTED, Fit, fit
from npusim.perfmodel.machine import load_machine
from npusim.perfmodel.samples import Sample, load_samples

DIES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("rk1808", "rk3399pro", "rk1806"), FITTED),
    # The shader core is the RK1808's, and products per cycle are known.
    (("rv1126", "rv1109"), ("ddr_bytes_per_s", "operation_cycles", "tp_time_ratio")),
)
"""Chips that share a design, and what is fitted to their times."""

OPEN_SIGMA = 1.0
"""How far constants may move from the machine files', as logarithms: as far as the times say."""


def abs_mean(values: Iterable[float]) -> float:
    """Return the mean of absolute values."""
    sizes = [abs(v) for v in values]
    return sum(sizes) / len(sizes)


def rms(values: Iterable[float]) -> float:
    """Return the root of the mean square."""
    squares = [v * v for v in values]
    return sqrt(sum(squares) / len(squares))


def worst(values: Iterable[float]) -> float:
    """Return the largest absolute value."""
    return max(abs(v) for v in values)


def die_of(target: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the chips that share a chip's design and the constants that are fitted."""
    return next((die for die in DIES if target in die[0]), ((target,), FITTED))


def calibrate(samples: Sequence[Sample], names: Sequence[str]) -> Fit:
    """Fit constants to samples with nothing but them to go by."""
    return fit(samples, names, np.full(len(names), OPEN_SIGMA))


def report(samples: Sequence[Sample], found: Fit) -> str:
    """Return constants, errors of every time and of groups, and the same with families left out."""
    board = found.applied(samples[0].machine.board)
    now = samples[0].machine.board
    lines = [f"# least squares over {len(samples)} times, scale of the errors {found.noise:.1%}"]
    lines.append(f"{'[board]':<28}{'fitted':>14}{'+-':>12}{'machine file':>16}")
    lines += [
        f"{name:<28}{getattr(board, name):>14.4g}{found.sigma(name):>12.2g}"
        f"{getattr(now, name):>16.4g}"
        for name in found.names
    ]
    lines += ["", f"{'time':<34}{'trust':>8}{'measured ms':>13}{'error':>9}{'left out':>10}"]
    rows = list(zip(samples, found.residuals, found.left_out, strict=True))
    for sample, error, left in rows:
        lines.append(
            f"{sample.label:<34}{sample.trust:>8}{sample.time_ms:>13.3f}{error:>+9.1%}{left:>+10.1%}"
        )
    lines += ["", *groups(rows)]
    return "\n".join(lines)


def groups(rows: Sequence[tuple[Sample, float, float]]) -> list[str]:
    """Return the errors of families and chips: fitted, and with the row's family left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for sample, error, left in rows:
        chip = sample.machine.name
        names = [f"family {sample.family}@{chip}", chip, "all"]
        names += [f"{chip}, high trust"] * (sample.trust == "high")
        for group in names:
            found.setdefault(group, []).append((error, left))
    lines = [f"{'':<34}{'fitted':>31}{'family left out':>20}"]
    heads = f"{'rows':>6}{'mean':>8}{'worst':>8}{'bias':>9}{'mean':>12}{'worst':>8}"
    lines.append(f"{'group':<34}{heads}")
    for group in sorted(found, key=lambda g: (not g.startswith("family"), g == "all", g)):
        fitted = [error for error, _ in found[group]]
        apart = [left for _, left in found[group]]
        lines.append(
            f"{group:<34}{len(fitted):>6}{abs_mean(fitted):>8.1%}{worst(fitted):>8.1%}"
            f"{sum(fitted) / len(fitted):>+9.1%}{abs_mean(apart):>12.1%}{worst(apart):>8.1%}"
        )
    return lines


def main() -> int:
    """Print the fit; return 2 for bad input."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("boards", type=Path)
    parser.add_argument("--target", default="rk1808")
    options = parser.parse_args()
    try:
        load_machine(options.target)
        chips, names = die_of(options.target)
        samples = load_samples(options.boards, chips)
        if not samples:
            raise ModelImportError(
                f"has no rows of {' or '.join(chips)}", where=str(options.boards)
            )
        print(report(samples, calibrate(samples, names)))
    except NpusimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
