"""Fit the board constants of a chip to published times, and say how far to trust the fit.

    python -m npusim.perfmodel.calibration boards.csv [--target rk1808]

Three numbers of ``[board]`` come from the table: the effective memory rate, the cycles every
operation costs beyond its work, and the time ratio of the tensor processor. The point of a grid
with the least sum of squared relative errors wins; rows of medium trust count half. The machine
files hold what is printed.

The same is done with each family of networks left out, and its error predicted. Chips that share
an NPU (rv1126 and rv1109) are fitted together, at both clocks.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt
from pathlib import Path

from npusim.errors import ModelImportError, NpusimError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine
from npusim.perfmodel.agreement import read_rows
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.network import Network

SHARED_DIES = (("rk1808",), ("rv1126", "rv1109"))
# Effective rates, 1e9 bytes per second: beyond the memory's own where tensors stay on the chip.
BUS_GBPS = (6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0, 11.0, 12.0, 14.0, 16.0, 20.0)
OPERATION_CYCLES = tuple(2000.0 * n for n in range(13))
TP_RATIOS = tuple(0.1 * n for n in range(5, 36))
WEIGHTS = {"high": 1.0, "medium": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One published time."""

    network: Network
    family: str
    target: str
    clock_mhz: float
    time_ms: float
    weight: float

    @property
    def name(self) -> str:
        """Return what the time is of."""
        return f"{self.network.name}@{self.target}"

    @property
    def cycles(self) -> float:
        """Return the published time in cycles of the NPU."""
        return self.time_ms * self.clock_mhz * 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Predicted cycles of a network at a memory rate, apart: what each constant multiplies."""

    fixed: float
    tensor_processor: float
    operations: int

    def total(self, point: "Point") -> float:
        """Return all cycles."""
        return (
            self.fixed
            + self.tensor_processor * point.tp_ratio
            + self.operations * point.operation_cycles
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One choice of the constants; the rate is in 1e9 bytes per second."""

    rate_gbps: float
    operation_cycles: float
    tp_ratio: float


def load_samples(path: str | Path, targets: Iterable[str]) -> list[Sample]:
    """Read the rows of some targets; a family is a network's name up to its first digit or ``_``.

    Layer lists are found from the folder of the table.
    """
    base = Path(path).parent
    targets = tuple(targets)
    return [
        Sample(
            network=load_layer_list(base / row["network"], DType(row["dtype"])),
            family=Path(row["network"]).stem.split("_")[0].rstrip("snmlx0123456789"),
            target=row["target"],
            clock_mhz=float(row["clock_mhz"]),
            time_ms=float(row["ms"]),
            weight=WEIGHTS.get(row.get("trust", ""), 1.0),
        )
        for row in read_rows(path)
        if row["target"] in targets
    ]


def parts_of(sample: Sample, machine: Machine, rate_gbps: float) -> Parts:
    """Price a network at a memory rate, in 1e9 bytes per second; everything else is linear."""
    board = replace(
        machine.board,
        clock_hz=sample.clock_mhz * 1e6,
        ddr_bytes_per_s=rate_gbps * 1e9,
        operation_cycles=0.0,
        tp_time_ratio=1.0,
    )
    result = estimate(sample.network, replace(machine, board=board))
    done = [operation for layer in result.layers for operation in layer.operations]
    tensor_processor = sum(o.cost.cycles for o in done if o.engine is Engine.TP)
    return Parts(
        fixed=sum(o.cost.cycles for o in done) - tensor_processor,
        tensor_processor=tensor_processor,
        operations=len(done),
    )


Table = dict[float, list[Parts]]


def fit(samples: Sequence[Sample], table: Table, chosen: Sequence[int]) -> Point:
    """Return the best point of the grid for the chosen samples."""

    def error(point: Point) -> float:
        return sum(
            samples[i].weight
            * (table[point.rate_gbps][i].total(point) / samples[i].cycles - 1) ** 2
            for i in chosen
        )

    points = (
        Point(rate_gbps=rate, operation_cycles=operation, tp_ratio=ratio)
        for rate, operation, ratio in product(table, OPERATION_CYCLES, TP_RATIOS)
    )
    return min(points, key=error)


def report(samples: Sequence[Sample]) -> str:
    """Return the fit, its residuals and the errors with each family left out."""
    table: Table = {
        rate: [parts_of(s, load_machine(s.target), rate) for s in samples] for rate in BUS_GBPS
    }

    def errors(point: Point) -> list[float]:
        return [
            parts.total(point) / sample.cycles - 1
            for sample, parts in zip(samples, table[point.rate_gbps], strict=True)
        ]

    everything = range(len(samples))
    point = fit(samples, table, everything)
    found = errors(point)
    left_out = list(found)
    for family in dict.fromkeys(s.family for s in samples):
        others = [i for i in everything if samples[i].family != family]
        if others:
            predicted = errors(fit(samples, table, others))
            left_out = [
                predicted[i] if samples[i].family == family else left_out[i] for i in everything
            ]
    lines = [f"# least squares over {len(samples)} published times"]
    for target in dict.fromkeys(s.target for s in samples):
        lines += [
            f"[{target} board]",
            f"ddr_bytes_per_s = {point.rate_gbps}e9",
            f"operation_cycles = {point.operation_cycles:.0f}",
            f"tp_time_ratio = {point.tp_ratio:.2f}",
        ]
    lines.append(f"{'time':<34}{'published ms':>14}{'error':>9}{'left out':>10}")
    for i, sample in enumerate(samples):
        lines.append(
            f"{sample.name:<34}{sample.time_ms:>14.3f}{found[i]:>+9.1%}{left_out[i]:>+10.1%}"
        )
    for label, value in (("mean of absolute errors", abs_mean), ("rms", rms), ("worst", worst)):
        lines.append(f"{label:<48}{value(found):>9.1%}{value(left_out):>10.1%}")
    return "\n".join(lines)


def abs_mean(values: Sequence[float]) -> float:
    """Return the mean of absolute values."""
    return sum(map(abs, values)) / len(values)


def rms(values: Sequence[float]) -> float:
    """Return the root of the mean square."""
    return sqrt(sum(v * v for v in values) / len(values))


def worst(values: Sequence[float]) -> float:
    """Return the largest absolute value."""
    return max(map(abs, values))


def main() -> int:
    """Print the fit; return 2 for bad input."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("boards", type=Path)
    parser.add_argument("--target", default="rk1808")
    options = parser.parse_args()
    try:
        load_machine(options.target)
        targets = next((d for d in SHARED_DIES if options.target in d), (options.target,))
        samples = load_samples(options.boards, targets)
        if not samples:
            raise ModelImportError(
                f"has no rows of {' or '.join(targets)}", where=str(options.boards)
            )
        print(report(samples))
    except NpusimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
