"""LiteRT without delegates, all tensors kept; runs in a process of its own."""

from itertools import count
from typing import Any

import numpy as np

from npusim.foreign.side import Refused, imported, in_a_line
from npusim.foreign.wire import Array, holds

_interpreters: dict[int, Any] = {}
_numbers = count(1)


def version() -> str:
    """Return the runtime's version; empty when it does not say."""
    return str(getattr(imported("ai_edge_litert"), "__version__", ""))


def opened(content: bytes) -> tuple[int, list[str], list[int]]:
    """Return the number of an interpreter, the names of all tensors and which are inputs.

    Raises
    ------
    Refused
        When LiteRT does not take the file's content.
    """
    module = imported("ai_edge_litert.interpreter")
    try:
        found = module.Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        details = {int(entry["index"]): entry["name"] for entry in found.get_tensor_details()}
        # tensors whose names are no text are left out there
        names = [details.get(index, "") for index in range(max(details, default=-1) + 1)]
        inputs = [int(entry["index"]) for entry in found.get_input_details()]
    except (RuntimeError, ValueError) as error:
        raise Refused(in_a_line(error)) from error
    number = next(_numbers)
    _interpreters[number] = found
    return number, names, inputs


def ran(interpreter: int, feeds: list[tuple[int, Array]], wanted: list[int]) -> list[Array | None]:
    """Return the values of tensors; None for one without memory of its own.

    Parameters
    ----------
    interpreter : int
        It is freed afterwards.
    feeds : list of (int, array)
        Tensor and value, in the file's order of axes and its element type.
    wanted : list of int

    Raises
    ------
    Refused
        When LiteRT stops.
    """
    found = _interpreters.pop(interpreter)
    try:
        for index, value in feeds:
            found.resize_tensor_input(index, value.shape)
        found.allocate_tensors()
        for index, value in feeds:
            found.set_tensor(index, value)
        found.invoke()
    except (RuntimeError, ValueError) as error:
        raise Refused(in_a_line(error)) from error
    return [_value(found, index) for index in wanted]


def closed(interpreter: int) -> None:
    """Free an interpreter that has not run."""
    _interpreters.pop(interpreter, None)


def _value(interpreter: Any, index: int) -> Array | None:
    try:
        value: Array = np.asarray(interpreter.get_tensor(index))  # without axes: a scalar of numpy
    except ValueError:
        return None
    return value if holds(value) else None
