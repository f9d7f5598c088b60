"""The time of a network on the page: sums, roofline, memory, advice."""

from typing import Any

from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.guesses import guesses_line
from npusim.report.eval_perf import executed
from npusim.report.page.numbers import short, whole
from npusim.report.perf_advice import advise, advise_network

ADVISED = 8  # layers whose advice is shown, the longest first


def time_of(estimate: Estimate) -> dict[str, Any]:
    """Return what the page shows of an estimate besides the layers' own numbers.

    A roofline shows layers with products only; ``share_not_shown`` is the time of all others.
    """
    layers = executed(estimate)
    points = [
        {
            "layer": layer.layer_id,
            "intensity": short(layer.macs / layer.cost.traffic.ddr_bytes),
            "performance": short(layer.macs / layer.time_us),
        }
        for layer in layers
        if _has_point(layer)
    ]
    shown = sum(layer.time_us for layer in layers if _has_point(layer))
    total = estimate.total_time_us
    nn = estimate.setting.machine.nn
    eight = any(dtype.bits == 8 for dtype in estimate.source.dtypes.values())
    cores = nn.cores_count if eight else estimate.setting.profile.cores_16bit_count
    rate = cores * nn.lanes_count * nn.depth_products_count * estimate.clock_hz / 1e6
    return {
        "total_us": short(total, 7),
        "copy_time_us": short(estimate.copy_time_us),
        "by_engine": {name: short(us) for name, us in estimate.by_engine().items()},
        "by_bound": {
            bound.value: short(cycles / estimate.clock_hz * 1e6)
            for bound, cycles in estimate.cost.bound_cycles
        },
        "roofline": {
            "points": points,
            "peak_macs_per_us": short(rate),
            "ddr_bytes_per_us": short(estimate.ddr_bytes_per_s / 1e6),
            "share_not_shown": short(1.0 - shown / total, 4) if total else 0.0,
        },
        "memory": memory_of(estimate),
        "advice": advice_of(estimate),
    }


def _has_point(layer: Any) -> bool:
    return bool(layer.macs and layer.cost.traffic.ddr_bytes and layer.time_us)


def memory_of(estimate: Estimate) -> list[dict[str, Any]]:
    """Return the bytes of activations that are alive while each layer runs."""
    alive = [0] * len(estimate.layers)
    for buffer in estimate.memory.buffers:
        for position in range(buffer.first, min(buffer.last + 1, len(alive))):
            alive[position] += buffer.size_bytes
    return [
        {"layer": layer.layer_id, "bytes": whole(size)}
        for layer, size in zip(estimate.layers, alive, strict=True)
    ]


def advice_of(estimate: Estimate) -> list[str]:
    """Return advice about the network, and about the layers that take longest."""
    found = [advice.text for advice in advise_network(estimate)]
    found += [line for line in [guesses_line(estimate.setting.machine, estimate.guesses)] if line]
    by_layer = advise(estimate)
    ranked = sorted(executed(estimate), key=lambda layer: -layer.time_us)
    advised = [layer for layer in ranked if layer.name in by_layer][:ADVISED]
    return found + [
        f"{layer.layer_id} ({layer.time_us:.0f} us): {by_layer[layer.name].text}"
        for layer in advised
    ]
