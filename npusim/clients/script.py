"""Run a script as Python would, with the toolkit's module names leading to npusim."""

import builtins
import os
import runpy
import sys
import threading
import urllib.request  # noqa: F401 - scripts rely on the toolkit having imported it
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType

from npusim.clients.displays import without_windows
from npusim.clients.hooks import changed
from npusim.clients.old_names import OLD_NAMES
from npusim.errors import ConfigError
from npusim.reading.files import read_bytes
from npusim.rknn.log import watching

MOST_SCRIPT = 1 << 26

ALIAS = Path(__file__).resolve().parent / "alias"
NAMES = ("rknn", "rknnlite")
"""Packages of the toolkit that lead to npusim."""
INTERRUPTED = 130
_OWN = {__file__, runpy.__file__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a script ended.

    Attributes
    ----------
    code : int
        Its exit code, as the shell would see it before reduction to 0 .. 255.
    failures : Counter of str
        How often calls of RKNN objects failed, by name.
    """

    code: int
    failures: Counter[str] = field(default_factory=Counter)


def run_script(script: str | os.PathLike[str], arguments: Sequence[str]) -> Ended:
    """Run a file of Python as ``python SCRIPT ARGUMENTS`` would, and wait for its threads.

    Raises
    ------
    ConfigError
        The file is not there or cannot be read.
    """
    path = Path(script)
    source = read_bytes(path, ConfigError, most=MOST_SCRIPT)
    own = ModuleType("__main__")
    own.__dict__.update(__file__=str(script), __builtins__=builtins, __cached__=None)
    found = Counter[str]()
    with _environment([str(script), *arguments], os.path.dirname(os.path.realpath(path)), found):
        sys.modules["__main__"] = own

        def execute() -> None:
            exec(compile(source, str(script), "exec", dont_inherit=True), own.__dict__)

        code = _ended_with(execute)
    return Ended(code=code, failures=found)


def run_module(name: str, arguments: Sequence[str]) -> Ended:
    """Run a module as ``python -m NAME ARGUMENTS`` would; errors as Python reports them."""
    found = Counter[str]()
    with _environment([name, *arguments], os.getcwd(), found):
        code = _ended_with(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))
    return Ended(code=code, failures=found)


@contextmanager
def _environment(argv: list[str], folder: str, failures: Counter[str]) -> Iterator[None]:
    """Make the process look to a script as Python would have started it."""
    before = set(threading.enumerate())
    with ExitStack() as undo:
        undo.callback(setattr, sys, "argv", sys.argv)
        undo.callback(setattr, sys, "path", sys.path)
        undo.callback(sys.modules.__setitem__, "__main__", sys.modules["__main__"])
        undo.callback(_forget_aliases, _forget_aliases())
        undo.callback(_set_variable, "PYTHONPATH", os.environ.get("PYTHONPATH"))
        undo.enter_context(watching(lambda call, _: failures.update([call])))
        undo.enter_context(changed({"cv2": without_windows, **OLD_NAMES}))
        sys.argv = argv
        first = 0 if sys.flags.safe_path else 1  # the folder of what runs now
        sys.path = [folder, str(ALIAS), *sys.path[first:]]
        # for programs that the script starts
        paths = [str(ALIAS), *filter(None, [os.environ.get("PYTHONPATH")])]
        _set_variable("PYTHONPATH", os.pathsep.join(paths))
        try:
            yield
        finally:
            for thread in set(threading.enumerate()) - before:
                if not thread.daemon:
                    thread.join()


def _forget_aliases(kept: dict[str, ModuleType] | None = None) -> dict[str, ModuleType]:
    """Take the toolkit's modules out of ``sys.modules`` and return them; put ``kept`` there."""
    found = {name: m for name, m in sys.modules.items() if name.partition(".")[0] in NAMES}
    for name in found:
        del sys.modules[name]
    sys.modules.update(kept or {})
    return found


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _ended_with(execute: Callable[[], object]) -> int:
    """Run and return the exit code; an exception is reported as if the script ran alone."""
    try:
        execute()
    except SystemExit as ended:
        return _exit_code(ended.code)
    except BaseException as error:
        trace = _without_own(error.__traceback__)
        sys.stdout.flush()
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _exit_code(value: object) -> int:
    """Return the exit code of ``sys.exit(value)``; a text is printed."""
    if value is None:
        return 0
    if isinstance(value, int):
        return int(value)
    print(value, file=sys.stderr)
    return 1


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames before the script's own."""
    while trace is not None and _is_own(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_own(file: str) -> bool:
    return file in _OWN or file.startswith("<frozen ")
