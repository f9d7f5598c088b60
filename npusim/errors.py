"""Everything npusim raises on purpose.

Each message says what went wrong, where, which rule was broken and what to do about it.
"""

import errno
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from npusim.plain import printable

UNREADABLE = "check that the file exists, is complete and that you may read it"
UNWRITABLE = "check that the folder exists, has room and that you may write to it"

_SYSTEM_REMEDIES = {
    errno.ENOSPC: "make room, or write elsewhere; TMPDIR is the folder of temporary files",
    errno.EDQUOT: "make room: your share of this disk is used up",
    errno.EROFS: "write elsewhere: this file system is read-only",
    errno.EACCES: "change its permissions, or give another place",
    errno.EPERM: "change its permissions, or give another place",
    errno.ENOENT: UNREADABLE,
    errno.EEXIST: "a file stands in the way: move it, or give another name",
    errno.ENOTDIR: "a file stands in the way: move it, or give another name",
    errno.EISDIR: "a folder stands in the way: move it, or give another name",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
}

LONGEST_MESSAGE = 2500
LONGEST_LINE, SHORTER_LINE = 2000, 400  # of a message; of one that would be longer than that
KEPT_END = 100

P = ParamSpec("P")
R = TypeVar("R")


class NpusimError(Exception):
    """Base of all npusim errors.

    Parameters
    ----------
    what : str
        One sentence: what went wrong.
    where : str, optional
        File (with line), layer, tensor or parameter.
    rule : str, optional
        The rule that was broken, with the offending value in ``what`` or here.
    remedy : str, optional
        What the user can do. Where neither it nor a rule is given, ``usual_remedy`` stands for it.
    """

    usual_remedy = "check what the message names"

    def __init__(self, what: str, *, where: str = "", rule: str = "", remedy: str = "") -> None:
        if not (rule or remedy):
            remedy = self.usual_remedy
        length = len(where) + len(what) + len(rule) + len(remedy)
        longest = LONGEST_LINE if length <= LONGEST_MESSAGE else SHORTER_LINE
        what, rule, remedy = (_readable(text, longest) for text in (what, rule, remedy))
        where = _shortened(printable(where), longest)
        self.what, self.where, self.rule, self.remedy = what, where, rule, remedy
        parts = [f"{where}: {what}" if where else what]
        if rule:
            parts.append(f"Rule: {rule}")
        if remedy:
            parts.append(f"Remedy: {remedy}")
        super().__init__("\n  ".join(parts))


def _readable(text: str, longest: int) -> str:
    """Return a text without control characters and without lines that nobody reads to their end.

    What a file holds may be a name of a megabyte.
    """
    lines = printable(text, lines=True).split("\n")
    return "\n".join(_shortened(line, longest) for line in lines)


def _shortened(line: str, longest: int) -> str:
    kept = longest - KEPT_END - len(" .. ")
    return line if len(line) <= longest else f"{line[:kept]} .. {line[-KEPT_END:]}"


def located(where: str, make: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what ``make`` returns; its errors that name no place get this one.

    Parameters
    ----------
    where : str
        File, layer or tensor that ``make`` works on and does not know.
    """
    try:
        return make(*args, **kwargs)
    except NpusimError as error:
        if error.where:
            raise
        raise type(error)(
            error.what, where=where, rule=error.rule, remedy=error.remedy
        ) from error.__cause__


_NO_THREAD = "can't start new thread"  # Python's words for what the system refuses


def of_system(error: BaseException) -> bool:
    """Tell whether the system refuses something: a file, memory, a thread."""
    return isinstance(error, OSError | MemoryError) or (
        isinstance(error, RuntimeError) and str(error) == _NO_THREAD
    )


def in_one_line(error: BaseException) -> str:
    """Return one line about an exception that npusim did not raise on purpose.

    What the system refuses (OSError) is said with file and remedy, a want of memory with the
    remedy; anything else is called unexpected.
    """
    text = _shortened(printable(" ".join(str(error).split())), LONGEST_LINE)
    if isinstance(error, OSError) and error.errno is not None:
        files = [error.filename, error.filename2]
        where = " -> ".join(_shown_file(file) for file in files if file is not None)
        remedy = _SYSTEM_REMEDIES.get(error.errno, "")
        said = f"{where}: {error.strerror}" if where else f"{error.strerror}"
        return said + (f". Remedy: {remedy}" if remedy else "")
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory"
            + (f": {text}" if text else "")
            + (". Remedy: a smaller input or batch, fewer jobs, or a computer with more")
        )
    if isinstance(error, RuntimeError) and of_system(error):
        return (
            f"{text}. Remedy: raise the limit of processes (ulimit -u), or "
            "ask for fewer threads (NPUSIM_NUM_THREADS)"
        )
    return f"unexpected {type(error).__name__}" + (f": {text}" if text else "")


def _shown_file(name: Any) -> str:
    return _shortened(printable(str(name)), SHORTER_LINE)


class ModelImportError(NpusimError):
    """A model file cannot be read or understood."""

    usual_remedy = (
        "the model contradicts itself here: check it in its own framework, or export it again"
    )


class UnsupportedOpError(ModelImportError):
    """The model uses operators that npusim does not have; all of them are listed.

    ``find_rest()`` returns what could be converted around them (``npusim.ir.holes.Rest``),
    or None.
    """

    find_rest: Callable[[], Any] = staticmethod(lambda: None)


class GraphError(NpusimError):
    """A graph breaks an invariant (shape, type, order)."""

    usual_remedy = (
        "check the layer's operands and attributes; a model that runs in its own framework and is "
        "refused here is a fault of npusim: please report it"
    )


class QuantizationError(NpusimError):
    """Ranges or parameters cannot be used."""

    usual_remedy = "look at the samples, and at the weights of this layer and those before it"


class DatasetError(QuantizationError):
    """The calibration list or one of its samples cannot be used."""

    usual_remedy = "correct the file or the sample that is named"


class InputError(NpusimError):
    """Data handed to a compiled program does not fit its inputs."""

    usual_remedy = "check the data that was given"


class ContainerError(NpusimError):
    """A stored model file is damaged, foreign or of another version."""

    usual_remedy = (
        "the file is damaged or incomplete: copy it again, or make it again from the source model"
    )


class MachineError(NpusimError):
    """A machine description or target name cannot be used."""

    usual_remedy = "correct the entry; the chips that npusim brings are complete examples"


class MissingExtraError(NpusimError):
    """An optional dependency is needed and not installed."""

    usual_remedy = "install it with pip"


class ConfigError(NpusimError):
    """A configuration value cannot be used."""

    usual_remedy = "correct the value that is named"
