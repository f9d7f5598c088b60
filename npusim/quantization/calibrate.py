"""Run samples through the float graph and collect ranges."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import DatasetError, QuantizationError
from npusim.explain import see
from npusim.ir.attrs import Pool2dAttrs, PoolKind
from npusim.ir.graph import Graph, Node
from npusim.ops.pool import reads_pads_only
from npusim.quantization.observers import MinMaxObserver, Observer, Summary
from npusim.quantization.schemes import Range
from npusim.reference.float_engine import FloatEngine, float_engine
from npusim.reference.table import stay_in_this_thread

Feeds = Mapping[str, NDArray[Any]]
Sample = tuple[str, Feeds]
HUGE = 1e9  # constants beyond are worth a word where results overflow
Summaries = list[tuple[str, Summary]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a calibration found.

    Attributes
    ----------
    ranges : dict
        Tensor name -> (minimum, maximum), as the algorithm chose them.
    samples : int
        Samples that were used.
    engine : str
        Float engine and version.
    """

    ranges: dict[str, Range]
    samples: int
    engine: str


def calibrate(
    graph: Graph,
    samples: Iterable[Sample],
    *,
    observer: Observer | None = None,
    engine: str | FloatEngine = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> Calibration:
    """Return the range of every activation over all samples.

    The result does not depend on the number of threads: samples run side by side, but what is
    learnt from them is added up in the order of the list.

    Parameters
    ----------
    graph : Graph
        Float graph.
    samples : iterable of (label, feeds)
        Feeds hold preprocessed float32 arrays by input name, in the graph's shapes. A few samples
        are in memory at a time, whatever their number. Algorithms with two passes iterate twice.
    observer : Observer, optional
        Default: running minimum and maximum.
    engine : str or FloatEngine
        See ``npusim.reference.float_engine``.
    progress : callable, optional
        Called with the number of samples done (over all passes) and the last label.

    Raises
    ------
    DatasetError
        When there is no sample, or samples that can be read once only are needed twice.
    QuantizationError
        When a value is not finite; it names the layer, the tensor and the sample.
    """
    collector = observer or MinMaxObserver()
    runner = float_engine(graph, engine) if isinstance(engine, str) else engine
    if collector.passes > 1 and iter(samples) is samples:
        raise DatasetError(
            "these samples can be read only once",
            rule=f"the algorithm reads all samples {collector.passes} times",
            remedy="pass a list, or the path of a dataset file",
        )
    done = count = 0
    for number in range(collector.passes):
        if number:
            collector.end_of_pass()
        count = 0
        for label, summaries in _side_by_side(runner, samples, collector):
            for tensor, summary in summaries:
                _take(graph, collector, tensor, summary, label)
            count, done = count + 1, done + 1
            if progress:
                progress(done, label)
        if not count:
            raise DatasetError(
                "there is no sample to calibrate with",
                rule="at least one sample; 200 to 500 are usual",
                remedy="list images or npy files in the dataset file, one sample a line",
            )
    return Calibration(ranges=collector.ranges(), samples=count, engine=runner.name)


def _take(graph: Graph, collector: Observer, tensor: str, summary: Summary, label: str) -> None:
    try:
        collector.take(tensor, summary, label)
    except QuantizationError as error:
        producer = graph.producers().get(tensor)
        if producer is None:
            raise
        raise QuantizationError(
            error.what,
            where=f"layer {producer.name!r} ({producer.op})",
            rule=error.rule,
            remedy=_window_of_pads(graph, producer)
            or f"{error.remedy}{_huge_before(graph, producer)}",
        ) from None


def _window_of_pads(graph: Graph, node: Node) -> str:
    """Return what to do about a maximum of nothing, if the layer takes one."""
    attrs, ifm = node.attrs, graph.spec(node.inputs[0]).shape
    if not isinstance(attrs, Pool2dAttrs) or attrs.kind is not PoolKind.MAX:
        return ""
    if not reads_pads_only(attrs, ifm, graph.spec(node.outputs[0]).shape):
        return ""
    return (
        f"a window of {attrs.kernel} lies in the pads {attrs.pad} only, where the maximum is minus "
        f"infinity: make the pads smaller than the window {see('maximum-of-pads')}"
    )


def _huge_before(graph: Graph, node: Node) -> str:
    """Return a hint at the largest constant that a layer depends on, when it is huge."""
    needed, largest, where = set(node.outputs), HUGE, ""
    for known in reversed(graph.nodes):
        if not needed.intersection(known.outputs):
            continue
        needed.update(known.inputs)
        for name in known.inputs:
            value = graph.constants.get(name)
            if value is not None and value.dtype.kind == "f":
                size = float(np.abs(value).max(initial=0.0))
                if not size <= largest:
                    largest, where = size, f"{name!r} of layer {known.name!r}"
    return f"; look at constant {where}, which goes up to {largest:.4g}" if where else ""


def _side_by_side(
    runner: FloatEngine, samples: Iterable[Sample], collector: Observer
) -> Iterator[tuple[str, Summaries]]:
    """Yield the summaries of every sample, in order; up to ``runner.jobs`` run at a time."""

    def look(feeds: Feeds) -> Summaries:
        found: Summaries = []

        def observe(tensor: str, value: NDArray[Any]) -> None:
            summary = collector.summarize(tensor, value)
            if summary is not None:
                found.append((tensor, summary))

        runner.run(feeds, observe=observe)
        return found

    if runner.jobs == 1:
        for label, feeds in samples:
            yield label, look(feeds)
        return
    waiting: deque[tuple[str, Future[Summaries]]] = deque()
    with ThreadPoolExecutor(
        runner.jobs, thread_name_prefix="npusim-calibration", initializer=stay_in_this_thread
    ) as pool:
        try:
            for label, feeds in samples:
                waiting.append((label, pool.submit(look, feeds)))
                if len(waiting) > runner.jobs:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
