"""Attributes of a node: all are texts in the file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from npusim.errors import ModelImportError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)")
_TRUE, _FALSE = ("true", "1"), ("false", "0")
Wholes = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file says about a node; absent, ``None`` and empty texts give the default."""

    texts: Mapping[str, str] = field(default_factory=dict)
    where: str = ""

    def has(self, name: str) -> bool:
        """Tell whether a value is given."""
        return self.texts.get(name, "None") not in ("None", "")

    def text(self, name: str, default: str = "") -> str:
        """Return a word."""
        return self.texts[name] if self.has(name) else default

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a switch."""
        word = self.text(name, str(default)).strip().lower()
        if word not in (*_TRUE, *_FALSE):
            raise self._wrong(name, "True or False")
        return word in _TRUE

    def real(self, name: str, default: float) -> float:
        """Return a number."""
        if not self.has(name):
            return default
        try:
            return float(self.texts[name])
        except ValueError:
            raise self._wrong(name, "a number") from None

    def whole(self, name: str, default: int | None = None) -> int:
        """Return a whole number; without a default it must be given."""
        if not self.has(name):
            if default is None:
                raise self.missing(name)
            return default
        found = self.maybe_wholes(name)
        if len(found) != 1 or found[0] is None:
            raise self._wrong(name, "a whole number")
        return found[0]

    def wholes(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return whole numbers: a tuple, a list or one alone."""
        found = self.maybe_wholes(name) if self.has(name) else default
        kept = tuple(n for n in found if n is not None)
        if len(kept) != len(found):
            raise self._wrong(name, "whole numbers")
        return kept

    def maybe_wholes(self, name: str) -> Wholes:
        """Return whole numbers of which some may be None."""
        found: list[int | None] = []
        for word in self._words(name):
            if word == "None":
                found.append(None)
                continue
            try:
                found.append(int(word.rstrip("L")))
            except ValueError:
                raise self._wrong(name, "whole numbers") from None
        return tuple(found)

    def reals(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """Return numbers: a tuple, a list or one alone."""
        if not self.has(name):
            return default
        words = self._words(name)
        if not all(_NUMBER.fullmatch(word) for word in words):
            raise self._wrong(name, "numbers")
        return tuple(float(word) for word in words)

    def _words(self, name: str) -> list[str]:
        text = self.texts[name].strip()
        if text[:1] in "([" and text[-1:] in ")]":
            text = text[1:-1]
        return [word.strip() for word in text.split(",") if word.strip()]

    def missing(self, name: str) -> ModelImportError:
        """Return the error for a value that must be given."""
        return ModelImportError(
            f"{name} is missing", where=self.where, rule=f"{name} must be given"
        )

    def _wrong(self, name: str, rule: str) -> ModelImportError:
        return ModelImportError(f"{name} is {self.texts[name]!r}", where=self.where, rule=rule)
