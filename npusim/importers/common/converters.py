"""Operator or layer type of a framework -> the function that converts it."""

from collections.abc import Callable
from typing import Generic, TypeVar

from npusim.errors import ModelImportError

Node = TypeVar("Node")
Context = TypeVar("Context")


class ConverterTable(Generic[Node, Context]):
    """The converters of a framework; called with types it registers the decorated function."""

    def __init__(self) -> None:
        self._table: dict[str, Callable[[Node, Context], None]] = {}

    def __call__(
        self, *types: str
    ) -> Callable[[Callable[[Node, Context], None]], Callable[[Node, Context], None]]:
        """Register the decorated function for types; a duplicate raises."""

        def add(convert: Callable[[Node, Context], None]) -> Callable[[Node, Context], None]:
            for word in types:
                if word in self._table:
                    raise ModelImportError(f"{word} has two converters")
                self._table[word] = convert
            return convert

        return add

    def find(self, word: str) -> Callable[[Node, Context], None] | None:
        """Return the converter of a type, None when it has none."""
        return self._table.get(word)

    def types(self) -> tuple[str, ...]:
        """Return the types that have a converter, sorted."""
        return tuple(sorted(self._table))
