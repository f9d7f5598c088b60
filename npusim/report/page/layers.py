"""The layers of the page: what they are, what they lose, what they cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npusim.analysis.analyze import BAD, FINE, AnalysedLayer
from npusim.analysis.compare import ComparedLayer
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import representable
from npusim.ir.quant import Affine, DynamicFixedPoint, Requant
from npusim.ir.tensor import TensorSpec
from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.perfmodel.network import Layer, Network
from npusim.report.page.contents import Contents
from npusim.report.page.numbers import cosine, decibel, short, whole

WORDS = {BAD: "bad", "note": "warn", FINE: "ok"}
SHORTEST_RUN, LONGEST_RUN = 3, 12  # layers that fold into one
RANKS = {BAD: 0, "note": 1, FINE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Layers that fold into one: id of the first -> members in execution order."""

    members: Mapping[str, tuple[str, ...]]

    @property
    def of(self) -> dict[str, str]:
        """Return layer id -> id of its group."""
        return {layer: group for group, layers in self.members.items() for layer in layers}


def layer_rows(contents: Contents, groups: Groups) -> list[dict[str, Any]]:
    """Return the layers in execution order; ``cause`` and ``detail`` are filled in later."""
    network, estimate = contents.network, contents.estimate
    analysed = _by_layer(contents.analysis.layers if contents.analysis else ())
    compared = _compared(contents)
    costs = {} if estimate is None else {layer.layer_id: layer for layer in estimate.layers}
    begin, now = {}, 0.0
    for name, cost in costs.items():
        begin[name] = now
        now += cost.time_us
    group_of = groups.of
    rows = []
    for row in _bare(network):
        layer = row["id"]
        if layer in analysed and row["range"] is not None:
            row["range"]["seen_low"] = short(analysed[layer].seen_low)
            row["range"]["seen_high"] = short(analysed[layer].seen_high)
        rows.append(
            row
            | {"group": group_of.get(layer)}
            | _accuracy(analysed.get(layer), compared.get(layer))
            | _cost(costs.get(layer), begin.get(layer), estimate)
            | {"detail": None}
        )
    return rows


def _bare(network: Graph | Network) -> Iterator[dict[str, Any]]:
    """Yield what is known of every layer without any measurement."""
    made = {
        tensor: layer.layer_id
        for layer in (network.nodes if isinstance(network, Graph) else network.layers)
        for tensor in layer.outputs
    }
    if isinstance(network, Graph):
        for node in network.nodes:
            spec = network.spec(node.outputs[0])
            inputs = network.activations(node)
            yield _common(node, inputs, made) | {
                "reason": node.reason,
                "format": spec.dtype.value,
                "shape": list(spec.shape),
                "origin": list(node.origin),
                "range": _stored_range(spec),
                "requant": requant_text(node.requant),
            }
        return
    for layer in network.layers:
        out = layer.outputs[0]
        yield _common(layer, layer.inputs, made) | {
            "reason": "",
            "format": network.dtypes[out].value,
            "shape": list(network.shapes[out]),
            "origin": [],
            "range": None,
            "requant": None,
        }


def _common(layer: Node | Layer, inputs: Sequence[str], made: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": layer.layer_id,
        "name": layer.name,
        "uid": layer.uid,
        "op": layer.op,
        "engine": layer.engine.value if layer.engine else "",
        "form": layer.form.value if layer.form else "",
        "inputs": [made.get(name, name) for name in dict.fromkeys(inputs)],
        "outputs": list(layer.outputs),
    }


def requant_text(requant: Requant | None) -> str | None:
    """Return how sums are stored, in one line."""
    if requant is None:
        return None
    if requant.multiplier == 1 and requant.shift == 0 and requant.zero_point == 0:
        return f"{requant.rounding.value}"
    return (
        f"sum x {requant.multiplier} / 2^{requant.shift} + {requant.zero_point}: "
        f"{requant.rounding.value}"
    )


def _stored_range(spec: TensorSpec) -> dict[str, Any]:
    low, high = representable(spec)
    quant = spec.quant
    return {
        "low": short(low),
        "high": short(high),
        "seen_low": None,
        "seen_high": None,
        "scale": short(quant.scale, 9) if isinstance(quant, Affine) else None,
        "zero_point": quant.zero_point if isinstance(quant, Affine) else None,
        "fl": quant.fl if isinstance(quant, DynamicFixedPoint) else None,
    }


def _by_layer(rows: Sequence[AnalysedLayer]) -> dict[str, AnalysedLayer]:
    """Return the worst output of every layer."""
    found: dict[str, AnalysedLayer] = {}
    for row in rows:
        other = found.get(row.layer)
        if other is None or _badness(row) < _badness(other):
            found[row.layer] = row
    return found


def _badness(row: AnalysedLayer) -> tuple[int, float]:
    return RANKS[row.severity], row.worst.sqnr_db if row.worst else float("inf")


def _compared(contents: Contents) -> dict[str, ComparedLayer]:
    found: dict[str, ComparedLayer] = {}
    for row in contents.comparison.layers if contents.comparison else ():
        other = found.get(row.layer)
        if other is None or row.worst.sqnr_db < other.worst.sqnr_db:
            found[row.layer] = row
    return found


def _accuracy(row: AnalysedLayer | None, compared: ComparedLayer | None) -> dict[str, Any]:
    whole_run = row.worst if row else compared.worst if compared else None
    alone = row.worst_alone if row else None
    found: dict[str, Any] = {
        "alone_sqnr_db": decibel(alone.sqnr_db) if alone else None,
        "alone_cosine": cosine(alone.cosine) if alone else None,
        "entire_sqnr_db": decibel(whole_run.sqnr_db) if whole_run else None,
        "entire_cosine": cosine(whole_run.cosine) if whole_run else None,
        "verdict": row.verdict if row else None,
        "severity": WORDS[row.severity] if row else None,
        "cause": None,
    }
    return found


def _cost(
    cost: LayerEstimate | None, begin_us: float | None, estimate: Estimate | None
) -> dict[str, Any]:
    if cost is None or estimate is None:
        empty = ("time_us", "bound", "cycles", "bytes", "macs", "start_us")
        return dict.fromkeys(empty)
    traffic = cost.cost.traffic
    return {
        "time_us": short(cost.time_us),
        "bound": cost.bound.value,
        "cycles": {bound.value: whole(cycles) for bound, cycles in cost.cost.bound_cycles},
        "bytes": {
            "read": whole(traffic.ddr_image_bytes + traffic.ddr_command_bytes),
            "weights": whole(traffic.ddr_kernel_bytes),
            "write": whole(traffic.ddr_write_bytes),
            "sram": whole(traffic.sram_bytes),
        },
        "macs": cost.macs,
        "start_us": short(begin_us, 7),
    }


def groups_of(network: Graph | Network, estimate: Estimate | None) -> Groups:
    """Return what can be folded: runs of layers of which each reads the one before, and only it.

    A fused pool or a view, which costs nothing of its own, stays with the layer that does its
    work; other runs have at least ``SHORTEST_RUN`` layers and at most ``LONGEST_RUN``.
    """
    free = (
        {layer.layer_id for layer in estimate.layers if not layer.operations} if estimate else set()
    )
    rows = list(_bare(network))
    readers: dict[str, int] = {}
    for row in rows:
        for name in row["inputs"]:
            readers[name] = readers.get(name, 0) + 1
    run_of: dict[str, list[str]] = {}
    runs: list[list[str]] = []
    for row in rows:
        layer, inputs = row["id"], row["inputs"]
        before = run_of.get(inputs[0]) if len(inputs) == 1 else None
        only = before is not None and before[-1] == inputs[0] and readers[inputs[0]] == 1
        if before is not None and only and (len(before) < LONGEST_RUN or layer in free):
            before.append(layer)
            run_of[layer] = before
        else:
            run_of[layer] = [layer]
            runs.append(run_of[layer])
    return Groups(
        members={
            run[0]: tuple(run)
            for run in runs
            if len(run) >= SHORTEST_RUN or (len(run) > 1 and free.intersection(run))
        }
    )


def edges_of(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Return the lines between layers as positions, each pair once."""
    at = {row["id"]: index for index, row in enumerate(rows)}
    return [
        (at[name], index)
        for index, row in enumerate(rows)
        for name in row["inputs"]
        if name in at and at[name] < index
    ]


def formats_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return number formats with how many layers have them, the most frequent first."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["format"]] = counts.get(row["format"], 0) + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return [{"format": name, "layers": count} for name, count in ranked]
