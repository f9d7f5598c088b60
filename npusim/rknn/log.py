"""What the toolkit-compatible class says: lines with a one-letter level, ``D I W E``.

Each object has its own log. Warnings of the library (standard logger ``npusim``) that arise during
a call of an object go to that object's log. The root logger is left alone.
"""

import logging
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from npusim import environment
from npusim.errors import NpusimError, in_one_line
from npusim.plain import printable
from npusim.runtime.forks import ForkSafeLock

ERROR_LOG = "npusim_error.log"
VENDOR_ERROR_LOG = "log_feedback_to_the_rknn_toolkit_dev_team.log"
KEPT_LINES = 2000
_LETTERS = {logging.DEBUG: "D", logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E"}


class Log:
    """The log of one object.

    Parameters
    ----------
    verbose : bool
        Show D and I lines as well.
    file : path, optional
        Store the same text there; needs ``verbose``.
    """

    def __init__(self, *, verbose: bool = False, file: str | os.PathLike[str] | None = None):
        self.verbose = verbose
        self.file: Path | None = None
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._said: set[str] = set()
        self._of_model: set[str] = set()
        self._lock = ForkSafeLock()
        _install_capture()
        if file is None:
            return
        if not verbose:
            self.warning("verbose_file needs verbose=True; no file is written")
            return
        try:
            with open(file, "a", encoding="utf-8"):
                self.file = Path(file).absolute()
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.warning(
                f"verbose_file {str(file)!r} cannot be written ({reason}); no file is kept"
            )

    def debug(self, text: str) -> None:
        """Say what only verbose users want to know."""
        self._write(logging.DEBUG, text)

    def info(self, text: str) -> None:
        """Say what happens, in verbose mode."""
        self._write(logging.INFO, text)

    def warning(self, text: str) -> None:
        """Say what may surprise."""
        self._write(logging.WARNING, text)

    def error(self, text: str) -> None:
        """Say what went wrong."""
        self._write(logging.ERROR, text)

    def once(self, text: str, *, level: int = logging.WARNING) -> None:
        """Say something the first time only."""
        if text not in self._said:
            self._said.add(text)
            self._write(level, text)

    def of_library(self, text: str, *, level: int) -> None:
        """Say what the library says, once for a model however often its graph is looked at."""
        if text not in self._of_model:
            self._of_model.add(text)
            self._write(level, text)

    def new_model(self) -> None:
        """Let the library speak of another model, or of this one built anew."""
        self._of_model.clear()

    def failure(self, error: Exception, *, call: str) -> None:
        """Report a failed call and store the full log.

        Errors that npusim raises on purpose are said as they are; all others in one line, and the
        traceback goes to the stored log.
        """
        for told in _watchers:
            told(call, error)
        detail = ""
        if isinstance(error, NpusimError):
            self.error(f"{call}: {error}")
        else:
            detail = "".join(traceback.format_exception(error))
            self.error(f"{call}: {in_one_line(error)}")
        if self.file is not None:
            self._append(printable(detail, lines=True))
            if detail:
                self.error(f"the traceback is in {self.file}")
            return
        vendor_name = environment.VENDOR_LOGNAME.read() == "1"
        path = Path(VENDOR_ERROR_LOG if vendor_name else ERROR_LOG)
        try:
            kept = "\n".join([*self._kept, printable(detail, lines=True)])
            path.write_text(kept, encoding="utf-8")
        except OSError as problem:
            self.warning(f"the full log cannot be stored in {path.absolute()}: {problem.strerror}")
        else:
            self.error(f"the full log is in {path.absolute()}")

    @contextmanager
    def active(self) -> Iterator[None]:
        """Take the library's messages while a call runs, in this thread."""
        token = _current.set(self)
        _listen(1)
        try:
            yield
        finally:
            _listen(-1)
            _current.reset(token)

    def _write(self, level: int, text: str) -> None:
        letter = _LETTERS[level]
        shown = printable(text, lines=True).splitlines() or [""]
        lines = "\n".join(f"{letter} {line}" for line in shown)
        with self._lock:
            self._kept.append(lines)
            if self.verbose or level >= logging.WARNING:
                with suppress(OSError):  # a full disk, a closed pipe: the kept lines have it
                    print(lines, file=sys.stderr)
        self._append(lines + "\n")

    def _append(self, text: str) -> None:
        if self.file is None or not text:
            return
        try:
            with self._lock, self.file.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            lost, self.file = self.file, None
            self.warning(f"verbose_file {lost} can no longer be written: {error.strerror}")


_watchers: list[Callable[[str, Exception], None]] = []


@contextmanager
def watching(told: Callable[[str, Exception], None]) -> Iterator[None]:
    """Tell a function of every failed call (its name, the error) of all objects."""
    _watchers.append(told)
    try:
        yield
    finally:
        _watchers.remove(told)


_current: ContextVar[Log | None] = ContextVar("npusim_rknn_log", default=None)


class _Capture(logging.Handler):
    """Hands library messages to the object whose call is running.

    Outside of a call they go where they would go without this handler.
    """

    def emit(self, record: logging.LogRecord) -> None:
        log = _current.get()
        if log is None:
            last = logging.lastResort
            if last and not logging.getLogger().handlers and record.levelno >= last.level:
                last.handle(record)
            return
        level = max(known for known in (*_LETTERS, 0) if known <= record.levelno)
        log.of_library(record.getMessage(), level=level or logging.DEBUG)


_listening = ForkSafeLock()
_calls, _level_before = 0, logging.NOTSET


def _only_own_call() -> None:
    """Forget, in a forked child, the calls of the parent's other threads: they never end here."""
    global _calls
    others = _calls - (_current.get() is not None)
    for _ in range(others):
        _listen(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_only_own_call)


def _listen(change: int) -> None:
    """Let the library say what it does (level INFO) as long as a call of any object runs."""
    global _calls, _level_before
    logger = logging.getLogger("npusim")
    with _listening:
        if not _calls:
            _level_before = logger.level
            if not logger.isEnabledFor(logging.INFO):
                logger.setLevel(logging.INFO)
        _calls += change
        if not _calls:
            logger.setLevel(_level_before)


def _install_capture() -> None:
    logger = logging.getLogger("npusim")
    if not any(isinstance(handler, _Capture) for handler in logger.handlers):
        logger.addHandler(_Capture())
