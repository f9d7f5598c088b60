"""A small pool of threads for kernels that work on independent rows.

Every kernel writes each output from one row range only, so the results do not depend on the number
of threads. The number is ``NPUSIM_NUM_THREADS``, by default the processors this process may use.
"""

import os
import threading
from collections.abc import Callable
from functools import cache, partial
from itertools import count
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from npusim.errors import ConfigError
from npusim.kernels.pack_fours import aligned

RowsCall = Callable[[int, int], object]
_SHARES = 2  # ranges per thread: one that is late does less
SMALL_WORK = 1 << 21  # multiply-adds (or bytes) that are not worth a second thread

_local = threading.local()


@cache
def thread_count() -> int:
    """Return how many threads kernels use.

    Raises
    ------
    ConfigError
        When ``NPUSIM_NUM_THREADS`` is not a positive integer.
    """
    text = os.environ.get("NPUSIM_NUM_THREADS", "")
    if not text:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(
            f"NPUSIM_NUM_THREADS is {text!r}",
            rule="a whole number of threads, 1 or more",
            remedy="unset it to use every processor",
        )
    return int(text)


@cache
def _inbox() -> SimpleQueue[Callable[[], None]]:
    """Start the other threads; return the queue of what they are to do."""
    inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def work() -> None:
        while True:
            inbox.get()()

    for number in range(1, thread_count()):
        threading.Thread(target=work, name=f"npusim-{number}", daemon=True).start()
    return inbox


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inbox.cache_clear)  # threads do not survive a fork


def part_count(rows: int, work: int) -> int:
    """Return into how many ranges ``run_rows`` cuts the rows."""
    return min(thread_count(), rows, max(1, work // SMALL_WORK))


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
    shares = min(rows, _SHARES * parts)
    numbers = count()  # next() is atomic: whoever is free takes the next share

    def take() -> None:
        while (number := next(numbers)) < shares:
            call(rows * number // shares, rows * (number + 1) // shares)

    done: SimpleQueue[BaseException | None] = SimpleQueue()
    begun = [threading.Lock() for _ in range(parts - 1)]  # taken by who begins, or by who gives up

    def help_out(lock: threading.Lock) -> None:
        if lock.acquire(blocking=False):
            try:
                take()
            except BaseException as error:
                done.put(error)
            else:
                done.put(None)

    for lock in begun:
        _inbox().put(partial(help_out, lock))
    try:
        take()
    finally:  # the arrays must outlive every thread that writes them; who never began need not
        errors = [done.get() for lock in begun if not lock.acquire(blocking=False)]
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
