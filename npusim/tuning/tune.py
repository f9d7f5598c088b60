"""The whole search: calibrate, raise layers where that gains most, write the files."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from npusim import __version__, words
from npusim.errors import ConfigError
from npusim.faces import Face, Faced
from npusim.ir.graph import Graph
from npusim.quantization.dataset import open_dataset
from npusim.quantization.hybrid.cfg import cfg_content
from npusim.quantization.hybrid.files import HybridModel, file_names, save_hybrid
from npusim.quantization.hybrid.records import records_of
from npusim.quantization.job import Progress as Calibrating
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Samples
from npusim.quantization.schemes import Range, Scheme
from npusim.tuning.metrics import metric_named
from npusim.tuning.search import LEAST_GAIN, Feeds, Progress, Tuner
from npusim.tuning.state import Point, State, front


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tuning(Faced):
    """What a search found.

    Attributes
    ----------
    metric : str
    budget_us : float or None
    base : Point or None
        Nothing raised.
    best : Point or None
        The best metric within the budget, but for gains below a fiftieth of those before; None
        when the search was interrupted before anything was measured.
    front : tuple of Point
        The points that no other one beats in both metric and time, fastest first.
    interrupted : bool
        The same call with the same state goes on where it was.
    state : Path or None
        The file of what was measured.
    """

    metric: str
    budget_us: float | None
    base: Point | None
    best: Point | None
    front: tuple[Point, ...]
    interrupted: bool
    state: Path | None
    _tuner: Tuner = field(repr=False)

    def _face(self) -> Face:
        best = self.best
        return Face(
            "",
            {
                "metric": self.metric,
                "best": "-" if best is None else best.metric,
                "time": "-" if best is None else f"{best.time_us:.0f} us",
                "raised layers": 0 if best is None else len(best.layers),
                "budget": "none" if self.budget_us is None else f"{self.budget_us:.0f} us",
                "interrupted": "yes" if self.interrupted else "no",
            },
            (_plain(point) for point in self.front),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "metric": self.metric,
            "budget_us": self.budget_us,
            "interrupted": self.interrupted,
            "best": None if self.best is None else _plain(self.best),
            "front": [_plain(point) for point in self.front],
            "state": None if self.state is None else str(self.state),
        }

    def lowered(self, point: Point) -> Graph:
        """Return the network with the layers of a point raised, as it runs."""
        return self._tuner.lowered(point.layers, Scheme(point.scheme))

    def graph(self) -> Graph:
        """Return the quantized graph of the best choice, which ``npusim.save`` stores.

        Raises
        ------
        ConfigError
            When nothing was measured.
        """
        if self.best is None:
            raise ConfigError("nothing was measured", rule="a search has at least one point")
        tuner = self._tuner
        formats = tuner.formats(self.best.layers, Scheme(self.best.scheme))
        return tuner.job.quantized(tuner.ranges, formats)

    def write(self, stem: str) -> None:
        """Write ``stem.json``, ``stem.data`` and ``stem.quantization.cfg`` for the best choice.

        These are the files of hybrid quantization: ``RKNN.hybrid_quantization_step2`` and
        ``npusim quantize --hybrid`` take them.
        """
        if self.best is None:
            raise ConfigError("nothing was measured", rule="a search has at least one point")
        _write(self._tuner, self.best, stem)


def tune(
    job: Quantization,
    *,
    metric: str,
    to: Sequence[Scheme],
    budget_us: float | None = None,
    goal: float | None = None,
    samples: int = 16,
    evaluate: str | Path | Samples | None = None,
    most: int | None = None,
    state: Path | None = None,
    restart: bool = False,
    calibrating: Calibrating | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Raise layers of a planned quantization to wider formats; see ``npusim.tune``."""
    measure, default = metric_named(metric), job.formats.default
    if default is Scheme.F16 or default in to:
        raise ConfigError(
            f"layers cannot be raised from {default.value} to {','.join(s.value for s in to)}",
            where=words.say("to"),
            rule=f"a wider format than the network's own ({words.say('scheme')})",
        )
    ranges = job.measure(calibrating)
    feeds = _feeds(job, evaluate, samples)
    kept = State(state, _fingerprint(job, ranges, feeds, metric=metric))
    tuner = Tuner(job, ranges, feeds, measure, kept, level=job.plan.level)
    interrupted = False
    with kept.held():
        if restart and state is not None:
            state.unlink(missing_ok=True)
        if count := kept.load():
            say(f"{state}: {count} measurements of an earlier run are used")
        try:
            for scheme in to:
                say(f"raising layers from {default.value} to {scheme.value}")
                tuner.search(scheme, budget_us=budget_us, goal=goal, most=most, report=report)
        except KeyboardInterrupt:
            interrupted = True
    names = {scheme.value for scheme in to}
    points = [point for point in kept.points.values() if point.scheme in names]
    return Tuning(
        metric=metric,
        budget_us=budget_us,
        base=kept.find(to[0].value, ()),
        best=_best(points, budget_us),
        front=front(points),
        interrupted=interrupted,
        state=state,
        _tuner=tuner,
    )


def _feeds(job: Quantization, evaluate: str | Path | Samples | None, limit: int) -> list[Feeds]:
    """Return the samples of the metric: a list of their own, else the first of the calibration."""
    chosen = job.plan.dataset if evaluate is None else evaluate
    if isinstance(chosen, str | Path):
        chosen = open_dataset(chosen, job.graph, limit=limit)
    return [dict(feeds) for _, (_, feeds) in zip(range(limit), chosen or (), strict=False)]


def _best(points: Sequence[Point], budget_us: float | None) -> Point | None:
    """Return the point of the front behind which more time brings next to nothing."""
    fitting = [p for p in points if budget_us is None or p.time_us <= budget_us]
    order = front(fitting or [p for p in points if not p.layers])
    if not order:
        return None
    best = base = order[0]
    for point in order[1:]:
        if point.metric - best.metric > LEAST_GAIN * (best.metric - base.metric):
            best = point
    return best


def _plain(point: Point) -> dict[str, Any]:
    return {**asdict(point), "layers": list(point.layers)}


def _fingerprint(
    job: Quantization, ranges: Mapping[str, Range], feeds: Sequence[Feeds], *, metric: str
) -> dict[str, Any]:
    """Return what a measurement depends on; an earlier run's must be equal to be used."""
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
        "metric": f"{metric} of each part",
        "toolkit": job.plan.toolkit.toolkit,
        "no_join": list(job.apart),
    }


def _write(tuner: Tuner, best: Point, stem: str) -> None:
    job, ranges, default = tuner.job, tuner.ranges, tuner.job.formats.default
    raised = Scheme(best.scheme)
    # a changed network is stored as it is now: its rewrites would not be repeated
    changed = job.plan.changes_weights
    source = job.with_bias_for(tuner.formats(best.layers, raised)) if changed else job.source
    model = HybridModel(
        source=source,
        scheme=default,
        level=tuner.level,
        ranges=ranges,
        toolkit=job.plan.toolkit,
        no_join=job.apart,
        notes=job.notes,
        targets=(source.target,),
    )
    ids = {node.name: node.layer_id for node in job.graph.nodes}
    records = [slot.record for slot in records_of(job.graph, source, ranges, job.formats)]
    cfg = cfg_content(
        records,
        {ids[name]: raised for name in best.layers},
        comments=(f"metric {best.metric:.6f}, estimated time {best.time_us:.0f} us",),
    )
    json_file, data_file, cfg_file = file_names(stem)
    save_hybrid(model, json_file, data_file, (cfg_file, cfg))
