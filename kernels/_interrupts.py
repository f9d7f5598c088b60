"""Ctrl-C while the compiler runs.

LLVM calls back into Python, where a ``KeyboardInterrupt`` is printed and lost, and with it what
Numba was about to note. So a first Ctrl-C waits until the kernel is compiled and kept.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Let a first Ctrl-C act when the block is left, a second one at once.

    Blocks of other threads than the main one are left alone: Python interrupts none of them.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            handler(number, frame)
        waiting.append((number, frame))

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if waiting:
            handler(*waiting[0])
