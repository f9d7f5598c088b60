"""A local Dask cluster of two workers."""

import os

import pytest

from npusim.errors import ConfigError
from npusim.evaluation.evaluate import evaluate
from npusim.evaluation.pools import _with_contents

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of a cluster whose workers are killed
]


@pytest.fixture(scope="module")
def cluster():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
        ) as made,
    ):
        yield made


def test_the_cluster_gives_the_same_result_without_seeing_the_files(
    job, labelled, cluster, tmp_path, monkeypatch
):
    items = labelled()
    expected = evaluate(job(), items)
    sent = []

    def send_and_hide(item):
        sent.append(_with_contents(item))
        for path in item.paths:
            os.unlink(path)
        return sent[-1]

    monkeypatch.setattr("npusim.evaluation.pools._with_contents", send_and_hide)
    found = evaluate(job(), items, scheduler=cluster.scheduler_address)
    assert found == expected
    assert len(sent) == 20


def test_a_worker_killed_midway_loses_nothing(job, labelled, killing, cluster, tmp_path):
    state = tmp_path / "state.jsonl"
    found = evaluate(job(**killing()), labelled(), scheduler=cluster.scheduler_address, state=state)
    assert (tmp_path / "killed").exists()
    assert found.failed == ()
    assert [r["index"] for r in found.records] == list(range(20))
    assert len(state.read_text().splitlines()) == 21


def test_a_sample_that_always_kills_is_reported_and_no_other(job, labelled, killing, cluster):
    found = evaluate(job(**killing(always=True)), labelled(12), scheduler=cluster.scheduler_address)
    assert [r["label"] for r in found.failed] == ["3"]
    assert len(found.measured) == 11


def test_an_interrupted_run_goes_on_elsewhere(job, labelled, cluster, tmp_path):
    items, state = labelled(), tmp_path / "state.jsonl"

    def stop(done, total):
        if done >= 5:
            raise KeyboardInterrupt

    half = evaluate(job(), items, scheduler=cluster.scheduler_address, state=state, progress=stop)
    assert half.interrupted
    assert 5 <= len(half.records) < 20
    assert evaluate(job(), items, state=state) == evaluate(job(), items)


def test_no_scheduler(job, labelled, monkeypatch):
    monkeypatch.setattr("npusim.evaluation.pools.CONNECT_S", 0.5)
    with pytest.raises(ConfigError, match=r"scheduler"):
        evaluate(job(), labelled(1), scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"scheduler"):
        evaluate(job(), labelled(1), scheduler="nonsense://x")


@pytest.mark.parametrize("gone", ["workers", "scheduler"])
def test_a_cluster_whose_workers_do_not_come_back(job, labelled, tmp_path, monkeypatch, gone):
    monkeypatch.setattr("npusim.evaluation.pools.ALONE_S", 2.0)
    items, state = labelled(), tmp_path / "state.jsonl"
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as made:

        def leave(done, total):
            if done == 2 and gone == "workers":
                made.scale(0)
            elif done == 2:
                made.close(timeout=5)

        with pytest.raises(ConfigError, match=r"without workers for 2 s|the scheduler has gone"):
            evaluate(job(), items, scheduler=made.scheduler_address, state=state, progress=leave)
    kept = len(state.read_text().splitlines()) - 1
    assert 2 <= kept < len(items)
    assert evaluate(job(), items, state=state) == evaluate(job(), items)


def test_a_cluster_without_workers(job, labelled, monkeypatch):
    with distributed.LocalCluster(
        n_workers=0, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as empty:
        monkeypatch.setattr("npusim.evaluation.pools.CONNECT_S", 1.0)
        with pytest.raises(ConfigError, match="no workers"):
            evaluate(job(), labelled(1), scheduler=empty.scheduler_address)
