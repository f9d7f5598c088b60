"""Where samples run: in this process, in processes of this computer, or on a Dask cluster.

Each yields lists of records as they are done, in any order. A worker that dies loses nothing: its
samples run again elsewhere; samples that kill workers again and again are reported as failed.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from npusim import words
from npusim.errors import ConfigError
from npusim.evaluation.labelled import Item
from npusim.evaluation.worker import Job, run_ahead, run_items
from npusim.extras import require

Records = list[dict[str, Any]]
ATTEMPTS = 3
LARGEST_CHUNK = 8
AHEAD = 2  # parts per process that are handed over before they are needed
CONNECT_S = 10.0
ALONE_S = 60.0  # how long a cluster may be without workers: those that died are being started again
LOOK_S = 0.1
ABANDONED = 1  # nobody looks at this exit code
_CONTEXT = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
_job: Job | None = None


def run_here(job: Job, items: Sequence[Item]) -> Iterator[Records]:
    """Run samples one by one in this process."""
    with closing(run_ahead(job, items)) as records:
        for record in records:
            yield [record]


def run_in_processes(job: Job, items: Sequence[Item], jobs: int) -> Iterator[Records]:
    """Run samples in ``jobs`` processes of this computer, each with one thread.

    A process that dies takes the pool with it, and nobody knows which sample was the reason: what
    was under way then runs again one by one, and only a sample that dies alone is held against.

    Raises
    ------
    ConfigError
        When processes end before their work begins: no sample is the reason.
    """
    queue = deque(chunks(items, jobs))
    suspects: deque[Item] = deque()
    deaths: Counter[int] = Counter()
    pending: dict[Future[Records], list[Item]] = {}
    others = set(multiprocessing.active_children())
    executor: ProcessPoolExecutor | None = None
    begun = _CONTEXT.Event()
    try:
        while queue or suspects or pending:
            executor = executor or _executor(job, jobs, begun)
            alone, broken = bool(suspects), False
            try:
                if alone:
                    pending[executor.submit(_run, [suspects[0]])] = [suspects[0]]
                    suspects.popleft()
                while not alone and queue and len(pending) < jobs * AHEAD:
                    pending[executor.submit(_run, queue[0])] = queue[0]
                    queue.popleft()
            except BrokenProcessPool:  # it broke since the last look; nothing is lost
                broken = True
            wait(pending, return_when=FIRST_COMPLETED)
            for future in [future for future in pending if future.done()]:
                try:
                    records = future.result()
                except BrokenProcessPool:
                    broken = True
                    continue
                del pending[future]
                yield records
            if not broken:
                continue
            executor.shutdown(wait=True)  # every future is settled after that
            executor = None
            if not begun.is_set():
                raise _none_began()
            for future, chunk in pending.items():
                if future.exception() is None:
                    yield future.result()
                elif alone and deaths[chunk[0].index] + 1 >= ATTEMPTS:
                    yield [_died(chunk[0], ATTEMPTS)]
                else:
                    deaths.update(item.index for item in chunk if alone)
                    suspects.extend(chunk)
            pending = {}
    finally:
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        if pending:  # stopped: nobody waits for what is running
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()


def run_on_cluster(job: Job, items: Sequence[Item], address: str) -> Iterator[Records]:
    """Run samples on a Dask cluster. Files are sent along: workers need not see the paths.

    Raises
    ------
    MissingExtraError
        When ``distributed`` is not installed.
    ConfigError
        When no scheduler answers, it has no workers, or none comes back for ``ALONE_S``.
    """
    distributed = require("distributed", extra="cluster", purpose="running on a Dask cluster")
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError, AssertionError) as error:  # of an odd address
        raise ConfigError(
            f"no scheduler answers: {error}",
            where=words.say("scheduler", value=address),
            rule="the address that dask scheduler prints, for example tcp://10.0.0.1:8786",
        ) from error
    with client:
        try:  # workers that died a moment ago are being started again
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            raise ConfigError(
                "the cluster has no workers",
                where=words.say("scheduler", value=address),
                remedy=f"start some: dask worker {address}",
            ) from None
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        # a task, not scattered data: when every worker that holds it dies, it is made again
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            held = client.submit(_same, job, key=f"npusim-{job.digest}", pure=True)
        futures = {}
        for chunk in chunks(items, workers):
            sent = [_with_contents(item) for item in chunk]
            future = client.submit(run_items, held, sent, pure=False, retries=ATTEMPTS)
            futures[future] = chunk
        finished = distributed.as_completed(futures, loop=client.loop, raise_errors=False)
        suspects: list[Item] = []
        patience = _Patience(client, address)
        while not finished.is_empty():
            patience.wait_until(finished.has_ready)
            future = next(finished)
            chunk = futures.pop(future)
            try:  # waits: a result that died with its worker is computed again
                records = patience.result(future)
            except distributed.KilledWorker:
                suspects += chunk  # each ran on workers that died, together with others
                continue
            yield records
        for item in suspects:  # one by one: what dies now dies of this sample
            future = client.submit(run_items, held, [_with_contents(item)], pure=False)
            try:
                records = patience.result(future)
            except distributed.KilledWorker:
                records = [_died(item, ATTEMPTS)]
            yield records


class _Patience:
    """Waits for a cluster, but not for one that has no workers any more."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when it is so.

        Raises
        ------
        ConfigError
            When the scheduler is gone, or nobody works for it for ``ALONE_S``.
        """
        alone_since: float | None = None
        while not ready():
            if self._has_workers():
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > ALONE_S:
                raise self._lost(f"the cluster has been without workers for {ALONE_S:.0f} s")
            time.sleep(LOOK_S)

    def result(self, future: Any) -> Records:
        """Return a future's result, which may have to be made again."""
        while True:
            self.wait_until(future.done)
            try:
                records: Records = future.result(timeout=CONNECT_S)
            except TimeoutError:  # the worker that has it died: it is pending again
                self.wait_until(self._has_workers)
            except (CancelledError, asyncio.CancelledError) as error:
                raise self._lost("the scheduler has gone") from error
            else:
                return records

    def _lost(self, what: str) -> ConfigError:
        return ConfigError(
            what,
            where=words.say("scheduler", value=self._address),
            rule="work that is handed over needs a scheduler and a worker that does it",
            remedy=f"start them again (dask scheduler, dask worker {self._address}) and give the "
            "same command: finished samples are in the state",
        )

    def _has_workers(self) -> bool:
        if self._client.status != "running":  # the scheduler is gone, or being looked for
            return False
        return bool(self._client.scheduler_info(n_workers=-1)["workers"])


def chunks(items: Sequence[Item], workers: int) -> list[list[Item]]:
    """Return the samples in parts: enough of them to keep all workers busy to the end."""
    size = max(1, min(LARGEST_CHUNK, len(items) // (workers * 8)))
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def _none_began() -> ConfigError:
    return ConfigError(
        "the processes that were to run samples ended before they began",
        where=words.say("jobs"),
        rule="each of them imports the script that starts them, which must not start more: what a "
        "script does stands under if __name__ == '__main__':",
        remedy="put the call there, or let one process do it: 1",
    )


def _executor(job: Job, jobs: int, begun: Event) -> ProcessPoolExecutor:
    given = (job, words.front_end(), begun)
    return ProcessPoolExecutor(jobs, mp_context=_CONTEXT, initializer=_start, initargs=given)


def _start(job: Job, reader: words.FrontEnd, begun: Event) -> None:
    global _job
    begun.set()
    words.settle(reader)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["NPUSIM_NUM_THREADS"] = "1"
    _job = job


def _end_with_parent() -> None:
    """End this process when the one that gives it work is gone: the pool would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(ABANDONED)


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
