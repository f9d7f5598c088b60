"""What a state file says of a sample, checked before it counts as measured."""

from collections.abc import Collection

from npusim.evaluation.detection import DETECTION
from npusim.evaluation.segmentation import SEGMENTATION
from npusim.evaluation.task import CLASSIFICATION
from npusim.reading.records import Record


def check_record(record: Record, task: str, runs: Collection[str], total: int) -> None:
    """Check the record of one sample.

    Parameters
    ----------
    record : Record
    task : str
    runs : collection of str
        Networks that are measured.
    total : int
        Samples of the set.

    Raises
    ------
    NpusimError
        The record's own, naming what is missing or of another type.
    """
    if not 0 <= record.whole("index") < total:
        raise record.fail(f"index is {record.whole('index')}", f"0 to {total - 1}")
    for key in ("image", "label"):
        record.text(key)
    if "error" in record.fields():
        record.text("error")
        return
    found = record.record("runs")
    if set(found.fields()) != set(runs):
        raise record.fail(f"runs are {', '.join(found.fields())}", ", ".join(runs))
    for name in runs:
        _check_run(found.record(name), task)
    if "parts" not in record.fields():
        return
    parts = record.record("parts")
    for name in parts.fields():
        cosines = parts.record(name)
        for part in cosines.fields():
            cosines.number(part, finite=False)


def _check_run(run: Record, task: str) -> None:
    if task == CLASSIFICATION:
        run.numbers("top")
        run.number("score", finite=False)
        run.whole("rank")
    elif task == DETECTION:
        for row, box in enumerate(run.list("boxes")):
            if (
                len(Record({"box": box}, f"boxes[{row}]", run.fail).numbers("box", finite=False))
                != 6
            ):
                raise run.fail(f"boxes[{row}] is no box", "six numbers")
    elif task == SEGMENTATION:
        counts = run.record("counts")
        for label in counts.fields():
            if len(counts.numbers(label)) != 2:
                raise run.fail(f"the counts of {label}", "two numbers")
