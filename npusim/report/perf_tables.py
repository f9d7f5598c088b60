"""eval_perf and eval_memory as RKNN-Toolkit 1.x prints and returns them, and npusim's own table.

Layouts: rknn-api sections 11 and 12.1. Layer names are the driver's kernel names with the engine's
number behind them: 1 shader, 2 NN cores, 3 tensor processor, 4 software.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from npusim.ir.graph import Engine
from npusim.perfmodel.estimate import Estimate, LayerEstimate

ENGINE_NUMBERS = {Engine.SHADER: 1, Engine.NN: 2, Engine.TP: 3, Engine.CPU: 4}
SIMULATOR_CLOCK_MHZ = 800.0  # the clock for which the toolkit's simulator lists times
KERNEL_NAMES = {
    "fc": "fullyconnected.relu.layer",
    "pool2d": "pooling.layer2",
    "global_pool": "pooling.layer2",
    "transpose": "tensor.transpose",
    "softmax": "softmaxlayer2.layer",
    "add": "tensor.add",
    "sub": "tensor.sub",
    "mul": "tensor.multiply",
    "div": "tensor.div",
    "concat": "concat.layer",
    "deconv2d": "deconvolution.layer",
    "resize": "resize.layer",
}
MEMORY_TITLES = (
    ("System memory", "system_memory"),
    ("NPU memory", "npu_memory"),
    ("Total memory", "total_memory"),
)
NN_KERNEL = "convolution.relu.pooling.layer2"


class Era(Enum):
    """Releases whose simulator layouts differ."""

    UP_TO_1_7_0 = "1.0"
    FROM_1_7_1 = "1.7"


def kernel_name(layer: LayerEstimate) -> str:
    """Return the driver's name of a layer with its engine number."""
    if layer.engine is None:
        return layer.op
    base = KERNEL_NAMES.get(layer.op, f"{layer.op.replace('_', '.')}.layer")
    if layer.engine is Engine.NN and layer.op != "fc":
        base = NN_KERNEL
    return f"{base}_{ENGINE_NUMBERS[layer.engine]}"


def executed(estimate: Estimate) -> tuple[LayerEstimate, ...]:
    """Return the layers that the chip runs: fused and free ones have no row."""
    return tuple(layer for layer in estimate.layers if layer.operations)


def whole_us(layer: LayerEstimate) -> int:
    """Return a layer's time in whole microseconds, at least 1."""
    return max(1, round(layer.time_us))


def perf_result(estimate: Estimate) -> dict[str, Any]:
    """Return the documented dictionary: total_time and layers by id, in microseconds."""
    layers = {
        str(layer.uid): {"name": kernel_name(layer), "time": whole_us(layer)}
        for layer in executed(estimate)
    }
    return {"total_time": _sum_us(layers.values()), "layers": layers}


def _sum_us(rows: Iterable[Mapping[str, Any]]) -> int:
    return sum(row["time"] for row in rows)


def simulator_text(estimate: Estimate, era: Era = Era.FROM_1_7_1) -> str:
    """Return the simulator's table.

    Parameters
    ----------
    estimate : Estimate
        Made for 800 MHz (``SIMULATOR_CLOCK_MHZ``).
    era : Era
    """
    result = perf_result(estimate)
    total = result["total_time"]
    fps = 1e6 / total if total else 0.0
    late = era is Era.FROM_1_7_1
    rule = "=" * (72 if late else 46)
    lines = [rule, "Performance".center(len(rule)).rstrip(), rule]
    lines.append(f"{'Layer ID':<12}{'Name':<{len(rule) - 26 if late else 36}}Time(us)")
    width = len(rule) - 26 if late else 36
    lines += [
        f"{uid:<12}{row['name']:<{width}}{row['time']}" for uid, row in result["layers"].items()
    ]
    lines.append(f"Total Time(us): {total}")
    if late:
        lines.append(f"FPS(600MHz): {0.75 * fps:.2f}")
    lines.append(f"FPS(800MHz): {fps:.2f}")
    if late:
        lines.append("Note: Time of each layer is estimated for an NPU clock of 800MHz")
    return "\n".join([*lines, rule])


def board_text(estimate: Estimate, *, perf_debug: bool = False, statistics: bool = False) -> str:
    """Return the layout of runs with a target: totals, or every layer with ``perf_debug``.

    ``statistics`` adds the table of the five most expensive operators (release 1.7.5).
    """
    rule = "=" * 72
    lines = [rule, "Performance".center(len(rule)).rstrip()]
    rows = executed(estimate)
    total = sum(layer.time_us for layer in rows)
    fps = 1e6 * estimate.batch / total if total else 0.0
    if not perf_debug:
        lines += [rule, f"Average inference Time(us): {total:.2f}", f"FPS: {fps:.2f}", rule]
        return "\n".join(lines)
    lines += ["#### The performance result is just for debugging, ####", rule]
    lines.append(f"{'Layer ID':<10}{'Name':<34}{'Operator':<18}{'Uid':<6}Time(us)")
    for number, layer in enumerate(rows):
        engine = f"_{ENGINE_NUMBERS[layer.engine]}" if layer.engine else ""
        name = f"{layer.name}_{layer.uid}{engine}"
        head, *rest = [name[i : i + 32] for i in range(0, len(name), 32)]
        operators = [operation.operation for operation in layer.operations]
        first = f"{number:<10}{head:<34}{operators[0]:<18}{layer.uid:<6}{whole_us(layer)}"
        more = max(len(rest), len(operators) - 1)
        lines.append(first)
        lines += [
            f"{'':<10}{(rest[i] if i < len(rest) else ''):<34}"
            f"{(operators[i + 1] if i + 1 < len(operators) else '')}".rstrip()
            for i in range(more)
        ]
    lines += [f"Total Time(us): {total:.0f}", f"FPS: {fps:.2f}", rule]
    if statistics:
        lines += [*_statistics(rows, total), rule]
    return "\n".join(lines)


def _statistics(rows: Iterable[LayerEstimate], total: float) -> list[str]:
    time_us: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for layer in rows:
        for operation in layer.operations:
            share = operation.cost.cycles / layer.cost.cycles if layer.cost.cycles else 0.0
            time_us[operation.operation] += layer.time_us * share  # type: ignore[assignment]
            calls[operation.operation] += 1
    lines = [f"{'OP':<26}{'Call Number':<14}{'Total Time(us)':<18}Time Ratio(%)"]
    lines += [
        f"{name:<26}{calls[name]:<14}{round(spent):<18}{100 * spent / total if total else 0.0:.2f}"
        for name, spent in time_us.most_common(5)
    ]
    return lines


def memory_result(estimate: Estimate) -> dict[str, dict[str, int]]:
    """Return eval_memory's dictionary, in bytes.

    System memory holds the host's input and output buffers. NPU memory: weights and activations;
    ``maximum_allocation`` shares buffers by live range, ``total_allocation`` gives each its own.
    """
    use = estimate.memory
    host = use.input_bytes + use.output_bytes
    system = {"maximum_allocation": host, "total_allocation": host}
    npu = {
        "maximum_allocation": use.weight_bytes + use.activation_peak_bytes,
        "total_allocation": use.weight_bytes + use.activation_bytes,
    }
    both = {key: system[key] + npu[key] for key in system}
    return {"system_memory": system, "npu_memory": npu, "total_memory": both}


def memory_text(estimate: Estimate, model_bytes: int) -> str:
    """Return eval_memory's printed layout. ``model_bytes``: size of the stored model."""
    rule, mebi = "=" * 46, 1024.0 * 1024.0
    lines = [rule, "            Memory Profile Info Dump", rule]
    result = memory_result(estimate)
    for title, key in MEMORY_TITLES:
        lines.append(f"{title}:")
        for name, value in result[key].items():
            lines.append(f"    {name.replace('_', ' '):<18} : {value / mebi:.2f} MiB")
    lines += [
        "INFO: When evaluating memory usage, the size of the model itself",
        f"      ({model_bytes / mebi:.2f} MiB) has to be added as well.",
        rule,
    ]
    return "\n".join(lines)


def layer_table(estimate: Estimate) -> Table:
    """Return npusim's own table: every layer, what it costs and what bounds it.

    Columns: layer id, operator, engine, million MACs, time, share of the total, share of the peak
    MAC rate, DDR kilobytes, bound.
    """
    table = Table(
        box=SIMPLE_HEAD,
        title=(
            f"{estimate.network} on {estimate.machine}, profile {estimate.profile}, "
            f"{estimate.clock_hz / 1e6:.0f} MHz, DDR {estimate.ddr_bytes_per_s / 1e9:.2f} GB/s"
        ),
        caption="estimated time of the NPU alone; see docs/performance.md",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("op")
    table.add_column("engine")
    for heading in ("MMAC", "us", "share", "of peak", "DDR kB"):
        table.add_column(heading, justify="right")
    table.add_column("bound by")
    for layer in executed(estimate):
        traffic = layer.cost.traffic
        table.add_row(
            layer.layer_id,
            layer.op,
            layer.engine.value if layer.engine else "-",
            f"{layer.macs / 1e6:.2f}" if layer.macs else "-",
            f"{layer.time_us:.1f}",
            f"{layer.share:.1%}",
            f"{layer.utilisation:.1%}" if layer.macs else "-",
            f"{traffic.ddr_bytes / 1e3:.0f}",
            layer.bound.value,
        )
    spent = ", ".join(f"{name} {us:.0f} us" for name, us in estimate.by_engine().items())
    table.add_section()
    table.add_row(
        f"total ({spent})",
        "",
        "",
        f"{estimate.macs / 1e6:.0f}",
        f"{estimate.total_time_us:.1f}",
        "100.0%",
        "",
        f"{estimate.cost.traffic.ddr_bytes / 1e3:.0f}",
        f"{estimate.frames_per_s:.1f} frames/s",
    )
    return table
