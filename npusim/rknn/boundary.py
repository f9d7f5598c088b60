"""The edge between npusim's exceptions and the toolkit's return values."""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np

from npusim.errors import ConfigError
from npusim.rknn.log import Log
from npusim.rknn.second_toolkit import keyword_text
from npusim.runtime.forks import ForkSafeLock
from npusim.words import FrontEnd, speaking

TAKE_ARRAYS = frozenset(
    (
        "inputs",
        "inputs_pass_through",
        "input_size_list",
        "mean_values",
        "std_values",
        "channel_mean_value",
        "outputs",
    )
)
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # others stand for bytes in names of files

P = ParamSpec("P")
R = TypeVar("R")


class Guarded(Protocol):
    """What a class needs for its methods to be boundaries."""

    _log: Log
    _lock: ForkSafeLock


S = TypeVar("S", bound=Guarded)


def boundary(
    failure: Callable[[], R],
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Turn exceptions of a method into a log entry and a return value.

    Calls of one object run one after another. Keywords that the method does not know are named once
    and ignored. Interrupts pass.

    Parameters
    ----------
    failure : callable
        Makes the value that a failed call returns.
    """

    def wrap(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        signature = inspect.signature(method)

        @wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            name = f"RKNN.{method.__name__}"
            with self._lock, self._log.active(), speaking(FrontEnd.RKNN):
                try:
                    known: Any = _known(self._log, name, signature, kwargs)
                    try:
                        bound = signature.bind(self, *args, **known)
                    except TypeError as error:
                        raise ConfigError(
                            str(error), rule=f"{method.__name__}{_shown(signature)}"
                        ) from None
                    _refuse_odd(bound.arguments)
                    return method(self, *args, **known)
                except Exception as error:
                    self._log.failure(error, call=name)
                    return failure()

        return call

    return wrap


def _refuse_odd(given: Mapping[str, Any]) -> None:
    """Refuse texts that cannot name a file, and arrays where there is one value.

    Comparisons and system calls deep inside would say something else.
    """
    for name, value in given.items():
        if isinstance(value, np.ndarray) and value.ndim and name not in TAKE_ARRAYS:
            raise ConfigError(f"{name} is an array of shape {value.shape}", rule="one value")
        if isinstance(value, str) and (_HALF.search(value) or "\0" in value):
            raise ConfigError(f"{name} {value!r}", rule="a text without zero bytes, of characters")


def _known(
    log: Log, name: str, signature: inspect.Signature, keywords: dict[str, Any]
) -> dict[str, Any]:
    for key in keywords:
        if key in signature.parameters:
            continue
        counterpart = keyword_text(key)
        what = f"; {counterpart}" if counterpart else ""
        log.once(f"{name}: there is no parameter {key!r}; it is ignored{what}")
    return {key: value for key, value in keywords.items() if key in signature.parameters}


def _shown(signature: inspect.Signature) -> str:
    names = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in list(signature.parameters.values())[1:]
    ]
    return f"({', '.join(names)})"
