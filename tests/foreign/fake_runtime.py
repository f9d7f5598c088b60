"""A runtime that does what real ones do to a process when a file upsets them."""

import os
import signal
import sys
import threading
import time

import numpy as np

from npusim.foreign.side import Refused


def version():
    return "1"


def echoed(*values):
    return list(values)


def aborted():
    print("terminate called: no such kernel", file=sys.stderr, flush=True)
    os.abort()


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def left(code):
    os._exit(code)


def slept(seconds):
    time.sleep(seconds)
    return seconds


def walked(*file):
    time.sleep(600)


def refused():
    raise Refused("no such operator")


def failed():
    return 1 // 0


def without_memory():
    raise MemoryError("for a tensor")


def noisy():
    os.write(1, b"INFO: created a delegate\n")
    os.write(2, b"W" * 300_000)
    return os.read(0, 10).decode()


def mumbled():
    """Write what is no message where answers go, as a runtime may that writes at random."""
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    time.sleep(60)


def ones(size):
    return {"big": np.ones(size, np.float32), "small": np.arange(3)}


def told(value):
    _told.append(value)


_told: list[object] = []


def heard():
    return _told


def threads():
    return threading.current_thread().name


def process():
    return os.getpid()
