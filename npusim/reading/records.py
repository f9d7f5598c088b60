"""JSON and TOML, and typed access to what they hold."""

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from npusim.errors import NpusimError
from npusim.reading.files import as_text

LONGEST_NUMBER = 1 << 53
"""Beyond it a number of JSON need not come back as it was written."""

MOST_TOML = 1 << 20

DEEPEST = 200
"""Objects and lists inside of each other; Python's own limit depends on its release."""


def parse_json(
    content: bytes | str,
    where: str,
    error: type[NpusimError],
    *,
    what: str = "not valid JSON",
    **more: str,
) -> Any:
    """Return what a JSON text holds.

    Parameters
    ----------
    where : str
        The file, for messages.
    error : type of NpusimError
        What is raised; ``more`` are its ``rule`` and ``remedy``.
    what : str
        How its sentence begins.

    Raises
    ------
    NpusimError
        Of the type ``error``, with line and column as far as there is one.
    """
    try:
        found = json.loads(content)
        if too_deep(found):
            raise RecursionError
        return found
    except RecursionError as reason:
        raise error(f"{what}: it is nested too deeply", where=where, **more) from reason
    except json.JSONDecodeError as reason:
        raise error(
            f"{what}: {reason.msg}",
            where=f"{where}:{reason.lineno}:{reason.colno}",
            **more,
        ) from reason
    except (ValueError, TypeError, MemoryError) as reason:  # no UTF-8, a number of 5000 digits
        raise error(f"{what}: {reason}", where=where, **more) from reason


def too_deep(value: object) -> bool:
    """Tell whether more than ``DEEPEST`` objects and lists are inside of each other."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            inner
            for held in level
            for inner in (held.values() if type(held) is dict else held)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def parse_toml(content: bytes, where: str, error: type[NpusimError]) -> dict[str, Any]:
    """Return what a TOML text of at most ``MOST_TOML`` bytes holds; errors as in ``parse_json``."""
    if len(content) > MOST_TOML:
        raise error(f"{len(content)} bytes", where=where, rule=f"at most {MOST_TOML} bytes")
    text = as_text(content, where, error, "a TOML text")
    try:
        found = tomllib.loads(text)
        if too_deep(found):
            raise RecursionError
        return found
    except RecursionError as reason:
        raise error("is not valid TOML: it is nested too deeply", where=where) from reason
    except (ValueError, OverflowError) as reason:
        raise error(f"is not valid TOML: {reason}", where=where) from reason


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a JSON text; what is missing or of another type is named with its place.

    Attributes
    ----------
    value : Any
        Anything that JSON can hold; every access refuses what is no object.
    place : str
        Where it stands: ``points[3]``.
    fail : callable
        Makes the error from (what, rule).
    """

    value: Any
    place: str
    fail: Callable[[str, str], NpusimError]

    def _inside(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _wrong(self, key: str, value: object, rule: str) -> NpusimError:
        shown = repr(value)
        return self.fail(
            f"{self._inside(key)} is {shown if len(shown) <= 60 else shown[:60] + '..'}", rule
        )

    def fields(self) -> Mapping[str, Any]:
        """Return the object."""
        if not isinstance(self.value, dict):
            raise self.fail(f"{self.place or 'the content'} is no object", "keys and values")
        return self.value

    def get(self, key: str) -> Any:
        """Return a value of any type, which must be there."""
        fields = self.fields()
        if key not in fields:
            raise self.fail(f"{self._inside(key)} is missing", "every key of the format")
        return fields[key]

    def text(self, key: str) -> str:
        """Return a text."""
        found = self.get(key)
        if not isinstance(found, str):
            raise self._wrong(key, found, "a text")
        return found

    def whole(self, key: str) -> int:
        """Return a whole number of at most 53 bits."""
        found = self.get(key)
        if isinstance(found, bool) or not isinstance(found, int) or abs(found) > LONGEST_NUMBER:
            raise self._wrong(key, found, "a whole number")
        return found

    def number(self, key: str, *, finite: bool = True) -> float:
        """Return a number: finite, or anything that a float holds."""
        return self._number(key, self.get(key), finite)

    def _number(self, key: str, found: object, finite: bool) -> float:
        if isinstance(found, int | float) and not isinstance(found, bool):
            try:
                real = float(found)
            except OverflowError:
                real = math.inf
            if math.isfinite(real) or not finite:
                return real
        raise self._wrong(key, found, "a finite number" if finite else "a number")

    def list(self, key: str) -> list[Any]:
        """Return a list of anything."""
        found = self.get(key)
        if not isinstance(found, list):
            raise self._wrong(key, found, "a list")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        found = self.list(key)
        if not all(isinstance(item, str) for item in found):
            raise self._wrong(key, found, "a list of texts")
        return tuple(found)

    def numbers(self, key: str, *, finite: bool = True) -> tuple[float, ...]:
        """Return a list of numbers."""
        return tuple(self._number(f"{key}[{i}]", n, finite) for i, n in enumerate(self.list(key)))

    def record(self, key: str) -> "Record":
        """Return an object inside this one."""
        inner = Record(self.get(key), self._inside(key), self.fail)
        inner.fields()
        return inner

    def records(self, key: str) -> "Iterator[Record]":
        """Yield the objects of a list."""
        for number, item in enumerate(self.list(key)):
            inner = Record(item, f"{self._inside(key)}[{number}]", self.fail)
            inner.fields()
            yield inner
