"""Everything npusim raises on purpose.

Each message says what went wrong, where, which rule was broken and what to do about it.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
        What the user can do.
    """

    def __init__(self, what: str, *, where: str = "", rule: str = "", remedy: str = "") -> None:
        self.what, self.where, self.rule, self.remedy = what, where, rule, remedy
        parts = [f"{where}: {what}" if where else what]
        if rule:
            parts.append(f"Rule: {rule}")
        if remedy:
            parts.append(f"Remedy: {remedy}")
        super().__init__("\n  ".join(parts))


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


class ModelImportError(NpusimError):
    """A model file cannot be read or understood."""


class UnsupportedOpError(ModelImportError):
    """The model uses operators that npusim does not have; all of them are listed."""


class GraphError(NpusimError):
    """A graph breaks an invariant (shape, type, order)."""


class QuantizationError(NpusimError):
    """Ranges or parameters cannot be used."""


class DatasetError(QuantizationError):
    """The calibration list or one of its samples cannot be used."""


class InputError(NpusimError):
    """Data handed to a compiled program does not fit its inputs."""


class ContainerError(NpusimError):
    """A stored model file is damaged, foreign or of another version."""


class MachineError(NpusimError):
    """A machine description or target name cannot be used."""


class MissingExtraError(NpusimError):
    """An optional dependency is needed and not installed."""


class ConfigError(NpusimError):
    """A configuration value cannot be used."""
