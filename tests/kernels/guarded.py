"""Arrays between two pages that nobody may touch, and kernels that are called on nothing else.

    python -m tests.kernels.guarded MODULE

runs every case of ``MODULE.CASES`` (kernel -> functions that call it and return their results) in a
process of its own, once with the arrays close to the page behind them and once to the one before,
and prints {kernel: {where: "" or what went wrong}} as JSON; before that ``MODULE.prepare()``.
"""

import ctypes
import inspect
import json
import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from npusim.kernels import _jit
from npusim.runtime import threads

Case = Callable[[], list[np.ndarray]]
PLACES = {"end": True, "start": False}
_PAGE = mmap.PAGESIZE
_PROT_NONE = 0  # the mmap module does not name it
_RANGES = {("first", "last"), ("start", "stop"), ("panel_begin", "panel_end")}
_RANGES |= {("pixel_begin", "pixel_end")}
_KEPT: list[mmap.mmap] = []  # the mappings live as long as the arrays inside them


def guarded(array: np.ndarray, *, at_end: bool) -> np.ndarray:
    """Return a copy that ends where a forbidden page begins, or begins where one ends."""
    pages = max(1, -(-array.nbytes // _PAGE))
    memory = mmap.mmap(-1, (pages + 2) * _PAGE)
    _KEPT.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + (pages + 1) * _PAGE):
        done = libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(_PAGE), _PROT_NONE)
        assert done == 0, os.strerror(ctypes.get_errno())
    start = _PAGE + (pages * _PAGE - array.nbytes if at_end else 0)
    copy = np.ndarray(array.shape, array.dtype, buffer=memory, offset=start)
    copy[...] = array
    copy.flags.writeable = array.flags.writeable
    return copy


class _Forgetful(dict):
    """The scratch arrays of a thread, never kept: each is exactly as long as was asked for."""

    def get(self, key, default=None):
        return default


@contextmanager
def guards(*, at_end: bool) -> Iterator[set[str]]:
    """Call kernels on guarded copies of all their arrays; yields the names of those called.

    A range of rows is done in two halves, the second one first: what the first half writes behind
    its end would stay.
    """
    called: set[str] = set()
    plain = _jit.Kernel.__call__

    def call(kernel: _jit.Kernel, *args: Any) -> None:
        called.add(kernel.name)
        copies = {id(a): guarded(a, at_end=at_end) for a in args if isinstance(a, np.ndarray)}
        values = [copies.get(id(a), a) for a in args]
        names = tuple(inspect.signature(kernel.py_func).parameters)[-2:]
        first, last = values[-2:]
        if names in _RANGES and last - first > 1:
            middle = (first + last) // 2
            plain(kernel, *values[:-2], middle, last)
            plain(kernel, *values[:-2], first, middle)
        else:
            plain(kernel, *values)
        for array in args:
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = copies[id(array)]
        _KEPT.clear()

    _jit.Kernel.__call__ = call  # type: ignore[method-assign, assignment]
    threads._local.arrays = _Forgetful()
    try:
        yield called
    finally:
        _jit.Kernel.__call__ = plain  # type: ignore[method-assign]


def check(kernel: str, case: Case, *, at_end: bool) -> None:
    """Run a case on plain and on guarded arrays; the results are the same."""
    expected = case()
    with guards(at_end=at_end) as called:
        actual = case()
    assert kernel in called, f"the case calls {', '.join(sorted(called)) or 'nothing'}"
    for one, other in zip(actual, expected, strict=True):
        assert one.tobytes() == other.tobytes(), "other results than on plain arrays"


def in_a_child(work: Callable[[], None]) -> str:
    """Do work in a forked process; return what went wrong, or nothing."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
            os._exit(1)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return text


def main() -> None:
    """Run the cases of the module named on the command line."""
    module = import_module(sys.argv[1])
    cases: dict[str, list[Case]] = module.CASES
    module.prepare()
    report: dict[str, dict[str, str]] = {}
    for kernel, functions in cases.items():
        found = _jit._KERNELS[kernel]
        if not found.is_available:
            continue
        found.compile()  # here, once for all children
        report[kernel] = {
            f"{function.__name__} at the {place}": in_a_child(
                partial(check, kernel, function, at_end=at_end)
            )
            for function in functions
            for place, at_end in PLACES.items()
        }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
