"""eval_perf as RKNN-Toolkit 1.x prints and returns it.

The simulator lists the driver's kernels with the engine's number behind the name (1 shader, 2 NN
cores, 3 tensor processor, 4 software), always at 800 MHz. Runs with a target print totals, or with
``perf_debug`` every layer with its operators. Source: RKNN-Toolkit user guides and public logs of
releases 1.0 to 1.7.5.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from npusim.ir.graph import Engine
from npusim.ops import op_def
from npusim.perfmodel.estimate import Estimate, LayerEstimate, at_clock
from npusim.perfmodel.pricing import OperationEstimate
from npusim.perfmodel.workload import NnWork

# The clocks that the toolkit's simulator names. The chip's own steps are 792 and 594 MHz: boards,
# and npusim perf without --clock-mhz, run at 792 and are 1 % slower than the line for 800.
SIMULATOR_CLOCK_MHZ = 800.0
SLOW_CLOCK_MHZ = 600.0
ENGINE_NUMBERS = {Engine.SHADER: 1, Engine.NN: 2, Engine.TP: 3, Engine.CPU: 4}
NN_KERNEL = "convolution.relu.pooling.layer2"
EARLY_KERNEL_NAMES = {"transpose": "tensor.transpose"}
BOARD_NAME_WIDTH = 40  # longer names go on in the next line
STATISTICS_ROWS = 5


class Era(Enum):
    """Releases whose simulator layouts differ."""

    UP_TO_1_7_0 = "1.0"
    FROM_1_7_1 = "1.7"


def kernel_name(layer: LayerEstimate, era: Era = Era.FROM_1_7_1) -> str:
    """Return the driver's name of a layer with its engine number."""
    base = op_def(layer.op).kernel
    if era is Era.UP_TO_1_7_0:
        base = EARLY_KERNEL_NAMES.get(layer.op, base)
    if layer.engine is Engine.NN and layer.op != "fc":
        base = NN_KERNEL
    return f"{base}_{ENGINE_NUMBERS[layer.engine]}"


def operator_name(layer: LayerEstimate, operation: OperationEstimate) -> str:
    """Return the operator a board names for an operation."""
    if isinstance(operation.work, NnWork) and operation.operation == "CONVOLUTION":
        if layer.op == "fc":
            return "FULLYCONNECTED"
        return "DEPTH_WISE_CONV" if operation.work.depthwise else operation.operation
    return "POOLING" if layer.op in ("pool2d", "global_pool") else operation.operation


def executed(estimate: Estimate) -> tuple[LayerEstimate, ...]:
    """Return the layers that the chip runs: fused and free ones have no row."""
    return tuple(layer for layer in estimate.layers if layer.operations)


def whole_us(layer: LayerEstimate) -> int:
    """Return a layer's time in whole microseconds, at least 1."""
    return max(1, round(layer.time_us))


def simulator_result(estimate: Estimate, era: Era = Era.FROM_1_7_1) -> dict[str, Any]:
    """Return the simulator's dictionary: total_time, and layers by their id; microseconds."""
    rows = executed(estimate)
    layers = {
        number: {"name": kernel_name(layer, era), "time": whole_us(layer)}
        for number, layer in zip(_layer_ids(rows), rows, strict=True)
    }
    return {"total_time": sum(row["time"] for row in layers.values()), "layers": layers}


def _layer_ids(layers: Sequence[LayerEstimate]) -> list[str]:
    """Return the uids; a layer whose uid an earlier one has gets the next number nobody has."""
    free = max((layer.uid for layer in layers), default=0) + 1
    numbers: dict[int, None] = {}
    for layer in layers:
        number = layer.uid
        if number in numbers:
            number, free = free, free + 1
        numbers[number] = None
    return [str(number) for number in numbers]


def simulator_text(
    estimate: Estimate,
    era: Era = Era.FROM_1_7_1,
    *,
    slow: Estimate | None = None,
    statistics: bool = False,
) -> str:
    """Return the simulator's table.

    Parameters
    ----------
    estimate : Estimate
        Made for 800 MHz (``SIMULATOR_CLOCK_MHZ``).
    era : Era
    slow : Estimate, optional
        The same for 600 MHz; by default it is made here (``at_clock``).
    statistics : bool
        Add the table of the operators that take longest (release 1.7.5).
    """
    late = era is Era.FROM_1_7_1
    width, name_width, indent = (72, 45, 31) if late else (46, 36, 16)
    result = simulator_result(estimate, era)
    fps = _frames_per_s(estimate, result["total_time"])
    rule = "=" * width
    title = f"{'':{indent}}Performance"
    lines = [rule, title.ljust(width) if late else title, rule]
    lines.append(f"{'Layer ID':<12}{'Name':<{name_width}}Time(us)")
    lines += [
        f"{uid:<12}{row['name']:<{name_width}}{row['time']}"
        for uid, row in result["layers"].items()
    ]
    lines.append(f"Total Time(us): {result['total_time']}")
    if late:
        slow = slow or at_clock(estimate, SLOW_CLOCK_MHZ)
        slow_fps = _frames_per_s(slow, simulator_result(slow, era)["total_time"])
        lines.append(f"FPS(600MHz): {slow_fps:.2f}")
    lines.append(f"FPS(800MHz): {fps:.2f}")
    if late:
        lines.append("Note: the time of each layer is that of an NPU clock of 800MHz!")
    lines.append(rule)
    if statistics:
        lines += [*_statistics(estimate), rule]
    return "\n".join(lines)


def board_result(estimate: Estimate, *, perf_debug: bool) -> dict[str, Any]:
    """Return the dictionary of runs with a target: the total, with ``perf_debug`` all layers.

    ``operation`` names the operators of a layer, separated by blanks.
    """
    if not perf_debug:
        return {"total_time": round(estimate.total_time_us, 2)}
    layers = {
        str(number): {
            "name": _board_name(layer),
            "operation": " ".join(operator_name(layer, o) for o in layer.operations),
            "time": whole_us(layer),
        }
        for number, layer in enumerate(executed(estimate))
    }
    return {"total_time": sum(row["time"] for row in layers.values()), "layers": layers}


def board_text(estimate: Estimate, *, perf_debug: bool = False, statistics: bool = False) -> str:
    """Return the table of runs with a target.

    Parameters
    ----------
    estimate : Estimate
    perf_debug : bool
        List every layer: number, name, operators, uid, time. A long name and the further operators
        of a layer go on in lines of their own.
    statistics : bool
        Add the table of the operators that take longest (release 1.7.5).
    """
    rule = "=" * 72
    lines = [rule, f"{'':31}Performance".ljust(72)]
    total = board_result(estimate, perf_debug=perf_debug)["total_time"]
    fps = f"FPS: {_frames_per_s(estimate, total):.2f}"
    if not perf_debug:
        lines += [rule, f"Average inference Time(us): {total:.2f}", fps, rule]
    else:
        lines += [
            f"{'':8}#### The performance result is just for debugging, ####",
            f"{'':8}#### may worse than actual performance!            ####",
            rule,
            _board_row("Layer ID", "Name", "Operator", "Uid", "Time(us)"),
        ]
        for number, layer in enumerate(executed(estimate)):
            lines += _board_rows(number, layer)
        lines += [f"Total Time(us): {total}", fps, rule]
    if statistics:
        lines += [*_statistics(estimate), rule]
    return "\n".join(lines)


def _board_name(layer: LayerEstimate) -> str:
    return f"{layer.layer_id}_{ENGINE_NUMBERS[layer.engine]}"


def _board_row(number: object, name: str, operator: str, uid: object, time_us: object) -> str:
    return f"{number!s:<12}{name:<45}{operator:<20}{uid!s:<10}{time_us}"


def _board_rows(number: int, layer: LayerEstimate) -> list[str]:
    name, width = _board_name(layer), BOARD_NAME_WIDTH
    names = [name[start : start + width] for start in range(0, len(name), width)]
    operators = [operator_name(layer, operation) for operation in layer.operations]
    rows = [_board_row(number, names[0], operators[0], layer.uid, whole_us(layer))]
    for i in range(1, max(len(names), len(operators))):
        part = names[i] if i < len(names) else ""
        rows.append(_board_row("", part, operators[i] if i < len(operators) else "", "", ""))
    return rows


def _frames_per_s(estimate: Estimate, total_us: float) -> float:
    return estimate.batch * 1e6 / total_us if total_us else 0.0


def operator_times(estimate: Estimate) -> list[tuple[str, int, float]]:
    """Return (operator, number of calls, microseconds), the longest first."""
    found: dict[str, tuple[int, float]] = {}
    for layer in executed(estimate):
        for operation in layer.operations:
            name = operator_name(layer, operation)
            calls, spent = found.get(name, (0, 0.0))
            time_us = operation.cost.cycles / estimate.clock_hz * 1e6
            found[name] = (calls + 1, spent + time_us)
    rows = [(name, calls, spent) for name, (calls, spent) in found.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _statistics(estimate: Estimate) -> Sequence[str]:
    total = estimate.total_time_us
    lines = [f"{'OP':<26}{'Call Number':<14}{'Total Time(us)':<18}Time Ratio(%)"]
    lines += [
        f"{name:<26}{calls:<14}{round(spent):<18}{100 * spent / total:.2f}"
        for name, calls, spent in operator_times(estimate)[:STATISTICS_ROWS]
    ]
    return lines
