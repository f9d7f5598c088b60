"""An estimate as plain data: totals, JSON and CSV with keys that stay."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from npusim.ir.holes import Rest
from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.perfmodel.transport import Transfer
from npusim.plain import cell
from npusim.report.eval_perf import executed
from npusim.report.perf_advice import advise, advise_network


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTotal:
    """What one engine does in a run; ``utilisation`` is of the peak of its own cores."""

    engine: str
    operations: int
    time_us: float
    share: float
    macs: int
    utilisation: float
    ddr_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTotal:
    """What all layers of one operator cost in a run."""

    op: str
    layers: int
    time_us: float
    share: float
    macs: int
    utilisation: float
    ddr_bytes: float


def engine_totals(estimate: Estimate) -> tuple[EngineTotal, ...]:
    """Return totals per engine, the longest first."""
    groups: dict[str, list[tuple[float, float, float, int]]] = {}
    for layer in executed(estimate):
        main = max(layer.operations, key=lambda o: o.work.macs)
        for operation in layer.operations:
            cost = operation.cost
            peak = _peak_cycles(layer) if operation is main else 0.0
            macs = layer.macs if operation is main else 0
            row = (cost.cycles, cost.traffic.ddr_bytes, peak, macs)
            groups.setdefault(operation.engine.value, []).append(row)
    return tuple(
        EngineTotal(engine=name, operations=len(rows), **_sums(estimate, rows))
        for name, rows in sorted(groups.items(), key=lambda g: (-sum(r[0] for r in g[1]), g[0]))
    )


def op_totals(estimate: Estimate) -> tuple[OpTotal, ...]:
    """Return totals per operator, the longest first."""
    groups: dict[str, list[tuple[float, float, float, int]]] = {}
    for layer in executed(estimate):
        cost = layer.cost
        row = (cost.cycles, cost.traffic.ddr_bytes, _peak_cycles(layer), layer.macs)
        groups.setdefault(layer.op, []).append(row)
    return tuple(
        OpTotal(op=name, layers=len(rows), **_sums(estimate, rows))
        for name, rows in sorted(groups.items(), key=lambda g: (-sum(r[0] for r in g[1]), g[0]))
    )


def _peak_cycles(layer: LayerEstimate) -> float:
    """Return the cycles the layer's products would take at the peak rate."""
    return layer.utilisation * layer.cost.cycles


def _sums(estimate: Estimate, rows: Sequence[tuple[float, float, float, int]]) -> dict[str, Any]:
    cycles = sum(row[0] for row in rows)
    return {
        "time_us": cycles / estimate.clock_hz * 1e6,
        "share": cycles / estimate.cost.cycles,
        "macs": sum(row[3] for row in rows),
        "utilisation": sum(row[2] for row in rows) / cycles if cycles else 0.0,
        "ddr_bytes": sum(row[1] for row in rows),
    }


def to_json(
    estimate: Estimate,
    *,
    buffers: bool = False,
    through: Transfer | None = None,
    rest: Rest | None = None,
) -> dict[str, Any]:
    """Return everything as plain values.

    Parameters
    ----------
    estimate : Estimate
    buffers : bool
        Add the planned buffers to ``memory``.
    through : Transfer, optional
        What a call costs beside the run; null in ``transport`` without.
    rest : Rest, optional
        The model had layers without a counterpart: ``holes`` and ``not_priced`` name what is
        missing. Both are empty of a whole model.
    """
    data = estimate.to_dict()
    advice = advise(estimate)
    numbers = {layer.name: number for number, layer in enumerate(executed(estimate))}
    for row in data["layers"]:
        found = advice.get(row["name"])
        row["number"] = numbers.get(row["name"])
        row["advice"] = found.to_dict() if found else None
    data["bound_share"] = {
        bound.value: round(cycles / estimate.cost.cycles, 6)
        for bound, cycles in estimate.cost.bound_cycles
    }
    data["by_engine"] = [_plain(row) for row in engine_totals(estimate)]
    data["by_op"] = [_plain(row) for row in op_totals(estimate)]
    data["advice"] = [advice.to_dict() for advice in advise_network(estimate)]
    data["memory"] = estimate.memory.to_dict(buffers=buffers)
    data["holes"] = [asdict(hole) for hole in rest.holes] if rest else []
    data["not_priced"] = list(rest.unknown) if rest else []
    data["transport"] = through.to_dict() if through else None
    return data


def _plain(row: EngineTotal | OpTotal) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in row.__slots__}
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}


CSV_COLUMNS = (
    *("number", "name", "uid", "op", "fused", "engine", "form", "macs", "cycles", "compute_cycles"),
    *("time_us", "share", "utilisation", "bound", "ddr_image_bytes", "ddr_kernel_bytes"),
    *("ddr_command_bytes", "ddr_write_bytes", "sram_image_bytes", "sram_kernel_bytes"),
    *("sram_write_bytes", "operations", "advice"),
)


def to_csv(estimate: Estimate) -> str:
    """Return one line per layer that the chip runs, in execution order, with a header line."""
    advice = advise(estimate)
    rows = []
    for number, layer in enumerate(executed(estimate)):
        row = layer.to_dict()
        found = advice.get(layer.name)
        row |= {
            "number": number,
            "fused": " ".join(layer.fused),
            "operations": " ".join(o.operation for o in layer.operations),
            "advice": found.text if found else "",
        }
        rows.append([row[name] for name in CSV_COLUMNS])
    return csv_text(CSV_COLUMNS, rows)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV document with Unix line ends."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(cell, row) for row in rows)
    return out.getvalue()
