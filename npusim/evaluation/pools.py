"""Where samples run: in this process, in processes of this computer, or on a Dask cluster.

Each yields lists of records as they are done, in any order. A worker that dies loses nothing: its
samples run again elsewhere; samples that kill workers again and again are reported as failed.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from npusim.errors import ConfigError
from npusim.evaluation.labelled import Item
from npusim.evaluation.worker import Job, run_items
from npusim.extras import require

Records = list[dict[str, Any]]
ATTEMPTS = 3
LARGEST_CHUNK = 8
CONNECT_S = 10.0
_job: Job | None = None


def run_here(job: Job, items: Sequence[Item]) -> Iterator[Records]:
    """Run samples one by one in this process."""
    for item in items:
        yield run_items(job, [item])


def run_in_processes(job: Job, items: Sequence[Item], jobs: int) -> Iterator[Records]:
    """Run samples in ``jobs`` processes of this computer, each with one thread."""
    waiting = chunks(items, jobs)
    attempts: dict[int, int] = {}
    others = set(multiprocessing.active_children())
    while waiting:
        executor = _executor(job, jobs)
        pending: dict[Future[Records], list[Item]] = {}
        try:
            pending = {executor.submit(_run, chunk): chunk for chunk in waiting}
            waiting = []
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    chunk = pending.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        waiting.append(chunk)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            if pending:  # stopped: nobody waits for what is running
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
        # nobody knows which sample killed the process: they run again one by one
        again: list[list[Item]] = []
        for item in (item for chunk in waiting for item in chunk):
            attempts[item.index] = attempts.get(item.index, 0) + 1
            if attempts[item.index] > ATTEMPTS:
                yield [_died(item, ATTEMPTS)]
            else:
                again.append([item])
        waiting = again


def run_on_cluster(job: Job, items: Sequence[Item], address: str) -> Iterator[Records]:
    """Run samples on a Dask cluster. Files are sent along: workers need not see the paths.

    Raises
    ------
    MissingExtraError
        When ``distributed`` is not installed.
    ConfigError
        When no scheduler answers, or it has no workers.
    """
    distributed = require("distributed", extra="cluster", purpose="running on a Dask cluster")
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"no scheduler answers: {error}",
            where=f"--scheduler {address}",
            rule="the address that dask scheduler prints, for example tcp://10.0.0.1:8786",
        ) from error
    with client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise ConfigError(
                "the cluster has no workers",
                where=f"--scheduler {address}",
                remedy=f"start some: dask worker {address}",
            )
        # a task, not scattered data: when every worker that holds it dies, it is made again
        held = client.submit(_same, job, key=f"npusim-{job.digest}", pure=True)
        futures = {}
        for chunk in chunks(items, workers):
            sent = [_with_contents(item) for item in chunk]
            future = client.submit(run_items, held, sent, pure=False, retries=ATTEMPTS)
            futures[future] = chunk
        finished = distributed.as_completed(futures, loop=client.loop, raise_errors=False)
        for future in finished:
            chunk = futures.pop(future)
            if future.status == "finished":
                yield future.result()
                continue
            reason = future.exception()
            if not isinstance(reason, distributed.KilledWorker):
                raise reason
            if len(chunk) == 1:
                yield [_died(chunk[0], ATTEMPTS)]
                continue
            for item in chunk:  # find the sample that kills workers
                one = client.submit(run_items, held, [_with_contents(item)], pure=False)
                futures[one] = [item]
                finished.add(one)


def chunks(items: Sequence[Item], workers: int) -> list[list[Item]]:
    """Return the samples in parts: enough of them to keep all workers busy to the end."""
    size = max(1, min(LARGEST_CHUNK, len(items) // (workers * 8)))
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def _executor(job: Job, jobs: int) -> ProcessPoolExecutor:
    # spawn: a forked copy of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(job,))


def _start(job: Job) -> None:
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    os.environ["NPUSIM_NUM_THREADS"] = "1"
    _job = job


def _run(items: Sequence[Item]) -> Records:
    assert _job is not None
    return run_items(_job, items)


def _same(job: Job) -> Job:
    return job


def _with_contents(item: Item) -> Item:
    """Return the item with its files; one that cannot be read fails where it runs."""
    try:
        return replace(item, contents=tuple(Path(path).read_bytes() for path in item.paths))
    except OSError:
        return item


def _died(item: Item, attempts: int) -> dict[str, Any]:
    return {
        "index": item.index,
        "image": item.name,
        "label": item.label,
        "error": f"the worker died {attempts} times on this sample; it may need more memory",
    }
