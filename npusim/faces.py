"""What objects show of themselves: one line, a page in a notebook, a data frame."""

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from html import escape
from typing import Any, NamedTuple

from npusim import extras
from npusim.plain import printable

Row = Mapping[str, Any]
ROWS = 30  # of a page; a data frame has all
STYLE = "text-align:left;vertical-align:top;padding:1px 8px"


class Face(NamedTuple):
    """Facts about an object, and what it holds.

    Attributes
    ----------
    title : str
    facts : mapping
        Words or numbers by name, the first few for one line.
    rows : iterable of mapping
        One per layer (point, sample) with plain values; nested mappings are allowed.
    shown : tuple of str
        The columns of a page, of the rows' flat names.
    """

    title: str
    facts: Mapping[str, object]
    rows: Iterable[Row] = ()
    shown: tuple[str, ...] = ()


class Faced:
    """Gives a class its short ``repr``, its page and its data frame; the class has ``_face``."""

    __slots__ = ()

    def _face(self) -> Face:
        raise NotImplementedError

    def __repr__(self) -> str:
        face = self._face()
        facts = ", ".join(f"{name} {_text(value)}" for name, value in [*face.facts.items()][:4])
        title = _clipped(face.title)
        return f"<{type(self).__name__}{f' {title!r}' if title else ''}: {facts}>"

    def _repr_html_(self) -> str:
        """Return facts and the first rows as HTML, for notebooks; all text is escaped."""
        face = self._face()
        head = f"{type(self).__name__} {face.title}".strip()
        parts = [f"<b>{escape(head)}</b><table>"]
        for name, value in face.facts.items():
            cells = f"<th style='{STYLE}'>{escape(name)}</th>"
            parts.append(f"<tr>{cells}<td style='{STYLE}'>{escape(_text(value))}</td></tr>")
        parts.append("</table>")
        if rows := [dict(flat(row)) for row in face.rows]:
            names = face.shown or tuple(rows[0])
            heads = "".join(f"<th style='{STYLE}'>{escape(name)}</th>" for name in names)
            parts.append(f"<table><tr>{heads}</tr>")
            for row in rows[:ROWS]:
                cells = "".join(
                    f"<td style='{STYLE}'>{escape(_text(row.get(name)))}</td>" for name in names
                )
                parts.append(f"<tr>{cells}</tr>")
            parts.append("</table>")
            if len(rows) > ROWS:
                parts.append(f"{len(rows) - ROWS} more: to_frame()")
        return "".join(parts)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame: one row per layer (or point, or sample).

        Raises
        ------
        MissingExtraError
            When pandas is not installed.
        """
        pandas = extras.require("pandas", extra="frame", purpose="a data frame")
        return pandas.DataFrame([dict(flat(row)) for row in self._face().rows])


def flat(row: Row, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the plain values of nested mappings, names joined by ``_``; lists of words as text."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}_")
        elif isinstance(value, list | tuple):
            if all(isinstance(item, str | int) for item in value):
                yield f"{before}{name}", " ".join(map(str, value))
        else:
            yield f"{before}{name}", value.value if isinstance(value, Enum) else value


def _clipped(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
