"""What functions in the process of a runtime share."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Room = Callable[[int], memoryview | None]


class Refused(Exception):
    """A runtime does not take a model, or stops; the text is its own."""


def imported(module: str) -> Any:
    """Import a runtime.

    Raises
    ------
    Refused
        When it is installed and does not load, for example without a library of the system.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise Refused(f"it cannot be imported: {in_a_line(error)}") from error


def in_a_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def takes_room(function: Function) -> Function:
    """Let a function have ``room``, which gives memory to compute arrays of its answer in.

    ``room(size)`` is None where there is none; what ``wire.rooms`` makes there is not copied again.
    """
    function.takes_room = True  # type: ignore[attr-defined]
    return function
