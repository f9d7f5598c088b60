"""Tapes at run time: their memory, their threads."""

import ctypes
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from npusim.environment import thread_count
from npusim.kernels.tape import BOARD_SIZE, FAILED, SHARE_BITS, TICKET, walk
from npusim.runtime import threads
from npusim.runtime.tape.memory import Array, address_of
from npusim.runtime.tape.record import Layer, Tape, record

_MOST_TAPES = 8  # of a segment: inputs in so many memory orders


class _Copy:
    """The words of a tape for one run at a time: a copy for each thread, and their board."""

    def __init__(self, tape: Tape, slots: int) -> None:
        self.words = np.tile(tape.words, (slots, 1))
        self._rows = [memoryview(row) for row in self.words]  # the quickest way to set a word
        self.board = np.zeros(BOARD_SIZE, np.int64)
        self.base = 0  # what the board calls the first group of the next run
        inside = tape.region == 0
        self._inside = tape.where[inside], tape.offsets[inside]
        outside = tape.where[~inside], tape.region[~inside] - 1, tape.offsets[~inside]
        self._outside = [*zip(*[numbers.tolist() for numbers in outside], strict=True)]
        self._arena = -1  # address that the words hold
        cuts = zip(tape.cuts, tape.cuts[1:], strict=False)
        self.parts = [(a, b, min(slots, int(tape.groups[a:b, 2].max()))) for a, b in cuts]

    def set_addresses(self, arena: int, others: list[int]) -> None:
        """Put the addresses of the arena, and of inputs and new results, into the words."""
        if arena != self._arena:  # a thread's arena seldom moves
            where, offsets = self._inside
            self.words[:, where] = arena + offsets
            self._arena = arena
        for where, region, offset in self._outside:
            for row in self._rows:
                row[where] = others[region] + offset


class Player:
    """Consecutive kernel steps, run as tapes.

    Parameters
    ----------
    layers : sequence of Layer
        Their steps are all ``KernelStep``.
    feeds : tuple of str
        Values they take from outside.
    wanted : tuple of str
        Values that are needed behind them.
    """

    def __init__(
        self, layers: Sequence[Layer], feeds: tuple[str, ...], wanted: tuple[str, ...]
    ) -> None:
        self.layers, self.feeds, self.wanted = layers, feeds, wanted
        self._tapes: dict[Any, tuple[Tape, list[_Copy]]] = {}

    def run(self, values: Mapping[str, Array]) -> dict[str, Array] | None:
        """Return the wanted values, or None when a kernel refused (the steps then tell why)."""
        # numpy gives numbers for arrays without axes; a number's memory is gone at once
        given = [np.asarray(values[name]) for name in self.feeds]
        key = (thread_count(), *[(v.strides, v.shape, v.dtype) for v in given])
        found = self._tapes.get(key)
        if found is None:
            feeds = dict(zip(self.feeds, given, strict=True))
            if len(self._tapes) >= _MOST_TAPES:
                self._tapes.clear()
            found = self._tapes[key] = record(self.layers, feeds, self.wanted), []
        tape, copies = found
        try:
            copy = copies.pop()
        except IndexError:
            copy = _Copy(tape, thread_count())
        return _play(tape, copy, copies, given)


def _play(
    tape: Tape, copy: _Copy, copies: list[_Copy], given: list[Array]
) -> dict[str, Array] | None:
    """Run a tape once. When that ends early, nothing that other threads may still use is reused."""
    arena = threads.take_arena(tape.arena_size)
    made = [np.empty(size, np.uint8) for size in tape.new_sizes]
    copy.set_addresses(address_of(arena), [address_of(array) for array in (*given, *made)])
    alive = arena, given, made
    for begin, end, takers in copy.parts:
        copy.board[TICKET] = (copy.base + begin) << SHARE_BITS
        threads.ask_for_help(
            [
                partial(_walk, tape, copy, slot, copy.base, begin, end, alive)
                for slot in range(1, takers)
            ]
        )
        _walk(tape, copy, 0, copy.base, begin, end, alive)
    failed = copy.board[FAILED]
    copy.board[FAILED] = 0
    copy.base += len(tape.groups) + 1
    copies.append(copy)
    threads.give_arena_back(arena)
    if failed:
        return None
    regions = given + made
    return {result.name: result.of(regions) for result in tape.results}


def _walk(
    tape: Tape, copy: _Copy, slot: int, base: int, begin: int, end: int, alive: object
) -> None:
    """Take part in a run; ``alive`` is what must not be freed before."""
    scratch = threads.scratch("tape", tape.scratch_size, np.uint8)
    walk(
        copy.words[slot], tape.records, tape.groups, copy.board, address_of(scratch), base, begin,
        end, _offer(),
    )  # fmt: skip


@cache
def _offer() -> int:
    """Return the address of the system's function that lets other threads run, 0 for none."""
    try:
        if sys.platform == "win32":
            function = ctypes.windll.kernel32.SwitchToThread
        else:
            function = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError):  # a system without it: waiting threads keep looking
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
