"""The process of a runtime: reads questions from standard input, answers on standard output.

It imports no more of npusim than it needs, and ends with the process that asks.
"""

import io
import os
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any, BinaryIO

from npusim.foreign.shelves import Filled
from npusim.foreign.side import Refused
from npusim.foreign.wire import (
    SMALL,
    BrokenWire,
    Message,
    laid_out,
    lay_out,
    packed,
    receive,
    send,
    size_of,
    unpacked,
)

MOST_AT_ONCE = 256


def serve(code: str, *shelves: str) -> None:
    """Answer questions until nobody asks any more; does not return.

    Parameters
    ----------
    code : str
        Module of the functions that may be asked for.
    shelves : str
        Descriptors of shared memory for answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    questions = io.BufferedReader(io.FileIO(os.dup(0)), SMALL)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)  # what a runtime prints is no answer
    worker = _Worker(answers, [Filled(int(descriptor)) for descriptor in shelves], code)
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        while True:
            try:
                message = receive(questions.readinto)
            except BrokenWire:
                os._exit(0)  # whatever still computes
            pool.submit(worker.answer, message)


def _no_room(size: int) -> None:
    """Stand for a shelf where there is none."""


class _Worker:
    def __init__(self, answers: BinaryIO, shelves: list[Filled], code: str) -> None:
        self._answers, self._shelves, self._code = answers, shelves, code
        self._module: ModuleType | None = None
        self._lock = threading.Lock()  # of imports
        self._sending = threading.Lock()

    def answer(self, message: Message) -> None:
        """Compute an answer and send it; whatever goes wrong is an answer too."""
        try:
            reply = self._placed(message, {"answer": self._called(message)})
        except Refused as error:
            reply = self._placed(message, {"refused": str(error)})
        except MemoryError as error:
            reply = self._placed(message, {"memory": str(error)})
        except Exception:
            reply = self._placed(message, {"fault": traceback.format_exc()})
        if message.number:
            with self._sending:
                send(self._answers.write, reply)

    def _called(self, message: Message) -> Any:
        name, *arguments = unpacked(message.text, message.content)
        with self._lock:
            if self._module is None:
                self._module = import_module(self._code)
        function = getattr(self._module, name)
        if getattr(function, "takes_room", False):
            shelf = self._shelves[message.shelf].room if message.shelf >= 0 else _no_room
            return function(*arguments, room=shelf)
        return function(*arguments)

    def _placed(self, message: Message, value: Any) -> Message:
        """Return the reply; its arrays lie on the shelf where that has room."""
        text, arrays = packed(value)
        value = None  # arrays that have been copied are freed one by one
        size = size_of(arrays)
        room = self._shelves[message.shelf].room(size) if size and message.shelf >= 0 else None
        if room is None:
            return Message(message.number, text, laid_out(arrays))
        lay_out(arrays, room)
        return Message(message.number, text, b"", message.shelf, size)
