"""A small pool of threads for kernels that work on independent rows.

Every kernel writes each output from one row range only, so the results do not depend on the number
of threads, which is ``environment.thread_count``.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from itertools import count
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.environment import thread_count
from npusim.kernels.pack.fours import aligned
from npusim.kernels.pack.geometry import SHARES
from npusim.kernels.wait import until_changed
from npusim.runtime.affinity import kept_apart

RowsCall = Callable[[int, int], object]
SMALL_WORK = 1 << 19  # multiply-adds (or bytes) that are not worth a second thread

# Waiting for less than about half a millisecond is looking, not sleeping: being woken takes 50 us
# in a virtual machine. A thread that needs the interpreter lock while another one has it falls
# asleep all the same, so whoever sees a change gives the other one time to enter its next kernel.
_LOOKS = 20_000
_LOOKS_TO_BEGIN = 100
_LOOKS_TO_END = 50

_local = threading.local()


class _Pool(NamedTuple):
    """The other threads."""

    inbox: SimpleQueue[Callable[[], None]]  # what they are to do
    calls: NDArray[np.int64]  # [0] changes when there is more of it
    native_ids: tuple[int, ...]


@cache
def _pool() -> _Pool:
    """Start the other threads."""
    inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
    calls = np.zeros(1, np.int64)

    def work() -> None:
        while True:
            seen = int(calls[0])
            if inbox.empty():
                until_changed(calls, 0, seen, _LOOKS, _LOOKS_TO_BEGIN)
            inbox.get()()

    helpers = [
        threading.Thread(target=work, name=f"npusim-{number}", daemon=True)
        for number in range(1, thread_count())
    ]
    for helper in helpers:
        helper.start()
    return _Pool(inbox, calls, tuple(h.native_id for h in helpers if h.native_id is not None))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def own_processors() -> AbstractContextManager[None]:
    """Keep this thread and the pool's on different processors until the context ends."""
    return kept_apart(_pool().native_ids if thread_count() > 1 else ())


def part_count(rows: int, work: int, small: int = SMALL_WORK) -> int:
    """Return how many threads are worth it for rows with so much work."""
    return min(thread_count(), rows, max(1, work // small))


def share_count(rows: int, work: int, small: int = SMALL_WORK) -> int:
    """Return into how many shares the rows are cut that threads take one by one."""
    parts = part_count(rows, work, small)
    return 1 if parts <= 1 else min(rows, SHARES * parts)


def ask_for_help(tasks: Sequence[Callable[[], None]]) -> None:
    """Have the other threads do tasks when they find the time; returns at once.

    Nobody waits for them: a task must be harmless when it comes late, and keep alive what it uses.
    """
    if not tasks:
        return
    inbox, calls, _ = _pool()
    for task in tasks:
        inbox.put(task)
    calls[0] += 1


def run_rows(call: RowsCall, rows: int, work: int) -> None:
    """Call ``call(start, stop)`` over ranges that together cover ``rows``.

    Parameters
    ----------
    call : callable
        Processes rows start..stop; must release the interpreter lock to gain anything.
    rows : int
        Independent rows.
    work : int
        Multiply-adds or bytes of all rows together; small work runs in the calling thread.
    """
    parts = part_count(rows, work)
    if parts <= 1:
        call(0, rows)
        return
    shares = share_count(rows, work)
    numbers = count()  # next() is atomic: whoever is free takes the next share

    def take() -> None:
        while (number := next(numbers)) < shares:
            call(rows * number // shares, rows * (number + 1) // shares)

    helpers = range(parts - 1)
    begun = [threading.Lock() for _ in helpers]  # taken by who begins, or by who gives up
    ended = np.zeros(parts - 1, np.int64)
    results: SimpleQueue[BaseException | None] = SimpleQueue()

    def help_out(number: int) -> None:
        if not begun[number].acquire(blocking=False):
            return
        try:
            take()
        except BaseException as error:
            results.put(error)
        else:
            results.put(None)
        ended[number] = 1

    def result(number: int) -> BaseException | None:
        if begun[number].acquire(blocking=False):
            return None
        if not ended[number]:
            until_changed(ended, number, 0, _LOOKS, _LOOKS_TO_END)
        return results.get()

    inbox, calls, _ = _pool()
    for number in helpers:
        inbox.put(partial(help_out, number))
    calls[0] += 1
    try:
        take()
    finally:  # the arrays must outlive every thread that writes them; who never began need not
        errors = [result(number) for number in helpers]
    for error in errors:
        if error is not None:
            raise error


def scratch(key: str, size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return this thread's flat scratch array of at least ``size`` elements; content is undefined.

    It begins at a cache line. The memory is kept and grows to the largest size asked for; ``key``
    separates arrays in use at the same time.
    """
    arrays: dict[tuple[str, DTypeLike], NDArray[Any]] = _local.__dict__.setdefault("arrays", {})
    found = arrays.get((key, dtype))
    if found is None or found.size < size:
        found = arrays[key, dtype] = aligned(np.empty(size, dtype))
    return found


def take_arena(size: int) -> NDArray[np.uint8]:
    """Return memory of at least ``size`` bytes for one run; content is undefined.

    It is this thread's from the last run, unless that has not been given back or is smaller.
    """
    found: NDArray[np.uint8] | None = _local.__dict__.pop("arena", None)
    if found is None or found.size < size:
        found = aligned(np.empty(size, np.uint8))
    return found


def give_arena_back(arena: NDArray[np.uint8]) -> None:
    """Keep an arena that nobody uses any more for this thread's next run."""
    _local.arena = arena
