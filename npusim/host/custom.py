"""Operators that a user's Python functions compute, by name: one table for the process."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ConfigError
from npusim.host.tail import DOMAIN

Function = Callable[..., Any]
_functions: dict[str, Function] = {}


def register(name: str, function: Function) -> None:
    """Let a function compute the operators of a type, from now on, in all models.

    Parameters
    ----------
    name : str
        Type of the operator in the source model.
    function : callable
        Called with an array (float32 where it comes from the NPU) for each input, in the model's
        own layout, and by name with those attributes of the operator that it has parameters for.
        Returns an array, or one for each output.

    Raises
    ------
    ConfigError
        When the name is no identifier or the function cannot be called.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"operator {name!r}", rule="the type of an operator, such as 'MyOp'")
    if not callable(function):
        raise ConfigError(
            f"the function of operator {name!r} is {type(function).__name__}",
            rule="a Python function of one array per input",
        )
    _functions[name] = function


def is_registered(name: str) -> bool:
    """Tell whether a function computes the operators of a type."""
    return name in _functions


def functions() -> tuple[tuple[str, Function], ...]:
    """Return all names with their functions."""
    return tuple(sorted(_functions.items(), key=lambda pair: pair[0]))


def operators(known: Sequence[tuple[str, Function]]) -> list[Any]:
    """Return classes that ONNX's evaluator runs, one for each function."""
    from onnx.helper import get_attribute_value
    from onnx.reference.op_run import OpRun

    def made(name: str, function: Function) -> type[Any]:
        def _run(self: Any, *inputs: NDArray[Any], **_: Any) -> tuple[NDArray[Any], ...]:
            given = {a.name: _plain(get_attribute_value(a)) for a in self.onnx_node.attribute}
            try:
                result = function(*inputs, **_taken(function, given))
            except Exception as error:  # the evaluator would tell of types instead
                raise RuntimeError(
                    f"the function of {name} stops: {type(error).__name__}: {error}"
                ) from error
            results = result if isinstance(result, tuple | list) else (result,)
            count = len([name for name in self.onnx_node.output if name])
            if len(results) != count:
                raise ValueError(f"the function of {name} gives {len(results)} of {count} results")
            return tuple(np.asarray(each) for each in results)

        return type(name, (OpRun,), {"op_domain": DOMAIN, "_run": _run})

    return [made(name, function) for name, function in known]


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _taken(function: Function, given: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that a function has parameters for."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C
        return {}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return given
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return {key: value for key, value in given.items() if key in named}
