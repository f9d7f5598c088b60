"""Fit the board constants of a chip to published times, and say how far to trust the fit.

    python -m npusim.perfmodel.calibration boards.csv [--layers board_layers.csv] [--target rk1808]

Four numbers of ``[board]`` come from the tables; the machine files hold what is printed.

- The time ratio of the tensor processor: published pairs of one network with ReLU and with SiLU
  differ in table passes only, so each pair gives it directly.
- The bus rate, cycles per operation and cycles per hand-over to the shader: the
  point of a small grid with the least sum of squared relative errors over all networks of the chip
  and single layers. Rows of medium trust count half.

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
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.machine import Machine, load_machine
from npusim.perfmodel.network import Network
from npusim.perfmodel.tables import read_rows

SHARED_DIES = (("rk1808",), ("rv1126", "rv1109"))
# Effective rates, 1e9 bytes per second: beyond the memory's own where tensors stay on the chip.
BUS_GBPS = (
    6.0,
    7.0,
    8.0,
    8.5,
    9.0,
    9.5,
    10.0,
    10.5,
    11.0,
    12.0,
    13.0,
    14.0,
    16.0,
    18.0,
    20.0,
    24.0,
)
OPERATION_CYCLES = (0.0, 2000.0, 4000.0, 8000.0, 12000.0, 20000.0, 28000.0)
SHADER_CYCLES = tuple(50e3 * n for n in range(25))
WEIGHTS = {"high": 1.0, "medium": 0.5}
PAIR = ("_relu", "_silu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One published time: of a network, or of one of its layers."""

    network: Network
    family: str
    target: str
    clock_mhz: float
    time_ms: float
    weight: float
    layer: str = ""

    @property
    def name(self) -> str:
        """Return what the time is of."""
        layer = f"/{self.layer}" if self.layer else ""
        return f"{self.network.name}{layer}@{self.target}"

    @property
    def cycles(self) -> float:
        """Return the published time in cycles of the NPU."""
        return self.time_ms * self.clock_mhz * 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Predicted cycles of a network at a bus rate, apart: what each constant multiplies."""

    fixed: float
    tensor_processor: float
    operations: int
    shader_operations: int

    def total(self, point: "Point") -> float:
        """Return all cycles."""
        return (
            self.fixed
            + self.tensor_processor * point.tp_ratio
            + self.operations * point.operation
            + self.shader_operations * point.shader
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One choice of the constants."""

    rate: float
    operation: float
    shader: float
    tp_ratio: float


def load_samples(
    path: str | Path, targets: Iterable[str], lists: Path | None = None
) -> list[Sample]:
    """Read the rows of some targets; a family is a network's name up to its first digit or ``_``.

    ``lists`` is the folder that the paths in the table start from, by default its own.
    """
    base = lists or Path(path).parent
    samples = []
    targets = tuple(targets)
    for row in read_rows(path):
        if row["target"] not in targets:
            continue
        stem = Path(row["network"]).stem
        samples.append(
            Sample(
                network=load_layer_list(base / row["network"], DType(row["dtype"])),
                family=stem.split("_")[0].rstrip("snmlx0123456789"),
                target=row["target"],
                clock_mhz=float(row["clock_mhz"]),
                time_ms=float(row["ms"]),
                weight=WEIGHTS.get(row.get("trust", ""), 1.0),
                layer=row.get("layer", ""),
            )
        )
    return samples


def parts_of(sample: Sample, machine: Machine, rate: float) -> Parts:
    """Price a network at a bus rate, in 1e9 bytes per second; everything else is linear."""
    hz = sample.clock_mhz * 1e6
    board = replace(
        machine.board,
        clock_hz=hz,
        ddr_bytes_per_s=rate * 1e9,
        operation_cycles=0.0,
        shader_launch_cycles=0.0,
        tp_time_ratio=1.0,
    )
    result = estimate(sample.network, replace(machine, board=board))
    done = [
        operation
        for layer in result.layers
        if sample.layer in ("", layer.name)
        for operation in layer.operations
    ]
    if not done:
        raise ModelImportError(
            f"has no layer {sample.layer!r}", where=f"network {sample.network.name!r}"
        )
    tensor_processor = sum(o.cost.cycles for o in done if o.engine is Engine.TP)
    return Parts(
        fixed=sum(o.cost.cycles for o in done) - tensor_processor,
        tensor_processor=tensor_processor,
        operations=len(done),
        shader_operations=sum(o.engine not in (Engine.NN, Engine.TP) for o in done),
    )


def tp_ratio(chosen: Sequence[tuple[Sample, Parts]], operation: float) -> float | None:
    """Return the mean ratio that explains the published pairs, None without a pair."""
    named = {(s.network.name, s.target): (s, p) for s, p in chosen if not s.layer}
    ratios = []
    for (name, target), (plain, plain_parts) in named.items():
        other = named.get((name.replace(*PAIR), target))
        if other is None or PAIR[0] not in name:
            continue
        sample, parts = other
        extra = sample.cycles - plain.cycles
        extra -= operation * (parts.operations - plain_parts.operations)
        ratios.append(extra / (parts.tensor_processor - plain_parts.tensor_processor))
    return sum(ratios) / len(ratios) if ratios else None


Table = dict[float, list[Parts]]


def fit(samples: Sequence[Sample], table: Table, chosen: Sequence[int], fallback: float) -> Point:
    """Return the best point for the chosen samples; ``fallback`` is the TP ratio without pairs."""
    best: tuple[float, Point] | None = None
    for rate, operation in product(table, OPERATION_CYCLES):
        pairs = [(samples[i], table[rate][i]) for i in chosen]
        ratio = tp_ratio(pairs, operation) or fallback
        for shader in SHADER_CYCLES:
            point = Point(rate=rate, operation=operation, shader=shader, tp_ratio=ratio)
            error = sum(
                sample.weight * (parts.total(point) / sample.cycles - 1) ** 2
                for sample, parts in pairs
            )
            if best is None or error < best[0]:
                best = (error, point)
    assert best is not None
    return best[1]


def report(machine: Machine, samples: Sequence[Sample]) -> str:
    """Return the fit, its residuals and the errors with each family left out."""
    table: Table = {r: [parts_of(s, load_machine(s.target), r) for s in samples] for r in BUS_GBPS}
    # Without a pair: each core as fast as the estimator counts for six of them.
    fallback = load_machine("rk1808").tp.cores_count / machine.tp.cores_count

    def errors(point: Point) -> list[float]:
        return [
            parts.total(point) / sample.cycles - 1
            for sample, parts in zip(samples, table[point.rate], strict=True)
        ]

    everything = range(len(samples))
    point = fit(samples, table, everything, fallback)
    found = errors(point)
    left_out = list(found)
    for family in dict.fromkeys(s.family for s in samples):
        others = [i for i in everything if samples[i].family != family]
        if others:
            predicted = errors(fit(samples, table, others, fallback))
            left_out = [
                predicted[i] if samples[i].family == family else left_out[i] for i in everything
            ]
    lines = [f"# least squares over {len(samples)} published times"]
    for target in dict.fromkeys(s.target for s in samples):
        lines += [
            f"[{target} board]",
            f"ddr_bytes_per_s = {point.rate}e9",
            f"operation_cycles = {point.operation:.0f}",
            f"shader_launch_cycles = {point.shader:.0f}",
            f"tp_time_ratio = {point.tp_ratio:.3f}",
        ]
    lines.append(f"{'time':<34}{'published ms':>14}{'error':>9}{'left out':>10}")
    for i, sample in enumerate(samples):
        lines.append(
            f"{sample.name:<34}{sample.time_ms:>14.3f}{found[i]:>+9.1%}{left_out[i]:>+10.1%}"
        )
    whole = [i for i in everything if not samples[i].layer]
    for label, value in (("mean of absolute errors", abs_mean), ("rms", rms), ("worst", worst)):
        lines.append(
            f"{label + ', networks':<48}{value([found[i] for i in whole]):>9.1%}"
            f"{value([left_out[i] for i in whole]):>10.1%}"
        )
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
    parser.add_argument("--layers", type=Path, help="published times of single layers")
    parser.add_argument("--target", default="rk1808")
    options = parser.parse_args()
    try:
        machine = load_machine(options.target)
        targets = next((d for d in SHARED_DIES if options.target in d), (options.target,))
        samples = load_samples(options.boards, targets)
        if not samples:
            raise ModelImportError(
                f"has no rows of {' or '.join(targets)}", where=str(options.boards)
            )
        if options.layers:
            samples += load_samples(options.layers, targets, options.boards.parent)
        print(report(machine, samples))
    except NpusimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
