"""Nested data, as JSON gives it, with one value changed or taken out."""

import copy
from typing import Any


def places(value, way=()):
    """Yield the way to every value in nested data."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*way, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*way, key))


def parent(content: Any, way: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return a copy of the content, and in it what holds the value at the way's end."""
    made = copy.deepcopy(content)
    inner = made
    for key in way[:-1]:
        inner = inner[key]
    return made, inner


def changed(content, way, value):
    """Return a copy with another value."""
    made, inner = parent(content, way)
    inner[way[-1]] = value
    return made


def without(content, way):
    """Return a copy that lacks the value."""
    made, inner = parent(content, way)
    del inner[way[-1]]
    return made
