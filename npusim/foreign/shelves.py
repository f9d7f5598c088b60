"""Memory that npusim shares with the process of a runtime, for answers: copied once, read in place.

A pipe moves about 1 GB/s, what a layer by layer run of a runtime gives is 30 to 400 MB. Linux only
(memfd); elsewhere, and while all shelves are in use, arrays go through the pipe.
"""

import contextlib
import mmap
import os
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

from npusim.foreign.wire import BrokenWire

_UNIT = 1 << 20
KEPT_BYTES = 1 << 28  # of a shelf that is not in use; more is given back to the system
_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING if hasattr(os, "memfd_create") else 0
_generation = 0  # forks so far


class _Memory:
    """A descriptor of memory that has no name and cannot be made shorter.

    Reading an array behind its end would end the process.
    """

    def __init__(self, descriptor: int) -> None:
        import fcntl  # not on Windows

        self.descriptor = descriptor
        self._mapped: mmap.mmap | None = None
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)

    def view(self, size: int) -> memoryview:
        """Return its beginning; stays mapped, as touching 50 MB for the first time takes 10 ms."""
        if self._mapped is None or len(self._mapped) < size:
            if not 0 < size <= os.fstat(self.descriptor).st_size:
                raise BrokenWire("a shelf that holds less")
            self._mapped = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        return memoryview(self._mapped)[:size]

    def __del__(self) -> None:
        os.close(self.descriptor)


class Shelves:
    """The reading side: which shelves are free, and arrays on them."""

    def __init__(self, number: int) -> None:
        self._all: list[_Memory] = []
        if hasattr(os, "memfd_create"):
            with contextlib.suppress(OSError):  # refused, or no descriptor left: the pipe has to do
                for _ in range(number):
                    self._all.append(_Memory(os.memfd_create("npusim-shelf", _FLAGS)))
        self._free = deque(range(len(self._all)))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Return what the other side has to inherit."""
        return tuple(memory.descriptor for memory in self._all)

    def take(self) -> int:
        """Return a shelf for an answer; -1 when none is free."""
        try:
            return self._free.pop()  # the last one used: its memory is there
        except IndexError:
            return -1

    def give_back(self, shelf: int) -> None:
        """Let a shelf be used again."""
        if shelf >= 0:
            self._free.append(shelf)

    def content(self, shelf: int, size: int) -> NDArray[np.uint8]:
        """Return what lies on a shelf, to be read only.

        The shelf is free again when nothing uses the array any more.

        Raises
        ------
        BrokenWire
            When there is no such shelf, or it is shorter.
        """
        if shelf >= len(self._all):
            raise BrokenWire("a shelf that is not there")
        memory = self._all[shelf]
        found = np.frombuffer(memory.view(size), np.uint8)
        weakref.finalize(found, self._emptied, shelf, memory, size, _generation).atexit = False
        return found

    def _emptied(self, shelf: int, memory: _Memory, size: int, generation: int) -> None:
        if generation != _generation:  # another process may read it still
            return
        if size > KEPT_BYTES:
            with mmap.mmap(memory.descriptor, size) as shared:
                shared.madvise(mmap.MADV_REMOVE)
        self.give_back(shelf)


def _before_a_fork() -> None:
    """Let no shelf that is in use be used again: both processes read it from now on."""
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_a_fork)


class Filled:
    """The writing side of a shelf; its memory stays mapped for the next answer."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None

    def room(self, size: int) -> memoryview | None:
        """Return memory for an answer; None when the system refuses it."""
        if self._memory is None or len(self._memory) < size:
            try:
                length = max(size + -size % _UNIT, os.fstat(self._descriptor).st_size)
                os.ftruncate(self._descriptor, length)
                self._memory = mmap.mmap(self._descriptor, length)
            except (OSError, ValueError):  # a limit of file sizes or of memory: the pipe has to do
                return None
        return memoryview(self._memory)[:size]
