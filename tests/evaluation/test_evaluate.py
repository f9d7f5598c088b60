"""Sums, states, interruptions, processes: the result is the same however it was made."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import npusim
from npusim.errors import ConfigError, DatasetError, MissingExtraError
from npusim.evaluation import evaluate as module
from npusim.evaluation import pools
from npusim.evaluation.evaluate import Evaluation, evaluate, fingerprint
from npusim.evaluation.pools import chunks
from npusim.evaluation.state import State
from npusim.evaluation.task import at_chance
from npusim.evaluation.worker import Job
from npusim.report.evaluate_table import accuracy_table, evaluation_verdict, worst_table
from tests.detectors import detector


def test_top1_top5_agreement_and_worst(job, labelled):
    items = labelled()
    found = evaluate(job(), items)
    float_run, u8 = found.accuracies
    assert (float_run.name, u8.name) == ("float", "u8")
    assert float_run.top1 == u8.top1 == 0.8  # every fifth label is wrong
    assert 0.8 < u8.top5 <= 1.0
    assert u8.agreement == 1.0
    assert u8.means["score"] == pytest.approx(
        np.mean([r["runs"]["u8"]["score"] for r in found.records])
    )
    losses = [
        r["runs"]["float"]["score"] - r["runs"]["u8"]["score"] for r in found.worst(len(items))
    ]
    assert losses == sorted(losses, reverse=True)
    report = json.loads(json.dumps(found.to_dict()))
    assert report["runs"][1]["top1"] == 0.8
    assert len(report["records"]) == 20
    for table in (accuracy_table(found), worst_table(found, count=3)):
        assert table.row_count in (2, 3)
    assert "u8 against float: top-1 +0.00 points" in evaluation_verdict(found)


def test_records_hold_what_the_networks_gave(job, labelled, graphs):
    from npusim.quantization.dataset import load_sample
    from npusim.runtime.program import Program

    items = labelled(3)
    found = evaluate(job(), items)
    program = Program(graphs["u8"])
    for item, record in zip(items, found.records, strict=True):
        feeds = load_sample(item.paths, graphs["float"])
        (scores,) = program.run(feeds, preprocessed=True).values()
        assert record["runs"]["u8"]["score"] == float(scores.ravel()[int(item.label)])
        assert record["runs"]["u8"]["top"][0] == int(scores.argmax())


def test_custom_tasks(job, labelled, tmp_path):
    (tmp_path / "my_task.py").write_text(
        "def spread(outputs, label):\n    return outputs[0].max() - outputs[0].min()\n"
        "def broken(outputs, label):\n    return 1 / 0\n"
        "def wordy(outputs, label):\n    return 'good'\n"
    )
    items = labelled(4)
    found = evaluate(job("custom:my_task:spread", search=str(tmp_path)), items)
    assert found.accuracies[0].top1 is None
    assert 0 < found.accuracies[0].means["value"] < 1
    assert "points" not in evaluation_verdict(found)
    for name, words in (("broken", "ZeroDivisionError"), ("wordy", "a number")):
        with pytest.raises(DatasetError, match=words):
            evaluate(job(f"custom:my_task:{name}", search=str(tmp_path)), items)
    for name in ("custom:my_task:none", "custom:no_module_x:f", "segmentation", "custom:a"):
        with pytest.raises(ConfigError, match="task"):
            evaluate(job(name, search=str(tmp_path)), items)


def test_a_damaged_sample_is_counted_and_named(job, labelled, tmp_path):
    items = labelled(5)
    (tmp_path / "s2.npy").write_bytes(b"junk")
    found = evaluate(job(), items)
    assert [r["image"] for r in found.failed] == ["s2.npy"]
    assert len(found.measured) == 4
    assert "1 could not be run; the first is s2.npy" in evaluation_verdict(found)


def test_labels_beyond_the_classes_are_refused_before_the_work(job, labelled):
    items = [replace(item, label="17") for item in labelled(2)]
    with pytest.raises(DatasetError, match=r"0 .. 5"):
        evaluate(job(), items)
    with pytest.raises(DatasetError, match=r"0 .. 4"):
        evaluate(job(offset=1), [replace(item, label="5") for item in items])


class Stop:
    """Interrupts after a number of samples."""

    def __init__(self, after):
        self.after = after

    def __call__(self, done, total):
        if done >= self.after:
            raise KeyboardInterrupt


def test_an_interrupted_evaluation_goes_on(job, labelled, tmp_path, monkeypatch):
    items, state = labelled(), tmp_path / "state.jsonl"
    whole = evaluate(job(), items)
    half = evaluate(job(), items, state=state, progress=Stop(7))
    assert half.interrupted
    assert half.records == whole.records[:7]
    runs = []
    original = module.run_here
    monkeypatch.setattr(
        module, "run_here", lambda job, left: original(job, runs.extend(left) or left)
    )
    rest = evaluate(job(), items, state=state)
    assert [item.index for item in runs] == list(range(7, 20))
    assert rest == whole
    assert evaluate(job(), items, state=state) == whole  # nothing left to do
    assert len(runs) == 13


def test_a_torn_last_line_is_measured_again(job, labelled, tmp_path):
    items, state = labelled(), tmp_path / "state.jsonl"
    whole = evaluate(job(), items, state=state)
    data = state.read_bytes()
    for cut in (1, 30, len(data) // 2):
        state.write_bytes(data[:-cut])
        assert evaluate(job(), items, state=state) == whole
        assert sorted(state.read_bytes().splitlines()) == sorted(data.splitlines())


def test_a_state_belongs_to_one_run_at_a_time(job, labelled, tmp_path):
    items, state = labelled(3), tmp_path / "state.jsonl"
    held = State(state, fingerprint(job(), items))
    with pytest.raises(ConfigError, match="another run uses the state"):
        evaluate(job(), items, state=state)
    held.close()
    assert len(evaluate(job(), items, state=state).measured) == 3
    assert not list(tmp_path.glob(".state*"))


def test_foreign_and_damaged_states_are_refused_and_kept(job, labelled, tmp_path):
    items, state = labelled(3), tmp_path / "state.jsonl"
    evaluate(job(), items, state=state)
    data = state.read_bytes()
    other = [replace(item, label="0") for item in items]
    with pytest.raises(ConfigError, match="another model, task or set"):
        evaluate(job(), other, state=state)
    with pytest.raises(ConfigError, match="another model, task or set"):
        evaluate(job(offset=0, labels=tuple("012345")), items, state=state)
    assert state.read_bytes() == data
    for text, words in (
        (b"hello\n", "no state file"),
        (b"", "no state file"),
        (data.replace(b'"index"', b'"indx"', 1), "line 2 is damaged"),
    ):
        state.write_bytes(text)
        with pytest.raises(ConfigError, match=words):
            evaluate(job(), items, state=state)
        assert state.read_bytes() == text
    with pytest.raises(ConfigError, match="cannot be stored"):
        State(tmp_path / "no" / "folder", "x")


def test_the_fingerprint_does_not_depend_on_where_the_model_lies(job, labelled, graphs):
    items = labelled(2)
    moved = {
        name: graph.copy(source=replace(graph.source, path="/elsewhere/x.onnx"))
        for name, graph in graphs.items()
    }
    one, two = job(), replace(job(), graphs=moved, digest="")
    assert fingerprint(one, items) == fingerprint(two, items)
    changed = graphs["u8"].copy(name="another")
    assert job().digest != replace(job(), graphs={"u8": changed}, digest="").digest


def test_parts_keep_all_workers_busy_to_the_end(labelled):
    items = labelled()
    assert [len(part) for part in chunks(items, 1)] == [2] * 10
    assert [len(part) for part in chunks(items, 4)] == [1] * 20
    assert [item for part in chunks(items, 1) for item in part] == list(items)
    assert max(len(part) for part in chunks(items * 100, 1)) == 8


def test_no_jobs_is_refused(job, labelled):
    with pytest.raises(ConfigError, match="jobs"):
        evaluate(job(), labelled(1), jobs=0)


def test_a_missing_package_names_the_extra(job, labelled, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"npusim\[cluster\]"):
        evaluate(job(), labelled(1), scheduler="tcp://127.0.0.1:9")


def test_nothing_measured_yet():
    empty = Evaluation(task="classification", runs=("float",), total=3, records=())
    assert empty.accuracies[0].top1 is None
    assert empty.worst() == ()


@pytest.mark.slow
def test_processes_give_the_same_result(job, labelled):
    items = labelled()
    assert evaluate(job(), items, jobs=2) == evaluate(job(), items)


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process_behind(job, labelled, tmp_path):
    items, state = labelled(), tmp_path / "state.jsonl"
    half = evaluate(job(), items, jobs=2, state=state, progress=Stop(5))
    assert half.interrupted
    assert 5 <= len(half.records) < 20
    for process in multiprocessing.active_children():
        process.join()
    assert evaluate(job(), items, state=state) == evaluate(job(), items)


@pytest.mark.slow
def test_a_killed_process_loses_nothing(job, labelled, killing, tmp_path):
    items = labelled()
    found = evaluate(job(**killing()), items, jobs=2)
    assert (tmp_path / "killed").exists()
    assert found.failed == ()
    assert [r["index"] for r in found.records] == list(range(20))


@pytest.mark.slow
def test_a_sample_that_always_kills_is_reported_and_no_other(job, labelled, killing, monkeypatch):
    monkeypatch.setattr(pools, "ATTEMPTS", 1)
    items = labelled(12)
    found = evaluate(job(**killing(always=True)), items, jobs=2)
    assert [r["label"] for r in found.failed] == ["3"]
    assert "died 1 times" in found.failed[0]["error"]
    assert len(found.measured) == 11


def test_an_output_that_is_no_vector_of_scores_is_refused(labelled):
    graph = detector(body=1)
    with pytest.raises(ConfigError, match=r"no vector of class scores; .*'output' \(1, 256, 7\)"):
        evaluate(Job(graphs={"float": graph}, task="classification"), labelled(2))


def test_a_float_network_at_chance_measures_nothing(job, labelled):
    items = [replace(item, label=str((int(item.label) + 3) % 6)) for item in labelled()]
    found = evaluate(job(), items)
    assert "float itself is right in 0 of 20 samples" in found.at_chance
    assert found.at_chance in evaluation_verdict(found)
    assert found.to_dict()["at_chance"] == found.at_chance
    assert evaluate(job(), labelled()).at_chance == ""


@pytest.mark.parametrize(
    ("hits", "samples", "classes", "wanted"),
    [
        *[(0, 1, 2, True), (1, 1, 2, False), (3, 3, 2, False), (1, 20, 1000, False)],
        *[(55, 100, 2, True), (70, 100, 2, False), (1, 1000, 1000, True), (6, 1000, 1000, False)],
    ],
)
def test_chance_is_what_guessing_gives(hits, samples, classes, wanted):
    assert at_chance(hits, samples, classes) is wanted


UNGUARDED = """
import npusim

graph = npusim.load_model("net.npusim")
npusim.evaluate({"float": graph}, "set.txt", jobs=2)
"""


@pytest.mark.slow
def test_a_script_that_every_process_would_run_again_is_not_held_against_samples(
    graphs, labelled, tmp_path
):
    npusim.save(graphs["float"], tmp_path / "net.npusim")
    lines = [f"{item.paths[0]} {item.label}" for item in labelled(20)]
    (tmp_path / "set.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "unguarded.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    said = done.stderr[done.stderr.rindex("npusim.errors.") :]
    assert said.startswith("npusim.errors.ConfigError: jobs: the processes")
    assert "if __name__ == '__main__'" in said


ABANDONING = """
import os, sys, time
from npusim.evaluation import pools

if __name__ == "__main__":
    pool = pools._executor(None, 1, pools._CONTEXT.Event())
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups are those of POSIX")
def test_processes_end_with_the_one_that_gave_them_work(tmp_path):
    (tmp_path / "abandoning.py").write_text(ABANDONING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "abandoning.py"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("it waits for ever")
