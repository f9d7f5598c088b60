"""The door to other projects' runtimes: each runs in a process of its own, which lives on.

Such a process is started with the first question, may be asked by several threads at once, and
ends with the process that asks. Where it dies, every question in work ends with an error that says
how; the next question starts a new one.
"""

import atexit
import io
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future, wait
from itertools import count
from typing import IO, Any, cast

from npusim.environment import RUNTIME_SECONDS, runtime_seconds, thread_count
from npusim.errors import NpusimError
from npusim.foreign.runtimes import Foreign
from npusim.foreign.shelves import Shelves
from npusim.foreign.side import Refused
from npusim.foreign.wire import (
    SMALL,
    BrokenWire,
    Message,
    laid_out,
    packed,
    receive,
    send,
    unpacked,
)

_INSTALL_AGAIN = "install it again"
RULE = "other projects' runtimes compute in processes of their own"
# as in the process that asks, whatever changed its path; Python's own modules come first: what is
# put before them later (an OpenCV that did not load leaves its folder there) may have their names
_START = (
    "import os, sys; n = int(sys.argv[1]); own = os.path.dirname(os.__file__); "
    "sys.path[:] = [own, os.path.join(own, 'lib-dynload'), *sys.argv[n + 2:]]; "
    "from npusim.foreign.worker import serve; serve(*sys.argv[2:n + 2])"
)
_MOST_SHELVES = 16


class _Ended(Exception):
    """Why a process does not answer any more."""


class Child:
    """A runtime's process.

    Raises
    ------
    MissingExtraError
        When the runtime is not installed.
    NpusimError
        When no process can be started.
    """

    def __init__(self, runtime: Foreign) -> None:
        self.runtime = runtime
        runtime.require()
        self._shelves = Shelves(min(thread_count() + 1, _MOST_SHELVES))
        self._process = _started(runtime, self._shelves.descriptors)
        streams = self._process.stdin, self._process.stdout, self._process.stderr
        self._questions, self._answers, self._said = cast(tuple[IO[bytes], ...], streams)
        self._numbers = count(1)
        self._pending: dict[int, tuple[Future[Message], int]] = {}
        self._lock = threading.Lock()  # of what is pending and of why it ended
        self._sending = threading.Lock()
        self._notes: deque[tuple[Any, ...]] = deque()
        self._why = ""
        self._words: deque[bytes] = deque(maxlen=4)
        self._listener = threading.Thread(
            target=_listen, args=(self._said, self._words), daemon=True
        )
        self._listener.start()
        threading.Thread(target=self._take_answers, daemon=True).start()
        self.tell("version")  # it imports the runtime while the first question is made

    @property
    def lives(self) -> bool:
        """Tell whether it can be asked."""
        return not self._why

    def ask(self, function: str, *arguments: Any, where: str, remedy: str) -> Any:
        """Return what a function of the runtime's module gives.

        Parameters
        ----------
        function : str
        arguments
            What ``wire.packed`` takes.
        where : str
            File that the runtime works on, for messages.
        remedy : str
            What can be done without the runtime, for messages.

        Raises
        ------
        Refused
            With the runtime's own words, when it does not take what it was given.
        NpusimError
            When the process dies, or does not answer in time.
        """
        shelf, limit = self._shelves.take(), self.runtime.seconds or runtime_seconds()
        text, arrays = packed([function, *arguments])
        future: Future[Message] = Future()
        number = next(self._numbers)
        with self._lock:
            if not self._why:
                self._pending[number] = future, shelf
            else:
                future.set_exception(_Ended(self._why))
        self._say(Message(number, text, laid_out(arrays), shelf))
        try:
            if not wait([future], limit).done:
                known = "" if self.runtime.seconds else f" ({RUNTIME_SECONDS.name} is the limit)"
                self.stop(f"has not answered for {limit:g} seconds{known}")
        except BaseException:  # Ctrl-C: nobody wants the answer any more
            self.stop("was interrupted")
            raise
        try:
            return self._value(future.result())
        except _Ended as error:
            if "SIGKILL" in str(error):  # as the system does where memory is short
                remedy = f"give it more memory, or {remedy}"
            raise NpusimError(
                f"{self.runtime.called} {error}", where=where, rule=RULE, remedy=remedy
            ) from None

    def tell(self, function: str, *arguments: Any) -> None:
        """Have something done without an answer; may be called by finalizers."""
        self._notes.append((function, *arguments))
        self._send_notes()

    def stop(self, why: str) -> None:
        """End the process; every question in work ends with an error."""
        with self._lock:
            self._why = self._why or why
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Leave the process to the parent of this one, which was forked from it."""
        self._why = "belongs to another process"
        for stream in (self._questions, self._answers, self._said):
            stream.close()  # unbuffered: no lock that another thread had
        self._process.returncode = 0  # not ours to wait for

    def _value(self, message: Message) -> Any:
        content: Any = message.content
        if message.shelf >= 0:
            content = self._shelves.content(message.shelf, message.shelved)
        reply = unpacked(message.text, content)
        if "answer" in reply:
            return reply["answer"]
        if "refused" in reply:
            raise Refused(reply["refused"])
        if "memory" in reply:
            raise MemoryError(reply["memory"])
        raise RuntimeError(f"in the process of {self.runtime.called}: {reply['fault']}")

    def _say(self, message: Message) -> None:
        try:
            with self._sending:
                send(self._questions.write, message)
        except (OSError, ValueError):  # it has ended; who takes the answers says how
            pass
        except BaseException:  # Ctrl-C within a message: the rest of it would be missing
            self.stop("was interrupted")
            raise
        self._send_notes()

    def _send_notes(self) -> None:
        """Send what finalizers left; who holds the lock does it after its own message."""
        while self._notes and self._sending.acquire(blocking=False):
            try:
                text, arrays = packed(list(self._notes.popleft()))
                send(self._questions.write, Message(0, text, laid_out(arrays)))
            except (OSError, ValueError, IndexError):  # it has ended, or another thread was faster
                return
            finally:
                self._sending.release()

    def _take_answers(self) -> None:
        answers = io.BufferedReader(cast(io.RawIOBase, self._answers), SMALL)
        try:
            while True:
                message = receive(answers.readinto)
                with self._lock:
                    future, shelf = self._pending.pop(message.number)
                if message.shelf not in (-1, shelf):
                    raise BrokenWire("an answer on another question's shelf")
                if message.shelf < 0:
                    self._shelves.give_back(shelf)
                future.set_result(message)
        except (BrokenWire, KeyError, OSError, ValueError):  # it has ended, or is upset
            self._conclude()

    def _conclude(self) -> None:
        """Say how the process ended to everybody who waits for it."""
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:  # it lives and does not speak
            self._process.kill()
            self._process.wait()
        self._listener.join(1)
        said = b"".join(self._words).decode("utf-8", "replace").strip().splitlines()
        why = _how(self._process.returncode) + (f" (it said: {said[-1].strip()})" if said else "")
        with self._lock:
            self._why = self._why or why
            pending, self._pending = self._pending, {}
        for future, _ in pending.values():
            future.set_exception(_Ended(self._why))
        for stream in (self._answers, self._questions):
            with self._sending:
                stream.close()


def _started(runtime: Foreign, shelves: tuple[int, ...]) -> "subprocess.Popen[bytes]":
    if not sys.executable or getattr(sys, "frozen", False):
        raise NpusimError(
            f"{runtime.called} cannot be started: this program brings its own Python",
            rule=RULE,
            remedy="install npusim for an interpreter of its own",
        )
    flags = ["-I"] if sys.flags.isolated else ["-E"] if sys.flags.ignore_environment else []
    own = [runtime.code, *map(str, shelves)]
    paths = [os.path.abspath(entry) for entry in sys.path]
    try:
        return subprocess.Popen(
            [sys.executable, *flags, "-c", _START, str(len(own)), *own, *paths],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=shelves,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows
        )
    except OSError as error:
        raise NpusimError(
            f"{runtime.called} cannot be started: {error.strerror}",
            where=sys.executable,
            rule=RULE,
            remedy="check the limits of processes, memory and open files",
        ) from error


def _listen(stream: IO[bytes], words: deque[bytes]) -> None:
    """Keep the last of what a runtime prints."""
    with stream:
        try:
            while said := stream.read(4096):
                words.append(said)
        except ValueError:  # closed
            return


def _how(code: int) -> str:
    """Return how a process ended."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"has ended with exit code {code:#x}" if code > 255 else f"has ended with code {code}"


_children: dict[str, Child] = {}
_lock = threading.Lock()


def running(runtime: Foreign) -> Child:
    """Return the runtime's process; starts one where there is none.

    Raises
    ------
    MissingExtraError, NpusimError
        See ``Child``.
    """
    runtime.require()
    with _lock:
        child = _children.get(runtime.module)
        if child is None or not child.lives:
            child = _children[runtime.module] = Child(runtime)
        return child


def asked(runtime: Foreign, function: str, *arguments: Any, where: str, remedy: str) -> Any:
    """Return what a function of the runtime's module gives; see ``Child.ask``."""
    return running(runtime).ask(function, *arguments, where=where, remedy=remedy)


def version_of(runtime: Foreign) -> str:
    """Return the version of a runtime.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    NpusimError
        When it cannot be loaded, or ends its process.
    """
    try:
        return str(asked(runtime, "version", where="", remedy=_INSTALL_AGAIN))
    except Refused as error:
        raise NpusimError(f"{runtime.called}: {error}", remedy=_INSTALL_AGAIN) from error


@atexit.register
def stop_all() -> None:
    """End the processes of all runtimes."""
    while _children:
        _children.popitem()[1].stop("is not needed any more")


def _after_a_fork() -> None:
    global _lock
    _lock = threading.Lock()
    while _children:
        _children.popitem()[1].forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_a_fork)
