"""``npusim tune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from npusim.cli import common, quantize_options
from npusim.errors import ConfigError

if TYPE_CHECKING:
    from npusim.quantization.job import Quantization
    from npusim.quantization.schemes import Range
    from npusim.tuning.search import Progress, Tuner
    from npusim.tuning.state import Point

NAME = "tune"
INTERRUPTED = 130


def command(
    model: common.ModelArgument,
    dataset: common.DatasetOption = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="sqnr|cosine|lowest-cosine|top1|custom:module:function",
            help="What counts: agreement of the outputs with the float model's.",
        ),
    ] = "sqnr",
    budget_us: Annotated[
        float | None, typer.Option(help="Largest estimated time of the network, microseconds.")
    ] = None,
    goal: Annotated[float | None, typer.Option(help="Stop when the metric reaches it.")] = None,
    to: Annotated[
        str,
        typer.Option(metavar="i16|f16|i16,f16", help="Format that layers are raised to."),
    ] = "i16",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="STEM",
            help="Write STEM.json, STEM.data and STEM.quantization.cfg. Default: the model's name.",
        ),
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(help="List of samples for the metric. Default: the calibration list."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples used for the metric.")] = 16,
    most: Annotated[int | None, typer.Option(help="Stop after so many new measurements.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Progress file. Default: STEM.tune.json.")
    ] = None,
    restart: Annotated[bool, typer.Option(help="Forget an earlier search.")] = False,
    scheme: common.SchemeOption = "u8",
    algorithm: common.AlgorithmOption = "normal",
    equalize: quantize_options.EqualizeOption = None,
    bias_correction: quantize_options.CorrectOption = False,
    engine: quantize_options.EngineOption = "auto",
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    target: common.TargetOption = "rk1808",
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Raise layers to a wider format where that gains most; write the cfg file.

    Can be interrupted at any time: what was measured is in the progress file, the best choice so
    far in the cfg file, and the same command goes on where it was.
    """
    from npusim.quantization.dataset import open_dataset
    from npusim.quantization.schemes import Scheme, scheme_named
    from npusim.tuning.metrics import metric_named
    from npusim.tuning.search import Tuner
    from npusim.tuning.state import State, front

    shown = common.console(as_json)
    measure = metric_named(metric)
    wanted = [scheme_named(word) for word in to.split(",")]
    graph = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder, target=target)
    job = quantize_options.job(
        graph,
        scheme=scheme or "u8",
        algorithm=algorithm,
        equalize=equalize,
        bias_correction=bias_correction,
        level=level,
    )
    if job.formats.default is Scheme.F16 or job.formats.default in wanted:
        raise ConfigError(
            f"layers cannot be raised from {job.formats.default.value} to {to}",
            where="--to",
            rule="a wider format than --quantize",
        )
    dataset = common.dataset_of(model, dataset)
    found = common.calibrated(job, dataset, engine=engine, shown=shown)
    ranges = job.constrained(found.ranges)
    listed = open_dataset(evaluate or Path(str(dataset)), job.graph, limit=samples)
    feeds = [dict(sample) for _, sample in listed]
    stem = output or Path(graph.name or "model").name
    progress_file = State(
        state or Path(f"{stem}.tune.json"),
        _fingerprint(job, ranges, feeds, metric=metric),
    )
    if restart and progress_file.path is not None:
        progress_file.path.unlink(missing_ok=True)
    if known := progress_file.load():
        shown.print(f"{progress_file.path}: {known} measurements of an earlier run are used")
    tuner = Tuner(job, ranges, feeds, measure, progress_file, level=level)
    interrupted = False
    try:
        for one in wanted:
            shown.print(f"raising layers from {job.formats.default.value} to {one.value}")
            tuner.search(one, budget_us=budget_us, goal=goal, most=most, report=_reporter(shown))
    except KeyboardInterrupt:
        interrupted = True
    base = progress_file.find(wanted[0].value, ())
    if base is not None and budget_us is not None and base.time_us > budget_us:
        shown.print(
            f"warning: without any raise the network already takes {base.time_us:.0f} us, more "
            f"than the budget of {budget_us:.0f} us",
            markup=False,
        )
    names = {one.value for one in wanted}
    points = [p for p in progress_file.points.values() if p.scheme in names]
    best = _best(points, budget_us)
    if best is None:
        raise typer.Exit(INTERRUPTED)
    _write(tuner, best, stem, job, ranges)
    edge = front(points)
    if as_json:
        common.print_json(
            {
                "metric": metric,
                "budget_us": budget_us,
                "interrupted": interrupted,
                "best": _plain(best),
                "front": [_plain(point) for point in edge],
                "cfg": f"{stem}.quantization.cfg",
                "state": str(progress_file.path),
            }
        )
    else:
        shown.print(_table(edge, best, metric))
        shown.print(f"{stem}.json, {stem}.data and {stem}.quantization.cfg hold the marked choice")
        if interrupted:
            shown.print("interrupted; the same command goes on where this one stopped")
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _reporter(shown: Console) -> Any:
    def report(progress: "Progress") -> None:
        point = progress.point
        mark = "kept" if progress.kept else "    "
        last = f"  {len(point.layers)} layers" if point.layers else "  none"
        shown.print(
            f"{mark} {point.metric:10.6f} {point.time_us:10.0f} us{last}, {progress.left} left",
            highlight=False,
        )

    return report


def _best(points: "list[Point]", budget_us: float | None) -> "Point | None":
    """Return the best metric within the budget, of equal ones the fastest."""
    fitting = [p for p in points if budget_us is None or p.time_us <= budget_us]
    fitting = fitting or [p for p in points if not p.layers]
    return max(fitting, key=lambda p: (p.metric, -p.time_us), default=None)


def _table(edge: "tuple[Point, ...]", best: "Point", metric: str) -> Table:
    table = Table(box=SIMPLE_HEAD, title="accuracy against time")
    for heading, justify in (
        ("", "left"),
        (metric, "right"),
        ("time (us)", "right"),
        ("format", "left"),
        ("layers", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for point in edge:
        table.add_row(
            "*" if point == best else "",
            f"{point.metric:.6f}",
            f"{point.time_us:.0f}",
            point.scheme if point.layers else "-",
            str(len(point.layers)),
        )
    return table


def _plain(point: "Point") -> dict[str, Any]:
    return {
        "scheme": point.scheme,
        "layers": list(point.layers),
        "metric": point.metric,
        "time_us": point.time_us,
    }


def _fingerprint(
    job: "Quantization",
    ranges: "dict[str, Range]",
    feeds: list[dict[str, Any]],
    *,
    metric: str,
) -> dict[str, Any]:
    """Return what a measurement depends on; an earlier run's must be equal to be used."""
    import hashlib

    from npusim import __version__

    weights, data = hashlib.sha256(), hashlib.sha256()
    for name, value in sorted(job.graph.constants.items()):
        weights.update(name.encode() + value.tobytes())
    weights.update(repr(sorted(ranges.items())).encode())
    for sample in feeds:
        for name, value in sorted(sample.items()):
            data.update(name.encode() + value.tobytes())
    return {
        "npusim": __version__,
        "model": weights.hexdigest(),
        "samples": data.hexdigest(),
        "scheme": job.formats.default.value,
        "target": job.graph.target,
        "metric": metric,
    }


def _write(
    tuner: "Tuner",
    best: "Point",
    stem: str,
    job: "Quantization",
    ranges: "dict[str, Range]",
) -> None:
    """Write the three files of hybrid quantization for a choice of layers."""
    from npusim.quantization.hybrid.cfg import write_cfg
    from npusim.quantization.hybrid.files import HybridModel, save_hybrid
    from npusim.quantization.hybrid.records import records_of
    from npusim.quantization.schemes import Scheme

    default = job.formats.default
    # a changed network is stored as it is now: its rewrites would not be repeated
    changed = job.equalized is not None or job.corrected
    source = job.with_bias_for(tuner.formats(best.layers, Scheme(best.scheme)))
    source = source if changed else job.source
    model = HybridModel(
        source=source,
        scheme=default,
        level=tuner.level,
        ranges=ranges,
        notes=job.notes,
        targets=(source.target,),
    )
    save_hybrid(model, f"{stem}.json", f"{stem}.data")
    ids = {node.name: node.layer_id for node in job.graph.nodes}
    layers = {ids[name]: Scheme(best.scheme) for name in best.layers}
    records = [slot.record for slot in records_of(job.graph, source, ranges, default)]
    comments = (f"metric {best.metric:.6f}, estimated time {best.time_us:.0f} us",)
    write_cfg(f"{stem}.quantization.cfg", records, layers, comments=comments)
