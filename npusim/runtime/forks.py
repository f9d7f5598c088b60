"""Locks that a forked child finds free, whatever the parent's other threads were doing."""

import os
import threading
import weakref

_living: "weakref.WeakSet[ForkSafeLock]" = weakref.WeakSet()


class ForkSafeLock:
    """A lock that its holder may take again.

    A fork copies locks as they are, but only the thread that forks: what another thread held would
    be held for ever in the child. There it is free again; what the forking thread holds stays held.
    What the lock guards must be usable in between, as the objects of this project are: a call
    changes them at its end.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _living.add(self)

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take it; without ``blocking`` only if that is possible at once. Return whether."""
        return self._lock.acquire(blocking=blocking)

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def __enter__(self) -> "ForkSafeLock":
        self._lock.acquire()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._lock.release()

    def _renew(self) -> None:
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


def _renew_all() -> None:
    for lock in list(_living):
        lock._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
