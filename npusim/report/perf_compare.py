"""Two estimates side by side: another model, or the same one with other options.

Layers are matched by name. All times are per image, so that batches can be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from rich.console import Group
from rich.text import Text

from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.perfmodel.guesses import guesses_line
from npusim.report.eval_perf import executed
from npusim.report.names import shorten
from npusim.report.perf_data import csv_text, engine_totals, op_totals
from npusim.report.perf_table import heading, number_format
from npusim.report.table import Sheet, legend_of, names, numbers, words


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPair:
    """One layer in both; None on the side where the chip does not run it."""

    name: str
    a: LayerEstimate | None
    b: LayerEstimate | None

    @property
    def op(self) -> str:
        """Return the operator, of A where A has the layer."""
        layer = self.a or self.b
        return layer.op if layer else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of both sides; ``kind`` groups figures, ``unit`` is of both."""

    kind: str
    name: str
    unit: str
    a: float
    b: float

    @property
    def ratio(self) -> float | None:
        """Return B over A; None when A is 0."""
        return self.b / self.a if self.a else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfComparison:
    """Estimates A and B with their layers in pairs, in the order of execution."""

    a: Estimate
    b: Estimate
    pairs: tuple[LayerPair, ...]

    def difference_us(self, pair: LayerPair) -> float:
        """Return how much more time per image the layer takes in B."""
        return _us(pair.b, self.b) - _us(pair.a, self.a)

    @property
    def common(self) -> int:
        """Return how many layers both have."""
        return sum(pair.a is not None and pair.b is not None for pair in self.pairs)


def compare(a: Estimate, b: Estimate) -> PerfComparison:
    """Match the executed layers of two estimates by name."""
    sides = executed(a), executed(b)
    first, second = ([layer.name for layer in side] for side in sides)
    pairs: list[LayerPair] = []
    matcher = SequenceMatcher(a=first, b=second, autojunk=False)
    for _, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        left = {layer.name: layer for layer in sides[0][a_from:a_to]}
        right = {layer.name: layer for layer in sides[1][b_from:b_to]}
        pairs += [
            LayerPair(name=name, a=left.get(name), b=right.get(name))
            for name in dict.fromkeys((*left, *right))
        ]
    return PerfComparison(a=a, b=b, pairs=tuple(pairs))


def _us(layer: LayerEstimate | None, estimate: Estimate) -> float:
    return layer.time_us / estimate.batch if layer else 0.0


# name -> label, unit, value per image
_TOTALS: dict[str, tuple[str, str, Callable[[Estimate], float]]] = {
    "time_us": ("time", "us", lambda e: e.total_time_us / e.batch),
    "frames_per_s": ("rate", "frames/s", lambda e: e.frames_per_s),
    "copy_time_us": ("host copies", "us", lambda e: e.copy_time_us / e.batch),
    "macs": ("work", "MMAC", lambda e: e.macs / e.batch / 1e6),
    "ddr_bytes": ("DDR traffic", "MB", lambda e: e.cost.traffic.ddr_bytes / e.batch / 1e6),
    "stored_weight_bytes": ("stored weights", "MB", lambda e: e.memory.stored_weight_bytes / 1e6),
    "activation_peak_bytes": (
        "activation peak",
        "MB",
        lambda e: e.memory.activation_peak_bytes / 1e6,
    ),
    "npu_bytes": ("NPU memory", "MB", lambda e: e.memory.npu_bytes / 1e6),
}


def figures(comparison: PerfComparison) -> tuple[Figure, ...]:
    """Return the totals of both sides: time, rate, work, traffic, memory, engines, operators."""
    a, b = comparison.a, comparison.b
    rows = [
        Figure(kind="total", name=name, unit=unit, a=value(a), b=value(b))
        for name, (_, unit, value) in _TOTALS.items()
    ]
    for kind, totals in (("engine", engine_totals), ("op", op_totals)):
        left, right = (
            {getattr(row, kind): row.time_us / e.batch for row in totals(e)} for e in (a, b)
        )
        rows += [
            Figure(kind=kind, name=name, unit="us", a=left.get(name, 0.0), b=right.get(name, 0.0))
            for name in dict.fromkeys((*left, *right))
        ]
    return tuple(row for row in rows if row.a or row.b)


def figure_table(comparison: PerfComparison) -> Sheet:
    """Return the totals of both sides."""
    columns = [*names("figure"), *numbers("A", "B", "B - A", "B / A"), *words("unit")]
    table = Sheet(columns, "totals per image")
    kind = "total"
    for row in figures(comparison):
        if row.kind != kind:
            table.add_section()
            kind = row.kind
        digits = 1 if row.unit in ("us", "frames/s") else 2
        table.add(
            _TOTALS[row.name][0] if row.kind == "total" else f"{row.kind} {row.name}",
            f"{row.a:.{digits}f}",
            f"{row.b:.{digits}f}",
            f"{round(row.b - row.a, digits) + 0.0:+.{digits}f}",
            f"{row.ratio:.3f}" if row.ratio is not None else "-",
            row.unit,
        )
    return table


def pair_table(comparison: PerfComparison, *, top: int | None = None) -> Sheet:
    """Return both times of every layer.

    Parameters
    ----------
    comparison : PerfComparison
    top : int, optional
        Only the layers that differ most, still in order.
    """
    pairs = list(enumerate(comparison.pairs))
    if top is not None and len(pairs) > top:
        far = sorted(pairs, key=lambda p: (-abs(comparison.difference_us(p[1])), p[0]))
        pairs = sorted(far[:top], key=lambda p: p[0])
    columns = [*names("layer"), *words("op", priority=2)]
    columns += [*numbers("A us", "B us", "B - A"), *numbers("B / A", priority=1)]
    columns += words("A engine, bound", "B engine, bound", priority=3)
    used = {word for _, p in pairs for side in (p.a, p.b) for word in _how(side).split()}
    table = Sheet(columns, "layers, us per image", legend_of(used))
    for _, pair in pairs:
        left, right = _us(pair.a, comparison.a), _us(pair.b, comparison.b)
        table.add(
            pair.name,
            shorten(pair.op, 12),
            f"{left:.1f}" if pair.a else "-",
            f"{right:.1f}" if pair.b else "-",
            f"{round(right - left, 1) + 0.0:+.1f}",
            f"{right / left:.2f}" if pair.a and pair.b and left else "-",
            _how(pair.a),
            _how(pair.b),
        )
    return table


def _how(layer: LayerEstimate | None) -> str:
    if layer is None:
        return "-"
    return f"{layer.engine.value} {layer.bound.value.removeprefix('coefficient ')}"


def verdict(comparison: PerfComparison) -> str:
    """Return which side is faster and by how much, in one sentence."""
    a, b = comparison.a, comparison.b
    left, right = a.total_time_us / a.batch, b.total_time_us / b.batch
    if not left or not right:
        return "One side takes no time."
    factor = left / right
    if abs(factor - 1) < 0.0005:
        words = "A and B take the same time"
    elif factor > 1:
        words = f"B is {factor:.2f} times as fast as A"
    else:
        words = f"A is {1 / factor:.2f} times as fast as B"
    return (
        f"{words}: {left:.0f} and {right:.0f} us per image; {comparison.common} of "
        f"{len(comparison.pairs)} layers are in both."
    )


def comparison_report(comparison: PerfComparison, *, top: int | None = None) -> Group:
    """Return everything ``npusim perf A --vs B`` prints."""
    head = f"A  {heading(comparison.a)}\nB  {heading(comparison.b)}"
    parts = [pair_table(comparison, top=top)] if comparison.common else []
    return Group(
        *(item for part in parts for item in (part, Text(""))),
        figure_table(comparison),
        Text(""),
        Text(head),
        Text(verdict(comparison)),
        *map(Text, guessed(comparison)),
    )


def guessed(comparison: PerfComparison) -> list[str]:
    """Return a line for each chip that has guessed constants."""
    sides = (comparison.a, comparison.b)
    lines = (guesses_line(side.setting.machine, side.guesses) for side in sides)
    return list(dict.fromkeys(line for line in lines if line))


def to_json(comparison: PerfComparison) -> dict[str, Any]:
    """Return everything as plain values; times are microseconds per image."""
    return {
        "a": _side(comparison.a),
        "b": _side(comparison.b),
        "figures": [
            {
                "kind": row.kind,
                "name": row.name,
                "unit": row.unit,
                "a": round(row.a, 6),
                "b": round(row.b, 6),
                "ratio": None if row.ratio is None else round(row.ratio, 6),
            }
            for row in figures(comparison)
        ],
        "layers": [dict(zip(CSV_COLUMNS, row, strict=True)) for row in _rows(comparison)],
    }


def _side(estimate: Estimate) -> dict[str, Any]:
    return {
        "network": estimate.network,
        "machine": estimate.machine,
        "profile": estimate.profile,
        "dtype": number_format(estimate),
        "clock_mhz": estimate.clock_hz / 1e6,
        "ddr_gbps": estimate.ddr_bytes_per_s / 1e9,
        "batch": estimate.batch,
        "sram": estimate.setting.maps_kept_bytes > 0,
        "total_time_us": round(estimate.total_time_us, 3),
        "guesses": [guess.to_dict() for guess in estimate.guesses],
    }


CSV_COLUMNS = (
    *("name", "op", "a_us", "b_us", "difference_us", "ratio"),
    *("a_engine", "b_engine", "a_bound", "b_bound"),
)


def _rows(comparison: PerfComparison) -> Sequence[tuple[Any, ...]]:
    rows = []
    for pair in comparison.pairs:
        left, right = _us(pair.a, comparison.a), _us(pair.b, comparison.b)
        rows.append(
            (
                pair.name,
                pair.op,
                round(left, 3) if pair.a else None,
                round(right, 3) if pair.b else None,
                round(right - left, 3),
                round(right / left, 6) if pair.a and pair.b and left else None,
                *(s.engine.value if s else None for s in (pair.a, pair.b)),
                *(s.bound.value if s else None for s in (pair.a, pair.b)),
            )
        )
    return rows


def to_csv(comparison: PerfComparison) -> str:
    """Return one line per layer of either side, with a header line."""
    return csv_text(CSV_COLUMNS, _rows(comparison))
