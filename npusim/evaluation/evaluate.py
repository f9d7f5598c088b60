"""Run a labelled set through the float and the quantized networks and sum up."""

import hashlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ConfigError, DatasetError
from npusim.evaluation.annotations import MASK_RULE, RULE
from npusim.evaluation.detection import DETECTION, MAP50, NOTHING, average_precision
from npusim.evaluation.labelled import Item, check_classes
from npusim.evaluation.pools import Records, run_here, run_in_processes, run_on_cluster
from npusim.evaluation.segmentation import SEGMENTATION, mean_iou
from npusim.evaluation.state import State
from npusim.evaluation.stored_records import check_record
from npusim.evaluation.task import CLASSIFICATION, TOP, at_chance, class_count, task_named
from npusim.evaluation.worker import FLOAT, Job
from npusim.faces import Face, Faced
from npusim.quantization.input_text import sample_texts
from npusim.reading.records import Record

log = logging.getLogger("npusim")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccuracy:
    """One network on the set.

    Attributes
    ----------
    top1, top5 : float or None
        Share of samples whose right class is the first, or among the first five (None when the
        network has fewer classes).
    agreement : float or None
        Share of samples with the same first class as the float network.
    means : dict
        Mean of every number that the task gives.
    scores : dict
        Figures over the whole set: mAP of a detection, mIoU of a segmentation.
    """

    name: str
    samples: int
    top1: float | None
    top5: float | None
    agreement: float | None
    means: dict[str, float]
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> tuple[str, float] | None:
        """Return name and value of the figure that counts, 0..1; None for a task of one's own."""
        if self.top1 is not None:
            return "top-1", self.top1
        return next(reversed(self.scores.items()), None)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation(Faced):
    """All networks on the set.

    Attributes
    ----------
    total : int
        Samples of the set.
    records : tuple of dict
        One per finished sample, in the set's order: index, image, label, and either ``runs``
        (network -> what the task measured) or ``error``.
    interrupted : bool
        Some samples are missing because the user stopped.
    classes : int
        Classes of the network; 0 where the task is no classification.
    scores : mapping
        Network -> figures over the whole set, by name: mAP, mIoU.
    state : Path or None
        The file that keeps what is done.
    """

    task: str
    runs: tuple[str, ...]
    total: int
    records: tuple[dict[str, Any], ...]
    interrupted: bool = False
    state: Path | None = field(default=None, compare=False)
    classes: int = 0
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def at_chance(self) -> str:
        """Return what is wrong when the first network is no better than guessing; else nothing.

        Then the task, the labels or the preprocessing is wrong, and nothing that is said of
        quantization means anything.
        """
        first = self.runs[0] if self.runs else ""
        figure = self.scores.get(first, {}).get(MAP50)
        if figure is not None and figure < NOTHING and self.measured:
            return (
                f"{first} itself finds next to nothing ({MAP50} {figure:.4f}): this measures "
                "nothing. Check mean, std, channel order and fit, the decoder and its anchors, and "
                "the order of the classes"
            )
        hits = [record["runs"][first]["rank"] == 0 for record in self.measured if self.classes]
        if not at_chance(sum(hits), len(hits), max(self.classes, 1)):
            return ""
        return (
            f"{first} itself is right in {sum(hits)} of {len(hits)} samples, as guessing among "
            f"{self.classes} classes is: this measures nothing. Check mean, std and channel order, "
            "the numbers of the labels, and which output holds the classes"
        )

    @property
    def measured(self) -> tuple[dict[str, Any], ...]:
        """Return the records that have results."""
        return tuple(record for record in self.records if "runs" in record)

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """Return the records of samples that could not be run."""
        return tuple(record for record in self.records if "error" in record)

    @property
    def accuracies(self) -> tuple[RunAccuracy, ...]:
        """Return the sums of each network, the float one first."""
        return tuple(self._accuracy(name) for name in self.runs)

    @property
    def parts(self) -> dict[str, dict[str, float]]:
        """Return network -> output, or part of one -> mean cosine with float; worst first.

        Classifications have none: their output is of one kind.
        """
        rows = [record["parts"] for record in self.measured if "parts" in record]
        found: dict[str, dict[str, float]] = {}
        for name in rows[0] if rows else ():
            means = {p: sum(row[name][p] for row in rows) / len(rows) for p in rows[0][name]}
            found[name] = dict(sorted(means.items(), key=lambda pair: pair[1]))
        return found

    def worst(self, count: int = 10) -> tuple[dict[str, Any], ...]:
        """Return the samples on which a quantized network is furthest below float.

        By the task's first number (the right class's score) in float minus the lowest of the
        quantized networks; without a float network, the samples with the lowest number.
        """
        return tuple(sorted(self.measured, key=_loss, reverse=True)[:count])

    def _face(self) -> Face:
        return Face(
            self.task,
            {
                "samples": f"{len(self.measured)} of {self.total}",
                "runs": ", ".join(self.runs),
                "failed": len(self.failed),
                "interrupted": "yes" if self.interrupted else "no",
            },
            (asdict(run) for run in self.accuracies),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "task": self.task,
            "total": self.total,
            "measured": len(self.measured),
            "failed": len(self.failed),
            "interrupted": self.interrupted,
            "at_chance": self.at_chance,
            "runs": [asdict(run) for run in self.accuracies],
            "parts": self.parts,
            "worst": list(self.worst()),
            "records": list(self.records),
        }

    def _accuracy(self, name: str) -> RunAccuracy:
        rows = [record["runs"] for record in self.measured]
        count = len(rows)
        classes = self.task == CLASSIFICATION and count > 0
        several = classes and len(rows[0][name]["top"]) == TOP
        keys = [k for k, v in rows[0][name].items() if isinstance(v, int | float)] if rows else []
        return RunAccuracy(
            name=name,
            samples=count,
            top1=sum(row[name]["rank"] == 0 for row in rows) / count if classes else None,
            top5=sum(row[name]["rank"] < TOP for row in rows) / count if several else None,
            agreement=(
                sum(row[name]["top"][0] == row[FLOAT]["top"][0] for row in rows) / count
                if classes and FLOAT in self.runs
                else None
            ),
            means={key: sum(row[name][key] for row in rows) / count for key in keys},
            scores=dict(self.scores.get(name, {})),
        )


def _loss(record: dict[str, Any]) -> float:
    numbers = {name: _first_number(found) for name, found in record["runs"].items()}
    others = [value for name, value in numbers.items() if name != FLOAT]
    return float(numbers.get(FLOAT, 0.0) - min(others, default=0.0))


def _first_number(found: dict[str, Any]) -> float:
    return float(next((v for v in found.values() if isinstance(v, int | float)), 0.0))


def evaluate(
    job: Job,
    items: Sequence[Item],
    *,
    jobs: int = 1,
    scheduler: str = "",
    state: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a task on a labelled set.

    The result does not depend on ``jobs``, on the cluster, or on interruptions in between.

    Parameters
    ----------
    job : Job
        Networks and task.
    items : sequence of Item
        The set, from ``open_labelled``.
    jobs : int
        Processes of this computer; 1 runs in this process.
    scheduler : str
        Address of a Dask scheduler to run on instead.
    state : path, optional
        File that holds what is done. One that exists is gone on with, and stays when all is done.
    progress : callable, optional
        Called with (samples done, samples).

    Raises
    ------
    ConfigError
        When the state belongs to something else, or the task or the cluster cannot be used.
    DatasetError
        When labels are no classes, or no sample could be run.
    """
    if jobs < 1:
        raise ConfigError(f"{jobs} jobs", where=words.say("jobs"), rule="at least 1")
    classes = 0
    task_named(
        job.task,
        graph=next(iter(job.graphs.values())),
        labels=job.labels,
        offset=job.offset,
        search=job.search or None,
        detector=job.detector,
    )
    if job.task in (DETECTION, SEGMENTATION) and not all(item.truth for item in items):
        raise DatasetError(
            f"the set has no {'boxes' if job.task == DETECTION else 'masks'}",
            rule=RULE if job.task == DETECTION else MASK_RULE,
        )
    if job.task == CLASSIFICATION:
        classes = class_count(next(iter(job.graphs.values())))
        check_classes(items, classes, labels=job.labels, offset=job.offset)
    stored = _stored(state, job, items) if state is not None else None
    done: dict[int, dict[str, Any]] = dict(stored.records) if stored else {}
    left = [item for item in items if item.index not in done]
    interrupted = False
    network = next(iter(job.graphs.values()))
    for text in sample_texts(network, (item.paths for item in left)):
        log.info("%s", text)
    if progress:
        progress(len(done), len(items))
    running = _running(job, left, jobs, scheduler)
    try:
        for records in running:
            done.update({record["index"]: record for record in records})
            if stored:
                stored.add(records)
            if progress:
                progress(len(done), len(items))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        running.close()
        if stored:
            stored.close()
    result = Evaluation(
        task=job.task,
        runs=tuple(job.graphs),
        total=len(items),
        records=tuple(done[index] for index in sorted(done)),
        interrupted=interrupted,
        state=None if state is None else Path(state),
        classes=classes,
        scores=_scores(job, items, done),
    )
    if not result.measured and result.failed:
        raise DatasetError(
            f"none of {len(result.failed)} samples could be run; the first: "
            f"{result.failed[0]['image']}: {result.failed[0]['error']}"
        )
    return result


def _stored(state: str | Path, job: Job, items: Sequence[Item]) -> State:
    def check(record: Record) -> None:
        check_record(record, job.task, tuple(job.graphs), len(items))

    return State(state, fingerprint(job, items), check)


def _scores(
    job: Job, items: Sequence[Item], done: Mapping[int, dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return network -> figures over all pictures that were measured."""
    measured = {i: record["runs"] for i, record in done.items() if "runs" in record}
    found = {}
    for name in job.graphs:
        if job.task == DETECTION:
            boxes = {i: runs[name]["boxes"] for i, runs in measured.items()}
            found[name] = average_precision(items, boxes)
        elif job.task == SEGMENTATION:
            found[name] = mean_iou(runs[name]["counts"] for runs in measured.values())
    return found


def fingerprint(job: Job, items: Sequence[Item]) -> str:
    """Return a digest of the networks, the task and the set (names, labels and file sizes)."""
    found = hashlib.sha256(job.digest.encode())
    for item in items:
        sizes = [Path(path).stat().st_size if Path(path).exists() else -1 for path in item.paths]
        found.update(repr((item.index, item.name, item.label, item.truth, sizes)).encode())
    return found.hexdigest()


def _running(job: Job, items: Sequence[Item], jobs: int, scheduler: str) -> Generator[Records]:
    if not items:
        return
    if scheduler:
        yield from run_on_cluster(job, items, scheduler)
    elif jobs == 1:
        yield from run_here(job, items)
    else:
        yield from run_in_processes(job, items, min(jobs, len(items)))
