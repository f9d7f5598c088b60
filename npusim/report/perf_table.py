"""npusim's own tables of an estimate. Every column is explained in docs/performance.md."""

from rich.console import Group, RenderableType
from rich.text import Text

from npusim import words
from npusim.ir.holes import Rest
from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.perfmodel.guesses import guesses_line
from npusim.perfmodel.memory import MemoryUse
from npusim.perfmodel.transport import Transfer
from npusim.report.eval_memory import mebi
from npusim.report.eval_perf import executed
from npusim.report.names import shorten
from npusim.report.perf_advice import Advice, advise, advise_network
from npusim.report.perf_data import EngineTotal, OpTotal, engine_totals, op_totals
from npusim.report.perf_transport import transfer_lines
from npusim.report.table import Sheet, legend_of, names, numbers, prose
from npusim.report.table import words as plain

ADVICE_LINES = 12
UNKNOWN_NAMES = 8
TOTALS = [*numbers("us", "share", "MMAC"), *numbers("peak", "DDR kB", priority=1)]


def heading(estimate: Estimate) -> str:
    """Return which network on which chip at which rates."""
    batch = f", batch {estimate.batch}" if estimate.batch != 1 else ""
    sram = {None: "", True: ", maps in SRAM", False: ", maps in DDR"}[estimate.setting.sram]
    return (
        f"{estimate.network} on {estimate.machine}, profile {estimate.profile}, "
        f"{number_format(estimate)}, {estimate.clock_hz / 1e6:.0f} MHz, "
        f"DDR {estimate.ddr_bytes_per_s / 1e9:.2f} GB/s{batch}{sram}"
    )


def number_format(estimate: Estimate) -> str:
    """Return the element types of the feature maps, the commonest first."""
    types = [dtype.value for dtype in estimate.source.dtypes.values()]
    return "/".join(sorted(set(types), key=lambda t: (-types.count(t), t)))


def summary(estimate: Estimate) -> str:
    """Return total time, rate, work and what bounds it, in two lines."""
    total = estimate.total_time_us
    cycles = estimate.cost.cycles
    bounds = ", ".join(f"{b.value} {c / cycles:.0%}" for b, c in estimate.cost.bound_cycles)
    copies = f" + {estimate.copy_time_us:.0f} us host copies" if estimate.copy_time_us else ""
    return (
        f"total {total:.0f} us{copies}, {estimate.frames_per_s:.1f} frames/s, "
        f"{_mmac(estimate.macs)} MMAC, DDR {estimate.cost.traffic.ddr_bytes / 1e6:.2f} MB\n"
        f"bound by {bounds or 'nothing'}" + _not_priced(estimate) + _guessed(estimate)
    )


def _mmac(macs: int) -> str:
    """Return millions of products: small networks have less than one, so three digits are kept."""
    millions = macs / 1e6
    return f"{millions:.0f}" if millions >= 100 else f"{millions:.3g}"


def _not_priced(estimate: Estimate) -> str:
    """Return the line about what the CPU does behind the NPU; nothing when it does nothing."""
    layers = estimate.source.host_layers
    return f"\nnot in these times, on the CPU: {', '.join(layers)}" if layers else ""


def _guessed(estimate: Estimate) -> str:
    """Return the line that names the chip's guessed constants; nothing when it has none."""
    line = guesses_line(estimate.setting.machine, estimate.guesses)
    return f"\n{line}" if line else ""


def layer_table(estimate: Estimate, *, top: int | None = None) -> Sheet:
    """Return every layer in execution order: engine, work, time, share, peak, DDR, bound.

    Parameters
    ----------
    estimate : Estimate
    top : int, optional
        Only the layers that take longest, still in execution order.
    """
    rows = _rows(estimate, top)
    columns = [*numbers("#"), *names("layer"), *plain("op", priority=1), *plain("eng")]
    columns += [*numbers("MMAC", priority=3), *numbers("kcycles", priority=4)]
    columns += [*numbers("us", "share"), *numbers("peak", "DDR kB", priority=2), *plain("bound")]
    used = {word for _, layer in rows for word in (layer.engine.value, _bound(layer))}
    sheet = Sheet(columns, heading(estimate), legend_of(used | {"peak"}))
    for number, layer in rows:
        sheet.add(
            number,
            layer.layer_id,
            shorten(f"{layer.op}+pool" if layer.fused else layer.op, 12),
            layer.engine.value,
            f"{layer.macs / 1e6:.2f}" if layer.macs else "-",
            f"{layer.cost.cycles / 1e3:.1f}",
            f"{layer.time_us:.1f}",
            f"{layer.share:.1%}",
            f"{layer.utilisation:.1%}" if layer.macs else "-",
            f"{layer.cost.traffic.ddr_bytes / 1e3:.0f}",
            _bound(layer),
        )
    if len(rows) < len(executed(estimate)):
        sheet.notes.append(
            f"the {len(rows)} layers that take longest, of {len(executed(estimate))}"
        )
    return sheet


def _bound(layer: LayerEstimate) -> str:
    return layer.bound.value.removeprefix("coefficient ")


def _rows(estimate: Estimate, top: int | None) -> list[tuple[int, LayerEstimate]]:
    rows = list(enumerate(executed(estimate)))
    if top is not None and len(rows) > top:
        kept = sorted(rows, key=lambda row: (-row[1].time_us, row[0]))[:top]
        rows = sorted(kept, key=lambda row: row[0])
    return rows


def traffic_table(estimate: Estimate, *, top: int | None = None) -> Sheet:
    """Return bytes of every layer by memory and kind, and the tile of its NN operation."""
    columns = [*numbers("#"), *names("layer"), *plain("eng"), *numbers("tile", priority=1)]
    columns += numbers("DDR in", "DDR wt", "DDR cmd", "DDR out")
    columns += numbers("SRAM in", "SRAM wt", "SRAM out", priority=2)
    table = Sheet(columns, "kilobytes by memory and kind")
    for number, layer in _rows(estimate, top):
        t = layer.cost.traffic
        kinds = (
            *(t.ddr_image_bytes, t.ddr_kernel_bytes, t.ddr_command_bytes, t.ddr_write_bytes),
            *(t.sram_image_bytes, t.sram_kernel_bytes, t.sram_write_bytes),
        )
        tile = next((o.tile for o in layer.operations if o.tile), None)
        table.add(
            number,
            layer.layer_id,
            layer.engine.value,
            f"{tile.width}x{tile.height}x{tile.kernels_per_core}" if tile else "-",
            *(f"{size / 1e3:.1f}" if size else "-" for size in kinds),
        )
    return table


def engine_table(estimate: Estimate) -> Sheet:
    """Return totals per engine."""
    table = Sheet([*plain("engine"), *numbers("operations"), *TOTALS], "by engine")
    for row in engine_totals(estimate):
        table.add(row.engine, row.operations, *_total(row))
    return table


def op_table(estimate: Estimate) -> Sheet:
    """Return totals per operator type, the longest first."""
    table = Sheet([*names("op"), *numbers("layers"), *TOTALS], "by operator")
    for row in op_totals(estimate):
        table.add(row.op, row.layers, *_total(row))
    return table


def _total(row: EngineTotal | OpTotal) -> tuple[str, ...]:
    return (
        f"{row.time_us:.1f}",
        f"{row.share:.1%}",
        f"{row.macs / 1e6:.2f}" if row.macs else "-",
        f"{row.utilisation:.1%}" if row.macs else "-",
        f"{row.ddr_bytes / 1e3:.0f}",
    )


def advice_table(estimate: Estimate, *, lines: int = ADVICE_LINES) -> Sheet | None:
    """Return the advice that concerns most time, equal lines together; None when there is none."""
    found = advise(estimate)
    groups: dict[Advice, list[tuple[int, LayerEstimate]]] = {}
    for number, layer in enumerate(executed(estimate)):
        if layer.name in found:
            groups.setdefault(found[layer.name], []).append((number, layer))
    whole = advise_network(estimate)
    if not groups and not whole:
        return None
    share = {a: sum(layer.share for _, layer in rows) for a, rows in groups.items()}
    ranked = sorted(groups, key=lambda a: (-share[a], groups[a][0][0]))
    table = Sheet([*plain("layers"), *numbers("share"), *prose("")], "advice")
    for advice in whole:
        table.add("all", "", advice.text)
    for advice in ranked[:lines]:
        table.add(_numbers([n for n, _ in groups[advice]]), f"{share[advice]:.1%}", advice.text)
    if len(ranked) > lines:
        table.notes.append(f"{len(ranked) - lines} more in {words.say('json_and_csv')}")
    return table


def _numbers(numbers: list[int], most: int = 3) -> str:
    text = ",".join(map(str, numbers[:most]))
    return f"#{text} +{len(numbers) - most}" if len(numbers) > most else f"#{text}"


def hole_lines(rest: Rest) -> list[str]:
    """Return what is missing in the times of a model with layers without a counterpart."""
    count, behind = len(rest.holes), len(rest.unknown)
    lines = [
        f"not in these times: {count} layer{'s' * (count > 1)} without a counterpart on the chip"
    ]
    lines += [f"  {hole.layer!r}: {hole.op}, {hole.why}" for hole in rest.holes]
    if behind:
        named = ", ".join(map(repr, rest.unknown[:UNKNOWN_NAMES]))
        more = f" and {behind - UNKNOWN_NAMES} more" if behind > UNKNOWN_NAMES else ""
        lines.append(f"  {behind} behind them, whose inputs have no known shape: {named}{more}")
    lines.append("the whole network has no total: everything above is what lies around the holes")
    return lines


def memory_table(use: MemoryUse) -> Sheet:
    """Return the bytes of a run with the definition of each figure."""
    columns = [*plain("figure"), *numbers("bytes", "MiB"), *prose("what it is", priority=1)]
    table = Sheet(columns, "memory of one run")
    for name, size, meaning in (
        ("weights", use.weight_bytes, "all constants of the model, uncompressed"),
        ("stored weights", use.stored_weight_bytes, "as the NPU reads them: NN streams compressed"),
        ("activations", use.activation_bytes, "every feature map in a buffer of its own"),
        ("activation peak", use.activation_peak_bytes, "planned buffers that share memory"),
        ("alive at once", use.activation_live_bytes, f"most at one time, in {use.peak_layer}"),
        ("NPU total", use.npu_bytes, "stored weights + activation peak"),
        ("host input", use.input_bytes, "buffers the host fills"),
        ("host output", use.output_bytes, "buffers the host reads"),
    ):
        table.add(name, f"{size:,}".replace(",", " "), mebi(size).removesuffix(" MiB"), meaning)
    return table


def full_report(
    estimate: Estimate,
    *,
    top: int | None = None,
    traffic: bool = False,
    memory: bool = False,
    through: Transfer | None = None,
    rest: Rest | None = None,
) -> Group:
    """Return everything ``npusim perf`` prints about one estimate.

    Also of a call ``through`` a transport, and of the holes around which a ``rest`` was priced.
    """
    parts: list[RenderableType] = [layer_table(estimate, top=top)]
    if traffic:
        parts.append(traffic_table(estimate, top=top))
    parts += [engine_table(estimate), op_table(estimate)]
    if memory:
        parts.append(memory_table(estimate.memory))
    advice = advice_table(estimate)
    if advice is not None:
        parts.append(advice)
    parts.append(Text(summary(estimate)))
    if rest is not None:
        parts.append(Text("\n".join(hole_lines(rest))))
    if through is not None:
        parts.append(Text("\n".join(transfer_lines(through))))
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part, Text("")]
    return Group(*spaced[:-1])
