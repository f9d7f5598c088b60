"""Darknet configurations (``.cfg``): sections of ``key=value`` lines, read as Darknet reads them.

All blanks of a line vanish; ``#`` and ``;`` begin comments at the beginning of a line only; of a
key that is given twice the first counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import read_bytes

MAX_BYTES = 1 << 24


@dataclass(slots=True)
class Section:
    """A section.

    Attributes
    ----------
    type : str
        The word between the brackets.
    options : dict
        Key -> value as written, without blanks.
    asked : set
        Keys that somebody looked at.
    """

    type: str
    line: int
    where: str
    options: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        """Tell whether a key is given."""
        return key in self.options

    def text(self, key: str, default: str = "") -> str:
        """Return a value as written."""
        self.asked.add(key)
        return self.options.get(key, default)

    def _number(self, key: str, text: str, rule: str, kind: Callable[[str], float]) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if value != value or abs(value) > 1e30:
            raise ModelImportError(
                f"{key} is {text!r}",
                where=f"{self.where}: line {self.lines.get(key, self.line)}: [{self.type}]",
                rule=rule,
            )
        return float(value)

    def whole(self, key: str, default: int = 0) -> int:
        """Return a whole number."""
        if key not in self.options:
            self.asked.add(key)
            return default
        return int(self._number(key, self.text(key), "a whole number", int))

    def real(self, key: str, default: float = 0.0) -> float:
        """Return a real number."""
        if key not in self.options:
            self.asked.add(key)
            return default
        return self._number(key, self.text(key), "a number", float)

    def flag(self, key: str) -> bool:
        """Return whether a number is given that is not 0."""
        return self.whole(key) != 0

    def wholes(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        words = [word for word in self.text(key).split(",") if word]
        return tuple(int(self._number(key, word, "whole numbers", int)) for word in words)

    def reals(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        words = [word for word in self.text(key).split(",") if word]
        return tuple(self._number(key, word, "numbers", float) for word in words)


def read_cfg(path: Path) -> list[Section]:
    """Return the sections of a file.

    Raises
    ------
    ModelImportError
        When it cannot be read, is no text, or a line is neither a section nor ``key=value``.
    """
    data, where = read_bytes(path, MAX_BYTES), str(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ModelImportError(
            "the file is not text",
            where=where,
            rule="the network is a .cfg; weights are given beside it",
            remedy="give the .cfg as the model and the .weights as weights: "
            f"{words.say('darknet_files')}",
        ) from None
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            sections.append(Section(line.strip("[]"), number, where))
            continue
        key, equals, value = line.partition("=")
        if not equals or not sections:
            raise ModelImportError(
                f"the line is {raw.strip()[:60]!r}",
                where=f"{where}: line {number}",
                rule="sections [name], and key=value lines in them",
                remedy="remove the line or put # before it",
            )
        sections[-1].options.setdefault(key, value)
        sections[-1].lines.setdefault(key, number)
    if not sections or sections[0].type not in ("net", "network"):
        first = f"[{sections[0].type}]" if sections else "nothing"
        raise ModelImportError(
            f"the file begins with {first}",
            where=f"{where}: line {sections[0].line if sections else 1}",
            rule="the first section is [net] or [network]",
            remedy="write [net] with width, height and channels first",
        )
    return sections
