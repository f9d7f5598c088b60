"""Which layers to raise to a wider format: greedy, by measured noise per microsecond.

Layers are looked at in the order of the noise each one adds by itself over the time its raise costs
in the performance model. Each is raised alone first, and what that gains in the metric of the whole
network per microsecond decides the order in which layers are then raised together: several at once
while that helps, one by one when it does not. A raise stays when it brings at least a fiftieth of
what those before it brought and the estimated time keeps to the budget. The layers that store the
worst part of an output (its operand of a concat, the concat, what moves its result) are also raised
as one: none of them helps alone. Once the worst layers are raised others count that did not before,
so all of this is done up to three times. Nothing is assumed to add up: every choice that is kept
was run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from npusim.analysis.parts import output_parts
from npusim.ir.graph import Graph
from npusim.ops import keeps_codes
from npusim.passes.pipeline import lower
from npusim.perfmodel.estimate import Estimate, estimate
from npusim.quantization.apply import Formats
from npusim.quantization.hybrid.choice import carriers, resolve_layers
from npusim.quantization.job import Quantization
from npusim.quantization.schemes import Range, Scheme
from npusim.reference.float_engine import float_engine
from npusim.runtime.program import Program
from npusim.tuning.errors import layer_noise
from npusim.tuning.metrics import Metric, Outputs, PartMetric
from npusim.tuning.state import Point, State

Feeds = Mapping[str, NDArray[Any]]
NOISE_SAMPLES = 3
MOST_AT_ONCE = 8
ROUNDS = 3
LEAST_GAIN = 0.02  # of what was gained so far, for a raise to stay
Unit = tuple[str, ...]  # layers that are raised together


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the search reports after each measured point."""

    point: Point
    kept: bool
    measured: int
    left: int


Report = Callable[[Progress], None]


class Tuner:
    """A search over one network.

    Parameters
    ----------
    job : Quantization
        Calibrated: ``ranges`` are those of its graph.
    ranges : mapping
        Joined ranges.
    samples : sequence of feeds
        Preprocessed; the metric is measured on them.
    metric : Metric
    state : State
        Points measured before are taken from it.
    level : int
        Optimization level.
    """

    def __init__(
        self,
        job: Quantization,
        ranges: Mapping[str, Range],
        samples: Sequence[Feeds],
        metric: Metric,
        state: State,
        *,
        level: int = 3,
    ) -> None:
        self.job, self.ranges, self.samples = job, ranges, samples
        self.metric, self.state, self.level = metric, state, level
        self._engine = float_engine(job.graph)
        self._expected: list[Outputs] = []
        self._by_part: PartMetric | None = None

    @property
    def expected(self) -> list[Outputs]:
        """Return the float outputs of all samples."""
        if not self._expected:
            self._expected = [self._engine.run(feeds) for feeds in self.samples]
        return self._expected

    @property
    def by_part(self) -> PartMetric:
        """Return the metric of the parts of the outputs."""
        if self._by_part is None:
            found = output_parts(self.job.graph)
            self._by_part = PartMetric(self.metric, found, self.expected)
        return self._by_part

    def lowered(self, layers: Sequence[str], scheme: Scheme) -> Graph:
        """Return the lowered graph with some layers raised."""
        formats = self.formats(layers, scheme)
        return lower(self.job.quantized(self.ranges, formats), level=self.level)

    def formats(self, layers: Sequence[str], scheme: Scheme) -> Formats:
        """Return the formats of all layers with some of them raised."""
        found = resolve_layers(
            dict.fromkeys(layers, scheme), self.job.graph, default=self.job.formats.default
        )
        return replace(self.job.formats, layers=found)

    def measure(self, layers: Sequence[str], scheme: Scheme, graph: Graph | None = None) -> Point:
        """Return metric and time of a choice of layers; from the state when it is there."""
        known = self.state.find(scheme.value, layers)
        if known is not None:
            return known
        graph = graph or self.lowered(layers, scheme)
        program = Program(graph.copy(batch=1))
        actual = [program.run(feeds, preprocessed=True) for feeds in self.samples]
        metric, parts = self.by_part.measure(actual)
        point = Point(
            scheme=scheme.value,
            layers=tuple(sorted(layers)),
            metric=metric,
            time_us=estimate(graph).total_time_us,
            parts=parts,
        )
        self.state.add(point)
        return point

    def candidates(self, scheme: Scheme) -> list[str]:
        """Return the layers worth raising, best noise per microsecond first.

        A rectifier counts for the layer before it: they are raised together.
        """
        base, raised = self.lowered((), scheme), self.lowered(self._all(), scheme)
        owner = carriers(self.job.graph)
        program = Program(base.copy(batch=1))
        noise = _owned(layer_noise(program, self._engine, self.samples[:NOISE_SAMPLES]), owner)
        before, after = (_owned(_times(estimate(graph)), owner) for graph in (base, raised))
        least = max(1.0, sum(before.values()) / max(1, len(before)) / 10)

        def worth(name: str) -> float:
            extra = after.get(name, 0.0) - before.get(name, 0.0)
            return noise[name] / max(extra, least)

        moves = {node.name for node in self.job.graph.nodes if keeps_codes(node)}
        names = [n for n in self._all() if noise.get(n, 0.0) > 0 and n not in moves]
        return sorted(names, key=lambda name: (-worth(name), name))

    def _all(self) -> list[str]:
        return [node.name for node in self.job.graph.nodes]

    def search(
        self,
        scheme: Scheme,
        *,
        budget_us: float | None = None,
        report: Report = lambda progress: None,
        goal: float | None = None,
        most: int | None = None,
    ) -> Point:
        """Raise layers to ``scheme`` within a time budget; return the best point.

        Parameters
        ----------
        scheme : Scheme
        budget_us : float, optional
            Estimated time of the network must not exceed it; the unraised network may.
        report : callable
            Called after every measured point.
        goal : float, optional
            Stop when the metric reaches it.
        most : int, optional
            Stop after that many new measurements.
        """
        limit = len(self.state.points) + most if most is not None else None
        base = best = self._reported(self.measure((), scheme), report, kept=True, left=0)
        candidates: list[str] = []
        for _ in range(ROUNDS):
            if (goal is not None and best.metric >= goal) or self._spent(limit):
                break
            candidates = candidates or self.candidates(scheme)
            before = best
            units = [*self._way(best), *((name,) for name in candidates)]
            order = self._ranked(best, units, scheme, budget_us, report, limit)
            best = self._raised(base, best, order, scheme, budget_us, report, limit, goal)
            if best == before:
                break
        return best

    def _way(self, point: Point) -> list[Unit]:
        """Return the layers that store the worst part of an output, to be raised together."""
        worst = min(point.parts, key=lambda name: point.parts[name], default=None)
        known = set(self._all())
        way = tuple(n for n in self.by_part.way(worst) if n in known) if worst is not None else ()
        return [way] if len(way) > 1 and not set(way) <= set(point.layers) else []

    def _spent(self, limit: float | None) -> bool:
        return limit is not None and len(self.state.points) >= limit

    def _ranked(
        self,
        base: Point,
        candidates: Sequence[Unit],
        scheme: Scheme,
        budget_us: float | None,
        report: Report,
        limit: int | None,
    ) -> list[Unit]:
        """Raise each candidate alone on top of ``base``; return those that help, best first.

        Takes at most half of the measurements that are left.
        """
        known = len(self.state.points)
        half = None if limit is None else known + (limit - known + 1) // 2
        gains: dict[Unit, float] = {}
        waiting = [unit for unit in candidates if not set(unit) <= set(base.layers)]
        for i, unit in enumerate(waiting):
            if self._spent(half):
                break
            point = self._fitting(_joined(base.layers, unit), scheme, budget_us)
            if point is not None:
                self._reported(point, report, kept=False, left=len(waiting) - i - 1)
                cost = max(point.time_us - base.time_us, 1.0)
                gains[unit] = (point.metric - base.metric) / cost
        return sorted((u for u in gains if gains[u] > 0), key=lambda u: (-gains[u], u))

    def _raised(
        self,
        base: Point,
        best: Point,
        waiting: list[Unit],
        scheme: Scheme,
        budget_us: float | None,
        report: Report,
        limit: int | None,
        goal: float | None,
    ) -> Point:
        """Raise layers in their order while the metric improves; return the best point."""
        at_once = 1
        while waiting and not self._spent(limit) and (goal is None or best.metric < goal):
            group = waiting[:at_once]
            point = self._fitting(_joined(best.layers, *group), scheme, budget_us)
            least = LEAST_GAIN * len(group) * (best.metric - base.metric)
            better = point is not None and point.metric - best.metric > least
            if point is not None:
                self._reported(point, report, kept=better, left=len(waiting) - len(group))
            if better and point is not None:
                best, waiting = point, waiting[at_once:]
                at_once = min(MOST_AT_ONCE, at_once * 2)
            elif at_once > 1:
                at_once //= 2
            else:
                waiting = waiting[1:]
        return best

    def _fitting(
        self, layers: Sequence[str], scheme: Scheme, budget_us: float | None
    ) -> Point | None:
        """Return the measured point; None when its estimated time exceeds the budget."""
        known = self.state.find(scheme.value, layers)
        if known is None:
            graph = self.lowered(layers, scheme)
            if budget_us is not None and estimate(graph).total_time_us > budget_us:
                return None
            known = self.measure(layers, scheme, graph)
        return known if budget_us is None or known.time_us <= budget_us else None

    def _reported(self, point: Point, report: Report, *, kept: bool, left: int) -> Point:
        report(Progress(point=point, kept=kept, measured=len(self.state.points), left=left))
        return point


def _joined(layers: Sequence[str], *units: Unit) -> Unit:
    return tuple(dict.fromkeys((*layers, *(name for unit in units for name in unit))))


def _owned(values: Mapping[str, float], owner: Mapping[str, str]) -> dict[str, float]:
    """Return sums by the layers that own others."""
    found: dict[str, float] = {}
    for name, value in values.items():
        key = owner.get(name, name)
        found[key] = found.get(key, 0.0) + value
    return found


def _times(found: Estimate) -> dict[str, float]:
    return {layer.name: layer.time_us for layer in found.layers}
