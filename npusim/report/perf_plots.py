"""Pictures of an estimate: roofline and layer times, as SVG and PNG through matplotlib.

Colours are the palette of Okabe and Ito, which people with any colour vision tell apart; engines
differ by marker, and bounds by hatching, as well.
"""

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

from npusim.errors import ConfigError
from npusim.extras import require
from npusim.ir.atomic import atomic_set
from npusim.ir.graph import Engine
from npusim.perfmodel.cost import Bound
from npusim.perfmodel.estimate import Estimate, LayerEstimate
from npusim.report.eval_perf import executed
from npusim.report.names import shorten
from npusim.report.perf_table import heading

COLOURS = {
    Engine.NN: "#0072B2",
    Engine.TP: "#E69F00",
    Engine.SHADER: "#009E73",
    Engine.CPU: "#CC79A7",
}
ENGINE_NAMES = {
    Engine.NN: "NN cores",
    Engine.TP: "tensor processor",
    Engine.SHADER: "shader",
    Engine.CPU: "CPU",
}
MARKERS = {Engine.NN: "o", Engine.TP: "s", Engine.SHADER: "^", Engine.CPU: "D"}
HATCHES = {
    Bound.COMPUTE: "",
    Bound.DDR: "////",
    Bound.SRAM: "\\\\\\\\",
    Bound.OUTPUT: "....",
    Bound.DECODE: "xxxx",
    Bound.LAUNCH: "----",
}
BARS = 60  # layers in the chart of times; the rest is summed up in one bar
LABELLED = 10  # points of the roofline that are named
NAME_WIDTH = 34
FORMATS = ("svg", "png")
STYLE = {"svg.hashsalt": "npusim", "font.size": 9, "hatch.linewidth": 0.6}
NEAR = (0.025, 0.03)  # shares of the axes within which points have one label
ROOMY_POINT = 90  # square points of a marker that a number fits into
PNG_DPI = 150


def write_plots(estimate: Estimate, folder: str | Path) -> list[Path]:
    """Write ``roofline`` and ``layers`` as SVG and PNG; each file completely or not at all.

    Parameters
    ----------
    estimate : Estimate
    folder : path
        Made when it does not exist.

    Raises
    ------
    MissingExtraError
        Without matplotlib, naming the extra.
    ConfigError
        When the folder cannot be written.
    """
    matplotlib = require("matplotlib", extra="plots", purpose="drawing plots")
    require("matplotlib.backends.backend_agg", extra="plots", purpose="drawing plots")
    folder = Path(folder)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # SVG without random ids and dates: the same estimate is the same file.
        with (
            matplotlib.rc_context(
                {"svg.hashsalt": "npusim", "font.size": 9, "hatch.linewidth": 0.6}
            ),
            atomic_set() as files,
        ):
            for name, draw in (("roofline", roofline), ("layers", layer_bars)):
                figure = draw(estimate)
                for kind in FORMATS:
                    path = folder / f"{name}.{kind}"
                    extra = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": PNG_DPI}
                    with files.write(path) as file:
                        figure.savefig(file, format=kind, **extra)
                    written.append(path)
    except OSError as error:
        raise ConfigError(
            f"plots cannot be written: {error.strerror}",
            where=str(error.filename or folder),
            remedy="give a folder that can be written",
        ) from error
    return written


def _figure(width_inch: float, height_inch: float) -> Any:
    """Return a figure that no window system knows of."""
    module = require("matplotlib.figure", extra="plots", purpose="drawing plots")
    return module.Figure(figsize=(width_inch, height_inch), layout="constrained")


def roofline(estimate: Estimate) -> Any:
    """Return the rate of every layer over its products per DDR byte, under the chip's limits.

    The slope is the DDR rate, the ceilings the peak of the NN cores for 8 and 16 bits. The area of
    a point is the layer's time; the layers that take longest are numbered.
    """
    figure = _figure(9.5, 5.6)
    axes = figure.add_subplot()
    points = [layer for layer in executed(estimate) if layer.macs and _intensity(layer)]
    setting = estimate.setting
    nn = setting.machine.nn
    per_core = nn.lanes_count * nn.depth_products_count * estimate.clock_hz / 1e9
    ceilings = [("8 bit", nn.cores_count * per_core)]
    if setting.profile.cores_16bit_count != nn.cores_count:
        ceilings.append(("16 bit", setting.profile.cores_16bit_count * per_core))
    slope = estimate.ddr_bytes_per_s / 1e9
    peak = ceilings[0][1]
    low = min((_intensity(p) for p in points), default=1.0) / 2
    high = max(*(_intensity(p) for p in points), peak / slope, 1.0) * 6 if points else 1e3
    for label, ceiling in ceilings:
        knee = ceiling / slope
        axes.plot([low, knee], [low * slope, ceiling], color="0.35", lw=1.2, zorder=1)
        axes.plot([knee, high], [ceiling] * 2, color="0.35", lw=1.2, zorder=1)
        text = f"{label}: {ceiling:.0f} GMAC/s"
        above = ceiling == peak
        axes.annotate(
            text,
            (high, ceiling),
            (-4, 4 if above else -4),
            textcoords="offset points",
            ha="right",
            va="bottom" if above else "top",
            color="0.25",
        )
    middle = (low * peak / slope) ** 0.5
    axes.annotate(  # above the roof, where no point can be
        f"DDR {slope:.2f} GB/s",
        (middle, middle * slope),
        (-10, 4),
        textcoords="offset points",
        ha="right",
        color="0.25",
    )
    for engine in Engine:
        mine = [p for p in points if p.engine is engine]
        if mine:
            axes.scatter(
                [_intensity(p) for p in mine],
                [_rate(p) for p in mine],
                s=[_area(p) for p in mine],
                marker=MARKERS[engine],
                color=COLOURS[engine],
                alpha=0.65,
                edgecolors="white",
                linewidths=0.6,
                label=ENGINE_NAMES[engine],
                zorder=2,
            )
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set_xlabel("products per byte of DDR traffic (MAC/B)")
    axes.set_ylabel("rate (GMAC/s)")
    axes.set_title(_title("Roofline", estimate), loc="left", fontsize=10)
    axes.grid(True, which="major", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    _number_points(axes, points)
    return figure


def _intensity(layer: LayerEstimate) -> float:
    size = layer.cost.traffic.ddr_bytes
    return layer.macs / size if size else 0.0


def _rate(layer: LayerEstimate) -> float:
    return layer.macs / layer.time_us / 1e3


def _area(layer: LayerEstimate) -> float:
    return 24 + 1500 * layer.share


def _title(what: str, estimate: Estimate) -> str:
    return f"{what}: {heading(estimate)}"


def _number_points(axes: Any, points: Sequence[LayerEstimate]) -> None:
    """Write numbers at the layers that take longest, and their names beside the axes."""
    effects = require("matplotlib.patheffects", extra="plots", purpose="drawing plots")
    halo = [effects.withStroke(linewidth=1.6, foreground="white")]
    first = sorted(points, key=lambda p: -p.time_us)[:LABELLED]
    if not first:
        return
    lines = [
        f"{number:>2}  {shorten(layer.layer_id, NAME_WIDTH)}  {layer.time_us:.0f} us"
        for number, layer in enumerate(first, 1)
    ]
    for layer, numbers in _near_one_another(axes, first):
        axes.annotate(
            ",".join(map(str, numbers)),
            (_intensity(layer), _rate(layer)),
            (0, 0) if _area(layer) >= ROOMY_POINT and len(numbers) == 1 else (8, -8),
            textcoords="offset points",
            ha="center" if len(numbers) == 1 else "left",
            va="center",
            fontsize=7,
            path_effects=halo,
            zorder=4,
        )
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    axes.annotate(
        "\n".join(lines),
        (1.02, 0.0),
        xycoords="axes fraction",
        va="bottom",
        fontsize=8,
        linespacing=1.5,
    )


def _near_one_another(
    axes: Any, layers: Sequence[LayerEstimate]
) -> list[tuple[LayerEstimate, list[int]]]:
    """Return layers with the numbers, from 1, of those whose points lie on or beside theirs."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    groups: list[tuple[LayerEstimate, list[int]]] = []
    for number, layer in enumerate(layers, 1):
        for other, numbers in groups:
            aside = abs(log(_intensity(layer) / _intensity(other)) / log(right / left))
            above = abs(log(_rate(layer) / _rate(other)) / log(top / bottom))
            if aside < NEAR[0] and above < NEAR[1]:
                numbers.append(number)
                break
        else:
            groups.append((layer, [number]))
    return groups


def layer_bars(estimate: Estimate) -> Any:
    """Return the time of every layer in execution order, by engine and by what bounds it.

    Of larger networks the longest layers are drawn; the sum of the others is written below.
    """
    layers = list(enumerate(executed(estimate)))
    shown = sorted(layers, key=lambda item: (-item[1].time_us, item[0]))[:BARS]
    shown.sort(key=lambda item: item[0])
    rest_us = sum(layer.time_us for _, layer in layers) - sum(p.time_us for _, p in shown)
    names = [shorten(f"{n} {p.layer_id}", NAME_WIDTH) for n, p in shown]
    rows = len(shown) + (len(layers) > len(shown))
    figure = _figure(9.5, max(2.4, 1.5 + 0.19 * rows))
    axes = figure.add_subplot()
    for place, (_, layer) in enumerate(shown):
        axes.barh(
            place,
            layer.time_us,
            height=0.78,
            color=COLOURS[layer.engine],
            hatch=HATCHES.get(layer.bound, ""),
            edgecolor="white",
            linewidth=0.0,
        )
        axes.annotate(
            f"{layer.time_us:.0f}",
            (layer.time_us, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color="0.25",
        )
    if len(layers) > len(shown):
        names.append(f"{len(layers) - len(shown)} shorter layers")
        share = rest_us / estimate.total_time_us
        axes.annotate(
            f"{rest_us:.0f} together, {share:.0%} of the total",
            (0, len(shown)),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color="0.25",
        )
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.margins(x=0.06)
    axes.set_xlabel("time (us)")
    axes.set_title(_title("Layer times", estimate), loc="left", fontsize=10)
    axes.grid(True, axis="x", color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=_bar_keys([layer for _, layer in shown]),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
    )
    return figure


def _bar_keys(layers: Sequence[LayerEstimate]) -> list[Any]:
    patch = require("matplotlib.patches", extra="plots", purpose="drawing plots").Patch
    engines = {layer.engine for layer in layers}
    bounds = {layer.bound for layer in layers}
    keys = [
        patch(facecolor=COLOURS[engine], label=ENGINE_NAMES[engine])
        for engine in Engine
        if engine in engines
    ]
    keys += [
        patch(facecolor="0.55", edgecolor="white", hatch=hatch, label=f"bound by {bound.value}")
        for bound, hatch in HATCHES.items()
        if bound in bounds
    ]
    return keys
