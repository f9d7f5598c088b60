"""Run samples through the float graph and collect ranges."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from npusim.errors import DatasetError
from npusim.ir.graph import Graph
from npusim.quantization.observers import MinMaxObserver, Observer
from npusim.quantization.schemes import Range
from npusim.runtime.reference import Evaluator

Feeds = Mapping[str, NDArray[Any]]
Sample = tuple[str, Feeds]


def calibrate(
    graph: Graph,
    samples: Iterable[Sample],
    *,
    observer: Observer | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, Range]:
    """Return the range of every activation over all samples.

    Parameters
    ----------
    graph : Graph
        Float graph.
    samples : iterable of (label, feeds)
        Feeds hold preprocessed float32 arrays by input name, in the graph's shapes. Samples are
        taken one at a time, so memory does not depend on their number.
    observer : Observer, optional
        Default: running minimum and maximum.
    progress : callable, optional
        Called with the number of samples done and the last label.

    Raises
    ------
    DatasetError
        When there is no sample.
    QuantizationError
        When a value is not finite; it names the tensor and the sample.
    """
    collector = observer or MinMaxObserver()
    evaluator = Evaluator(graph)
    count = 0
    for label, feeds in samples:
        evaluator.run(feeds, observe=partial(collector.observe, sample=label))
        count += 1
        if progress:
            progress(count, label)
    if count == 0:
        raise DatasetError(
            "there is no sample to calibrate with",
            rule="at least one sample; 200 to 500 are usual",
            remedy="list images or npy files in the dataset file, one sample a line",
        )
    return collector.ranges()
