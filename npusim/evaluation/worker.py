"""Runs samples through the float and the quantized network; one per process."""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from npusim.analysis.metrics import cosine
from npusim.analysis.parts import OutputParts, output_parts
from npusim.errors import NpusimError
from npusim.evaluation.detection import Detector
from npusim.evaluation.labelled import Item
from npusim.evaluation.task import CLASSIFICATION, task_named
from npusim.ir import archive
from npusim.ir.graph import Graph, Source
from npusim.quantization.dataset import load_sample
from npusim.reference.float_engine import float_engine
from npusim.runtime.ahead import read_ahead
from npusim.runtime.forks import ForkSafeLock
from npusim.runtime.program import Program

FLOAT = "float"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every process needs to know; sent to it once.

    Attributes
    ----------
    graphs : mapping
        Name of a run -> its graph: the float source under ``"float"``, others lowered.
    task : str
        See ``task_named``, as the next four.
    """

    graphs: Mapping[str, Graph]
    task: str
    labels: tuple[str, ...] = ()
    offset: int = 0
    search: str = ""
    detector: Detector | None = None
    digest: str = field(default="")

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", self._digest())

    def _digest(self) -> str:
        """Return a digest of the models and the task."""
        found = hashlib.sha256(repr((self.task, self.labels, self.offset, self.detector)).encode())
        with TemporaryDirectory() as folder:
            for name, graph in self.graphs.items():
                file = Path(folder) / "graph"
                # where the model lies does not matter
                archive.save(graph.copy(source=Source()), file)
                found.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
        return found.hexdigest()


class Worker:
    """The networks of a job, ready to run.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self._input = next(iter(job.graphs.values()))
        self._measure = task_named(
            job.task,
            graph=self._input,
            labels=job.labels,
            offset=job.offset,
            search=job.search or None,
            detector=job.detector,
        )
        self._float = None
        self._programs: dict[str, Program] = {}
        for name, graph in job.graphs.items():
            if name == FLOAT:
                self._float = float_engine(graph, observed=False)
            else:
                self._programs[name] = Program(graph.copy(batch=1))
        self._names = tuple(job.graphs)
        vector = job.task == CLASSIFICATION or FLOAT not in job.graphs
        self._parts = None if vector else output_parts(self._input)

    def run(self, item: Item, feeds: Callable[[], dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return the record of one sample: what the task measured in each run, or an error.

        ``feeds`` returns its inputs, where something else reads them.
        """
        record: dict[str, Any] = {"index": item.index, "image": item.name, "label": item.label}
        try:
            given, truth = feeds() if feeds else self.feeds(item), item.truth or item.label
            runs, values = {}, {}
            for name in self._names:
                if name == FLOAT:
                    assert self._float is not None
                    found = self._float.run(given)
                else:
                    found = self._programs[name].run(given, preprocessed=True)
                values[name] = found
                runs[name] = self._measure([found[n] for n in self._input.outputs], truth)
            if self._parts is None:
                return {**record, "runs": runs}
            return {**record, "runs": runs, "parts": self._cosines(self._parts, values)}
        except NpusimError as error:
            return {**record, "error": str(error)}

    def _cosines(
        self, parts: OutputParts, values: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """Return run -> output, or part of one that a concat made -> cosine with float."""
        result: dict[str, dict[str, float]] = {}
        for name in self._names:
            if name == FLOAT:
                continue
            own = result[name] = {}
            for output in self._input.outputs:
                expected, actual = values[FLOAT][output], values[name][output]
                if (known := parts.joined.get(output)) is None:
                    own[output] = cosine(actual, expected)
                    continue
                left, right = known.split(actual), known.split(expected)
                own |= {f"{output} [{p}]": cosine(left[p], right[p]) for p in known.names}
        return result

    def feeds(self, item: Item) -> dict[str, Any]:
        """Return the inputs of a sample from its files; may run in several threads."""
        if not item.contents:
            return load_sample(item.paths, self._input, said=True)
        with TemporaryDirectory() as folder:
            paths = []
            for place, (name, content) in enumerate(zip(item.paths, item.contents, strict=True)):
                paths.append(Path(folder) / f"{place}{Path(name).suffix}")
                paths[-1].write_bytes(content)
            return load_sample(paths, self._input, said=True)


_workers: dict[str, Worker] = {}
_lock = ForkSafeLock()


def run_items(job: Job, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Run samples in this process, with the job's networks prepared at the first call."""
    worker = _worker(job)
    return [worker.run(item) for item in items]


def run_ahead(job: Job, items: Sequence[Item]) -> Generator[dict[str, Any]]:
    """Yield the records of samples as ``run_items`` makes them; files are read ahead."""
    worker = _worker(job)
    with closing(read_ahead(worker.feeds, items)) as reading:
        for item, feeds in reading:
            yield worker.run(item, feeds)


def _worker(job: Job) -> Worker:
    with _lock:
        worker = _workers.get(job.digest)
        if worker is None:
            _workers.clear()  # the networks of an earlier job are not needed any more
            worker = _workers[job.digest] = Worker(job)
    return worker
