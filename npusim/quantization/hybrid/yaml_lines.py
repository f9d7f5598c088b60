"""YAML with line numbers: what a wrong entry's error message needs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from npusim.errors import ConfigError
from npusim.reading.files import read_text

LARGEST_FILE_BYTES = 1 << 26
_NONE = ("", "~", "null", "none")


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a YAML file: text, a list of items, or keys with items; None for nothing.

    All scalars stay text: the reader knows what type each should have. ``where`` is file and line.
    """

    value: "str | list[Item] | dict[str, tuple[Item, Item]] | None"
    where: str

    def mapping(self, what: str) -> dict[str, "Item"]:
        """Return keys and items; nothing counts as no keys."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise ConfigError(f"{what} is {self._kind()}", where=self.where, rule="a map of keys")
        return {key: item for key, (_, item) in self.value.items()}

    def key_line(self, key: str) -> str:
        """Return file and line of a key."""
        return self.value[key][0].where if isinstance(self.value, dict) else self.where

    def text(self, what: str) -> str | None:
        """Return a scalar's text; None for nothing."""
        if self.value is not None and not isinstance(self.value, str):
            raise ConfigError(f"{what} is {self._kind()}", where=self.where, rule="one word")
        return self.value

    def number(self, what: str) -> float | None:
        """Return a number, also as a list with one item; None for nothing."""
        item = self
        if isinstance(self.value, list):
            if not self.value:
                return None
            if len(self.value) > 1:
                raise ConfigError(
                    f"{what} has {len(self.value)} values",
                    where=self.where,
                    rule="one value for the whole tensor: the vendor's tool has no other form",
                )
            item = self.value[0]
        text = item.text(what)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"{what} {text!r}", where=item.where, rule="a finite number")
        return number

    def _kind(self) -> str:
        if isinstance(self.value, dict):
            return "a map"
        return "a list" if isinstance(self.value, list) else repr(self.value)


def read_yaml(path: str | Path) -> Item:
    """Return the content of a YAML file.

    Raises
    ------
    ConfigError
        When it cannot be read, is no YAML, or has a key twice; file and line are named.
    """
    path = Path(path)
    text = read_text(path, ConfigError, most=LARGEST_FILE_BYTES, rule="a YAML file")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return Item(None, f"{path}:1") if root is None else _item(root, path, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"not valid YAML: {error.problem or error.context}",
            where=f"{path}{line}",
            rule="keys and values as 'key: value', indented with blanks",
        ) from error
    except RecursionError as error:
        raise ConfigError("not valid YAML: it is nested too deeply", where=str(path)) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"not valid YAML: {error}", where=str(path)) from error


def _item(node: Any, path: Path, known: dict[int, Item | None]) -> Item:
    """Return the item of a node; a node that is named again (``*name``) is one item."""
    number = id(node)
    if number not in known:
        known[number] = None
        known[number] = _made(node, path, known)
    item = known[number]
    if item is None:
        raise ConfigError(
            "a value is inside of itself",
            where=f"{path}:{node.start_mark.line + 1}",
            rule="an alias (*name) stands behind the value that it names",
        )
    return item


def _made(node: Any, path: Path, known: dict[int, Item | None]) -> Item:
    where = f"{path}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.ScalarNode):
        plain = node.style not in ("'", '"')
        return Item(None if plain and node.value.lower() in _NONE else node.value, where)
    if isinstance(node, yaml.SequenceNode):
        return Item([_item(child, path, known) for child in node.value], where)
    found: dict[str, tuple[Item, Item]] = {}
    for key, value in node.value:
        name = _item(key, path, known)
        if not isinstance(name.value, str):
            raise ConfigError("a key is no text", where=name.where)
        if name.value in found:
            raise ConfigError(
                f"key {name.value!r} is there twice",
                where=name.where,
                rule=f"each key once; the first is at {found[name.value][0].where}",
            )
        found[name.value] = name, _item(value, path, known)
    return Item(found, where)


def quoted(name: str) -> str:
    """Return a text that YAML reads back as this very text."""
    if name.isprintable():
        return "'" + name.replace("'", "''") + "'"
    escaped = "".join(
        c
        if c.isprintable() and c not in '"\\'
        else (f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}")
        for c in name
    )
    return f'"{escaped}"'
