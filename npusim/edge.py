"""The edge of the command line: whatever a command raises becomes one line and an exit code."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable

from npusim.errors import NpusimError, in_one_line, of_system
from npusim.plain import printable

BAD_INPUT = 2
UNEXPECTED = 3
INTERRUPTED = 130
CLOSED_PIPE = 141  # as the shell says it of a program that SIGPIPE ended
DEBUG_HELP = "Show where in npusim an error arose."
_debug = False


class Carried(Exception):
    """Takes an exception past the command line's library, which makes exit code 1 of some."""


def carry(run: Callable[[], object]) -> object:
    """Return what ``run`` returns; errors that would end in exit code 1 are carried."""
    try:
        return run()
    except (OSError, EOFError, KeyboardInterrupt) as error:
        raise Carried from error


def show_tracebacks(wanted: bool) -> None:
    """Let ``guarded`` show tracebacks from now on."""
    global _debug
    _debug = _debug or wanted


def guarded(run: Callable[[], object], *, look: str = "") -> int:
    """Run the command line and return its exit code; errors are said in one line.

    Parameters
    ----------
    run : callable
        Its SystemExit counts.
    look : str
        What shows where an error of npusim's own arose.

    Returns
    -------
    int
        What ``run`` exits with; 2 for an error of the user's or the system's making (a full disk),
        3 for one of npusim's own, 130 when interrupted, 141 when nobody reads the output any more.
        Never 1 for an error: that means a mismatch.
    """
    global _debug
    _debug = False
    _complete_streams()
    _take_any_text()
    _drop_bad_width()
    code = _code_of(run, look)
    try:
        sys.stdout.flush()  # now, not when Python ends: a full disk is told here
    except (OSError, ValueError) as error:
        _leave_standard_output()
        return _told(error, look)
    return code


def _complete_streams() -> None:
    """Let standard streams that are closed be nowhere, before a file that is opened gets theirs."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            else:
                os.set_inheritable(number, True)  # as others are
        setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (to the end)


def _take_any_text() -> None:
    """Let standard output spell characters that its encoding lacks, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_bad_width() -> None:
    """Forget a COLUMNS that is no width: the libraries that print would print nothing, or fail."""
    width = os.environ.get("COLUMNS", "")
    if width and not (width.isascii() and width.isdecimal() and int(width[:9]) > 0):
        del os.environ["COLUMNS"]


def _code_of(run: Callable[[], object], look: str) -> int:
    try:
        run()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        _say(str(ended.code))
        return UNEXPECTED
    except Carried as carried:
        return _told(carried.__cause__ or carried, look)
    except (Exception, KeyboardInterrupt) as error:
        return _told(error, look)
    return 0


def _told(error: BaseException, look: str) -> int:
    """Say what went wrong; return the exit code."""
    if isinstance(error, BrokenPipeError) and error.filename is None:
        _leave_standard_output()
        return CLOSED_PIPE
    if isinstance(error, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    if _debug:
        _say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, NpusimError):
        _say(f"error: {error}")
        return BAD_INPUT
    refused = of_system(error)
    more = f". This is a fault of npusim{look}" if not (_debug or refused) else ""
    _say(f"error: {in_one_line(error)}{more}")
    return BAD_INPUT if refused else UNEXPECTED


def _say(text: str) -> None:
    # where standard error is on the full disk as well, the code has to do
    with contextlib.suppress(OSError):
        print(printable(text, lines=True), file=sys.stderr)


def _leave_standard_output() -> None:
    """Let Python's own last flush go nowhere: it would end in another message and exit code."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
