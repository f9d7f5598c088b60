"""Fit the board constants of a machine to published times, and say how far to trust the fit.

    python -m npusim.perfmodel.calibration boards.csv [--target rk1808]

Four numbers are free: sustained DDR rate, cycles per operation, time ratio of the tensor processor
and shader cycles per value. The grid point with the smallest sum of squared relative errors wins;
the same is done with each network family left out, and its error predicted.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt
from pathlib import Path

from npusim.errors import ModelImportError, NpusimError
from npusim.ir.dtypes import DType
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.network import Network
from npusim.perfmodel.tables import read_rows

# Candidates: DDR bytes per NPU cycle at the board's clock, cycles per operation, TP, shader.
GRID = (
    (7.0, 8.0, 9.0, 9.33, 10.0, 11.0),
    (0.0, 2000.0, 4000.0, 6000.0, 8000.0, 12000.0),
    (0.6, 0.8, 1.0),
    (2.0, 4.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One published time."""

    network: Network
    family: str
    clock_mhz: float
    time_ms: float


def load_samples(path: str | Path, target: str) -> list[Sample]:
    """Read the rows of a target; a family is a network's name up to its first digit or ``_``."""
    base = Path(path).parent
    samples = []
    for row in read_rows(path):
        if row["target"] != target:
            continue
        stem = Path(row["network"]).stem
        family = stem.split("_")[0].rstrip("snmlx0123456789")
        samples.append(
            Sample(
                network=load_layer_list(base / row["network"], DType(row["dtype"])),
                family=family,
                clock_mhz=float(row["clock_mhz"]),
                time_ms=float(row["ms"]),
            )
        )
    if not samples:
        raise ModelImportError(f"has no rows of target {target!r}", where=str(path))
    return samples


Point = tuple[float, float, float, float]


def with_constants(machine: Machine, point: Point) -> Machine:
    """Return the machine with other board constants."""
    rate, fixed, tp_ratio, shader = point
    board = replace(
        machine.board,
        ddr_bytes_per_s=rate * machine.board.clock_hz,
        operation_cycles=fixed,
        tp_time_ratio=tp_ratio,
        shader_cycles_per_value=shader,
    )
    return replace(machine, board=board)


def errors(machine: Machine, samples: Sequence[Sample]) -> list[float]:
    """Return predicted/published - 1 of every sample."""
    return [
        estimate(s.network, machine, clock_mhz=s.clock_mhz).total_time_us / 1e3 / s.time_ms - 1
        for s in samples
    ]


def best(table: dict[Point, list[float]], chosen: Sequence[int]) -> Point:
    """Return the grid point with the least squared error on the chosen samples."""
    return min(table, key=lambda point: sum(table[point][i] ** 2 for i in chosen))


def report(machine: Machine, samples: Sequence[Sample]) -> str:
    """Return the fit, its residuals and the errors with each family left out."""
    table = {point: errors(with_constants(machine, point), samples) for point in product(*GRID)}
    everything = range(len(samples))
    point = best(table, everything)
    lines = [
        f"{machine.name}: {point[0]} bytes/cycle, {point[1]:.0f} cycles per operation, "
        f"TP x {point[2]}, shader {point[3]} cycles per value",
        f"{'network':<24}{'published ms':>14}{'error':>9}{'left out':>10}{'now':>9}",
    ]
    now = errors(machine, samples)
    left_out = []
    for i, sample in enumerate(samples):
        others = [j for j in everything if samples[j].family != sample.family]
        held = table[best(table, others)][i] if others else float("nan")
        left_out.append(held)
        lines.append(
            f"{sample.network.name:<24}{sample.time_ms:>14.2f}{table[point][i]:>+9.1%}"
            f"{held:>+10.1%}{now[i]:>+9.1%}"
        )
    for label, values in (("mean of absolute errors", abs_mean), ("rms", rms)):
        lines.append(
            f"{label:<38}{values(table[point]):>9.1%}{values(left_out):>10.1%}{values(now):>9.1%}"
        )
    return "\n".join(lines)


def abs_mean(values: Sequence[float]) -> float:
    """Return the mean of absolute values."""
    return sum(map(abs, values)) / len(values)


def rms(values: Sequence[float]) -> float:
    """Return the root of the mean square."""
    return sqrt(sum(v * v for v in values) / len(values))


def main() -> int:
    """Print the fit; return 2 for bad input."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("boards", type=Path)
    parser.add_argument("--target", default="rk1808")
    options = parser.parse_args()
    try:
        machine = load_machine(options.target)
        print(report(machine, load_samples(options.boards, options.target)))
    except NpusimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
