"""Which processors the threads of a run use.

Linux may put a woken thread on the processor of the thread that wakes it, and leave both there for
20 ms: whole networks would run on one processor. For as long as a run takes, the calling thread is
kept on its processor and its helpers away from it. Where the system cannot do that, or refuses, the
threads stay where they are. No result depends on it.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from npusim.runtime.forks import ForkSafeLock

_ONE_RUN = ForkSafeLock()  # of several runs at a time only one is placed


@contextmanager
def kept_apart(helpers: tuple[int, ...]) -> Iterator[None]:
    """Keep the calling thread away from its helpers (the system's numbers of threads)."""
    if not helpers or not _ONE_RUN.acquire(blocking=False):
        yield
        return
    try:
        allowed = _separate(helpers)
        try:
            yield
        finally:
            if allowed:
                os.sched_setaffinity(0, allowed)
    finally:
        _ONE_RUN.release()


def _separate(helpers: tuple[int, ...]) -> set[int]:
    """Return the processors that the calling thread had before; none when nothing was done."""
    processor = _current_processor()
    if processor is None:
        return set()
    try:
        allowed, own = os.sched_getaffinity(0), processor()
        if own not in allowed or len(allowed) <= len(helpers):
            return set()
        for helper in helpers:
            os.sched_setaffinity(helper, allowed - {own})
        os.sched_setaffinity(0, {own})
    except OSError:  # forbidden here
        return set()
    return allowed


@cache
def _current_processor() -> Callable[[], int] | None:
    """Return the C library's function that tells on which processor the caller runs, if any."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    function: Callable[[], int] | None = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return function
